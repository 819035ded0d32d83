//! Three nats-servers with JetStream, as one cluster.

use std::time::Duration;

use async_nats::Client;
use serde_json::Value;

use crate::support::real::{NatsServer, SOON};

/// One server with JetStream.
pub(crate) const JETSTREAM: &str = "jetstream {store_dir: \"{folder}/store\"}";

/// The stream of shared calls.
pub(crate) const CALLS: &str = "KV_connector_bridge_calls";

/// What every server has. Clients are told of no other server, so that each stays where it is put.
const COMMON: &str = "jetstream {store_dir: \"{folder}/store\", max_memory_store: 256MiB}\n";

/// The servers, by number.
pub(crate) struct Cluster {
    pub(crate) servers: [NatsServer; 3],
}

impl Cluster {
    /// Returns once streams can be made.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With lines of configuration in every server.
    pub(crate) async fn start_with(more: &str) -> Self {
        let routes: [u16; 3] = free_ports();
        let config = |number: usize| config(number, &routes, more);
        let servers = [
            NatsServer::start_with(&config(0)).await,
            NatsServer::start_with(&config(1)).await,
            NatsServer::start_with(&config(2)).await,
        ];
        let cluster = Self { servers };
        cluster.until_ready().await;
        cluster
    }

    pub(crate) fn url(&self, number: usize) -> String {
        self.servers[number].url()
    }

    /// Waits until all three agree and answer the JetStream API.
    pub(crate) async fn until_ready(&self) {
        for server in &self.servers {
            let client = patient_client(&server.url()).await;
            until_true("JetStream is ready", async || {
                let info = api(&client, "INFO", "").await;
                let account = api(&client, "STREAM.NAMES", "").await;
                info.is_some_and(|info| info["error"].is_null())
                    && account.is_some_and(|names| names["error"].is_null())
            })
            .await;
        }
    }

    /// Which server leads a stream, asked at `number`.
    pub(crate) async fn leader_of(&self, stream: &str, number: usize) -> Option<usize> {
        let client = patient_client(&self.url(number)).await;
        let info = api(&client, &format!("STREAM.INFO.{stream}"), "").await?;
        let name = info["cluster"]["leader"].as_str()?;
        name.strip_prefix('S')?.parse().ok()
    }

    /// Waits until a stream has as many copies as there are servers and is led by another server
    /// than `number`; says by which.
    pub(crate) async fn lead_elsewhere(&self, stream: &str, number: usize) -> usize {
        let client = patient_client(&self.url(number)).await;
        let end = tokio::time::Instant::now() + SOON;
        loop {
            let info = api(&client, &format!("STREAM.INFO.{stream}"), "").await;
            let info = info.unwrap_or_default();
            let peers = info["cluster"]["replicas"].as_array().cloned().unwrap_or_default();
            let are_current = peers.iter().filter(|peer| peer["current"] == true).count() == 2;
            let leader = info["cluster"]["leader"].as_str().and_then(|name| name.strip_prefix('S'));
            match leader.and_then(|number| number.parse::<usize>().ok()) {
                Some(leader) if leader != number && are_current => return leader,
                Some(_) if are_current => {
                    api(&client, &format!("STREAM.LEADER.STEPDOWN.{stream}"), "").await;
                }
                _ => {}
            }
            assert!(tokio::time::Instant::now() < end, "{stream} has no other leader: {info}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A request of the JetStream API; `None` where nobody answers within a second.
pub(crate) async fn api(client: &Client, what: &str, payload: &str) -> Option<Value> {
    let request = client.request(format!("$JS.API.{what}"), payload.to_owned().into());
    let reply = tokio::time::timeout(Duration::from_secs(1), request).await.ok()?.ok()?;
    serde_json::from_slice(&reply.payload).ok()
}

/// A client that stays at one server.
pub(crate) async fn patient_client(url: &str) -> Client {
    let options = async_nats::ConnectOptions::new().ignore_discovered_servers();
    options.retry_on_initial_connect().connect(url).await.unwrap()
}

pub(crate) async fn until_true(what: &str, ask: impl AsyncFn() -> bool) {
    let end = tokio::time::Instant::now() + 2 * SOON;
    while !ask().await {
        assert!(tokio::time::Instant::now() < end, "{what}: not within {:?}", 2 * SOON);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn config(number: usize, routes: &[u16; 3], more: &str) -> String {
    let all = routes.map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).join(", ");
    let own = routes[number];
    format!(
        "server_name: S{number}\n{COMMON}\
         cluster {{name: C, listen: \"127.0.0.1:{own}\", routes: [{all}], \
         no_advertise: true}}\n{more}"
    )
}

/// Ports that were free a moment ago.
fn free_ports() -> [u16; 3] {
    let listeners = [0, 1, 2].map(|_| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
