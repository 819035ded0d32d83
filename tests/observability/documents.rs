//! What is written about alerts: the rules, their tests, the runbook. Each alert is in all of them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use saphyr::{LoadableYamlNode, Yaml};

use crate::{
    expected::{NOT_PROVOKED, PROVOKED},
    monitors::monitor,
};

/// An alert with one of its severities.
pub(crate) type Kind = (String, String);

/// A file of the repository.
pub(crate) fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Its text.
pub(crate) fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

pub(crate) const RULES: &str = "deploy/prometheus/rules.yaml";
pub(crate) const ROUTES: &str = "deploy/prometheus/alertmanager.example.yaml";
const TESTS: &str = "deploy/prometheus/rules.test.yaml";
const RUNBOOK: &str = "docs/runbook.md";

/// Where the runbook is said to be.
const URL: &str = "https://runbooks.example.com/connector-bridge/runbook.md#";

fn yaml(text: &str) -> Yaml<'_> {
    Yaml::load_from_str(text).unwrap().remove(0)
}

fn list<'a>(of: &'a Yaml<'a>, key: &str) -> Vec<&'a Yaml<'a>> {
    let items = of.as_mapping_get(key).and_then(Yaml::as_vec);
    items.unwrap_or_else(|| panic!("no list {key}")).iter().collect()
}

fn word<'a>(of: &'a Yaml<'a>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().try_fold(of, |of, key| of.as_mapping_get(key))?.as_str()
}

/// Every alert in the rules, with its severity.
pub(crate) fn alerts() -> BTreeSet<Kind> {
    let text = text(RULES);
    let rules = yaml(&text);
    let mut found = BTreeSet::new();
    for rule in list(&rules, "groups").into_iter().flat_map(|group| list(group, "rules")) {
        let Some(name) = word(rule, &["alert"]) else { continue };
        let severity = word(rule, &["labels", "severity"]).unwrap();
        assert!(found.insert((name.to_owned(), severity.to_owned())), "{name} {severity} twice");
    }
    found
}

fn names(kinds: &BTreeSet<Kind>) -> BTreeSet<String> {
    kinds.iter().map(|(name, _)| name.clone()).collect()
}

/// Runs one of the programs that come with Prometheus.
fn run(program: &str, arguments: &[&str]) {
    let ran = Command::new(monitor(program)).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{program} {arguments:?}\n{out}{err}");
}

#[test]
fn the_rules_are_rules_and_their_tests_hold() {
    let rules = path(RULES);
    run("promtool", &["check", "rules", "--lint=all", "--lint-fatal", rules.to_str().unwrap()]);
    run("promtool", &["test", "rules", path(TESTS).to_str().unwrap()]);
}

#[test]
fn the_example_routes_what_is_critical_to_a_page_and_what_is_not_elsewhere() {
    let routes = path(ROUTES);
    run("amtool", &["check-config", routes.to_str().unwrap()]);
    let file = format!("--config.file={}", routes.display());
    for (severity, receiver) in
        [("critical", "page"), ("warning", "working-hours"), ("info", "nobody")]
    {
        let labels = format!("severity={severity}");
        let verify = format!("--verify.receivers={receiver}");
        run("amtool", &["config", "routes", "test", &file, &verify, &labels]);
    }
    let text = text(ROUTES);
    let mentioned = text.split("ConnectorBridge").skip(1).flat_map(|rest| {
        let list = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let list = list.map_or(rest.split('"').next().unwrap(), |(list, _)| list);
        list.split('|').map(|name| format!("ConnectorBridge{name}")).collect::<Vec<_>>()
    });
    for name in mentioned.filter(|name| !name.ends_with(".+")) {
        assert!(names(&alerts()).contains(&name), "{ROUTES} speaks of {name}, which is no alert");
    }
}

#[test]
fn every_alert_fires_in_a_test_with_each_of_its_severities_and_stays_silent_in_another() {
    let text = text(TESTS);
    let tests = yaml(&text);
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for case in list(&tests, "tests").into_iter().flat_map(|test| list(test, "alert_rule_test")) {
        let name = word(case, &["alertname"]).unwrap().to_owned();
        let alerts = list(case, "exp_alerts");
        if alerts.is_empty() {
            silent.insert(name.clone());
        }
        for alert in alerts {
            let severity = word(alert, &["exp_labels", "severity"]).unwrap();
            firing.insert((name.clone(), severity.to_owned()));
        }
    }
    assert_eq!(alerts(), firing, "left: in the rules; right: fired by a test");
    assert_eq!(names(&alerts()), silent, "left: in the rules; right: not fired by a test");
}

#[test]
fn every_alert_has_a_section_in_the_runbook_and_a_link_to_it() {
    let runbook = text(RUNBOOK);
    let headings = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let sections: BTreeSet<String> =
        headings.filter(|name| name.starts_with("ConnectorBridge")).map(str::to_owned).collect();
    assert_eq!(names(&alerts()), sections, "left: in the rules; right: in the runbook");
    let text = text(RULES);
    let rules = yaml(&text);
    for rule in list(&rules, "groups").into_iter().flat_map(|group| list(group, "rules")) {
        let Some(name) = word(rule, &["alert"]) else { continue };
        let annotation = |key| word(rule, &["annotations", key]).unwrap_or_default();
        assert_eq!(annotation("runbook_url"), format!("{URL}{}", name.to_lowercase()));
        assert!(!annotation("summary").contains("{{"), "the summary of {name} varies");
        assert!(annotation("summary").ends_with('.'), "the summary of {name} is no sentence");
        assert!(
            annotation("description").contains("{{"),
            "the description of {name} does not vary"
        );
        let severity = word(rule, &["labels", "severity"]).unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
    }
}

#[test]
fn every_log_message_that_the_runbook_quotes_is_in_the_program() {
    let mut source = String::new();
    let mut folders = vec![path("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                source += &fs::read_to_string(entry).unwrap();
            }
        }
    }
    // A message over two lines of source: as it comes out.
    let source = source.replace("\\\n", "").split_whitespace().collect::<Vec<_>>().join(" ");
    let runbook = text(RUNBOOK);
    // Written as: log "message".
    let quoted: Vec<&str> =
        runbook.split("log \"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(quoted.len() >= 10, "{quoted:?}");
    for message in quoted {
        assert!(source.contains(message), "no log line says: {message}");
    }
}

#[test]
fn every_alert_is_provoked_for_real_or_there_is_a_reason_why_not() {
    let provoked = PROVOKED.iter().map(|(name, severity)| (*name, *severity));
    let not = NOT_PROVOKED.iter().map(|(name, severity, _)| (*name, *severity));
    let all: Vec<_> = provoked.chain(not).collect();
    let listed: BTreeSet<Kind> = all
        .iter()
        .map(|(name, severity)| (format!("ConnectorBridge{name}"), (*severity).to_owned()))
        .collect();
    assert_eq!(listed.len(), all.len(), "an alert stands in both lists");
    assert_eq!(alerts(), listed, "left: in the rules; right: in the lists");
}
