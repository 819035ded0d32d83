//! The command line of `worker-check`, read as the bridge reads its configuration: so everything
//! is checked, and used, as there.

use std::{path::PathBuf, time::Duration};

use lexopt::{Arg, ValueExt};
use serde_json::{Map, Value, json};

use crate::{
    commands::{Failure, both, file},
    config::{Config, ConfigError, duration},
    domain::{
        call_id::HashKey,
        connector::{Connector, ConnectorName, Subject},
        json::Object,
        protocol::PROTOCOLS,
    },
    random::Random,
    secrets::Secrets,
};

/// How many calls come at once where nothing else is said.
const BURST: usize = 200;
const BURST_MAX: usize = 10_000;

/// How long a worker is waited for that does not listen yet.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(600);

/// What is to be checked, and how.
pub(super) struct Options {
    pub(super) server: String,
    pub(super) config: Config,
    pub(super) secrets: Secrets,
    pub(super) connector: Connector,
    /// What makes the call ids of this run different from those of every other.
    pub(super) key: HashKey,
    /// The claims of a sign-up like any other.
    pub(super) claims: Vec<u8>,
    pub(super) burst: usize,
    pub(super) wait: Duration,
    /// A subject, which may hold wildcards.
    pub(super) effects: Option<String>,
    pub(super) format: Format,
}

/// How the report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

/// Every option as it was written.
#[derive(Default)]
struct Written {
    subject: Option<String>,
    server: Option<String>,
    protocol: Option<String>,
    step: Option<String>,
    connector: Option<String>,
    deadline: Option<String>,
    credentials_file: Option<PathBuf>,
    nkey_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    claims: Option<PathBuf>,
    burst: Option<usize>,
    wait: Option<Duration>,
    effects: Option<String>,
    format: Option<Format>,
}

/// Where in the configuration an option ends up, so that its fault can be told by its name.
const PLACES: [(&str, &str); 9] = [
    ("nats.servers[0]", "--server"),
    ("nats.credentials_file", "--credentials-file"),
    ("nats.nkey_file", "--nkey-file"),
    ("nats.token_file", "--token-file"),
    ("nats.user", "--user"),
    ("nats.password_file", "--password-file"),
    ("nats.tls.ca_file", "--ca"),
    ("nats.tls.cert_file", "--cert"),
    ("nats.tls.key_file", "--key"),
];

impl Options {
    pub(super) fn read(arguments: lexopt::Parser) -> Result<Self, Failure> {
        let written = Written::read(arguments)?;
        let subject = written.subject.clone();
        let subject = subject.ok_or_else(|| Failure::Usage("the subject is missing".to_owned()))?;
        let place = Place::of(&written, &subject)?;
        let config = config(&written, &subject, &place)?;
        let secrets = Secrets::open(&config).map_err(|error| usage(&error, &place))?;
        let connector = config.connectors.first().map(|settings| settings.connector.clone());
        let connector =
            connector.ok_or_else(|| Failure::Internal("there is no connector".to_owned()))?;
        let claims = match &written.claims {
            None => connector.step.sample.as_bytes().to_vec(),
            Some(file) => std::fs::read(file).map_err(|error| {
                Failure::Usage(format!("{}: cannot be read: {}", file.display(), error.kind()))
            })?,
        };
        if let Err(fault) = Object::parse(&claims) {
            return Err(Failure::Usage(format!("the claims are {fault}")));
        }
        let random = Random::default();
        let secret = [random.next(), random.next()].map(u64::to_be_bytes).concat();
        Ok(Self {
            server: config.nats.servers.first().cloned().unwrap_or_default(),
            config,
            secrets,
            connector,
            key: HashKey::from_secret(&secret),
            claims,
            burst: written.burst.unwrap_or(BURST),
            wait: written.wait.unwrap_or(WAIT),
            effects: written.effects,
            format: written.format.unwrap_or(Format::Text),
        })
    }
}

impl Written {
    fn read(mut arguments: lexopt::Parser) -> Result<Self, Failure> {
        let mut all = Self::default();
        while let Some(argument) = arguments.next()? {
            let text = |arguments: &mut lexopt::Parser| -> Result<_, Failure> {
                Ok(Some(arguments.value()?.string()?))
            };
            let path = |arguments: &mut lexopt::Parser| file(arguments).map(Some);
            match argument {
                Arg::Value(value) if all.subject.is_none() => all.subject = Some(value.string()?),
                Arg::Long("server") => all.server = text(&mut arguments)?,
                Arg::Long("protocol") => all.protocol = text(&mut arguments)?,
                Arg::Long("step") => all.step = text(&mut arguments)?,
                Arg::Long("connector") => all.connector = text(&mut arguments)?,
                Arg::Long("deadline") => all.deadline = text(&mut arguments)?,
                Arg::Long("credentials-file") => all.credentials_file = path(&mut arguments)?,
                Arg::Long("nkey-file") => all.nkey_file = path(&mut arguments)?,
                Arg::Long("token-file") => all.token_file = path(&mut arguments)?,
                Arg::Long("user") => all.user = text(&mut arguments)?,
                Arg::Long("password-file") => all.password_file = path(&mut arguments)?,
                Arg::Long("ca") => all.ca = path(&mut arguments)?,
                Arg::Long("cert") => all.cert = path(&mut arguments)?,
                Arg::Long("key") => all.key = path(&mut arguments)?,
                Arg::Long("claims") => all.claims = path(&mut arguments)?,
                Arg::Long("burst") => all.burst = Some(burst(&arguments.value()?.string()?)?),
                Arg::Long("wait") => all.wait = Some(wait(&arguments.value()?.string()?)?),
                Arg::Long("effects") => all.effects = Some(pattern(arguments.value()?.string()?)?),
                Arg::Long("format") => all.format = Some(format(&arguments.value()?.string()?)?),
                other @ (Arg::Long(_) | Arg::Short(_) | Arg::Value(_)) => {
                    return Err(other.unexpected().into());
                }
            }
        }
        Ok(all)
    }
}

/// Which connector is played.
struct Place {
    connector: String,
    protocol: String,
    step: String,
}

impl Place {
    /// What is not written is read off a subject like `connectors.<connector>.<step>`; else it is
    /// `entra` at `before-create`.
    fn of(written: &Written, subject: &str) -> Result<Self, Failure> {
        if Subject::parse(subject).is_none() {
            let what = format!("{subject:?} is not a subject that can be published to");
            return Err(Failure::Usage(what));
        }
        let named = subject.strip_prefix("connectors.").and_then(|rest| rest.split_once('.'));
        let by_subject = named.and_then(|(connector, step)| {
            let wanted = written.protocol.as_deref();
            let mut fitting = PROTOCOLS
                .into_iter()
                .filter(|protocol| wanted.is_none_or(|name| name == protocol.name));
            let protocol = fitting.find(|protocol| protocol.step(step).is_some())?;
            Some((connector, protocol.name, step))
        });
        let (connector, protocol, step) =
            by_subject.unwrap_or(("worker-check", "entra", "before-create"));
        let or =
            |written: &Option<String>, else_: &str| written.clone().unwrap_or(else_.to_owned());
        let connector = or(&written.connector, connector);
        if ConnectorName::parse(&connector).is_none() {
            return Err(Failure::Usage(format!("{connector:?} is not a connector name")));
        }
        let (protocol, step) = (or(&written.protocol, protocol), or(&written.step, step));
        Ok(Self { connector, protocol, step })
    }
}

fn config(written: &Written, subject: &str, place: &Place) -> Result<Config, Failure> {
    let user =
        both("--user and --password-file", written.user.clone(), written.password_file.clone())?;
    let own = both("--cert and --key", written.cert.clone(), written.key.clone())?;
    let mut nats = Map::new();
    if let Some(server) = &written.server {
        nats.insert("servers".to_owned(), json!([server]));
    }
    let mut put = |key: &str, file: Option<&PathBuf>| {
        if let Some(file) = file {
            nats.insert(key.to_owned(), path(file));
        }
    };
    put("credentials_file", written.credentials_file.as_ref());
    put("nkey_file", written.nkey_file.as_ref());
    put("token_file", written.token_file.as_ref());
    if let Some((user, file)) = user {
        nats.insert("user".to_owned(), user.into());
        nats.insert("password_file".to_owned(), path(&file));
    }
    let mut tls = Map::new();
    if let Some(ca) = &written.ca {
        tls.insert("ca_file".to_owned(), path(ca));
    }
    if let Some((cert, key)) = own {
        tls.insert("cert_file".to_owned(), path(&cert));
        tls.insert("key_file".to_owned(), path(&key));
    }
    if !tls.is_empty() {
        nats.insert("tls".to_owned(), tls.into());
    }
    let mut connector = json!({
        "protocol": place.protocol,
        "step": place.step,
        "subject": subject,
        "auth": "none",
        "fallback": {"default": "refuse"},
    });
    if let (Some(deadline), Some(connector)) = (&written.deadline, connector.as_object_mut()) {
        connector.insert("deadline".to_owned(), deadline.as_str().into());
    }
    let config = json!({"nats": nats, "connectors": {&place.connector: connector}});
    Config::parse(&config.to_string()).map_err(|error| usage(&error, place))
}

fn path(file: &std::path::Path) -> Value {
    file.to_string_lossy().into()
}

/// The faults, by the names of options.
fn usage(ConfigError(faults): &ConfigError, place: &Place) -> Failure {
    let connector = format!("connectors.{}.", place.connector);
    let faults = faults.iter().map(|fault| {
        let known = PLACES.into_iter().find(|(path, _)| *path == fault.path);
        let name = match (known, fault.path.strip_prefix(&connector)) {
            (Some((_, option)), _) => option.to_owned(),
            (None, Some(key)) => format!("--{key}"),
            (None, None) => fault.path.clone(),
        };
        format!("{name}: {}", fault.what)
    });
    Failure::Usage(faults.collect::<Vec<_>>().join("\n"))
}

fn burst(text: &str) -> Result<usize, Failure> {
    let fits = text.parse().ok().filter(|burst| *burst <= BURST_MAX);
    fits.ok_or_else(|| {
        Failure::Usage(format!("--burst: {text:?} is not a whole number from 0 to {BURST_MAX}"))
    })
}

fn wait(text: &str) -> Result<Duration, Failure> {
    let parse = duration(Duration::ZERO..=WAIT_MAX);
    parse(text).map_err(|what| Failure::Usage(format!("--wait: {what}")))
}

fn format(text: &str) -> Result<Format, Failure> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err(Failure::Usage(format!("--format: {text:?} is neither text nor json"))),
    }
}

/// A subject that can be subscribed to.
fn pattern(text: String) -> Result<String, Failure> {
    let token = |token: &str| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic());
    match text.split('.').all(token) {
        true => Ok(text),
        false => Err(Failure::Usage(format!("--effects: {text:?} is not a subject"))),
    }
}
