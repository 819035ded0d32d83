//! Which workers there are, by the NATS services API (ADR-32).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;

use super::NatsWire;
use crate::{domain::connector::Subject, lane::Lane, pipeline::Pipeline, wire::Wire};

/// How often workers are asked.
pub const WORKERS_ASKED_EVERY: Duration = Duration::from_secs(15);

/// How long answers are collected.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// The most answers that are looked at.
const ANSWERS_MAX: usize = 1_000;

pub(super) const ASK: &str = "$SRV.INFO";

/// A service that answers.
#[derive(Deserialize)]
struct Info {
    id: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    subject: String,
}

/// Asks again and again, and keeps the gauge of every lane, forever.
pub async fn count_workers(pipeline: Arc<Pipeline<NatsWire>>, lanes: Vec<Arc<Lane>>) {
    loop {
        pipeline.wire().connected().await;
        if let Some(answers) = ask(pipeline.wire()).await {
            for lane in &lanes {
                let count = count(&answers, &lane.connector.subject);
                let gauge = &lane.metrics.workers_available;
                // -1 until one was seen: plain subscribers do not answer and are not gone.
                if count > 0 || gauge.get() >= 0 {
                    gauge.set(count);
                }
            }
        }
        tokio::time::sleep(WORKERS_ASKED_EVERY).await;
    }
}

async fn ask(wire: &NatsWire) -> Option<Vec<Bytes>> {
    let client = wire.client()?;
    let inbox = client.new_inbox();
    let answers = client.subscribe(inbox.clone()).await.ok()?;
    client.publish_with_reply(ASK, inbox, "".into()).await.ok()?;
    let collect = answers
        .take(ANSWERS_MAX)
        .take_until(tokio::time::sleep(ANSWERS_WITHIN))
        .map(|message| message.payload)
        .collect();
    Some(collect.await)
}

/// How many services have an endpoint on `subject`, by their answers.
pub fn count<'a>(answers: impl IntoIterator<Item = &'a Bytes>, subject: &Subject) -> i64 {
    let services = answers.into_iter().filter_map(|answer| serde_json::from_slice(answer).ok());
    let serves = |service: &Info| {
        service.endpoints.iter().any(|endpoint| subject.matches(&endpoint.subject))
    };
    let ids: BTreeSet<String> = services.filter(serves).map(|service| service.id).collect();
    i64::try_from(ids.len()).unwrap_or(i64::MAX)
}
