//! Records of decisions, published to a JetStream stream. The stream is the operator's: here is
//! neither made nor looked at what it is like.

use std::{str::FromStr, time::Instant};

use async_nats::{HeaderMap, HeaderName, HeaderValue, header::NATS_MESSAGE_ID};
use bytes::Bytes;

use super::{
    NatsWire,
    requests::{Acknowledgement, ApiReply, Unanswered},
};
use crate::{
    domain::connector::Subject,
    wire::{EventStream, Kept, NotKept},
};

const CONTENT_TYPE: HeaderName = HeaderName::from_static("Content-Type");

/// Structured mode: the only one in the released binding for NATS, 1.0.2, and told from binary mode
/// by this header in the next.
const CLOUDEVENT: &str = "application/cloudevents+json";

impl EventStream for NatsWire {
    async fn keep(
        &self,
        subject: &Subject,
        id: &str,
        json: Bytes,
        end: Instant,
    ) -> Result<Kept, NotKept> {
        let headers = headers(id).map_err(|_| NotKept::Refused(None))?;
        let answer = self.ask(subject.to_string(), headers, json, end).await;
        read(&answer.map_err(|unanswered| match unanswered {
            Unanswered::NotTaken => NotKept::Refused(None),
            Unanswered::Silence => NotKept::Unacknowledged,
            Unanswered::NoResponders => NotKept::NoStream,
            Unanswered::Disconnected => NotKept::Disconnected,
        })?)
    }
}

/// JetStream drops what comes under the same id within the stream's duplicate window.
fn headers(id: &str) -> Result<HeaderMap, <HeaderValue as FromStr>::Err> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id.parse::<HeaderValue>()?);
    headers.insert(CONTENT_TYPE, CLOUDEVENT.parse::<HeaderValue>()?);
    Ok(headers)
}

fn read(answer: &[u8]) -> Result<Kept, NotKept> {
    match serde_json::from_slice::<ApiReply<Acknowledgement>>(answer) {
        Ok(ApiReply::Ok(Acknowledgement { duplicate: true, .. })) => Ok(Kept::Before),
        Ok(ApiReply::Ok(Acknowledgement { duplicate: false, .. })) => Ok(Kept::Now),
        Ok(ApiReply::Refused { error }) => Err(NotKept::Refused(Some(error.err_code))),
        Err(_) => Err(NotKept::Refused(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_acknowledgement_of_jetstream_says_that_a_record_is_kept() {
        for (answer, kept) in [
            (r#"{"stream":"AUDIT","seq":7}"#, Ok(Kept::Now)),
            (r#"{"stream":"AUDIT","seq":7,"duplicate":true}"#, Ok(Kept::Before)),
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"AUDIT","seq":0}"#,
                Err(NotKept::Refused(Some(10_077))),
            ),
            (r#"{"action":"Continue"}"#, Err(NotKept::Refused(None))),
            ("", Err(NotKept::Refused(None))),
        ] {
            assert_eq!(read(answer.as_bytes()), kept, "{answer}");
        }
    }
}
