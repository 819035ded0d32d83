//! Workers that do what the claims tell them to.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

/// The connector whose worker describes itself as a NATS service does.
pub(crate) const DESCRIBED: &str = "idle";

/// A worker for all connectors; gone when dropped.
pub(crate) struct Worker {
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Worker {
    pub(crate) async fn start(url: &str) -> Self {
        let options = ConnectOptions::new()
            .retry_on_initial_connect()
            .ping_interval(Duration::from_millis(500))
            .reconnect_delay_callback(|_| Duration::from_millis(20));
        let client = options.connect(url).await.unwrap();
        let mut calls =
            client.queue_subscribe("connectors.>".to_owned(), "w".to_owned()).await.unwrap();
        let mut questions = client.subscribe("$SRV.INFO").await.unwrap();
        client.flush().await.unwrap();
        let decider = client.clone();
        let decides = tokio::spawn(async move {
            while let Some(call) = calls.next().await {
                tokio::spawn(act(decider.clone(), call));
            }
        });
        let describes = tokio::spawn(async move {
            let info = format!(
                r#"{{"name":"{DESCRIBED}","id":"W","version":"1.0.0",
                    "type":"io.nats.micro.v1.info_response",
                    "endpoints":[{{"name":"decide","subject":"connectors.{DESCRIBED}.>"}}]}}"#
            );
            while let Some(question) = questions.next().await {
                if let Some(to) = question.reply {
                    drop(client.publish(to, info.clone().into()).await);
                }
            }
        });
        Self { tasks: [decides, describes] }
    }
}

async fn act(client: Client, call: async_nats::Message) -> Option<()> {
    let claims: serde_json::Value = serde_json::from_slice(&call.payload).ok()?;
    let (plan, pause) = claims["plan"].as_str()?.split_once(' ')?;
    tokio::time::sleep(Duration::from_millis(pause.parse().ok()?)).await;
    let mut headers = HeaderMap::new();
    let reply = match plan {
        "decide" => r#"{"action":"Continue","extension_Tier":"gold"}"#,
        "block" => r#"{"action":"ShowBlockPage","userMessage":"Not you."}"#,
        "invalid" => r#"{"action":"ValidationError","userMessage":"Five digits."}"#,
        "garbage" => "certainly",
        "fails" => {
            headers.insert("Nats-Service-Error", "the database is gone");
            headers.insert("Nats-Service-Error-Code", "503");
            ""
        }
        // And so is "silent".
        _ => return None,
    };
    client.publish_with_headers(call.reply?, headers, reply.into()).await.ok()
}
