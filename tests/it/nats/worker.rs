//! A worker that keeps what it gets.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_nats::{Client, ConnectOptions, HeaderMap, Message};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use super::SUBJECT;
use crate::support::real::{NatsServer, round_trip, until};

/// Headers and body of a reply; `None` is silence.
pub(super) type Reply = Option<(HeaderMap, String)>;

/// A reply without headers.
pub(super) fn says(text: &str) -> Reply {
    Some((HeaderMap::new(), text.to_owned()))
}

/// Lets everybody in.
pub(super) fn lets_in(_: &Message) -> Reply {
    says(r#"{"action":"Continue"}"#)
}

/// Takes the message and keeps silent.
pub(super) fn is_silent(_: &Message) -> Reply {
    None
}

/// A message that came.
#[derive(Clone)]
pub(super) struct Got {
    pub(super) message: Message,
    at: SystemTime,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.message.headers.as_ref().unwrap().get(name).unwrap().as_str()
    }

    /// Whether it came before its deadline.
    pub(super) fn is_in_time(&self) -> bool {
        self.at < humantime::parse_rfc3339(self.header("Connector-Deadline")).unwrap()
    }

    pub(super) fn attempt(&self) -> &str {
        self.header("Connector-Attempt")
    }
}

/// A subscriber to [`SUBJECT`]. It comes back soon after its server does.
pub(super) struct Worker {
    client: Client,
    got: Arc<Mutex<Vec<Got>>>,
    listening: JoinHandle<()>,
}

impl Worker {
    /// What `decide` returns for a message is the reply.
    pub(super) async fn start(
        server: &NatsServer,
        decide: impl Fn(&Message) -> Reply + Send + 'static,
    ) -> Self {
        Self::with(Self::client(server, ConnectOptions::new()).await, decide).await
    }

    /// A client that is connected and listens to nothing yet.
    pub(super) async fn client(server: &NatsServer, options: ConnectOptions) -> Client {
        let options = options.reconnect_delay_callback(|_| Duration::from_millis(20));
        options.connect(server.url()).await.unwrap()
    }

    /// Over a connection that there is already.
    pub(super) async fn with(
        client: Client,
        decide: impl Fn(&Message) -> Reply + Send + 'static,
    ) -> Self {
        let worker = Self::at(client, SUBJECT, "w", decide).await;
        round_trip(&worker.client).await;
        worker
    }

    /// In this queue group of another subject. It may not be known to the server yet.
    pub(super) async fn at(
        client: Client,
        subject: &str,
        queue: &str,
        decide: impl Fn(&Message) -> Reply + Send + 'static,
    ) -> Self {
        let messages = client.queue_subscribe(subject.to_owned(), queue.to_owned()).await;
        let mut messages = messages.unwrap();
        client.flush().await.unwrap();
        let all = Arc::<Mutex<Vec<Got>>>::default();
        let (got, own_client) = (Arc::clone(&all), client.clone());
        let listening = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let reply = decide(&message).zip(message.reply.clone());
                got.lock().unwrap().push(Got { message, at: SystemTime::now() });
                if let Some(((headers, text), to)) = reply {
                    client.publish_with_headers(to, headers, text.into()).await.unwrap();
                }
            }
        });
        Self { client: own_client, got: all, listening }
    }

    /// Listens no more.
    pub(super) async fn leave(self) {
        self.listening.abort();
        assert!(self.listening.await.is_err());
        round_trip(&self.client).await;
    }

    /// Listens no more, as the server will learn.
    pub(super) async fn stop(self) {
        self.listening.abort();
        self.client.drain().await.unwrap();
    }

    /// Everything that came so far.
    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// `Connector-Attempt` of everything that came so far.
    pub(super) fn attempts(&self) -> Vec<String> {
        self.got().iter().map(|got| got.attempt().to_owned()).collect()
    }

    /// Waits until `count` messages have come.
    pub(super) async fn until_got(&self, count: usize) {
        let what = format!("{count} messages reach the worker");
        until(&what, async || (self.got().len() >= count).then_some(())).await;
    }

    /// Replies to a message that `decide` was silent about.
    pub(super) async fn reply_to(&self, number: usize, text: &str) {
        let to = self.got()[number].message.reply.clone().unwrap();
        self.client.publish(to, text.to_owned().into()).await.unwrap();
    }
}
