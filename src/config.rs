//! The configuration: text in, typed settings or all faults out. No other file parses a setting.
//!
//! Secrets are named by file and not read here; see [`crate::secrets`].

mod auth;
mod connectors;
mod effective;
mod events;
mod nats;
mod section;
mod traces;
mod units;
mod warnings;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::HeaderName;
use ipnet::IpNet;

use self::{
    auth::Certificates,
    section::{Faults, Section},
};
pub use self::{
    auth::{AuthSettings, BasicSettings, CredentialSettings},
    events::instance,
    nats::{NatsAuth, NatsSettings},
    section::Fault,
    traces::{TraceSettings, TraceTransport},
    units::duration,
};
use crate::domain::{budget::LIMIT_MIN, connector::Connector, event::EventRules};

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Where probes and Prometheus connect.
    pub admin_listen: SocketAddr,
    /// Where the playground's page is, on loopback. There is none where it is missing.
    pub playground_listen: Option<SocketAddr>,
    /// The largest body that is read, in bytes.
    pub max_body: usize,
    /// How long a head or a body may take, and a connection may keep silent.
    pub read_timeout: Duration,
    /// The most connections at once.
    pub max_connections: usize,
    /// The most memory that the process may take, in bytes. What its control group says, or the
    /// machine has, where it is missing.
    pub memory_limit: Option<usize>,
    /// How long calls are still accepted after the signal to stop.
    pub drain_delay: Duration,
    /// The longest time from the signal to stop to the end.
    pub shutdown_grace: Duration,
    /// HTTPS, where the bridge itself serves it.
    pub tls: Option<TlsSettings>,
    /// Client certificates that proxies pass on.
    pub forwarded: ForwardedSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// The message bus.
    pub nats: NatsSettings,
    /// Whether a caller's trace is continued.
    pub trust_incoming_traces: bool,
    /// Where spans go. Not in the file: see [`TraceSettings::read`].
    pub traces: Option<TraceSettings>,
    /// The retry memory.
    pub calls: CallsSettings,
    /// Records of decisions, where they are published.
    pub events: Option<EventRules>,
    /// The name of this replica in them. Not in the file: the variable `HOSTNAME`.
    pub instance: Option<String>,
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

/// How important a log line is, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        LEVELS.iter().find(|(word, _)| *word == name).map(|(_, level)| *level)
    }

    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    Json,
    Text,
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

/// HTTPS without a proxy in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The chain of certificates that callers are shown, the own one first, as PEM.
    pub cert_file: PathBuf,
    /// Its private key, as PEM.
    pub key_file: PathBuf,
    /// The authorities of callers' certificates, as PEM. Without them none is asked for.
    pub client_ca_file: Option<PathBuf>,
}

/// TLS to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTlsSettings {
    /// The authorities of servers' certificates, as PEM. Those of the system where it is missing.
    pub ca_file: Option<PathBuf>,
    /// The chain of certificates that servers are shown, and its private key, as PEM.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Client certificates that proxies pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedSettings {
    /// From whom they count.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they come.
    pub header: HeaderName,
}

/// Every fault of a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} fault{}:{}", .0.len(), if .0.len() == 1 { "" } else { "s" },
    .0.iter().map(|fault| format!("\n  {fault}")).collect::<String>())]
pub struct ConfigError(pub Vec<Fault>);

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
        let (tls, forwarded) = (tls(&root), forwarded(&root));
        let certificates = match &tls {
            Some(Tls { has_client_ca: true, .. }) => Certificates::Come,
            Some(_) | None if !forwarded.trusted_proxies.is_empty() => Certificates::Come,
            Some(_) | None => Certificates::DoNotCome,
        };
        let listen = root.or("listen", SocketAddr::from(([0, 0, 0, 0], 8080)), units::address);
        let admin = root.or("admin_listen", SocketAddr::from(([0, 0, 0, 0], 9090)), units::address);
        if listen == admin && listen.port() != 0 {
            root.fault("admin_listen", "is the same address as listen");
        }
        let playground = root.value("playground_listen", units::loopback);
        if playground
            .is_some_and(|address| address.port() != 0 && [listen, admin].contains(&address))
        {
            root.fault("playground_listen", "is the same address as listen or admin_listen");
        }
        let connectors = connectors::read(&root, certificates);
        let config = Self {
            listen,
            admin_listen: admin,
            playground_listen: playground,
            max_body: root.or("max_body", 64 * 1024, units::size(1..=1024 * 1024)),
            read_timeout: root.or(
                "read_timeout",
                Duration::from_secs(5),
                units::duration(Duration::from_millis(10)..=Duration::from_secs(300)),
            ),
            max_connections: root.or("max_connections", 4096, units::number(1..=1_000_000)),
            memory_limit: root.value("memory_limit", units::size(LIMIT_MIN..=MEMORY_MAX)),
            drain_delay: root.or("drain_delay", Duration::from_secs(5), units::duration(HOUR)),
            shutdown_grace: root.or(
                "shutdown_grace",
                Duration::from_secs(25),
                units::duration(HOUR),
            ),
            log: log(&root),
            nats: nats::read(&root),
            trust_incoming_traces: root.sub("traces").is_some_and(|traces| {
                let trusted = traces.or("trust_incoming", false, units::boolean);
                traces.finish();
                trusted
            }),
            traces: None,
            calls: calls(&root),
            events: events::read(&root, &connectors),
            instance: None,
            connectors,
            tls: tls.and_then(|tls| tls.settings),
            forwarded,
        };
        root.finish();
        config
    }
}

/// The largest limit on memory that can be written: 1 TiB.
const MEMORY_MAX: usize = 1 << 40;

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
    (LogLevel::Error.word(), LogLevel::Error),
    (LogLevel::Warn.word(), LogLevel::Warn),
    (LogLevel::Info.word(), LogLevel::Info),
    (LogLevel::Debug.word(), LogLevel::Debug),
    (LogLevel::Trace.word(), LogLevel::Trace),
];

const FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("text", LogFormat::Text)];

/// HTTPS as it is written, whether or not it is right.
struct Tls {
    has_client_ca: bool,
    settings: Option<TlsSettings>,
}

fn tls(root: &Section<'_>) -> Option<Tls> {
    let section = root.sub("tls")?;
    let cert_file = section.required("cert_file", units::path);
    let key_file = section.required("key_file", units::path);
    let client_ca_file = section.value("client_ca_file", units::path);
    section.finish();
    Some(Tls {
        has_client_ca: section.has("client_ca_file"),
        settings: cert_file.zip(key_file).map(|(cert_file, key_file)| TlsSettings {
            cert_file,
            key_file,
            client_ca_file,
        }),
    })
}

fn forwarded(root: &Section<'_>) -> ForwardedSettings {
    ForwardedSettings {
        trusted_proxies: root.list("trusted_proxies", units::network).unwrap_or_default(),
        header: root.or(
            "forwarded_certificate_header",
            HeaderName::from_static("x-forwarded-client-cert"),
            units::header_name,
        ),
    }
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
