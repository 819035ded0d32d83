//! Whether the server grants what the bridge needs, asked at every connection, and again while
//! something is missing.
//!
//! A right that is missing looks like silence: a message that may not be published is dropped, a
//! reply that may not be received does not come.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::HeaderMap;
use bytes::Bytes;

use super::{NatsWire, bucket, decisions, discovery};
use crate::{
    clock,
    config::Config,
    domain::rights::{Right, Rights},
    metrics::{ConnectionEvent, Metrics},
    pipeline::Pipeline,
    wire::Wire,
};

/// Tells a user its own rights.
pub(super) const ASK: &str = "$SYS.REQ.USER.INFO";

/// How long the answer may take: nobody waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The pause before rights that were missing are asked for again: a server can be told to grant
/// them while the connection stays.
const ASK_AGAIN_EVERY: Duration = Duration::from_secs(15);

/// A right, and which key of the configuration needs it.
#[derive(Debug)]
struct Need {
    right: Right,
    key: String,
}

/// The rights that a bridge with this configuration needs.
fn needs(config: &Config) -> Vec<Need> {
    let publish =
        |subject: String, key: &str| Need { right: Right::Publish(subject), key: key.to_owned() };
    let inbox = |rest: &str| Need {
        right: Right::Subscribe(format!("{}.{rest}", config.nats.inbox_prefix)),
        key: "nats.inbox_prefix".to_owned(),
    };
    // Replies to one question come to a subject of their own, all others to one of many.
    let mut needs = vec![inbox("*"), inbox("*.*")];
    for settings in &config.connectors {
        let (name, subject) = (&settings.connector.name, &settings.connector.subject);
        needs.push(publish(subject.to_string(), &format!("connectors.{name}.subject")));
    }
    needs.push(publish(discovery::ASK.to_owned(), "connectors"));
    if let Some(events) = &config.events {
        needs.push(publish(events.subject.to_string(), "events.subject"));
    }
    if let Some(calls) = bucket::of_calls(config) {
        needs.extend(calls.published_to("*").into_iter().map(|s| publish(s, "calls.store")));
    }
    if let Some(shared) = decisions::bucket_of(config) {
        let subjects = shared.published_to("*.*").into_iter().chain(shared.published_to_follow());
        needs.extend(subjects.map(|subject| publish(subject, "fallback.cached.shared")));
    }
    needs
}

/// What is known to be missing, for `/status`; nothing where the server does not say.
#[derive(Default)]
pub(super) struct Missing(Mutex<Option<Vec<String>>>);

impl Missing {
    fn set(&self, missing: Option<Vec<String>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = missing;
    }

    pub(super) fn get(&self) -> Option<Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Asks at every new connection, forever, and says plainly what is missing.
pub async fn check_rights(pipeline: Arc<Pipeline<NatsWire>>, config: Config, metrics: Metrics) {
    let needs = needs(&config);
    let wire = pipeline.wire();
    let mut way = wire.way.clone();
    loop {
        wire.connected().await;
        way.mark_unchanged();
        let check = async {
            check_one_connection(wire, &needs, &metrics).await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            changed = way.changed() => if changed.is_err() {
                return;
            },
            () = check => {}
        }
    }
}

/// Until nothing is missing, as far as the server says.
async fn check_one_connection(wire: &NatsWire, needs: &[Need], metrics: &Metrics) {
    let mut reported = BTreeSet::new();
    loop {
        let rights = ask(wire).await;
        let is_missing = |need: &&Need| rights.as_ref().is_some_and(|r| !r.has(&need.right));
        let missing: Vec<&Need> = needs.iter().filter(is_missing).collect();
        for need in &missing {
            if reported.insert(written(&need.right)) {
                report(need, metrics);
            }
        }
        let written = missing.iter().map(|need| written(&need.right)).collect();
        wire.missing_rights.set(rights.is_some().then_some(written));
        if missing.is_empty() {
            if rights.is_some() && !reported.is_empty() {
                tracing::info!("the NATS user has all rights that the bridge needs");
            }
            return;
        }
        tokio::time::sleep(ASK_AGAIN_EVERY).await;
    }
}

async fn ask(wire: &NatsWire) -> Option<Rights> {
    let end = clock::now() + ANSWER_WITHIN;
    let reply = wire.request(ASK.to_owned(), HeaderMap::new(), Bytes::new(), end).await;
    let rights = reply.ok().as_deref().and_then(Rights::parse);
    if rights.is_none() {
        tracing::info!(
            "the NATS server does not say which rights the bridge has: allow it to publish to \
             {ASK} and to receive replies, and they are checked at every connection"
        );
    }
    rights
}

fn report(need: &Need, metrics: &Metrics) {
    metrics.connection_event(ConnectionEvent::AuthError);
    let (right, key) = (written(&need.right), &need.key);
    tracing::error!(right, key, "the NATS user lacks a right that the bridge needs");
}

/// As server configurations name it.
fn written(right: &Right) -> String {
    match right {
        Right::Publish(subject) => format!("publish {subject}"),
        Right::Subscribe(subject) => format!("subscribe {subject}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERMISSIONS: &str = include_str!("../../deploy/nats/permissions.conf");

    /// What the first user of the file, who is the bridge, may publish to or subscribe to.
    fn granted(kind: &str) -> BTreeSet<String> {
        let list = PERMISSIONS.split_once(&format!("{kind}: [")).unwrap().1;
        let lines = list.lines().map(str::trim).take_while(|line| *line != "]");
        let subjects = lines.filter_map(|line| line.strip_prefix('"')?.split('"').next());
        subjects.map(|subject| format!("{kind} {subject}")).collect()
    }

    #[test]
    fn the_rights_that_are_asked_for_are_those_of_the_ready_permissions() {
        let config = "calls: {store: jetstream}
events: {}
connectors:
  c: {protocol: b2c-policy, step: custom, auth: none, fallback: {cached: {by: [a], shared: true}}}";
        let needs = needs(&Config::parse(config).unwrap());
        let needed = needs.iter().map(|need| match written(&need.right).as_str() {
            "publish connectors.c.custom" => "publish connectors.>".to_owned(),
            "subscribe _INBOX_connector_bridge.*" | "subscribe _INBOX_connector_bridge.*.*" => {
                "subscribe _INBOX_connector_bridge.>".to_owned()
            }
            other => other.to_owned(),
        });
        let needed: BTreeSet<_> = needed.chain([format!("publish {ASK}")]).collect();
        let granted: BTreeSet<_> =
            granted("publish").union(&granted("subscribe")).cloned().collect();
        assert_eq!(needed, granted);
    }
}
