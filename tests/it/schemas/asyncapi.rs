//! docs/asyncapi.yaml, held against its official schema, its own references, and real messages.

use std::{fs, path::Path, process::Command, sync::mpsc};

use async_nats::HeaderMap;
use jsonschema::{Validator, draft7, draft202012};
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Map, Value};

use super::{documents::as_json, read, schema};
use crate::support::{
    real::{Bridge, NatsServer, SOON, tool, worker},
    records::{JETSTREAM, Records},
};

fn document() -> Value {
    as_json(&Yaml::load_from_str(&read("docs/asyncapi.yaml")).unwrap()[0])
}

/// Every reference in `value`.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// The schema file that a payload refers to, by its name.
fn schema_of(message: &Value) -> Option<Value> {
    let file = message["payload"]["$ref"].as_str()?;
    Some(schema(file.strip_prefix("../src/schemas/").unwrap().strip_suffix(".json").unwrap()))
}

/// What judges the headers and the payload of a message.
fn validators(message: &Value) -> [Validator; 2] {
    let payload = schema_of(message).unwrap_or(Value::Bool(true));
    [&message["headers"], &payload].map(|schema| draft202012::new(schema).unwrap())
}

#[test]
fn the_document_is_one_by_the_official_schema() {
    let file = tool("ASYNCAPI_SCHEMA", ".tools/asyncapi/3.0.0.json");
    let Ok(text) = fs::read_to_string(&file) else {
        let npm = Command::new("npm").arg("--version").output();
        assert!(npm.is_err(), "`make test` puts {} there", file.display());
        return println!("not run: the official schema comes by npm, which is not here");
    };
    let validator = draft7::new(&serde_json::from_str(&text).unwrap()).unwrap();
    let document = document();
    let faults: Vec<_> = validator.iter_errors(&document).map(|e| e.to_string()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let mut wrong = document;
    wrong["channels"]["calls"]["adress"] = "x".into();
    assert!(!validator.is_valid(&wrong), "it finds nothing");
}

#[test]
fn every_reference_leads_somewhere_and_every_example_is_what_it_stands_for() {
    let document = document();
    let all = references(&document);
    assert!(all.len() >= 14, "{all:?}");
    for reference in all {
        let is_there = match reference.strip_prefix('#') {
            Some(pointer) => document.pointer(pointer).is_some(),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(&reference).is_file(),
        };
        assert!(is_there, "{reference}");
    }
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let messages = document["components"]["messages"].as_object().unwrap();
    for (name, message) in messages {
        if let Some(schema) = schema_of(message) {
            // What AsyncAPI takes schemas for that say nothing else.
            assert!(draft7::meta::is_valid(&schema), "{name}");
        }
        let [headers, payload] = validators(message);
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            for (part, validator) in [("headers", &headers), ("payload", &payload)] {
                if let Some(value) = example.get(part) {
                    assert!(validator.is_valid(value), "{name}: {value:#}");
                }
            }
        }
    }
}

/// This message is as the document says, and has no header that it does not name.
#[track_caller]
fn assert_is(document: &Value, name: &str, headers: &HeaderMap, payload: &[u8]) {
    let message = &document["components"]["messages"][name];
    let text = |values: &Vec<async_nats::HeaderValue>| Value::from(values[0].as_str());
    let headers: Map<String, Value> =
        headers.iter().map(|(name, values)| (name.to_string(), text(values))).collect();
    let documented = message["headers"]["properties"].as_object().unwrap();
    for header in headers.keys() {
        assert!(documented.contains_key(header), "{name}: {header}");
    }
    let [by_headers, by_payload] = validators(message);
    let (headers, payload) = (Value::Object(headers), serde_json::from_slice(payload).unwrap());
    assert!(by_headers.is_valid(&headers), "{name}: {headers:#}");
    assert!(by_payload.is_valid(&payload), "{name}: {payload:#}");
}

#[tokio::test]
async fn real_messages_are_what_the_document_says() {
    let document = document();
    let server = NatsServer::start_with(JETSTREAM).await;
    let records = Records::start(&server).await;
    let (sender, calls) = mpsc::channel();
    let _worker = worker(&server, "connectors.>", move |call| {
        sender.send(call.clone()).unwrap();
        Some(r#"{"action":"Continue"}"#.to_owned())
    })
    .await;
    let connector = "  c: {protocol: entra, step: before-create, auth: none}\n";
    let bridge = Bridge::start_with(&server, "events: {}", connector).await.connected().await;
    assert_eq!(bridge.post("c", r#"{"email":"a@b.c"}"#).await.source(), "worker");

    let address = |channel: &str| document["channels"][channel]["address"].as_str().unwrap();
    let call = calls.recv_timeout(SOON).unwrap();
    let subject = address("calls").replace("{connector}", "c").replace("{step}", "before-create");
    assert_eq!(call.subject.as_str(), subject);
    assert_is(&document, "call", call.headers.as_ref().unwrap(), &call.payload);
    let record = &records.until(1).await[0];
    assert_eq!(record.subject, address("events"));
    assert_is(&document, "event", &record.headers, record.text.as_bytes());
}
