//! Who gets in, and who does not: with passwords, certificates and keys, over TLS and through
//! proxies.

mod api_keys;
mod canary;
mod certificates;
mod forwarded;
mod handshakes;
mod rotation;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use rustls::ClientConfig;
use tokio::io::AsyncWriteExt;

use crate::support::{
    pki::{Authority, Issued, client_config, connect},
    real::{Answer, Bridge, Folder, NatsServer, exchange, read_answer, worker},
};

const CLAIMS: &str = r#"{"email":"ada@example.com"}"#;
/// entra:secret, entra:wrong
const RIGHT: &str = "Authorization: Basic ZW50cmE6c2VjcmV0\r\n";
const WRONG: &str = "Authorization: Basic ZW50cmE6d3Jvbmc=\r\n";

/// A bridge with connectors of all kinds, and a worker that lets everyone in.
struct Site {
    bridge: Bridge,
    asked: Arc<AtomicU64>,
    _server: NatsServer,
}

impl Site {
    /// With lines at the root, and for each connector a name and its `auth`.
    async fn new(folder: Folder, root: &str, auth: &[(&str, String)]) -> Self {
        let server = NatsServer::start().await;
        let connector = |(name, auth): &(&str, String)| {
            format!("  {name}: {{protocol: entra, step: before-create, auth: {{{auth}}}}}\n")
        };
        let connectors: String = auth.iter().map(connector).collect();
        let nats = format!("servers: [\"{}\"]", server.url());
        let bridge = Bridge::start_in(folder, &nats, root, &connectors).await.connected().await;
        let asked =
            worker(&server, "connectors.>", |_| Some(r#"{"action":"Continue"}"#.to_owned()));
        Self { bridge, asked: asked.await, _server: server }
    }

    /// How many messages the worker got.
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Posts to a connector over plain HTTP, with more headers.
    async fn post(&self, connector: &str, headers: &str) -> Answer {
        exchange(self.bridge.port, request(connector, headers).as_bytes()).await
    }

    /// The same over TLS, on a connection of its own.
    async fn post_over(&self, config: &ClientConfig, connector: &str, headers: &str) -> Answer {
        let start = Instant::now();
        let mut stream = connect(config.clone(), self.bridge.port).await.expect("a handshake");
        stream.write_all(request(connector, headers).as_bytes()).await.unwrap();
        read_answer(&mut stream, start).await
    }

    /// How often authentication failed at a connector, by method and reason.
    async fn failures(&self, connector: &str, method: &str, reason: &str) -> f64 {
        let labels = format!(
            "auth_failures_total{{connector=\"{connector}\",method=\"{method}\",\
             reason=\"{reason}\"}}"
        );
        self.bridge.metric(&labels).await.unwrap_or_else(|| panic!("{labels}"))
    }

    /// One request that is refused: its status, and that it is counted once, as this.
    async fn assert_counted(
        &self,
        connector: &str,
        method: &str,
        reason: &str,
        answer: &Answer,
        before: f64,
    ) {
        let status = if reason == "not_listed" { 403 } else { 401 };
        assert_eq!(answer.status, status, "{connector} {method} {reason}");
        let challenge = answer.header("www-authenticate").is_some();
        assert_eq!(challenge, status == 401, "{connector} {method} {reason}");
        let after = self.failures(connector, method, reason).await;
        assert_eq!(after, before + 1.0, "{connector} {method} {reason}");
    }
}

/// A call to a connector (with a query, if one stands behind its name), after which the connection
/// ends.
fn request(connector: &str, headers: &str) -> String {
    format!(
        "POST /connectors/{connector} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{CLAIMS}",
        CLAIMS.len()
    )
}

/// A folder with the files of a bridge that serves HTTPS: `crt`, `key` and `ca`, the authority of
/// callers.
fn tls_folder(shown: &Issued, callers: &Authority) -> Folder {
    let folder = Folder::new();
    for (name, text) in [("crt", &shown.pem), ("key", &shown.key_pem), ("ca", &callers.pem())] {
        fs::write(folder.0.join(name), text).unwrap();
    }
    folder
}

const TLS: &str =
    r#"tls: {cert_file: "{folder}/crt", key_file: "{folder}/key", client_ca_file: "{folder}/ca"}"#;
const BASIC: &str = r#"basic: [{username: entra, password_file: "{folder}/password"}]"#;
