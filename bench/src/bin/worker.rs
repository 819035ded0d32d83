//! The worker that all bridges ask: it lets everyone go on, at once or `AFTER_MS` after the message
//! came. Those that wait do not hold up others.

use std::{env, error::Error, time::Duration};

use async_nats::{Client, ConnectOptions, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::sleep;

/// A thousand slow calls with bodies of 64 kB each may be on their way at once, and none is dropped.
const MESSAGES_MAX: usize = 65_536;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let after = match env::var("AFTER_MS") {
        Ok(text) => Duration::from_millis(text.parse()?),
        Err(_) => Duration::ZERO,
    };
    let options = ConnectOptions::new().subscription_capacity(MESSAGES_MAX);
    let client = options.connect(env::var("NATS_URL")?.split(',').collect::<Vec<_>>()).await?;
    let mut messages = client.queue_subscribe("connectors.>", "workers".into()).await?;
    client.flush().await?;
    println!("listening");
    while let Some(message) = messages.next().await {
        let Some(reply) = message.reply else { continue };
        if after.is_zero() {
            answer(&client, reply).await;
        } else {
            let client = client.clone();
            tokio::spawn(async move {
                sleep(after).await;
                answer(&client, reply).await;
            });
        }
    }
    Ok(())
}

async fn answer(client: &Client, to: Subject) {
    let decision = Bytes::from_static(br#"{"action":"Continue"}"#);
    if let Err(error) = client.publish(to, decision).await {
        eprintln!("no answer: {error}");
    }
}
