//! The store in JetStream: raw publishes and leader reads, each with its time.
//!
//! Not through the client's own JetStream API: like its request method, that never forgets a
//! publish without an acknowledgement, and its time-outs add up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap, HeaderValue,
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL},
};
use bytes::Bytes;
use data_encoding::BASE64;
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    NatsWire,
    bucket::{Answer, Bucket, BucketFault},
};
use crate::{
    clock,
    domain::{
        call_id::CallId,
        sending::Miss,
        shared::{Revision, UnixMs},
    },
    inbox::{Arrival, Sent, Token},
    metrics::Metrics,
    pipeline::Pipeline,
    wire::{Store, StoreFault, Wire, Written},
};

/// So many failures in a row, and the store is not asked until it has proved to be back.
const FAILURES_MAX: u32 = 3;

/// How often a store that is away is looked for: at first, while a new leader is elected, and
/// later.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
const LOOK_PAUSE_LATER: Duration = Duration::from_secs(5);
const LOOKS_AT_FIRST: u32 = 30;

/// How often a stream that is there is looked at: somebody may have changed it, or the cluster may
/// have grown.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(60);

/// How long one of those looks may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(1);

/// How long the proof is kept that a write was taken.
const PROOF_LIFE_SECONDS: u64 = 1;

/// What tells the store's tokens from those of messages in reply subjects.
pub(super) const TOKEN_MARK: char = 's';

/// The server's codes: another write came first, or is under way.
const CONFLICTS: [u64; 2] = [10_071, 10_164];
const NO_MESSAGE_FOUND: u64 = 10_037;
const FULL: u64 = 10_077;
/// No stream; no leader, or no JetStream for now.
const UNAVAILABLE: [u64; 2] = [10_059, 10_008];

/// Whether the bucket of calls can be used.
pub(super) struct Health {
    available: watch::Sender<bool>,
    failures: AtomicU32,
}

impl Default for Health {
    fn default() -> Self {
        Self { available: watch::Sender::new(false), failures: AtomicU32::new(0) }
    }
}

impl Health {
    /// Returns whether that is new.
    fn set(&self, is_available: bool) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.available.send_if_modified(|was| std::mem::replace(was, is_available) != is_available)
    }

    /// Hears how an operation went.
    fn hear<T>(&self, result: &Result<T, StoreFault>) {
        match result {
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(StoreFault::Unavailable) => {
                self.set(false);
            }
            Err(StoreFault::Timeout | StoreFault::Full | StoreFault::Error) => {
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
                    self.set(false);
                }
            }
        }
    }
}

/// The acknowledgement of a publish.
#[derive(Deserialize)]
struct Acknowledgement {
    seq: u64,
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
}

impl NatsWire {
    /// One request and its answer, until `end` at the longest. Nothing is left behind where none
    /// comes.
    pub(super) async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        end: Instant,
    ) -> Result<Bytes, StoreFault> {
        let client = self.client().ok_or(StoreFault::Unavailable)?;
        let sent = Sent { deadline: end, late_until: end, may_resend: false, ticket: () };
        let (token, ending) = self.requests.open(sent);
        let reply = format!("{}{TOKEN_MARK}{:016x}", self.inbox, token.0);
        let publish = client.publish_with_reply_and_headers(subject, reply, headers, payload);
        match clock::until(end, publish).await {
            Some(Ok(())) => {}
            Some(Err(_)) => {
                self.requests.close(token);
                return Err(StoreFault::Error);
            }
            None => {
                self.requests.close(token);
                return Err(StoreFault::Timeout);
            }
        }
        match ending.await {
            Ok(Ok(reply)) => Ok(reply.payload),
            Ok(Err(Miss::Silence { connection_lost: false })) | Err(_) => Err(StoreFault::Timeout),
            Ok(Err(
                Miss::NotSent
                | Miss::NoResponders
                | Miss::Interrupted
                | Miss::Silence { connection_lost: true },
            )) => Err(StoreFault::Unavailable),
        }
    }

    /// What came for one of those requests.
    pub(super) fn answer(&self, token: Token, arrival: Arrival) {
        self.requests.deliver(token, arrival);
    }

    /// Nothing comes any more for what was asked over the lost connection.
    pub(super) fn connection_lost(&self) {
        self.health.set(false);
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
        match serde_json::from_slice::<Answer<Acknowledgement>>(&answer) {
            Ok(Answer::Ok(acknowledgement)) => Ok(Written::As(Revision(acknowledgement.seq))),
            Ok(Answer::Refused { error }) if CONFLICTS.contains(&error.err_code) => {
                Ok(Written::Conflict)
            }
            Ok(Answer::Refused { error }) => Err(fault_of(error.err_code)),
            Err(_) => Err(StoreFault::Error),
        }
    }

    /// Keeps the bucket of calls: finds it, creates it, notices that it is back. Forever.
    async fn keep_calls(&self, bucket: &Bucket, metrics: &Metrics) {
        let mut available = self.health.available.subscribe();
        let mut looks = 0;
        loop {
            self.connected().await;
            match self.look_for(bucket).await {
                Ok(()) => {
                    if self.health.set(true) {
                        tracing::info!("the store is available");
                    }
                    metrics.store_available.set(1);
                    looks = 0;
                    let lost = available.wait_for(|is_available| !is_available);
                    let again = clock::now() + LOOK_AGAIN_EVERY;
                    if clock::until(again, lost).await.is_some() {
                        metrics.store_available.set(0);
                    }
                }
                Err(fault) => {
                    self.health.set(false);
                    metrics.store_available.set(0);
                    if looks == 0 {
                        tracing::error!(
                            %fault,
                            "the store is not available: calls are decided without it, and a \
                             retry at another replica is decided anew"
                        );
                    }
                    looks += 1;
                    let is_first = looks < LOOKS_AT_FIRST;
                    let pause = if is_first { LOOK_PAUSE } else { LOOK_PAUSE_LATER };
                    clock::sleep_until(clock::now() + pause).await;
                }
            }
        }
    }

    /// Whether the bucket is there, and a write is taken.
    async fn look_for(&self, bucket: &Bucket) -> Result<(), BucketFault> {
        bucket.bind(self, LOOK_TIME_MAX).await?;
        let headers = ttl(PROOF_LIFE_SECONDS);
        let end = clock::now() + LOOK_TIME_MAX;
        let subject = bucket.subject(&format!("proof-{}", self.instance()));
        let proof = self.put(subject, headers, Bytes::new(), end).await;
        proof.map(drop).map_err(BucketFault::Store)
    }
}

/// Keeps the store, and the deadlines of what is asked of it, forever.
pub async fn keep_store(pipeline: Arc<Pipeline<NatsWire>>, metrics: Metrics) {
    let wire = pipeline.wire();
    let calls = async {
        match &wire.calls {
            Some(bucket) => wire.keep_calls(bucket, &metrics).await,
            None => std::future::pending().await,
        }
    };
    let forget = clock::every(LOOK_PAUSE, || wire.requests.forget_late(clock::now()));
    tokio::join!(calls, wire.requests.keep_deadlines(), forget);
}

impl Store for NatsWire {
    fn is_available(&self) -> bool {
        *self.health.available.borrow()
    }

    async fn available(&self) {
        let mut available = self.health.available.subscribe();
        if available.wait_for(|is_available| *is_available).await.is_err() {
            std::future::pending().await
        }
    }

    fn wall(&self) -> UnixMs {
        clock::wall_ms()
    }

    async fn read(
        &self,
        call: CallId,
        end: Instant,
    ) -> Result<(Revision, Option<Bytes>), StoreFault> {
        let bucket = self.calls.as_ref().ok_or(StoreFault::Unavailable)?;
        let subject = format!("$JS.API.STREAM.MSG.GET.{}", bucket.stream());
        let question = format!(r#"{{"last_by_subj":"{}"}}"#, bucket.subject(&call.to_string()));
        let answer = self.request(subject, HeaderMap::new(), question.into(), end).await;
        let read =
            answer.and_then(|answer| match serde_json::from_slice::<Answer<Last>>(&answer) {
                Ok(Answer::Ok(Last { message })) => {
                    let data = BASE64.decode(message.data.as_bytes()).unwrap_or_default();
                    Ok((Revision(message.seq), Some(data.into())))
                }
                Ok(Answer::Refused { error }) if error.err_code == NO_MESSAGE_FOUND => {
                    Ok((Revision::NONE, None))
                }
                Ok(Answer::Refused { error }) => Err(fault_of(error.err_code)),
                Err(_) => Err(StoreFault::Error),
            });
        self.health.hear(&read);
        read
    }

    async fn write(
        &self,
        call: CallId,
        revision: Revision,
        life_seconds: u64,
        record: Vec<u8>,
        end: Instant,
    ) -> Result<Written, StoreFault> {
        let bucket = self.calls.as_ref().ok_or(StoreFault::Unavailable)?;
        let mut headers = ttl(life_seconds);
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(revision.0));
        let subject = bucket.subject(&call.to_string());
        let written = self.put(subject, headers, record.into(), end).await;
        self.health.hear(&written);
        written
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
