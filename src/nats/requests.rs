//! Requests to the server itself, each with its time, and what JetStream says to them.
//!
//! Not through the client's own JetStream API: like its request method, that never forgets a
//! publish without an acknowledgement, and its time-outs add up.

use std::time::{Instant, UNIX_EPOCH};

use async_nats::{HeaderMap, HeaderValue, header::NATS_MESSAGE_TTL};
use bytes::Bytes;
use data_encoding::BASE64;
use serde::Deserialize;

use super::{NatsWire, bucket::Bucket};
use crate::{
    clock,
    domain::{sending::Miss, shared::Revision},
    inbox::{Arrival, Sent, Token},
    wire::{StoreFault, Stored, Written},
};

/// What tells the store's tokens from those of messages in reply subjects.
pub(super) const TOKEN_MARK: char = 's';

/// The server's codes: another write came first, or is under way.
const CONFLICTS: [u64; 2] = [10_071, 10_164];
const NO_MESSAGE_FOUND: u64 = 10_037;
const FULL: u64 = 10_077;
/// No stream; no leader, or no JetStream for now.
const UNAVAILABLE: [u64; 2] = [10_059, 10_008];

/// What the JetStream API says.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum ApiReply<T> {
    Refused { error: Refusal },
    Ok(T),
}

/// What the server says when it refuses.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

/// The acknowledgement of a publish.
#[derive(Deserialize)]
pub(super) struct Acknowledgement {
    seq: u64,
    /// The stream has a message with the same `Nats-Msg-Id`, and did not take this one too.
    #[serde(default)]
    pub(super) duplicate: bool,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The client did not take it.
    NotTaken,
    /// Nothing came in time.
    Silence,
    /// Nobody listens.
    NoResponders,
    /// There is no connection, or it broke.
    Disconnected,
}

/// The last message of a subject.
#[derive(Deserialize)]
struct Last {
    message: LastMessage,
}

#[derive(Deserialize)]
struct LastMessage {
    seq: u64,
    #[serde(default)]
    data: String,
    time: String,
}

impl NatsWire {
    /// One request and its answer, until `end` at the longest. Nothing is left behind where none
    /// comes.
    pub(super) async fn ask(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        end: Instant,
    ) -> Result<Bytes, Unanswered> {
        let client = self.client().ok_or(Unanswered::Disconnected)?;
        let sent = Sent { deadline: end, late_until: end, may_resend: false, ticket: () };
        let (token, ending) = self.requests.open(sent);
        let reply = format!("{}{TOKEN_MARK}{:016x}", self.inbox, token.0);
        let publish = client.publish_with_reply_and_headers(subject, reply, headers, payload);
        match clock::until(end, publish).await {
            Some(Ok(())) => {}
            Some(Err(_)) => {
                self.requests.close(token);
                return Err(Unanswered::NotTaken);
            }
            None => {
                self.requests.close(token);
                return Err(Unanswered::Silence);
            }
        }
        match ending.await {
            Ok(Ok(reply)) => Ok(reply.payload),
            Ok(Err(Miss::Silence { connection_lost: false })) | Err(_) => Err(Unanswered::Silence),
            Ok(Err(Miss::NoResponders)) => Err(Unanswered::NoResponders),
            Ok(Err(
                Miss::TooLate
                | Miss::NotSent
                | Miss::Interrupted
                | Miss::Silence { connection_lost: true },
            )) => Err(Unanswered::Disconnected),
        }
    }

    /// The same of a store.
    pub(super) async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        end: Instant,
    ) -> Result<Bytes, StoreFault> {
        self.ask(subject, headers, payload, end).await.map_err(|unanswered| match unanswered {
            Unanswered::NotTaken => StoreFault::Error,
            Unanswered::Silence => StoreFault::Timeout,
            Unanswered::NoResponders | Unanswered::Disconnected => StoreFault::Unavailable,
        })
    }

    /// What came for one of those requests.
    pub(super) fn answer(&self, token: Token, arrival: Arrival) {
        self.requests.deliver(token, arrival);
    }

    /// Nothing comes any more for what was asked over the lost connection.
    pub(super) fn requests_lost(&self) {
        self.requests.connection_lost();
    }

    /// Publishes to a bucket and waits for the acknowledgement.
    pub(super) async fn put(
        &self,
        subject: String,
        headers: HeaderMap,
        record: Bytes,
        end: Instant,
    ) -> Result<Written, StoreFault> {
        let answer = self.request(subject, headers, record, end).await?;
        match serde_json::from_slice::<ApiReply<Acknowledgement>>(&answer) {
            Ok(ApiReply::Ok(acknowledgement)) => Ok(Written::As(Revision(acknowledgement.seq))),
            Ok(ApiReply::Refused { error }) if CONFLICTS.contains(&error.err_code) => {
                Ok(Written::Conflict)
            }
            Ok(ApiReply::Refused { error }) => Err(fault_of(error.err_code)),
            Err(_) => Err(StoreFault::Error),
        }
    }

    /// Reads the last record of a subject from the stream's leader. A follower's would be stale.
    pub(super) async fn last(
        &self,
        bucket: &Bucket,
        subject: &str,
        end: Instant,
    ) -> Result<Option<Stored>, StoreFault> {
        let question = format!(r#"{{"last_by_subj":"{subject}"}}"#);
        let subject = format!("$JS.API.STREAM.MSG.GET.{}", bucket.stream());
        let reply = self.request(subject, HeaderMap::new(), question.into(), end).await?;
        match serde_json::from_slice::<ApiReply<Last>>(&reply) {
            Ok(ApiReply::Ok(Last { message })) => {
                let record = BASE64.decode(message.data.as_bytes()).unwrap_or_default().into();
                let time = humantime::parse_rfc3339(&message.time).unwrap_or(UNIX_EPOCH);
                let (revision, written) = (Revision(message.seq), clock::micros_of(time));
                Ok(Some(Stored { revision, written, record }))
            }
            Ok(ApiReply::Refused { error }) if error.err_code == NO_MESSAGE_FOUND => Ok(None),
            Ok(ApiReply::Refused { error }) => Err(fault_of(error.err_code)),
            Err(_) => Err(StoreFault::Error),
        }
    }
}

/// How long the server keeps a message.
pub(super) fn ttl(seconds: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_TTL, HeaderValue::from(seconds));
    headers
}

fn fault_of(code: u64) -> StoreFault {
    match code {
        FULL => StoreFault::Full,
        code if UNAVAILABLE.contains(&code) => StoreFault::Unavailable,
        _ => StoreFault::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_refuses_is_told_apart() {
        let rows = [
            (10_059, StoreFault::Unavailable),
            (10_008, StoreFault::Unavailable),
            (10_077, StoreFault::Full),
            (10_054, StoreFault::Error),
            (0, StoreFault::Error),
        ];
        for (code, fault) in rows {
            assert_eq!(fault_of(code), fault, "{code}");
        }
        assert!(CONFLICTS.contains(&10_071) && CONFLICTS.contains(&10_164));
    }
}
