//! An example worker: a plain NATS subscriber with a few rules. It knows nothing of HTTP.

use std::time::Duration;

use async_nats::{Client, Message};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// What all connectors of the demo publish to, but for those nobody listens on.
const SUBJECT: &str = "connectors.sign-up.before-create";

/// Workers of one queue group share the calls.
const QUEUE_GROUP: &str = "workers";

/// How long the slow case takes.
const SLOW: Duration = Duration::from_millis(1_200);

/// Subscribes, and works until the process ends.
pub(super) async fn start(url: &str) -> Result<(), async_nats::Error> {
    let client = async_nats::connect(url).await?;
    let mut calls = client.queue_subscribe(SUBJECT, QUEUE_GROUP.to_owned()).await?;
    client.flush().await?;
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            tokio::spawn(work(client.clone(), call));
        }
    });
    Ok(())
}

async fn work(client: Client, call: Message) {
    let Some(reply) = call.reply else { return };
    let Ok(claims) = serde_json::from_slice::<Value>(&call.payload) else { return };
    let decision = match claims.get("email").and_then(Value::as_str).unwrap_or_default() {
        "silent@example.com" => return,
        "nonsense@example.com" => "<html>Gateway says no".to_owned(),
        "slow@example.com" => {
            tokio::time::sleep(SLOW).await;
            decide(&claims).to_string()
        }
        _ => decide(&claims).to_string(),
    };
    drop(client.publish(reply, decision.into()).await);
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
