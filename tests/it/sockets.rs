//! What callers do on a socket: slow, broken, hostile and impatient ones.

mod bodies;
mod connections;
mod descriptors;
mod endings;
mod hang_ups;
mod heads;
mod nginx;
mod refusals;
mod stalls;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::real::{
    Answer, Bridge, NatsServer, SOON, next_answer, one_answer, post_head, read_answer, worker,
};

/// A short `read_timeout`, so that tests need not wait long for it.
const SHORT: Duration = Duration::from_millis(300);
const SHORT_TIMEOUT: &str = "read_timeout: 300ms";

/// One that no test outlives: what ends before it did not end because of it.
const NO_TIMEOUT: &str = "read_timeout: 5m";

/// A bridge with the connector `c`, and a worker that lets everyone in and returns the claim `n`.
struct Site {
    bridge: Bridge,
    asked: Arc<AtomicU64>,
    _server: NatsServer,
}

impl Site {
    async fn new(root: &str) -> Self {
        Self::with(root, "").await
    }

    /// Also with more of the connector's section, as `deadline: 1s`.
    async fn with(root: &str, connector: &str) -> Self {
        let server = NatsServer::start().await;
        let bridge = bridge(&server, root, connector).await;
        let asked = worker(&server, "connectors.c.before-create", |call| {
            let claims: serde_json::Value = serde_json::from_slice(&call.payload).unwrap();
            let n = claims.get("n").cloned().unwrap_or_default();
            Some(format!(r#"{{"action":"Continue","n":{n}}}"#))
        });
        Self { asked: asked.await, bridge, _server: server }
    }

    async fn connect(&self) -> TcpStream {
        self.bridge.connect().await
    }

    /// Writes to a connection of its own and reads until the bridge closes it, without a reset.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let start = Instant::now();
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        read_answer(&mut stream, start).await
    }

    /// How many messages the worker got.
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// The series of a metric that are not 0, as `{labels} value`.
    async fn counted(&self, metric: &str) -> Vec<String> {
        let text = self.bridge.admin("/metrics").await.body;
        let series = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("connector_bridge_")?.strip_prefix(metric)?;
            Some(rest.to_owned()).filter(|rest| rest.starts_with('{') && !rest.ends_with(" 0"))
        });
        series.collect()
    }

    /// What was turned away before it was a call, as `reason count`. A connection is counted once it
    /// has ended, which may be after the client saw its end: the counts get their time to come.
    async fn assert_rejections(&self, expected: &[&str]) {
        let start = Instant::now();
        loop {
            let counted = self.counted("rejections_total").await;
            let plain = |series: &String| series.replace("{reason=\"", "").replace("\"}", "");
            let counted: Vec<String> = counted.iter().map(plain).collect();
            if counted == expected || start.elapsed() > SOON {
                return assert_eq!(counted, expected);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A bridge with the connector `c`, connected to NATS.
async fn bridge(server: &NatsServer, root: &str, connector: &str) -> Bridge {
    let more = if connector.is_empty() { String::new() } else { format!(", {connector}") };
    let auth = r#"{basic: [{username: entra, password_file: "{folder}/password"}]}"#;
    let connectors = format!("  c: {{protocol: entra, step: before-create, auth: {auth}{more}}}\n");
    Bridge::start_with(server, root, &connectors).await.connected().await
}

/// A whole call that keeps the connection.
fn call(claims: &str) -> String {
    format!("{}\r\n{claims}", post_head("c", claims.len()))
}

/// A whole call after which the connection ends.
fn last_call(claims: &str) -> String {
    format!("{}Connection: close\r\n\r\n{claims}", post_head("c", claims.len()))
}

/// Whether the bridge has ended the connection, without a further byte.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(timeout(SOON, stream.read_u8()).await, Ok(Err(_)))
}
