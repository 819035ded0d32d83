//! The dashboards: the rules of Grafana's dashboard-linter, and that what they ask for exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use connector_bridge::metrics::CertificateRole;
use serde_json::Value;

use crate::support::fake::{Bridge, Worker};

/// Units of Grafana that the dashboards use.
const UNITS: [&str; 10] =
    ["bytes", "cps", "dtdurations", "locale", "none", "ops", "percentunit", "reqps", "s", "short"];

/// What a scrape adds to every series, and what a histogram has.
const LABELS_OF_ANY: [&str; 4] = ["namespace", "job", "instance", "le"];

struct Dashboard {
    file: String,
    json: Value,
}

/// `metric{label="value"}[range]` in a query, and the function right around it.
#[derive(Debug)]
struct Selector {
    metric: String,
    /// Operator and value by label.
    matchers: BTreeMap<String, (String, String)>,
    range: String,
    function: String,
}

/// Where the series come from that Prometheus makes itself.
const RULES: &str = include_str!("../../deploy/prometheus/rules.yaml");

/// Their labels: those of what they sum up, and of alerts.
const LABELS_OF_RULES: [&str; 5] = ["namespace", "job", "alertname", "alertstate", "severity"];

impl Selector {
    /// Whether Prometheus makes the series itself: it has no instance then.
    fn is_of_rules(&self) -> bool {
        self.metric == "ALERTS" || RULES.contains(&format!("- record: {}\n", self.metric))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

fn dashboards() -> Vec<Dashboard> {
    let (mut found, mut folders) = (Vec::new(), vec![folder()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "json") {
                let file = path.file_name().unwrap().to_string_lossy().into_owned();
                let json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
                found.push(Dashboard { file, json });
            }
        }
    }
    assert!(found.len() >= 2, "{} dashboards", found.len());
    found
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

impl Dashboard {
    /// All panels, also those inside closed rows; rows themselves too.
    fn panels_and_rows(&self) -> impl Iterator<Item = &Value> {
        let panels = list(&self.json, "panels");
        panels.iter().flat_map(|panel| std::iter::once(panel).chain(list(panel, "panels")))
    }

    fn panels(&self) -> impl Iterator<Item = &Value> {
        self.panels_and_rows().filter(|panel| panel["type"] != "row")
    }

    /// Panels that show data.
    fn charts(&self) -> impl Iterator<Item = &Value> {
        self.panels().filter(|panel| panel["type"] != "text")
    }

    fn variables(&self) -> &[Value] {
        list(&self.json["templating"], "list")
    }

    fn variable(&self, name: &str) -> &Value {
        let found = self.variables().iter().find(|variable| variable["name"] == name);
        found.unwrap_or_else(|| panic!("{}: no variable {name}", self.file))
    }
}

/// Calls `check` for every query of every dashboard, with a text that says where it stands.
fn each_query(mut check: impl FnMut(&str, &Value, &str, &Value)) {
    for dashboard in dashboards() {
        for panel in dashboard.charts() {
            for target in list(panel, "targets") {
                let place = format!(
                    "{}, panel \"{}\", query {}",
                    dashboard.file,
                    text(panel, "title"),
                    text(target, "refId")
                );
                check(&place, panel, text(target, "expr"), target);
            }
        }
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// What stands between an opening bracket at the start and the one that closes it.
fn inside(expr: &str) -> Option<&str> {
    let (mut depth, mut is_quoted) = (0, false);
    for (at, c) in expr.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            '(' | '{' | '[' if !is_quoted => depth += 1,
            ')' | '}' | ']' if !is_quoted => {
                depth -= 1;
                if depth == 0 {
                    return expr.get(1..at);
                }
            }
            _ => {}
        }
    }
    None
}

fn matchers(text: &str) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    for part in text.split("\", ") {
        let (name, value) = part.split_once('"').unwrap_or_else(|| panic!("no matcher: {part}"));
        let label: String = name.chars().take_while(|c| is_of_word(*c)).collect();
        let operator = name.strip_prefix(&*label).unwrap_or_default().to_owned();
        found.insert(label, (operator, value.trim_end_matches('"').to_owned()));
    }
    found
}

/// All selectors of a query. Each must have braces, so that it can be told from a function.
fn selectors(expr: &str) -> Vec<Selector> {
    let (mut found, mut calls) = (Vec::new(), vec![String::new()]);
    let (mut word, mut at) = (String::new(), 0);
    while let Some(c) = expr[at..].chars().next() {
        match c {
            '(' => calls.push(std::mem::take(&mut word)),
            ')' => drop(calls.pop()),
            '"' => at += expr[at + 1..].find('"').unwrap() + 1,
            '{' => {
                let within = inside(&expr[at..]).unwrap_or_else(|| panic!("not closed: {expr}"));
                at += within.len() + 1;
                let behind = &expr[at + 1..];
                let range = behind.starts_with('[').then(|| inside(behind)).flatten();
                found.push(Selector {
                    metric: std::mem::take(&mut word),
                    matchers: matchers(within),
                    range: range.unwrap_or_default().to_owned(),
                    function: calls.last().cloned().unwrap_or_default(),
                });
            }
            _ => {}
        }
        if is_of_word(c) {
            word.push(c)
        } else {
            word.clear()
        }
        at += expr[at..].chars().next().map_or(1, char::len_utf8);
    }
    found
}

#[test]
fn there_is_one_variable_for_the_data_source() {
    for dashboard in dashboards() {
        let sources = dashboard.variables().iter().filter(|one| one["type"] == "datasource");
        assert_eq!(sources.count(), 1, "{}", dashboard.file);
        let source = dashboard.variable("datasource");
        let named = (text(source, "label"), text(source, "query"));
        assert_eq!(named, ("Data source", "prometheus"), "{}", dashboard.file);
    }
}

#[test]
fn job_and_instance_can_be_chosen() {
    for dashboard in dashboards() {
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let variable = dashboard.variable(name);
            let place = format!("{}, variable {name}", dashboard.file);
            assert_eq!(text(&variable["datasource"], "uid"), "$datasource", "{place}");
            assert_eq!(text(variable, "type"), "query", "{place}");
            assert_eq!(text(variable, "label"), label, "{place}");
            assert_eq!(text(variable, "allValue"), ".+", "{place}");
            assert_eq!(variable["multi"], true, "{place}");
            assert_eq!(variable["includeAll"], true, "{place}");
        }
    }
}

#[test]
fn a_namespace_is_not_needed() {
    for dashboard in dashboards() {
        assert_eq!(text(dashboard.variable("namespace"), "allValue"), ".*", "{}", dashboard.file);
    }
}

#[test]
fn variables_ask_for_label_values_and_follow_the_time_range() {
    for dashboard in dashboards() {
        for variable in dashboard.variables().iter().filter(|one| one["type"] == "query") {
            let place = format!("{}, variable {}", dashboard.file, text(variable, "name"));
            let query = text(variable, "query");
            let asked = query.strip_prefix("label_values").and_then(inside);
            let (metric, label) = asked.and_then(|asked| asked.rsplit_once(", ")).expect(&place);
            assert_eq!(label, text(variable, "name"), "{place}");
            assert!(metric.starts_with("connector_bridge_"), "{place}: {metric}");
            assert_eq!(variable["refresh"], 2, "{place}");
        }
    }
}

#[test]
fn panels_and_queries_use_the_chosen_data_source() {
    for dashboard in dashboards() {
        for panel in dashboard.charts() {
            for one in std::iter::once(panel).chain(list(panel, "targets")) {
                let uid = text(&one["datasource"], "uid");
                assert_eq!(uid, "$datasource", "{}, {}", dashboard.file, text(panel, "title"));
            }
        }
    }
}

#[test]
fn every_panel_has_a_title_a_description_and_a_unit() {
    for dashboard in dashboards() {
        for panel in dashboard.panels() {
            let place = format!("{}, panel {}", dashboard.file, panel["id"]);
            assert!(!text(panel, "title").is_empty(), "{place}");
            assert!(text(panel, "description").len() >= 20, "{place} has no description");
            let unit = text(&panel["fieldConfig"]["defaults"], "unit");
            assert!(UNITS.contains(&unit), "{place}: unit \"{unit}\"");
        }
    }
}

#[test]
fn every_chart_asks_for_something_and_names_what_it_shows() {
    for dashboard in dashboards() {
        for panel in dashboard.charts() {
            let place = format!("{}, panel \"{}\"", dashboard.file, text(panel, "title"));
            assert!(!list(panel, "targets").is_empty(), "{place}");
            for target in list(panel, "targets") {
                assert!(!text(target, "expr").is_empty(), "{place}");
                assert!(!text(target, "legendFormat").is_empty(), "{place} has no legend");
            }
        }
    }
}

#[test]
fn brackets_and_quotes_are_closed() {
    each_query(|place, _, expr, _| {
        let wrapped = format!("({expr})");
        assert_eq!(inside(&wrapped), Some(expr), "{place}: {expr}");
        assert_eq!(expr.matches('"').count() % 2, 0, "{place}: {expr}");
        let names = expr.matches("connector_bridge_").count() + expr.matches("process_").count();
        let others = ["up", "ALERTS"];
        let named = selectors(expr).iter().filter(|one| !others.contains(&&*one.metric)).count();
        assert_eq!(names, named, "{place}: a metric without braces in {expr}");
    });
}

#[test]
fn every_selector_names_namespace_job_and_instance() {
    each_query(|place, _, expr, _| {
        let found = selectors(expr);
        assert!(!found.is_empty(), "{place}");
        for selector in found {
            let labels = ["namespace", "job", "instance"];
            for label in &labels[..if selector.is_of_rules() { 2 } else { 3 }] {
                let wanted = Some(&("=~".to_owned(), format!("${label}")));
                let metric = &selector.metric;
                assert_eq!(selector.matchers.get(*label), wanted, "{place}: {metric} by {label}");
            }
        }
    });
}

#[test]
fn what_every_program_has_is_asked_of_the_bridge_only() {
    each_query(|place, _, expr, _| {
        let is_of_any =
            |one: &Selector| !one.metric.starts_with("connector_bridge_") && !one.is_of_rules();
        if selectors(expr).iter().any(is_of_any) {
            assert!(expr.contains("and on (job, instance) "), "{place}: {expr}");
        }
    });
}

#[test]
fn ranges_are_the_rate_interval_or_in_counts_the_whole_range() {
    each_query(|place, _, expr, target| {
        for selector in selectors(expr) {
            let range = selector.range.as_str();
            let is_right = match selector.function.as_str() {
                "rate" => range == "$__rate_interval",
                // Over the whole range only where one number is asked for.
                "increase" => range == "$__range" && target["instant"] == true,
                "last_over_time" => range == "$__range",
                // The time of the objectives.
                "avg_over_time" => range == "30d" && selector.is_of_rules(),
                _ => range.is_empty(),
            };
            assert!(is_right, "{place}: {selector:?}");
        }
    });
}

#[test]
fn counters_are_only_used_as_rates_and_increases() {
    each_query(|place, _, expr, _| {
        for selector in selectors(expr) {
            let is_counter = ["_total", "_bucket", "_count", "_sum"]
                .iter()
                .any(|ending| selector.metric.ends_with(ending));
            let is_rate = ["rate", "increase"].contains(&selector.function.as_str());
            assert_eq!(is_counter, is_rate, "{place}: {selector:?}");
        }
    });
}

#[test]
fn nothing_is_divided_by_zero() {
    each_query(|place, _, expr, _| {
        for (at, _) in expr.match_indices(" / ") {
            let mut rest = &expr[at + 3..];
            for word in ["ignoring ", "on ", "group_left "] {
                if let Some(behind) = rest.strip_prefix(word) {
                    rest = behind[inside(behind).unwrap().len() + 2..].trim_start();
                }
            }
            let is_guarded = match inside(rest) {
                Some(divisor) if rest.starts_with('(') => divisor.ends_with(" > 0"),
                _ => ["connector_bridge_requests_in_flight_limit{", "process_max_fds{"]
                    .iter()
                    .any(|limit| rest.starts_with(limit)),
            };
            assert!(is_guarded, "{place}: {rest}");
        }
    });
}

#[test]
fn a_panel_that_may_be_empty_says_what_that_means() {
    each_query(|place, panel, expr, _| {
        let may_be_empty =
            [" / (", " > 0", "histogram_quantile"].iter().any(|one| expr.contains(one));
        if may_be_empty && !expr.contains("vector(") {
            let said = text(&panel["fieldConfig"]["defaults"], "noValue");
            assert!(!said.is_empty(), "{place} has no noValue");
        }
    });
}

#[test]
fn labels_in_legends_are_in_the_query() {
    each_query(|place, _, expr, target| {
        for part in text(target, "legendFormat").split("{{").skip(1) {
            let label = part.split("}}").next().unwrap();
            let by: String =
                expr.split("by (").skip(1).filter_map(|by| by.split(')').next()).collect();
            assert!(by.contains(label), "{place}: {label} is not in {expr}");
        }
    });
}

/// Family, to label, to the values that it has from the start.
type Catalogue = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn catalogue() -> Catalogue {
    let bridge = Bridge::new("", &[Worker::Absent]);
    bridge.metrics.certificate_ends(CertificateRole::Server, 0);
    let mut found = Catalogue::new();
    for line in bridge.metrics.text().unwrap().lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let family = found.entry(name.to_owned()).or_default();
        for pair in labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once('=').unwrap();
            family.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn every_metric_label_and_value_exists() {
    let catalogue = catalogue();
    let known_values = |label: &str| {
        catalogue.values().filter_map(|family| family.get(label)).flatten().collect::<BTreeSet<_>>()
    };
    each_query(|place, _, expr, _| {
        for selector in selectors(expr).into_iter().filter(|one| one.metric != "up") {
            if selector.is_of_rules() {
                let mut labels = selector.matchers.keys();
                assert!(labels.all(|label| LABELS_OF_RULES.contains(&&**label)), "{place}: {expr}");
                continue;
            }
            let family = catalogue.get(&selector.metric);
            let family = family.unwrap_or_else(|| panic!("{place}: no metric {}", selector.metric));
            for (label, (_, value)) in &selector.matchers {
                let is_there = family.contains_key(label) || LABELS_OF_ANY.contains(&&**label);
                assert!(is_there, "{place}: {} has no label {label}", selector.metric);
                // 409 comes from custom policies only, and later.
                for value in value.split('|').filter(|one| !one.starts_with('$') && *one != "409") {
                    let is_known = known_values(label).contains(&value.to_owned());
                    assert!(is_known, "{place}: {label} is never {value}");
                }
            }
        }
        let labels: BTreeSet<_> = selectors(expr)
            .iter()
            .filter_map(|one| catalogue.get(&one.metric))
            .flat_map(|one| one.keys().cloned())
            .collect();
        for by in expr.split("by (").skip(1).filter_map(|by| by.split(')').next()) {
            for label in by.split(", ") {
                let is_there = labels.contains(label)
                    || LABELS_OF_ANY.contains(&label)
                    || selectors(expr).iter().all(Selector::is_of_rules)
                        && LABELS_OF_RULES.contains(&label);
                assert!(is_there, "{place}: by {label}");
            }
        }
    });
}

#[test]
fn names_are_unique() {
    let mut uids = BTreeSet::new();
    for dashboard in dashboards() {
        let uid = text(&dashboard.json, "uid").to_owned();
        assert!(!uid.is_empty() && uids.insert(uid), "{}: uid", dashboard.file);
        let mut ids = BTreeSet::new();
        for panel in dashboard.panels_and_rows() {
            let id = panel["id"].as_u64().unwrap();
            assert!(ids.insert(id), "{}: two panels with id {id}", dashboard.file);
        }
    }
}

/// The squares of Grafana's grid that a panel covers.
fn squares(panel: &Value) -> Vec<(u64, u64)> {
    let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
    let across = side("x")..side("x") + side("w");
    across.flat_map(|x| (side("y")..side("y") + side("h")).map(move |y| (x, y))).collect()
}

#[test]
fn panels_fill_their_rows_and_do_not_overlap() {
    for dashboard in dashboards() {
        let top = list(&dashboard.json, "panels");
        let closed = top.iter().map(|row| list(row, "panels")).filter(|panels| !panels.is_empty());
        for group in std::iter::once(top).chain(closed) {
            let mut covered = BTreeSet::new();
            for panel in group {
                for square in squares(panel) {
                    let place = format!("{}, {}", dashboard.file, text(panel, "title"));
                    assert!(square.0 < 24, "{place} is too far right");
                    assert!(covered.insert(square), "{place} overlaps at {square:?}");
                }
            }
            let lines: BTreeSet<_> = covered.iter().map(|(_, y)| y).collect();
            let (first, last) = (*lines.first().unwrap(), *lines.last().unwrap());
            let all = usize::try_from(last - first + 1).unwrap() * 24;
            let title = text(&group[0], "title");
            assert_eq!(covered.len(), all, "{}: a gap below \"{title}\"", dashboard.file);
        }
    }
}

#[test]
fn a_dashboard_cannot_be_edited_and_knows_the_other() {
    for Dashboard { file, json } in dashboards() {
        assert_eq!(json["editable"], false, "{file}");
        assert_eq!(json["schemaVersion"], 39, "{file}");
        assert_eq!(json["tags"], serde_json::json!(["connector-bridge"]), "{file}");
        assert_eq!(json["links"][0]["tags"], json["tags"], "{file}: the link");
        for name in ["refresh", "timezone", "title"] {
            assert!(!text(&json, name).is_empty(), "{file}: {name}");
        }
        let marks = list(&json["annotations"], "list");
        assert!(
            marks.iter().any(|mark| text(mark, "expr").contains("start_time")),
            "{file}: starts"
        );
    }
}

#[test]
fn the_identity_team_reads_no_jargon() {
    let all = dashboards();
    let dashboard = all.iter().find(|one| one.file == "identity.json").unwrap();
    for panel in dashboard.panels_and_rows() {
        let said = format!("{}. {}", text(panel, "title"), text(panel, "description"));
        for word in ["NATS", "p95", "p99", "quantile", "latency", "breaker", "HTTP", "replica"] {
            assert!(!said.contains(word), "{}: {word} in \"{said}\"", dashboard.file);
        }
    }
}

#[test]
fn what_is_generated_is_up_to_date() {
    let checked =
        Command::new("python3").arg(folder().join("generate.py")).arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{said}");
}
