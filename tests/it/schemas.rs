//! The program and its JSON Schemas say the same.

mod asyncapi;
mod documents;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use connector_bridge::{
    config::{Config, ConfigError},
    domain::reply::{self, Reply},
};
use jsonschema::{Validator, draft202012};
use serde_json::{Value, json};

const SCHEMAS: [&str; 4] = ["config", "decision", "call", "event"];

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&read(&format!("src/schemas/{name}.json"))).unwrap()
}

fn validator(name: &str) -> Validator {
    draft202012::new(&schema(name)).unwrap()
}

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A configuration in which every key is written but those that exclude each other.
fn full() -> Value {
    json!({
        "listen": "0.0.0.0:8080",
        "admin_listen": "[::]:9090",
        "playground_listen": "127.0.0.1:8081",
        "max_body": "64KiB",
        "read_timeout": "5s",
        "max_connections": 4096,
        "memory_limit": "64MiB",
        "drain_delay": "5s",
        "shutdown_grace": "25s",
        "trusted_proxies": ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"],
        "forwarded_certificate_header": "x-forwarded-client-cert",
        "tls": {"cert_file": "/tls/crt", "key_file": "/tls/key", "client_ca_file": "/tls/ca"},
        "log": {"level": "info", "format": "json"},
        "nats": {
            "servers": ["nats://127.0.0.1:4222", "nats.example", "nats://[::1]:4222"],
            "user": "bridge",
            "password_file": "/secrets/nats",
            "inbox_prefix": "_INBOX_connector_bridge",
            "tls": {"ca_file": "/nats/ca", "cert_file": "/nats/crt", "key_file": "/nats/key"},
        },
        "traces": {"trust_incoming": false},
        "calls": {
            "store": "memory",
            "create": true,
            "replay_window": "45s",
            "max_entries": 100_000,
            "hash_key_file": "/secrets/hash",
            "encryption_key_files": [],
        },
        "events": {"subject": "connector-events.decided", "claims": ["email"]},
        "connectors": {"c": {
            "protocol": "entra",
            "step": "before-create",
            "subject": "connectors.c.before-create",
            "deadline": "15s",
            "max_in_flight": 1024,
            "grace": "500ms",
            "reconnect_grace": "10s",
            "identify_by": ["loyaltyNumber"],
            "auth": {
                "basic": [{"username": "entra", "password_file": "/secrets/basic"}],
                "api_key_files": ["/secrets/api-key"],
                "client_certificates": [{"sha256": SHA256}, {"subject": "CN=a.example, O=Example"}],
            },
            "claims": {
                "require": ["email"],
                "require_message": "Please fill in all fields.",
                "return": ["extension_Tier"],
            },
            "fallback": {
                "cached": {"by": ["email"], "max_age": "24h", "max_entries": 10_000, "shared": false},
                "default": "block",
                "message": "Try again.",
                "messages": {"de": "Später."},
            },
            "breaker": {"failures": 5, "open_for": "10s"},
        }},
    })
}

/// Where a key stands in [`full`], from how the documents or the program write its path.
fn pointer(path: &str) -> String {
    let path = path.replace("[]", "/0").replace('[', "/").replace(']', "");
    let path = path.replace("NAME", "c").replace("LANGUAGE", "de");
    format!("/{}", path.replace('.', "/"))
}

/// [`full`], but with `value` at `path`, or without what stands there.
fn full_but(path: &str, value: Option<Value>) -> Value {
    let (mut config, pointer) = (full(), pointer(path));
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"));
    match (parent, value) {
        (Value::Array(items), Some(value)) => items[key.parse::<usize>().unwrap()] = value,
        (parent, Some(value)) => parent[key] = value,
        (parent, None) => drop(parent.as_object_mut().unwrap().remove(key)),
    }
    config
}

/// Where the program finds faults in `config`, which JSON is, and so YAML.
fn faults(config: &Value) -> Vec<String> {
    match Config::parse(&format!("{config:#}")) {
        Ok(_) => vec![],
        Err(ConfigError(faults)) => faults.iter().map(|fault| pointer(&fault.path)).collect(),
    }
}

#[test]
fn every_schema_is_valid_as_are_its_examples_and_the_program_prints_it() {
    for name in SCHEMAS {
        let schema = schema(name);
        assert!(draft202012::meta::is_valid(&schema), "{name}");
        let examples = schema["examples"].as_array().into_iter().flatten();
        examples.for_each(|example| assert!(validator(name).is_valid(example), "{example}"));
        let program = env!("CARGO_BIN_EXE_connector-bridge");
        let printed = Command::new(program).args(["schema", name]).output().unwrap();
        let file = read(&format!("src/schemas/{name}.json"));
        assert_eq!(String::from_utf8(printed.stdout).unwrap(), file);
    }
}

/// Every key of the schema with its default, by path.
fn keys() -> BTreeMap<String, Option<Value>> {
    fn walk(root: &Value, schema: &Value, at: &str, found: &mut BTreeMap<String, Option<Value>>) {
        if let Some(target) = schema["$ref"].as_str() {
            walk(root, root.pointer(target.strip_prefix('#').unwrap()).unwrap(), at, found);
        }
        let join = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            found.insert(join(key), schema.get("default").cloned());
            walk(root, schema, &join(key), found);
        }
        if schema["additionalProperties"].is_object() {
            let name = schema["propertyNames"]["title"].as_str().unwrap();
            walk(root, &schema["additionalProperties"], &join(name), found);
        }
        walk_all(root, schema["oneOf"].as_array().into_iter().flatten(), at, found);
        walk_all(root, schema.get("items").into_iter(), &format!("{at}[]"), found);
    }
    fn walk_all<'a>(
        root: &Value,
        schemas: impl Iterator<Item = &'a Value>,
        at: &str,
        found: &mut BTreeMap<String, Option<Value>>,
    ) {
        schemas.for_each(|schema| walk(root, schema, at, found));
    }
    let (schema, mut found) = (schema("config"), BTreeMap::new());
    walk(&schema, &schema, "", &mut found);
    found
}

/// Keys whose text is anybody's own end so.
const FREE_TEXTS: [&str; 5] = ["_file", "_header", "user", "username", "message"];

/// A key that excludes another one of [`full`].
const OTHER_CERTIFICATE: &str = "connectors.NAME.auth.client_certificates[].subject";

/// Keys that exclude the user and password of [`full`].
const OTHER_WAYS: [&str; 3] = ["credentials_file", "nkey_file", "token_file"];

#[test]
fn every_key_is_read_and_another_type_and_an_unknown_key_are_refused_by_both() {
    let validator = validator("config");
    assert!(faults(&full()).is_empty() && validator.is_valid(&full()), "{:?}", faults(&full()));
    for way in OTHER_WAYS {
        let config = full_but("nats", Some(json!({way: "/secrets/nats"})));
        assert!(faults(&config).is_empty() && validator.is_valid(&config), "{way}");
    }
    let refused = |path: &str, value: Value| {
        let config = full_but(path, Some(value));
        assert!(!validator.is_valid(&config), "the schema accepts {path}: {config:#}");
        let faults = faults(&config);
        assert!(faults.contains(&pointer(path)), "{path}: {faults:?}");
    };
    for path in keys().keys() {
        let written = full().pointer(&pointer(path)).cloned();
        let excluded = path.strip_prefix("nats.").is_some_and(|key| OTHER_WAYS.contains(&key))
            || path == OTHER_CERTIFICATE;
        assert!(written.is_some() || excluded, "{path} is missing in `full`");
        match written {
            Some(Value::Object(_) | Value::Array(_)) => refused(path, json!("text")),
            Some(Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Null) | None => {
                refused(path, json!({"x": 1}));
            }
        }
        refused(path, json!(null));
        let is_free = FREE_TEXTS.iter().any(|ending| path.ends_with(ending));
        if let Some(text) = full().pointer(&pointer(path)).and_then(Value::as_str)
            && !is_free
        {
            refused(path, format!("{text} x").into());
            refused(path, format!("x {text}").into());
        }
    }
    let mut parents: Vec<&str> = vec!["", "connectors.c", "connectors.c.auth.basic[0]"];
    let keys = keys();
    let objects =
        keys.keys().filter(|path| full().pointer(&pointer(path)).is_some_and(Value::is_object));
    parents.extend(objects.map(String::as_str));
    for parent in parents {
        refused(format!("{parent}.un known").trim_start_matches('.'), json!({}));
    }
}

type Row = (&'static str, &'static str, bool);

/// A value somewhere in [`full`] (empty: nothing there), and whether both accept it.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("listen", r#""127.0.0.1:0""#, true),
    ("listen", r#""localhost:8080""#, false),
    ("listen", r#""0.0.0.0""#, false),
    ("max_body", r#""1.5KiB""#, true),
    ("max_body", r#""64kb""#, false),
    ("max_body", r#""65536""#, false),
    ("read_timeout", r#""0.5s""#, true),
    ("read_timeout", r#""2 s""#, true),
    ("read_timeout", r#""5""#, false),
    ("read_timeout", r#""5S""#, false),
    ("read_timeout", r#""-5s""#, false),
    ("read_timeout", "5", false),
    ("max_connections", "0", false),
    ("max_connections", "1.5", false),
    ("memory_limit", r#""64MiB""#, true),
    ("memory_limit", "67108864", false),
    ("trusted_proxies", "[]", true),
    ("trusted_proxies", r#"["::/0", "::1", "0.0.0.0/0"]"#, true),
    ("trusted_proxies", r#"["proxy.example"]"#, false),
    ("trusted_proxies", r#"["10.0.0.0/"]"#, false),
    ("trusted_proxies", r#"[""]"#, false),
    ("forwarded_certificate_header", r#""ssl-client-cert""#, true),
    ("forwarded_certificate_header", r#""""#, false),
    ("forwarded_certificate_header", r#""a:b""#, false),
    ("tls", r#"{"cert_file": "a"}"#, false),
    ("tls", r#"{"key_file": "a"}"#, false),
    ("tls", r#"{"cert_file": "a", "key_file": ""}"#, false),
    ("nats.tls", "{}", true),
    ("nats.tls", r#"{"cert_file": "a"}"#, false),
    ("nats.tls", r#"{"key_file": "a"}"#, false),
    ("log.level", r#""loud""#, false),
    ("log.format", r#""text""#, true),
    ("nats.servers", r#"["nats://user:secret@host:4222"]"#, false),
    ("nats.servers", r#"["tls://host:4222"]"#, true),
    ("nats.servers", r#"["ws://host:80"]"#, false),
    ("nats.servers", r#"["http://host"]"#, false),
    ("nats.servers", r#"["nats://host:4222 x"]"#, false),
    ("nats.servers", r#"[""]"#, false),
    ("nats.servers", "[]", false),
    ("nats.user", "", false),
    ("nats.password_file", "", false),
    ("nats.token_file", r#""/secrets/token""#, false),
    ("nats.nkey_file", r#""/secrets/nkey""#, false),
    ("nats", r#"{"nkey_file": "a", "token_file": "b"}"#, false),
    ("nats", r#"{"credentials_file": "a", "nkey_file": "b"}"#, false),
    ("nats", "{}", true),
    ("nats.inbox_prefix", r#""_INBOX.mine""#, true),
    ("nats.inbox_prefix", r#""_INBOX.>""#, false),
    ("traces.trust_incoming", "true", true),
    ("traces.trust_incoming", r#""yes""#, false),
    ("calls.store", r#""jetstream""#, true),
    ("calls.store", r#""disk""#, false),
    ("calls.create", "false", true),
    ("calls.max_entries", "0", false),
    ("calls.max_entries", "10000001", false),
    ("calls.hash_key_file", r#""""#, false),
    ("calls.encryption_key_files", r#"["a", "b"]"#, true),
    ("calls.encryption_key_files", r#"[""]"#, false),
    ("events", "{}", true),
    ("events.subject", r#""events.>""#, false),
    ("events.subject", r#""$JS.ACK""#, false),
    ("events.claims", "[]", true),
    ("events.claims", r#"[""]"#, false),
    ("events.claims", r#"["email", "email"]"#, false),
    ("connectors", "", false),
    ("connectors", "{}", false),
    ("connectors", r#"{"a.b": {"protocol": "entra", "step": "before-create", "auth": "none"}}"#, false),
    ("connectors", r#"{"A_b-9": {"protocol": "entra", "step": "before-create", "auth": "none"}}"#, true),
    ("connectors.c.protocol", "", false),
    ("connectors.c.protocol", r#""okta""#, false),
    ("connectors.c.step", "", false),
    ("connectors.c.step", r#""after-federation""#, true),
    ("connectors.c.step", r#""before-token""#, false),
    ("connectors.c.step", r#""custom""#, false),
    ("connectors", r#"{"c": {"protocol": "b2c", "step": "before-token", "auth": "none"}}"#, false),
    ("connectors", r#"{"c": {"protocol": "b2c", "step": "before-token", "auth": "none", "fallback": {}}}"#, false),
    ("connectors", r#"{"c": {"protocol": "b2c", "step": "before-token", "auth": "none", "fallback": {"default": "block"}}}"#, false),
    ("connectors", r#"{"c": {"protocol": "b2c", "step": "before-token", "auth": "none", "fallback": {"default": "refuse"}}}"#, true),
    ("connectors", r#"{"c": {"protocol": "b2c", "step": "custom", "auth": "none"}}"#, false),
    ("connectors", r#"{"c": {"protocol": "b2c-policy", "step": "before-create", "auth": "none"}}"#, false),
    ("connectors", r#"{"c": {"protocol": "b2c-policy", "step": "custom", "auth": "none"}}"#, true),
    ("connectors.c.subject", r#""other.subject_1""#, true),
    ("connectors.c.subject", r#""a.*""#, false),
    ("connectors.c.subject", r#""a..b""#, false),
    ("connectors.c.subject", r#""a b""#, false),
    ("connectors.c.subject", r#""$JS.API""#, false),
    ("connectors.c.subject", r#""_INBOX.x""#, false),
    ("connectors.c.max_in_flight", "1000001", false),
    ("connectors.c.identify_by", "[]", true),
    ("connectors.c.identify_by", r#"[""]"#, false),
    ("connectors.c.identify_by", r#"["a\nb"]"#, false),
    ("connectors.c.auth", "", false),
    ("connectors.c.auth", r#""none""#, true),
    ("connectors.c.auth", r#""some""#, false),
    ("connectors.c.auth", "{}", false),
    ("connectors.c.auth.basic", "[]", true),
    ("connectors.c.auth", r#"{"basic": [], "client_certificates": []}"#, false),
    ("connectors.c.auth", r#"{"api_key_files": ["a"]}"#, false),
    ("connectors.c.auth.basic[0]", r#"{"username": "a"}"#, false),
    ("connectors.c.auth.basic[0]", r#"{"password_file": "a"}"#, false),
    ("connectors.c.auth.basic[0].username", r#""a:b""#, false),
    ("connectors.c.auth.api_key_files", "[]", true),
    ("connectors.c.auth.api_key_files", r#"[""]"#, false),
    ("connectors.c.auth.client_certificates", r#"[{"subject": "CN=a"}]"#, true),
    ("connectors.c.auth.client_certificates", r#"[{"subject": "a"}]"#, false),
    ("connectors.c.auth.client_certificates", r#"[{"sha256": "a"}]"#, false),
    ("connectors.c.auth.client_certificates", "[{}]", false),
    ("connectors.c.auth.client_certificates", r#"["CN=a"]"#, false),
    ("connectors.c.claims.return", "[]", true),
    ("connectors.c.claims.return", r#"["action"]"#, false),
    ("connectors.c.claims.require_message", r#"" ""#, false),
    ("connectors.c.fallback.default", r#""continue""#, true),
    ("connectors.c.fallback.default", r#""deny""#, false),
    ("connectors.c.fallback.messages", r#"{"pt-BR": "x", "zh-Hant": "y"}"#, true),
    ("connectors.c.fallback.messages", r#"{"deutsch!": "x"}"#, false),
    ("connectors.c.fallback.messages", r#"{"de": "\t"}"#, false),
    ("connectors.c.fallback.cached", "{}", false),
    ("connectors.c.fallback.cached.by", "[]", false),
    ("connectors.c.fallback.cached.shared", "true", true),
    ("connectors.c.fallback.cached.shared", r#""yes""#, false),
    ("connectors.c.breaker.failures", "0", false),
];

/// What only the program can see: two keys together, and bounds.
const ONLY_THE_PROGRAM_REFUSES: &[(&str, &str)] = &[
    ("admin_listen", r#""0.0.0.0:8080""#),
    ("events.subject", r#""connectors.c.before-create""#),
    ("listen", r#""999.0.0.1:1""#),
    ("read_timeout", r#""0.5ms""#),
    ("connectors.c.deadline", r#""19001ms""#),
];

/// Where the program is less strict than the schema asks people to be.
const ONLY_THE_SCHEMA_REFUSES: &[(&str, &str)] =
    &[("max_connections", r#""4096""#), ("connectors.c.auth.basic[0].username", "5")];

#[test]
fn the_schema_and_the_program_agree_on_single_values() {
    let validator = validator("config");
    let all = ROWS.iter().map(|(path, value, accepted)| (path, value, *accepted, *accepted));
    let lax = ONLY_THE_PROGRAM_REFUSES.iter().map(|(path, value)| (path, value, true, false));
    let strict = ONLY_THE_SCHEMA_REFUSES.iter().map(|(path, value)| (path, value, false, true));
    for (path, value, by_schema, by_program) in all.chain(lax).chain(strict) {
        let new = (!value.is_empty()).then(|| serde_json::from_str(value).unwrap());
        let config = full_but(path, new);
        assert_eq!(validator.is_valid(&config), by_schema, "schema: {path}: {value}");
        let faults = faults(&config);
        assert_eq!(faults.is_empty(), by_program, "program: {path}: {value}: {faults:?}");
    }
}

/// A reply, and whether it is a decision.
#[rustfmt::skip]
const REPLIES: &[(&str, bool)] = &[
    (r#"{"action": "Continue"}"#, true),
    (r#"{"action": "CONTINUE", "a": "x", "b": true, "c": 1.50, "d": null}"#, true),
    (r#"{"action": "showblockpage", "userMessage": "No."}"#, true),
    (r#"{"action": "ShowBlockPage"}"#, true),
    (r#"{"action": "validationError", "userMessage": null}"#, true),
    (r#"{"action": "ValidationError", "userMessage": 5, "version": "1.0.0", "status": 400}"#, true),
    (r#"{"action": "Continue", "version": [], "status": {}, "userMessage": []}"#, true),
    (r#"{"action": "ShowBlockPage", "roles": ["only a Continue has claims"]}"#, true),
    (r#"{"action": "Continue", "roles": []}"#, false),
    (r#"{"action": "continue", "address": {}}"#, false),
    (r#"{"action": "Allow"}"#, false),
    (r#"{"action": "Continue "}"#, false),
    (r#"{"action": "Continued"}"#, false),
    (r#"{"action": null}"#, false),
    (r#"{"action": ["Continue"]}"#, false),
    (r#"{"Action": "Continue"}"#, false),
    ("{}", false),
    (r#"{"stream": "AUDIT", "seq": 1}"#, false),
    (r#"[{"action": "Continue"}]"#, false),
    (r#""Continue""#, false),
    ("null", false),
];

fn is_decision(text: &str) -> bool {
    let config = Config::parse(&full().to_string()).unwrap();
    let reply = Reply { payload: text.to_owned().into(), ..Reply::default() };
    reply::read(&config.connectors[0].connector, None, &reply).is_ok()
}

#[test]
fn the_schema_and_the_program_agree_on_decisions() {
    let validator = validator("decision");
    for (text, accepted) in REPLIES {
        let reply = serde_json::from_str(text).unwrap();
        assert_eq!(validator.is_valid(&reply), *accepted, "schema: {text}");
        assert_eq!(is_decision(text), *accepted, "program: {text}");
    }
}

#[test]
fn a_call_is_any_object_whose_known_claims_have_their_types_or_are_null() {
    let validator = validator("call");
    for (call, accepted) in [
        (json!({}), true),
        (json!({"email": "a@b.c", "objectId": "1", "unheard_of": {"x": [1]}}), true),
        (json!({"identities": [{"signInType": "federated", "issuer": "mail"}]}), true),
        (json!({"extension_0a_Age": 7, "extension_0a_News": true}), true),
        (json!({"email": null, "identities": null, "ui_locales": null}), true),
        (json!({"identities": [null, {"issuer": null, "issuerAssignedId": null}]}), true),
        (json!({"extension_0a_Age": null, "objectId": null, "city": null}), true),
        (json!({"email": 5}), false),
        (json!({"identities": ["federated"]}), false),
        (json!({"identities": {}}), false),
        (json!({"extension_0a_Roles": []}), false),
        (json!([]), false),
        (json!("x"), false),
    ] {
        assert_eq!(validator.is_valid(&call), accepted, "{call}");
    }
}
