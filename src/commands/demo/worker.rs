//! An example worker: a plain NATS subscriber with a few rules. It knows nothing of HTTP.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Message, Subscriber};
use futures_util::{StreamExt, stream::select_all};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::playground::{Faults, WorkerFault};

/// What the connectors of the demo publish to, but for the one that nobody listens to.
const SUBJECTS: [&str; 4] = [
    "connectors.sign-up.before-create",
    "connectors.prefill.after-federation",
    "connectors.token.before-token",
    "connectors.loyalty.custom",
];

/// Workers of one queue group share the calls.
const QUEUE_GROUP: &str = "workers";

/// Where the bridge asks which workers there are (NATS services API, ADR-32).
const WHO_IS_THERE: &str = "$SRV.INFO";

/// How long the slow case takes.
const SLOW: Duration = Duration::from_millis(1_200);

/// How long every call takes where the worker is slow on purpose: longer than the deadlines.
const TOO_SLOW: Duration = Duration::from_secs(3);

/// How long a lost connection is left alone.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// Subscribes, and works until the process ends, as well as `faults` let it.
pub(super) async fn start(
    url: &str,
    faults: watch::Receiver<Faults>,
) -> Result<(), async_nats::Error> {
    let options = ConnectOptions::new().reconnect_delay_callback(|_| RECONNECT_PAUSE);
    let client = options.connect(url).await?;
    let subscribers = listen(&client).await?;
    tokio::spawn(run(client, subscribers, faults));
    Ok(())
}

async fn listen(client: &Client) -> Result<Vec<Subscriber>, async_nats::Error> {
    let mut subscribers = vec![client.subscribe(WHO_IS_THERE).await?];
    for subject in SUBJECTS {
        subscribers.push(client.queue_subscribe(subject, QUEUE_GROUP.to_owned()).await?);
    }
    client.flush().await?;
    Ok(subscribers)
}

async fn run(client: Client, first: Vec<Subscriber>, mut faults: watch::Receiver<Faults>) {
    let mut subscribers = first;
    loop {
        let is_gone = faults.borrow_and_update().worker == WorkerFault::Gone;
        if is_gone {
            for subscriber in &mut subscribers {
                drop(subscriber.unsubscribe().await);
            }
            subscribers.clear();
        } else if subscribers.is_empty() {
            subscribers = listen(&client).await.unwrap_or_default();
        }
        let mut calls = select_all(&mut subscribers);
        loop {
            tokio::select! {
                changed = faults.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(call) = calls.next() => {
                    let fault = faults.borrow().worker;
                    tokio::spawn(work(client.clone(), call, fault));
                }
            }
        }
    }
}

async fn work(client: Client, call: Message, fault: WorkerFault) {
    let Some(reply) = call.reply else { return };
    if call.subject.as_str() == WHO_IS_THERE {
        drop(client.publish(reply, who_i_am().to_string().into()).await);
        return;
    }
    let Ok(claims) = serde_json::from_slice::<Value>(&call.payload) else { return };
    let email = claims.get("email").and_then(Value::as_str).unwrap_or_default();
    let decision = match (fault, email) {
        (WorkerFault::Silent | WorkerFault::Gone, _) | (_, "silent@example.com") => return,
        (WorkerFault::Wrong, _) | (_, "nonsense@example.com") => "<html>Gateway says no".to_owned(),
        (WorkerFault::Slow, _) => {
            tokio::time::sleep(TOO_SLOW).await;
            decide(&claims).to_string()
        }
        (WorkerFault::None, "slow@example.com") => {
            tokio::time::sleep(SLOW).await;
            decide(&claims).to_string()
        }
        (WorkerFault::None, _) => decide(&claims).to_string(),
    };
    drop(client.publish(reply, decision.into()).await);
}

fn who_i_am() -> Value {
    let endpoint =
        |subject| json!({"name": "decide", "subject": subject, "queue_group": QUEUE_GROUP});
    json!({
        "type": "io.nats.micro.v1.info_response",
        "name": "demo-worker",
        "id": "demo",
        "version": crate::VERSION,
        "description": "the example worker of the demo",
        "metadata": {},
        "endpoints": SUBJECTS.map(endpoint),
    })
}

fn decide(claims: &Value) -> Value {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let domain = text("email").and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
    if domain == Some("blocked.example") {
        let message = "Sign-up is not open to your organisation.";
        return json!({"action": "ShowBlockPage", "userMessage": message});
    }
    if text("postalCode")
        .is_some_and(|code| code.len() != 5 || !code.bytes().all(|c| c.is_ascii_digit()))
    {
        let message = "Please enter a valid postal code.";
        return json!({"action": "ValidationError", "userMessage": message});
    }
    let tier = if domain == Some("gold.example") { "gold" } else { "standard" };
    let name = text("displayName").map(tidy);
    // A claim that is null is dropped on the way back.
    json!({"action": "Continue", "displayName": name, "extension_Tier": tier})
}

/// One space between words, each with a capital.
fn tidy(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(char::to_uppercase).into_iter().flatten();
        first.chain(letters.flat_map(char::to_lowercase)).collect::<String>()
    };
    name.split_whitespace().map(capital).collect::<Vec<_>>().join(" ")
}
