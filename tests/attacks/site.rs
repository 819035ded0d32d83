//! A bridge within its limits, a nats-server, and a worker.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_nats::ConnectOptions;
use rustls::ClientConfig;
use serde_json::json;

use crate::{
    limits::{ControlGroup, MEMORY_BYTES_MAX, limited, make_way},
    nesting::nested,
    support::{
        pki::{Authority, client_config},
        process::{Program, Serving},
        real::{Folder, NatsServer, config_at, worker_of},
    },
};

/// Good callers' connector: B2C with its default deadline of 3.5 s.
pub(crate) const GOOD: &str = "good";
/// Its worker keeps silent for the whole deadline of 15 s.
pub(crate) const SILENT: &str = "silent";
/// Its worker's decisions have [`BIG`] bytes, and are cached.
pub(crate) const BIG_DECISIONS: &str = "big";
/// Its worker's replies are nested deeply.
pub(crate) const NESTED_REPLIES: &str = "nested";

/// Just below what may be posted, and what a worker may reply.
pub(crate) const BIG: usize = 60_000;

const RSA_KEY: &str = include_str!("rsa-2048.pem");

/// What is attacked.
pub(crate) struct Site {
    // Dropped in this order: a control group can only go once its process has.
    pub(crate) serving: Serving,
    pub(crate) group: Option<ControlGroup>,
    pub(crate) server: NatsServer,
    /// What believes the bridge's certificate, where it serves HTTPS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// The program to attack.
fn program() -> PathBuf {
    let given = std::env::var_os("ATTACKS_PROGRAM").map(PathBuf::from);
    if given.is_none() && cfg!(debug_assertions) {
        eprintln!("ATTENTION: a debug build is attacked. Set ATTACKS_PROGRAM to a release build.");
    }
    let program = given.unwrap_or_else(|| env!("CARGO_BIN_EXE_connector-bridge").into());
    // The path is relative to where `make` runs, and the tests run there too.
    fs::canonicalize(&program).unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// Whether the program to attack can be told how much memory it may take.
fn knows_memory_limit() -> bool {
    let output = Command::new(program()).args(["schema", "config"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("\"memory_limit\"")
}

fn connectors() -> String {
    let auth = r#"auth: {basic: [{username: entra, password_file: "{folder}/password"}]}"#;
    let b2c = "protocol: b2c, step: before-create";
    let entra = "protocol: entra, step: before-create";
    let cached = "fallback: {cached: {by: [email], max_age: 1h}}";
    // Silence is what the attackers want: it is not to open the breaker.
    let patient = "breaker: {failures: 1000000}";
    [
        format!("  {GOOD}: {{{b2c}, {auth}}}\n"),
        format!("  {SILENT}: {{{entra}, {auth}, {patient}}}\n"),
        format!("  {BIG_DECISIONS}: {{{entra}, {auth}, {cached}}}\n"),
        format!("  {NESTED_REPLIES}: {{{entra}, {auth}}}\n"),
    ]
    .concat()
}

/// What the worker decides, if anything. It makes little of large messages: its time is not the
/// bridge's.
fn decide(message: &async_nats::Message) -> Option<String> {
    static BIG_DECISION: LazyLock<String> = LazyLock::new(|| {
        json!({"action": "Continue", "extension_Big": "b".repeat(BIG)}).to_string()
    });
    static NESTED_REPLY: LazyLock<String> = LazyLock::new(|| nested(r#""action":"Continue""#));
    let headers = message.headers.as_ref()?;
    match headers.get("Connector-Name")?.as_str() {
        SILENT => None,
        BIG_DECISIONS => Some(BIG_DECISION.clone()),
        NESTED_REPLIES => Some(NESTED_REPLY.clone()),
        _ => Some(decision_for(&message.payload)),
    }
}

/// A decision that is of use to nobody else. Claims begin with the address.
pub(crate) fn decision_for(claims: &[u8]) -> String {
    let begin = String::from_utf8_lossy(&claims[..claims.len().min(100)]);
    let email = begin.split('"').nth(3).unwrap();
    json!({"version": "1.0.0", "action": "Continue", "extension_Person": email}).to_string()
}

impl Site {
    /// Over plain HTTP or HTTPS. Returns once the bridge is connected.
    pub(crate) async fn start(descriptors: u64, with_tls: bool) -> Self {
        make_way();
        let server = NatsServer::start().await;
        let options = ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(20));
        let client = options.connect(server.url()).await.unwrap();
        worker_of(client, "connectors.>", decide).await;

        let folder = Folder::new();
        let nats = format!("servers: [\"{}\"]", server.url());
        let mut root = String::new();
        let mut tls = None;
        if with_tls {
            let authority = Authority::new("servers");
            let shown = authority.server_with(RSA_KEY);
            for (name, text) in [("crt", &shown.pem), ("key", &shown.key_pem)] {
                fs::write(folder.0.join(name), text).unwrap();
            }
            root = r#"tls: {cert_file: "{folder}/crt", key_file: "{folder}/key"}"#.to_owned();
            tls = Some(Arc::new(client_config(&authority, None)));
        }
        let group = ControlGroup::new();
        if group.is_none() && knows_memory_limit() {
            root += &format!("\nmemory_limit: {MEMORY_BYTES_MAX}B");
        }
        let config = config_at(&folder, &nats, &root, &connectors());
        let file = folder.0.join("bridge.yaml");
        fs::write(&file, config).unwrap();
        let mut command = limited(&program(), group.as_ref(), descriptors, &folder.0);
        command.args(["serve", "--config", file.to_str().unwrap()]);
        let serving = Serving::listening(Program::spawn(command), folder).await.connected().await;
        Self { serving, group, server, tls }
    }

    /// How many descriptors the process has, if it still runs.
    pub(crate) fn descriptors(&self) -> Option<usize> {
        Some(fs::read_dir(format!("/proc/{}/fd", self.serving.program.pid())).ok()?.count())
    }

    /// The most memory that the process itself had at once, if it still runs.
    pub(crate) fn resident_at_most(&self) -> Option<u64> {
        let status = format!("/proc/{}/status", self.serving.program.pid());
        let text = fs::read_to_string(status).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
    }
}
