//! The configuration: text in, typed settings or all faults out. No other file parses a setting.
//!
//! Secrets are named by file and not read here; see [`crate::secrets`].

mod connectors;
mod effective;
mod section;
mod units;
mod warnings;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use self::section::Fault;
use self::section::{Faults, Section};
use crate::domain::connector::Connector;

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Where probes and Prometheus connect.
    pub admin_listen: SocketAddr,
    /// The largest body that is read, in bytes.
    pub max_body: usize,
    /// How long a head or a body may take, and a connection may keep silent.
    pub read_timeout: Duration,
    /// The most connections at once.
    pub max_connections: usize,
    /// How long calls are still accepted after the signal to stop.
    pub drain_delay: Duration,
    /// The longest time from the signal to stop to the end.
    pub shutdown_grace: Duration,
    /// What is logged, and how.
    pub log: LogSettings,
    /// The message bus.
    pub nats: NatsSettings,
    /// Whether a caller's trace is continued.
    pub trust_incoming_traces: bool,
    /// The retry memory.
    pub calls: CallsSettings,
    /// The connectors, by name.
    pub connectors: Vec<ConnectorSettings>,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// The least important level that is logged.
    pub level: LogLevel,
    /// One JSON object a line, or text for people.
    pub format: LogFormat,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    Json,
    Text,
}

/// The message bus.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// `nats://host:port`, at least one, without credentials.
    pub servers: Vec<String>,
    /// How the bridge shows who it is.
    pub auth: NatsAuth,
    /// The first tokens of the subjects that replies come to.
    pub inbox_prefix: String,
}

/// How the bridge shows a NATS server who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NatsAuth {
    None,
    CredentialsFile(PathBuf),
    NkeyFile(PathBuf),
    UserAndPassword { user: String, password_file: PathBuf },
    TokenFile(PathBuf),
}

/// Where calls are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStore {
    /// In each process, for itself.
    Memory,
    /// In NATS JetStream too, for all replicas.
    Jetstream,
}

/// The retry memory.
#[derive(Clone, Debug)]
pub struct CallsSettings {
    /// Where calls are remembered.
    pub store: CallStore,
    /// Whether the bridge creates what it needs in JetStream.
    pub create: bool,
    /// The secrets that seal what is shared: the first one seals, all of them open.
    pub encryption_key_files: Vec<PathBuf>,
    /// How long a decision answers the same call again.
    pub replay_window: Duration,
    /// The most calls that are remembered.
    pub max_entries: usize,
    /// The secret behind call ids.
    pub hash_key_file: Option<PathBuf>,
}

/// One connector: its rules, and who may call it.
#[derive(Clone, Debug)]
pub struct ConnectorSettings {
    /// The rules.
    pub connector: Connector,
    /// Who may call.
    pub auth: AuthSettings,
}

/// Who may call a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthSettings {
    /// Anyone. Has to be written out.
    None,
    /// Whoever knows one of these.
    Basic(Vec<BasicSettings>),
}

/// One user name and where its password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicSettings {
    /// The user name.
    pub username: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
}

/// Every fault of a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} fault{}:{}", .0.len(), if .0.len() == 1 { "" } else { "s" },
    .0.iter().map(|fault| format!("\n  {fault}")).collect::<String>())]
pub struct ConfigError(pub Vec<Fault>);

/// Keys of the documented configuration that this version does not have yet.
const NOT_YET: &str = "is not supported by this version";

impl Config {
    /// Reads a configuration. Reports every fault at once: an operator mends a file in one round,
    /// not in five.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let faults = Faults::default();
        let config = section::load(text, &faults)
            .map(|root| Section::of(&root, String::new(), &faults).map(|root| Self::read(root)));
        match (config.flatten(), faults.into_all()) {
            (Some(config), faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(ConfigError(faults)),
        }
    }

    /// What is allowed, but not safe or not wise.
    pub fn warnings(&self) -> Vec<String> {
        warnings::of(self)
    }

    /// All settings with their defaults, as YAML that [`Self::parse`] reads again.
    pub fn effective(&self) -> String {
        effective::yaml(self)
    }

    fn read(root: Section<'_>) -> Self {
        for key in ["playground_listen", "tls", "events"] {
            root.refuse(key, NOT_YET);
        }
        root.refuse_filled_list("trusted_proxies", NOT_YET);
        root.value("forwarded_certificate_header", |text| Ok(text.to_owned()));
        let listen = root.or("listen", SocketAddr::from(([0, 0, 0, 0], 8080)), units::address);
        let admin = root.or("admin_listen", SocketAddr::from(([0, 0, 0, 0], 9090)), units::address);
        if listen == admin && listen.port() != 0 {
            root.fault("admin_listen", "is the same address as listen");
        }
        let config = Self {
            listen,
            admin_listen: admin,
            max_body: root.or("max_body", 64 * 1024, units::size(1..=1024 * 1024)),
            read_timeout: root.or(
                "read_timeout",
                Duration::from_secs(5),
                units::duration(Duration::from_millis(10)..=Duration::from_secs(300)),
            ),
            max_connections: root.or("max_connections", 4096, units::number(1..=1_000_000)),
            drain_delay: root.or("drain_delay", Duration::from_secs(5), units::duration(HOUR)),
            shutdown_grace: root.or(
                "shutdown_grace",
                Duration::from_secs(25),
                units::duration(HOUR),
            ),
            log: log(&root),
            nats: nats(&root),
            trust_incoming_traces: root.sub("traces").is_some_and(|traces| {
                let trusted = traces.or("trust_incoming", false, units::boolean);
                traces.finish();
                trusted
            }),
            calls: calls(&root),
            connectors: connectors::read(&root),
        };
        root.finish();
        config
    }
}

/// From nothing to an hour.
const HOUR: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);

fn log(root: &Section<'_>) -> LogSettings {
    let mut log = LogSettings { level: LogLevel::Info, format: LogFormat::Json };
    if let Some(section) = root.sub("log") {
        log.level = section.or("level", log.level, units::one_of(&LEVELS));
        log.format = section.or("format", log.format, units::one_of(&FORMATS));
        section.finish();
    }
    log
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

const FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("text", LogFormat::Text)];

fn nats(root: &Section<'_>) -> NatsSettings {
    let mut nats = NatsSettings {
        servers: vec!["nats://127.0.0.1:4222".to_owned()],
        auth: NatsAuth::None,
        inbox_prefix: "_INBOX_connector_bridge".to_owned(),
    };
    let Some(section) = root.sub("nats") else { return nats };
    section.refuse("tls", NOT_YET);
    section.refuse_empty_list("servers", "must name at least one server");
    if let Some(servers) = section.list("servers", units::nats_url) {
        nats.servers = servers;
    }
    nats.inbox_prefix = section.or("inbox_prefix", nats.inbox_prefix, units::subject_prefix);
    let credentials = section.value("credentials_file", units::path);
    let nkey = section.value("nkey_file", units::path);
    let user = section.value("user", units::text);
    let password = section.value("password_file", units::path);
    let token = section.value("token_file", units::path);
    if user.is_some() != password.is_some() {
        section.fault("user", "goes together with password_file");
    }
    let user = user.zip(password);
    let ways: Vec<NatsAuth> = [
        credentials.map(NatsAuth::CredentialsFile),
        nkey.map(NatsAuth::NkeyFile),
        user.map(|(user, password_file)| NatsAuth::UserAndPassword { user, password_file }),
        token.map(NatsAuth::TokenFile),
    ]
    .into_iter()
    .flatten()
    .collect();
    if ways.len() > 1 {
        section.fault(
            "",
            "has more than one of credentials_file, nkey_file, user with password_file, token_file",
        );
    }
    if let Some(way) = ways.into_iter().next() {
        nats.auth = way;
    }
    section.finish();
    nats
}

const STORES: [(&str, CallStore); 2] =
    [("memory", CallStore::Memory), ("jetstream", CallStore::Jetstream)];

fn calls(root: &Section<'_>) -> CallsSettings {
    let mut calls = CallsSettings {
        store: CallStore::Memory,
        create: true,
        encryption_key_files: Vec::new(),
        replay_window: Duration::from_secs(45),
        max_entries: 100_000,
        hash_key_file: None,
    };
    let Some(section) = root.sub("calls") else { return calls };
    calls.store = section.or("store", calls.store, units::one_of(&STORES));
    calls.create = section.or("create", calls.create, units::boolean);
    calls.encryption_key_files =
        section.list("encryption_key_files", units::path).unwrap_or_default();
    calls.replay_window = section.or(
        "replay_window",
        calls.replay_window,
        units::duration(Duration::from_secs(1)..=Duration::from_secs(3_600)),
    );
    calls.max_entries = section.or("max_entries", calls.max_entries, units::number(1..=10_000_000));
    calls.hash_key_file = section.value("hash_key_file", units::path);
    section.finish();
    calls
}

#[cfg(test)]
mod tests;
