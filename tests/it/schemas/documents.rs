//! What the documents say is what the program does.

use std::{collections::BTreeMap, fs, path::Path};

use connector_bridge::{config::Config, domain::protocol::PROTOCOLS};
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};

use super::{faults, full_but, is_decision, keys, pointer, read, validator};

fn documents() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| format!("docs/{}", name.to_str().unwrap()));
    let names = names.filter(|name| name.ends_with(".md")).chain(["README.md".to_owned()]);
    let names = names.chain(examples());
    names.map(|name| (name.clone(), read(&name))).collect()
}

/// The readmes of the example workers.
fn examples() -> impl Iterator<Item = String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workers");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| format!("examples/workers/{}/README.md", name.to_str().unwrap()))
}

/// The fenced blocks of a document in this language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = document.split(fence.as_str()).skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap()).collect()
}

pub(super) fn as_json(yaml: &Yaml<'_>) -> Value {
    if let Some(mapping) = yaml.as_mapping() {
        let members =
            mapping.iter().map(|(key, value)| (key.as_str().unwrap().into(), as_json(value)));
        Value::Object(members.collect())
    } else if let Some(items) = yaml.as_sequence() {
        items.iter().map(as_json).collect()
    } else {
        let text = yaml.as_str().map(Value::from);
        let text = text.or(yaml.as_bool().map(Value::from)).or(yaml.as_integer().map(Value::from));
        text.unwrap_or(Value::Null)
    }
}

#[test]
fn the_examples_in_the_documents_work() {
    let (config, decision, call) = (validator("config"), validator("decision"), validator("call"));
    let mut counts = [0; 3];
    for (name, text) in documents() {
        let configurations = blocks(&text, "yaml");
        for yaml in
            configurations.iter().filter(|yaml| yaml.lines().any(|line| line == "connectors:"))
        {
            Config::parse(yaml).unwrap_or_else(|error| panic!("{name}: {error}\n{yaml}"));
            let as_json = as_json(&Yaml::load_from_str(yaml).unwrap()[0]);
            assert!(config.is_valid(&as_json), "{name}: {yaml}");
            counts[0] += 1;
        }
        for json in blocks(&text, "json") {
            for value in serde_json::Deserializer::from_str(json).into_iter::<Value>() {
                let value = value.unwrap_or_else(|error| panic!("{name}: {error}\n{json}"));
                if value.get("action").is_some() {
                    assert!(
                        decision.is_valid(&value) && is_decision(&value.to_string()),
                        "{value}"
                    );
                    counts[1] += 1;
                } else {
                    assert!(call.is_valid(&value), "{name}: {value}");
                    counts[2] += 1;
                }
            }
        }
    }
    assert!(counts[0] >= 3 && counts[1] >= 4 && counts[2] >= 1, "{counts:?}");
}

#[test]
fn the_worker_in_the_readme_listens_where_its_connector_asks_and_decides() {
    let readme = read("README.md");
    let config = Config::parse(blocks(&readme, "yaml")[0]).unwrap();
    let worker = blocks(&readme, "python")[0];
    assert!(worker.contains(&format!("\"{}\"", config.connectors[0].connector.subject)));
    let replies: Vec<&str> = worker.split('\'').filter(|text| text.starts_with('{')).collect();
    assert_eq!(replies.len(), 2);
    replies.iter().for_each(|reply| assert!(is_decision(reply), "{reply}"));
    let lines = worker.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 16, "nobody reads {lines} lines to see how it works");
}

/// One row of a table in the document.
struct DocumentedKey {
    path: String,
    value: String,
    default: String,
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// The rows below the header that begins with `first`, each under the path in its heading.
fn rows(first: &str) -> Vec<(String, Vec<String>)> {
    let (mut heading, mut found) = (String::new(), Vec::new());
    let (mut is_table, mut is_wanted) = (false, false);
    let text = read("docs/configuration.md");
    for line in text.lines().filter(|line| !line.starts_with("| ---")) {
        let cells = cells(line);
        if line.starts_with('#') {
            heading = line.split('`').nth(1).unwrap_or_default().to_owned();
        }
        if !line.starts_with('|') {
            is_table = false;
        } else if !is_table {
            (is_table, is_wanted) = (true, cells[0] == first);
        } else if is_wanted {
            found.push((heading.clone(), cells.into_iter().map(str::to_owned).collect()));
        }
    }
    found
}

fn documented_keys() -> Vec<DocumentedKey> {
    let bare = |cell: &str| cell.trim_matches('`').to_owned();
    let rows = rows("key").into_iter().map(|(heading, cells)| DocumentedKey {
        path: format!("{heading}.{}", bare(&cells[0])).trim_start_matches('.').to_owned(),
        value: cells[1].clone(),
        default: bare(&cells[2]),
    });
    rows.collect()
}

#[test]
fn the_document_has_the_keys_and_defaults_of_the_schema_and_no_others() {
    let documented = documented_keys().into_iter().map(|key| (key.path, key.default));
    let written = |default: Value| default.as_str().map_or(default.to_string(), str::to_owned);
    let of_schema =
        keys().into_iter().map(|(path, default)| (path, default.map_or("–".to_owned(), written)));
    let (documented, of_schema): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (documented.collect(), of_schema.collect());
    assert_eq!(documented, of_schema);
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_program() {
    let basic = json!([{"username": "a", "password_file": "b"}]);
    let least = json!({"events": {}, "connectors": {"c": {
        "protocol": "entra", "step": "before-create", "auth": {"basic": basic},
        "fallback": {"cached": {"by": ["email"]}},
    }}});
    let effective = Config::parse(&least.to_string()).unwrap().effective();
    let effective = as_json(&Yaml::load_from_str(&effective).unwrap()[0]);
    assert!(validator("config").is_valid(&effective), "{effective:#}");
    for (path, default) in keys() {
        if default.is_some() {
            assert_eq!(effective.pointer(&pointer(&path)), default.as_ref(), "{path}");
        }
    }
}

/// A quantity in its smallest unit, and how that is written.
fn smallest(text: &str) -> (u64, fn(u64) -> Value) {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().unwrap();
    let (factor, write): (u64, fn(u64) -> Value) = match unit {
        "" => (1, |number| number.into()),
        "B" => (1, |bytes| format!("{bytes}B").into()),
        "MiB" => (1 << 20, |bytes| format!("{bytes}B").into()),
        "ms" => (1, |ms| format!("{ms}ms").into()),
        "s" => (1_000, |ms| format!("{ms}ms").into()),
        "m" => (60_000, |ms| format!("{ms}ms").into()),
        "h" => (3_600_000, |ms| format!("{ms}ms").into()),
        "d" => (86_400_000, |ms| format!("{ms}ms").into()),
        other => panic!("{other}"),
    };
    (number * factor, write)
}

#[test]
fn the_documented_bounds_are_those_of_the_program() {
    let mut count = 0;
    for DocumentedKey { path, value, .. } in documented_keys() {
        let bare = |text: &str| Some(text.strip_prefix('`')?.strip_suffix('`')?.to_owned());
        let bounds = value.split_once(" to ").and_then(|(a, b)| bare(a).zip(bare(b)));
        let Some((least, most)) = bounds else { continue };
        let ((least, _), (most, write)) = (smallest(&least), smallest(&most));
        for (number, accepted) in [
            (Some(least), true),
            (Some(most), true),
            (least.checked_sub(1), false),
            (most.checked_add(1), false),
        ] {
            let Some(number) = number else { continue };
            let faults = faults(&full_but(&path, Some(write(number))));
            assert_eq!(faults.is_empty(), accepted, "{path}: {number}: {faults:?}");
        }
        count += 1;
    }
    assert_eq!(count, 15, "keys with bounds");
}

#[test]
fn the_documented_protocols_are_those_of_the_program() {
    let rows = rows("`protocol`");
    assert_eq!(rows.len(), PROTOCOLS.len());
    for (protocol, (_, row)) in PROTOCOLS.iter().zip(rows) {
        let seconds = |duration: std::time::Duration| format!("{} s", duration.as_secs_f64());
        let steps: Vec<String> = protocol.steps.iter().map(|s| format!("`{}`", s.name)).collect();
        assert_eq!(row[0], format!("`{}`", protocol.name));
        assert_eq!(row[2], steps.join(", "));
        let times = [protocol.caller_waits, protocol.default_deadline, protocol.deadline_max()];
        assert_eq!(row[3..], times.map(seconds), "{}", protocol.name);
    }
}
