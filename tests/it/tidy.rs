//! Rules of the code base, kept by a test rather than by review.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Every module at the root, and which of ours it may import. In the order of ARCHITECTURE.md.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("random", &[]),
    ("room", &[]),
    ("ends", &["clock"]),
    ("config", &["domain"]),
    ("budget", &["domain"]),
    ("cache", &["domain"]),
    ("inbox", &["budget", "clock", "domain", "ends", "room"]),
    ("turns", &[]),
    ("memory", &["budget", "clock", "domain", "ends", "random", "room"]),
    ("metrics", &["budget", "cache", "domain"]),
    ("tls", &["domain"]),
    ("client", &["tls"]),
    ("caller", &["client", "clock", "domain", "tls"]),
    ("lifecycle", &["clock"]),
    ("logs", &["clock", "config", "metrics"]),
    ("secrets", &["clock", "config", "domain", "metrics", "tls"]),
    ("stalls", &["clock", "metrics"]),
    ("traces", &["client", "clock", "config", "domain", "metrics", "random", "secrets", "tls"]),
    ("wire", &["clock", "domain", "inbox", "metrics"]),
    ("journal", &["clock", "domain", "metrics", "wire"]),
    ("store", &["budget", "clock", "domain", "memory", "metrics", "random", "secrets", "wire"]),
    ("lane", &["budget", "cache", "clock", "domain", "metrics"]),
    ("call", &["cache", "domain", "journal", "lane", "metrics", "traces"]),
    ("events", &["budget", "call", "clock", "domain", "metrics", "random", "wire"]),
    (
        "pipeline",
        &[
            "budget", "cache", "call", "clock", "domain", "inbox", "journal", "lane", "memory",
            "metrics", "store", "traces", "turns", "wire",
        ],
    ),
    (
        "nats",
        &[
            "clock", "config", "domain", "inbox", "lane", "metrics", "pipeline", "random",
            "secrets", "tls", "wire",
        ],
    ),
    (
        "http",
        &[
            "budget",
            "call",
            "clock",
            "domain",
            "journal",
            "lane",
            "lifecycle",
            "memory",
            "metrics",
            "pipeline",
            "secrets",
            "stalls",
            "tls",
            "traces",
            "wire",
        ],
    ),
    (
        "admin",
        &[
            "budget",
            "clock",
            "config",
            "lane",
            "lifecycle",
            "logs",
            "memory",
            "metrics",
            "nats",
            "pipeline",
            "wire",
        ],
    ),
    (
        "playground",
        &[
            "admin", "caller", "clock", "config", "domain", "journal", "lane", "metrics", "random",
            "secrets", "tls",
        ],
    ),
    (
        "app",
        &[
            "admin",
            "budget",
            "call",
            "clock",
            "config",
            "domain",
            "events",
            "http",
            "journal",
            "lane",
            "lifecycle",
            "logs",
            "memory",
            "metrics",
            "nats",
            "pipeline",
            "playground",
            "secrets",
            "stalls",
            "store",
            "tls",
            "traces",
        ],
    ),
    (
        "commands",
        &[
            "app",
            "caller",
            "clock",
            "config",
            "domain",
            "inbox",
            "lifecycle",
            "nats",
            "playground",
            "random",
            "secrets",
            "tls",
            "traces",
            "wire",
        ],
    ),
];

/// What a file may not be longer than, before its tests.
const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of a module: its own, and those in its folder.
fn files(module: &str) -> Vec<PathBuf> {
    let mut found = vec![root().join(format!("{module}.rs"))];
    let mut folders = vec![root().join(module)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// A file without its tests, which may use anything.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// Relies on rustfmt: `use crate::name…;` on one line, or `use crate::{` and four spaces.
fn modules_used_in(code: &str) -> BTreeSet<String> {
    let mut in_braces = false;
    let mut found = BTreeSet::new();
    for line in code.lines() {
        let rest = match line.strip_prefix("use crate::").or(line.strip_prefix("pub use crate::")) {
            Some("{") => {
                in_braces = true;
                continue;
            }
            Some(rest) => rest,
            None if line == "};" => {
                in_braces = false;
                continue;
            }
            None if in_braces && !line.starts_with("     ") => line.trim_start(),
            None => continue,
        };
        let names = rest.strip_prefix('{').unwrap_or(rest).split(", ");
        for name in names.take(if rest.starts_with('{') { usize::MAX } else { 1 }) {
            let name: String =
                name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.chars().next().is_some_and(char::is_lowercase) {
                found.insert(name);
            }
        }
    }
    found
}

#[test]
fn imports_go_down_the_list_and_never_up_or_sideways() {
    for (at, (module, allowed)) in MAY_IMPORT.iter().enumerate() {
        for name in *allowed {
            let stands_above = MAY_IMPORT[..at].iter().any(|(above, _)| above == name);
            assert!(stands_above, "{module} may import {name}, which stands below it");
        }
        for file in files(module) {
            let found = modules_used_in(&code_of(&file));
            let wrong: Vec<_> = found
                .iter()
                .filter(|name| name != module && !allowed.contains(&name.as_str()))
                .collect();
            assert!(wrong.is_empty(), "{} must not import {wrong:?}", file.display());
        }
    }
}

#[test]
fn every_module_stands_in_the_list() {
    for line in code_of(&root().join("lib.rs")).lines() {
        if let Some(module) = line.strip_prefix("pub mod ").and_then(|line| line.strip_suffix(';'))
        {
            let listed = MAY_IMPORT.iter().any(|(name, _)| *name == module);
            assert!(listed, "{module} has no line in MAY_IMPORT");
        }
    }
}

#[test]
fn the_domain_touches_no_runtime_no_socket_no_lock_and_no_clock() {
    let forbidden = [
        "tokio",
        "axum",
        "hyper",
        "async_nats",
        "moka",
        "prometheus",
        "tracing",
        "::now()",
        "Mutex",
        "async ",
        "std::net",
        "std::fs",
    ];
    for file in files("domain") {
        let code = code_of(&file);
        for word in forbidden {
            assert!(!code.contains(word), "{} must not use {word}", file.display());
        }
    }
}

#[test]
fn each_library_of_the_outside_stays_behind_its_door() {
    for (library, doors) in [
        ("async_nats", &["nats", "commands", "config", "logs"][..]),
        ("moka", &["cache"]),
        ("axum", &["admin", "app", "playground"]),
        ("prometheus", &["metrics"]),
        ("ring::aead", &["domain"]),
        ("x509_cert", &["domain"]),
        ("rustls::", &["tls"]),
        ("rustix", &["app", "clock", "secrets"]),
        ("saphyr", &["config"]),
        ("tracing_subscriber", &["logs"]),
        ("opentelemetry", &["traces"]),
    ] {
        for (module, _) in MAY_IMPORT.iter().filter(|(module, _)| !doors.contains(module)) {
            for file in files(module) {
                assert!(!code_of(&file).contains(library), "{} uses {library}", file.display());
            }
        }
    }
}

#[test]
fn a_file_has_one_subject() {
    for (module, _) in MAY_IMPORT {
        for file in files(module) {
            let lines = code_of(&file).lines().count();
            assert!(lines <= LINES_MAX, "{} has {lines} lines", file.display());
        }
    }
}

/// Whether there is a test with this name in the file: right below an attribute that says so.
fn is_test(file: &Path, name: &str) -> bool {
    let code = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let declared = [format!("fn {name}("), format!("async fn {name}(")];
    let at = lines.iter().position(|line| declared.iter().any(|start| line.starts_with(start)));
    let attributes = at.and_then(|at| lines.get(..at)).unwrap_or_default().iter().rev();
    attributes.take_while(|line| line.starts_with("#[")).any(|line| line.contains("test"))
}

/// Where a test with this path may stand.
fn files_of_test(module: &[&str]) -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = module.join("/");
    let file = format!("{path}.rs");
    let elsewhere = ["faults/", "attacks/"].into_iter().filter_map(|folder| {
        let name = path.strip_prefix(folder)?;
        Some(here.join("tests").join(folder).join(format!("{name}.rs")))
    });
    let elsewhere: Vec<PathBuf> = elsewhere.collect();
    let here = [
        root().join(&file),
        root().join(&path).join("tests.rs"),
        here.join("tests/it").join(&file),
    ];
    here.into_iter().chain(elsewhere).collect()
}

#[test]
fn every_defence_in_the_threat_model_has_a_test_that_is_there() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/threat-model.md");
    let text = fs::read_to_string(document).unwrap();
    let (mut rows, mut is_table) = (0, false);
    for line in text.lines() {
        is_table =
            if line.starts_with("| attack |") { true } else { is_table && line.starts_with('|') };
        if !is_table || line.starts_with("| attack |") || line.starts_with("| ---") {
            continue;
        }
        rows += 1;
        let cell = line.trim_end_matches('|').rsplit(" | ").next().unwrap().trim();
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        if cell.starts_with("none: ") {
            continue;
        }
        assert!(!tests.is_empty(), "no test, and no reason: {line}");
        for test in tests {
            let parts: Vec<&str> = test.split("::").collect();
            let (name, module) = parts.split_last().unwrap();
            let is_there = files_of_test(module).iter().any(|file| is_test(file, name));
            assert!(is_there, "{test} is not a test");
        }
    }
    assert!(rows >= 40, "{rows} rows");
}

#[test]
fn the_map_names_every_file() {
    let map = fs::read_to_string(root().join("../ARCHITECTURE.md")).unwrap();
    for (module, _) in MAY_IMPORT {
        for file in files(module) {
            let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let name = name.strip_suffix("/tests.rs").map_or(name.clone(), |_| String::new());
            assert!(map.contains(&name), "{name} is not in ARCHITECTURE.md");
        }
    }
}
