//! The settings in force, written as YAML.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    AuthSettings, BasicSettings, Config, ConnectorSettings, FORMATS, NatsAuth, STORES,
    connectors::default_word,
    units::{write_duration, write_size},
};
use crate::domain::credentials::certificate::Listed;

pub(super) fn yaml(config: &Config) -> String {
    let mut text = String::new();
    write(&mut text, &value(config), 0);
    text
}

fn value(config: &Config) -> Value {
    let format = FORMATS.iter().find(|(_, known)| *known == config.log.format);
    let connectors: Map<String, Value> = config
        .connectors
        .iter()
        .map(|settings| (settings.connector.name.to_string(), connector(settings)))
        .collect();
    let mut calls = object([
        (
            "store",
            STORES
                .iter()
                .find(|(_, store)| *store == config.calls.store)
                .map(|(word, _)| *word)
                .into(),
        ),
        ("create", config.calls.create.into()),
        (
            "encryption_key_files",
            config.calls.encryption_key_files.iter().map(|file| path(file)).collect(),
        ),
        ("replay_window", write_duration(config.calls.replay_window).into()),
        ("max_entries", config.calls.max_entries.into()),
    ]);
    if let Some(file) = &config.calls.hash_key_file {
        calls.insert("hash_key_file".to_owned(), path(file));
    }
    let mut root = object([
        ("listen", config.listen.to_string().into()),
        ("admin_listen", config.admin_listen.to_string().into()),
        ("max_body", write_size(config.max_body).into()),
        ("read_timeout", write_duration(config.read_timeout).into()),
        ("max_connections", config.max_connections.into()),
        ("drain_delay", write_duration(config.drain_delay).into()),
        ("shutdown_grace", write_duration(config.shutdown_grace).into()),
        (
            "trusted_proxies",
            config.forwarded.trusted_proxies.iter().map(ToString::to_string).collect(),
        ),
        ("forwarded_certificate_header", config.forwarded.header.as_str().into()),
        ("log", json!({"level": config.log.level.word(), "format": format.map(|(word, _)| word)})),
        ("nats", nats(config)),
        ("traces", json!({"trust_incoming": config.trust_incoming_traces})),
        ("calls", Value::Object(calls)),
        ("connectors", Value::Object(connectors)),
    ]);
    if let Some(address) = config.playground_listen {
        root.insert("playground_listen".to_owned(), address.to_string().into());
    }
    if let Some(limit) = config.memory_limit {
        root.insert("memory_limit".to_owned(), write_size(limit).into());
    }
    if let Some(events) = &config.events {
        let events = json!({"subject": events.subject.as_str(), "claims": events.claims});
        root.insert("events".to_owned(), events);
    }
    if let Some(tls) = &config.tls {
        let mut files =
            object([("cert_file", path(&tls.cert_file)), ("key_file", path(&tls.key_file))]);
        files.extend(
            tls.client_ca_file.iter().map(|file| ("client_ca_file".to_owned(), path(file))),
        );
        root.insert("tls".to_owned(), Value::Object(files));
    }
    Value::Object(root)
}

fn nats(config: &Config) -> Value {
    let nats = &config.nats;
    let mut section = object([
        ("servers", json!(nats.servers)),
        ("inbox_prefix", nats.inbox_prefix.as_str().into()),
    ]);
    let mut add = |key: &str, value: Value| section.insert(key.to_owned(), value);
    match &nats.auth {
        NatsAuth::None => {}
        NatsAuth::CredentialsFile(file) => drop(add("credentials_file", path(file))),
        NatsAuth::NkeyFile(file) => drop(add("nkey_file", path(file))),
        NatsAuth::TokenFile(file) => drop(add("token_file", path(file))),
        NatsAuth::UserAndPassword { user, password_file } => {
            add("user", user.as_str().into());
            add("password_file", path(password_file));
        }
    }
    if let Some(tls) = &nats.tls {
        let mut files = Map::new();
        files.extend(tls.ca_file.iter().map(|file| ("ca_file".to_owned(), path(file))));
        if let Some((cert_file, key_file)) = &tls.own {
            files.insert("cert_file".to_owned(), path(cert_file));
            files.insert("key_file".to_owned(), path(key_file));
        }
        section.insert("tls".to_owned(), Value::Object(files));
    }
    Value::Object(section)
}

fn connector(settings: &ConnectorSettings) -> Value {
    let connector = &settings.connector;
    let mut fallback = object([
        ("default", default_word(connector.fallback.default).into()),
        ("message", connector.fallback.messages.pick(None).as_str().into()),
        ("messages", {
            let messages = connector.fallback.messages.by_language();
            messages.map(|(tag, text)| (tag.to_owned(), Value::from(text.as_str()))).collect()
        }),
    ]);
    if let Some(cached) = &connector.fallback.cached {
        let cached = json!({
            "by": cached.by,
            "max_age": write_duration(cached.max_age),
            "max_entries": cached.max_entries,
            "shared": cached.shared,
        });
        fallback.insert("cached".to_owned(), cached);
    }
    let mut claims = object([
        ("require", json!(connector.claims.require)),
        ("require_message", connector.claims.require_message.pick(None).as_str().into()),
    ]);
    if let Some(returned) = &connector.claims.returned {
        claims.insert("return".to_owned(), json!(returned));
    }
    Value::Object(object([
        ("protocol", connector.protocol.name.into()),
        ("step", connector.step.name.into()),
        ("subject", connector.subject.as_str().into()),
        ("deadline", write_duration(connector.deadline).into()),
        ("max_in_flight", connector.max_in_flight.into()),
        ("grace", write_duration(connector.patience.grace).into()),
        ("reconnect_grace", write_duration(connector.patience.reconnect_grace).into()),
        ("identify_by", json!(connector.identify_by)),
        ("auth", auth(&settings.auth)),
        ("claims", Value::Object(claims)),
        ("fallback", Value::Object(fallback)),
        (
            "breaker",
            json!({
                "failures": connector.breaker.failures,
                "open_for": write_duration(connector.breaker.open_for),
            }),
        ),
    ]))
}

fn auth(auth: &AuthSettings) -> Value {
    let settings = match auth {
        AuthSettings::None => return "none".into(),
        AuthSettings::Credentials(settings) => settings,
    };
    let basic = |entry: &BasicSettings| json!({"username": entry.username, "password_file": path(&entry.password_file)});
    let certificate = |listed: &Listed| match listed {
        Listed::Fingerprint(fingerprint) => json!({"sha256": fingerprint.to_string()}),
        Listed::Subject(subject) => json!({"subject": subject.to_string()}),
    };
    let basic: Value = settings.basic.iter().map(basic).collect();
    let api_keys: Value = settings.api_key_files.iter().map(|file| path(file)).collect();
    let certificates: Value = settings.client_certificates.iter().map(certificate).collect();
    json!({"basic": basic, "api_key_files": api_keys, "client_certificates": certificates})
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn path(path: &Path) -> Value {
    path.to_string_lossy().into()
}

/// Block style for mappings, JSON (which YAML reads) for everything inside a line.
fn write(text: &mut String, value: &Value, indent: usize) {
    let Value::Object(members) = value else { return };
    for (key, value) in members {
        text.push_str(&" ".repeat(indent));
        text.push_str(key);
        match value {
            Value::Object(members) if !members.is_empty() => {
                text.push_str(":\n");
                write(text, value, indent + 2);
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                text.push_str(": ");
                text.push_str(&value.to_string());
                text.push('\n');
            }
        }
    }
}
