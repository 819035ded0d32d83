//! Workers in this process, which do with each message what they are told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_nats::{Client, HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use serde_json::Value;

use crate::support::real::{NatsServer, round_trip};

pub(super) const CONTINUE: &str = r#"{"action":"Continue","extension_Tier":"gold"}"#;

/// A message as a worker looks at it.
#[derive(Clone)]
pub(super) struct Got {
    headers: HeaderMap,
    /// `None` where they are no JSON.
    pub(super) claims: Option<Value>,
    pub(super) bytes: usize,
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) is_late: bool,
    /// How often this call came so far, this time included, to all copies together.
    pub(super) times: usize,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().as_str()
    }

    /// A claim that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.claims.as_ref()?.get(name)?.as_str()
    }
}

/// What a worker does, one after the other.
#[derive(Clone)]
pub(super) enum Deed {
    Reply(String),
    /// Says that it failed.
    Error(&'static str),
    /// Publishes that something was done for the call.
    Effect,
    Wait(Duration),
    /// Listens no more.
    Die,
    /// Listens no more, and again after a while.
    Restart(Duration),
}

pub(super) type Behave = fn(&Got) -> Vec<Deed>;

/// How many copies of a worker there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    One,
    /// As NATS services in one queue group.
    Two,
    /// Each of which gets every message.
    TwoWithoutGroup,
}

/// Everything that all copies of a worker got.
pub(super) type Log = Arc<Mutex<Vec<Got>>>;

/// Keeps the contract: one effect for each call, silence past the deadline, an error where it
/// cannot decide.
pub(super) fn good(got: &Got) -> Vec<Deed> {
    if got.claims.is_none() {
        return vec![Deed::Error("400")];
    }
    if got.is_late {
        return vec![];
    }
    if got.text("email").is_none_or(str::is_empty) {
        return vec![Deed::Error("422")];
    }
    let effect = (got.times == 1).then_some(Deed::Effect);
    effect.into_iter().chain([Deed::Reply(CONTINUE.to_owned())]).collect()
}

/// Starts the copies of a worker for the connector `name`. Returns what they get.
pub(super) async fn start(
    server: &NatsServer,
    name: &'static str,
    copies: Copies,
    behave: Behave,
) -> Log {
    let log = Log::default();
    let count = if copies == Copies::One { 1 } else { 2 };
    for number in 0..count {
        let client = server.client().await;
        let copy = Copy { client, name, copies, behave, log: Arc::clone(&log) };
        let calls = copy.listen().await;
        let infos = match copies {
            Copies::Two => Some(copy.client.subscribe("$SRV.INFO").await.unwrap()),
            Copies::One | Copies::TwoWithoutGroup => None,
        };
        round_trip(&copy.client).await;
        tokio::spawn(copy.run(format!("{name}-{number}"), calls, infos));
    }
    log
}

struct Copy {
    client: Client,
    name: &'static str,
    copies: Copies,
    behave: Behave,
    log: Log,
}

impl Copy {
    fn subject(&self) -> String {
        format!("connectors.{}.before-create", self.name)
    }

    async fn listen(&self) -> Subscriber {
        match self.copies {
            Copies::TwoWithoutGroup => self.client.subscribe(self.subject()).await,
            Copies::One | Copies::Two => {
                self.client.queue_subscribe(self.subject(), "w".to_owned()).await
            }
        }
        .unwrap()
    }

    async fn run(self, id: String, mut calls: Subscriber, mut infos: Option<Subscriber>) {
        loop {
            let asked = async {
                match &mut infos {
                    Some(infos) => infos.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(asked) = asked => {
                    let info = serde_json::json!({
                        "id": id,
                        "endpoints": [{"subject": self.subject(), "queue_group": "w"}],
                    });
                    self.client.publish(asked.reply.unwrap(), info.to_string().into()).await.unwrap();
                }
                Some(call) = calls.next() => {
                    let got = self.got(&call);
                    let deeds = (self.behave)(&got);
                    match deeds.last() {
                        Some(Deed::Die) => return,
                        Some(Deed::Restart(pause)) => {
                            drop(calls);
                            tokio::time::sleep(*pause).await;
                            calls = self.listen().await;
                        }
                        Some(Deed::Reply(_) | Deed::Error(_) | Deed::Effect | Deed::Wait(_)) | None => {
                            let (client, name) = (self.client.clone(), self.name);
                            tokio::spawn(async move { act(&client, name, &got, &call, deeds).await });
                        }
                    }
                }
            }
        }
    }

    fn got(&self, call: &Message) -> Got {
        let headers = call.headers.clone().unwrap();
        let header = |name: &str| headers.get(name).unwrap().as_str();
        let id = header("Connector-Call-Id").to_owned();
        let deadline = humantime::parse_rfc3339(header("Connector-Deadline")).unwrap();
        let mut log = self.log.lock().unwrap();
        let got = Got {
            claims: serde_json::from_slice(&call.payload).ok(),
            bytes: call.payload.len(),
            attempt: header("Connector-Attempt").parse().unwrap(),
            is_late: deadline < SystemTime::now(),
            times: 1 + log.iter().filter(|got| got.id == id).count(),
            id,
            headers,
        };
        log.push(got.clone());
        got
    }
}

async fn act(client: &Client, name: &str, got: &Got, call: &Message, deeds: Vec<Deed>) {
    let reply = call.reply.clone().unwrap();
    for deed in deeds {
        match deed {
            Deed::Reply(text) => client.publish(reply.clone(), text.into()).await.unwrap(),
            Deed::Error(code) => {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Service-Error-Code", code);
                headers.insert("Nats-Service-Error", "canary");
                client.publish_with_headers(reply.clone(), headers, "canary".into()).await.unwrap();
            }
            Deed::Effect => {
                let of = BTreeMap::from([("call", &got.id)]);
                let text = serde_json::to_string(&of).unwrap();
                client.publish(format!("effects.{name}.order"), text.into()).await.unwrap();
            }
            Deed::Wait(time) => tokio::time::sleep(time).await,
            Deed::Die | Deed::Restart(_) => {}
        }
    }
}
