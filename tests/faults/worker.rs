//! A worker that does what the claims tell it to, and notes what it got and what it said.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_nats::{Client, ConnectOptions, HeaderMap};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use crate::history::{History, Life, Message};

/// What the claim `plan` may say. The number is milliseconds.
pub(crate) const DECIDE: &str = "decide 0";
pub(crate) const BLOCK: &str = "block 0";
pub(crate) const INVALID: &str = "invalid 0";
pub(crate) const SLOW: &str = "decide 300";
/// Two different decisions, one after the other.
pub(crate) const TWICE: &str = "twice 0";
pub(crate) const SILENT: &str = "silent 0";
/// Silent at attempt 1 only.
pub(crate) const SILENT_FIRST: &str = "silent-first 0";
/// After every deadline, and within every window.
pub(crate) const LATE: &str = "decide 3500";
/// Anything but a decision.
pub(crate) const GARBAGE: &str = "garbage 0";
/// Says that it failed.
pub(crate) const FAILS: &str = "fails 0";

/// A member of the queue group; stops when dropped.
pub(crate) struct Worker {
    task: JoinHandle<()>,
}

impl Worker {
    /// At a server, or a proxy to one.
    pub(crate) async fn start(history: &Arc<History>, url: &str) -> Self {
        Self::start_as(history, url, ConnectOptions::new()).await
    }

    /// With credentials.
    pub(crate) async fn start_as(
        history: &Arc<History>,
        url: &str,
        options: ConnectOptions,
    ) -> Self {
        let options = options
            .retry_on_initial_connect()
            .ping_interval(Duration::from_millis(500))
            .reconnect_delay_callback(|_| Duration::from_millis(20));
        let client = options.connect(url).await.unwrap();
        let mut messages =
            client.queue_subscribe("connectors.>".to_owned(), "w".to_owned()).await.unwrap();
        client.flush().await.unwrap();
        let history = Arc::clone(history);
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                // A message without a reply subject is nobody's call.
                let Some(reply) = message.reply.clone() else { continue };
                let number = history.got(read(&history, &message, &reply));
                tokio::spawn(act(Arc::clone(&history), client.clone(), number, reply.to_string()));
            }
        });
        Self { task }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn read(history: &History, message: &async_nats::Message, reply: &str) -> Message {
    let headers = message.headers.clone().unwrap_or_default();
    let text = |name: &str| headers.get(name).map_or("", |value| value.as_str()).to_owned();
    let deadline = humantime::parse_rfc3339(&text("Connector-Deadline"));
    Message {
        connector: text("Connector-Name"),
        claims: message.payload.clone(),
        life: life_of(reply),
        call_id: text("Connector-Call-Id"),
        message_id: text("Nats-Msg-Id"),
        attempt: text("Connector-Attempt").parse().unwrap_or(0),
        got: history.now(),
        deadline: history.at(deadline.unwrap_or(SystemTime::UNIX_EPOCH)),
        decisions: Vec::new(),
    }
}

/// What a process's replies come to, before its own part.
pub(crate) fn inbox_of(life: Life) -> String {
    format!("_INBOX_life{}", life.0)
}

fn life_of(reply: &str) -> Life {
    let number = reply.strip_prefix("_INBOX_life").and_then(|rest| rest.split('.').next());
    Life(number.and_then(|number| number.parse().ok()).expect("a reply subject of a bridge"))
}

/// A decision that nobody has made before.
fn decision(action: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    match action {
        "Continue" => {
            format!(r#"{{"action":"Continue","extension_Decision":"{number}","n":{number}.50}}"#)
        }
        _ => format!(r#"{{"action":"{action}","userMessage":"Decision {number} <b>\n"}}"#),
    }
}

async fn act(history: Arc<History>, client: Client, number: usize, to: String) {
    let (claims, attempt) = {
        let events = history.events();
        (events.messages[number].claims.clone(), events.messages[number].attempt)
    };
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    let (plan, pause) = claims["plan"].as_str().unwrap().split_once(' ').unwrap();
    tokio::time::sleep(Duration::from_millis(pause.parse().unwrap())).await;
    let actions: &[&str] = match (plan, attempt) {
        ("decide", _) | ("silent-first", 2..) => &["Continue"],
        ("block", _) => &["ShowBlockPage"],
        ("invalid", _) => &["ValidationError"],
        ("twice", _) => &["Continue", "ShowBlockPage"],
        _ => &[],
    };
    for action in actions {
        let decision = decision(action);
        history.decided(number, &decision);
        drop(client.publish(to.clone(), decision.into()).await);
    }
    match plan {
        "garbage" => {
            let text = GARBAGES[number % GARBAGES.len()];
            drop(client.publish(to, text.into()).await);
        }
        "fails" => {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error", "the database is gone");
            headers.insert("Nats-Service-Error-Code", "503");
            drop(client.publish_with_headers(to, headers, "".into()).await);
        }
        _ => {}
    }
}

const GARBAGES: [&str; 9] = [
    "",
    "Continue",
    "[]",
    "{}",
    r#"{"action":"Allow"}"#,
    r#"{"action":"Continue","roles":[]}"#,
    r#"{"action":"Continue","n":1,"n":2}"#,
    r#"{"stream":"S","seq":1}"#,
    "{\"action\":\"Continue\",\"x\":\"\u{0}\"}",
];
