//! The stream that an operator makes for records of decisions, and what is in it.

use async_nats::{HeaderMap, jetstream};
use serde_json::Value;

use super::real::{NatsServer, until};

/// A server with JetStream, its files in its folder.
pub(crate) const JETSTREAM: &str = "jetstream {store_dir: \"{folder}/jetstream\"}";

/// The stream.
pub(crate) struct Records(jetstream::stream::Stream);

/// One record in it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    /// As it was published.
    pub(crate) text: String,
    pub(crate) event: Value,
}

impl Kept {
    /// What it says of the call.
    pub(crate) fn data(&self, name: &str) -> &Value {
        &self.event["data"][name]
    }
}

impl Records {
    /// Makes the stream.
    pub(crate) async fn start(server: &NatsServer) -> Self {
        let context = jetstream::new(server.client().await);
        let config = jetstream::stream::Config {
            name: "CONNECTOR_EVENTS".to_owned(),
            subjects: vec!["connector-events.decided".to_owned()],
            storage: jetstream::stream::StorageType::Memory,
            ..Default::default()
        };
        Self(context.create_stream(config).await.unwrap())
    }

    /// How many records it has.
    pub(crate) async fn count(&self) -> u64 {
        self.0.get_info().await.unwrap().state.messages
    }

    /// Waits for so many records, and returns all of them.
    pub(crate) async fn until(&self, count: u64) -> Vec<Kept> {
        until("the records", async || (self.count().await >= count).then_some(())).await;
        self.all().await
    }

    async fn all(&self) -> Vec<Kept> {
        let state = self.0.get_info().await.unwrap().state;
        let mut all = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = self.0.get_raw_message(sequence).await.unwrap();
            let text = String::from_utf8(message.payload.to_vec()).unwrap();
            let event = serde_json::from_str(&text).unwrap();
            let subject = message.subject.to_string();
            all.push(Kept { subject, headers: message.headers, text, event });
        }
        all
    }
}
