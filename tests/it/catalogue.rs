//! The metrics that operators build on: names, labels, and what is there from the start.

use std::collections::BTreeSet;

use crate::support::fake::{Bridge, Worker};

/// A row of docs/metrics.md.
struct Documented {
    name: String,
    kind: String,
    labels: BTreeSet<String>,
}

const DOCUMENT: &str = include_str!("../../docs/metrics.md");

/// There only where there is a certificate.
const NOT_ALWAYS: &str = "tls_certificate_not_after_timestamp_seconds";

fn documented() -> Vec<Documented> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Documented {
            name: cells[0].trim_matches('`').to_owned(),
            kind: cells[1].to_owned(),
            labels: quoted(cells[2]),
        }
    });
    rows.collect()
}

fn labels_of(line: &str) -> BTreeSet<String> {
    let Some((_, labels)) = line.split_once('{') else { return BTreeSet::new() };
    let labels = labels.split_once('}').unwrap().0;
    let names = labels.split(',').map(|label| label.split('=').next().unwrap());
    names.filter(|name| *name != "le").map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn every_family_has_a_series_with_its_labels_from_the_start() {
    let bridge = Bridge::new("", &[Worker::Absent]);
    let text = bridge.metrics.text().unwrap();
    let documented = documented();
    assert!(documented.len() > 30, "{} rows", documented.len());
    for Documented { name, kind, labels } in documented.iter().filter(|row| row.name != NOT_ALWAYS)
    {
        assert!(text.contains(&format!("# TYPE connector_bridge_{name} {kind}\n")), "{name}");
        let series: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("connector_bridge_")?.strip_prefix(&**name))
            .map(|rest| rest.trim_start_matches("_bucket"))
            .filter(|rest| rest.starts_with('{') || rest.starts_with(' '))
            .collect();
        assert!(!series.is_empty(), "{name} has no series");
        for line in series {
            assert_eq!(labels_of(line), *labels, "{name}{line}");
        }
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE connector_bridge_")) {
        let name = line.split(' ').next().unwrap();
        assert!(documented.iter().any(|row| row.name == name), "{name} is not in docs/metrics.md");
    }
    for code in [200, 400, 401, 403, 503] {
        assert!(text.contains(&format!("code=\"{code}\",connector=\"c\"")), "{code}");
    }
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(text.contains(name), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_label_comes_from_traffic() {
    let bridge = Bridge::new("", &[Worker::Says(r#"{"action":"Canary","canary":"canary"}"#)]);
    let before = bridge.metrics.text().unwrap();
    bridge.post(r#"{"email":"canary@b.c","ui_locales":"canary"}"#).await;
    bridge.post_to("canary", "{}").await;
    let after = bridge.metrics.text().unwrap();
    assert!(!after.contains("canary"));
    let names = |text: &str| {
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let new: Vec<_> = names(&after).difference(&names(&before)).cloned().collect();
    assert!(new.is_empty(), "series that were not there from the start: {new:?}");
}

#[tokio::test(start_paused = true)]
async fn times_are_measured_from_the_first_byte() {
    let bridge = Bridge::new("deadline: 3s", &[Worker::Silent]);
    bridge.post(r#"{"email":"a@b.c"}"#).await;
    let bucket = |le| {
        format!(r#"request_duration_seconds_bucket{{connector="c",source="default",le="{le}"}}"#)
    };
    assert_eq!((bridge.metric(&bucket("2.5")), bridge.metric(&bucket("5"))), (0.0, 1.0));
    let share = |le| format!(r#"caller_timeout_used_ratio_bucket{{connector="c",le="{le}"}}"#);
    assert_eq!((bridge.metric(&share("0.1")), bridge.metric(&share("0.25"))), (0.0, 1.0));
    assert_eq!(bridge.metric(r#"late_responses_total{connector="c"}"#), 0.0);
    assert_eq!(bridge.metric(r#"deadline_seconds{connector="c"}"#), 3.0);
    assert_eq!(bridge.metric(r#"caller_timeout_seconds{connector="c"}"#), 20.0);
}

#[tokio::test(start_paused = true)]
async fn every_value_of_a_label_is_documented() {
    let bridge = Bridge::new("", &[Worker::Absent]);
    let text = bridge.metrics.text().unwrap();
    for line in text.lines().filter(|line| line.starts_with("connector_bridge_")) {
        let Some((_, labels)) = line.split_once('{') else { continue };
        for pair in labels.split_once('}').unwrap().0.split(',') {
            let (name, value) = pair.split_once('=').unwrap();
            // From the configuration, numbers, and what the build says.
            if ["connector", "step", "le", "code", "version", "revision"].contains(&name) {
                continue;
            }
            let value = value.trim_matches('"');
            assert!(DOCUMENT.contains(&format!("`{value}`")), "{name}={value} in {line}");
        }
    }
}

/// Name, labels and value of each sample, its bucket's bound as a number.
fn samples(text: &str) -> BTreeSet<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.split(" # ").next().unwrap().rsplit_once(' ').unwrap();
            let series = match series.split_once("le=\"") {
                Some((start, rest)) => {
                    let (bound, rest) = rest.split_once('"').unwrap();
                    let bound: f64 = bound.parse().unwrap();
                    format!("{start}le={bound}{rest}")
                }
                None => series.to_owned(),
            };
            (series, value.to_owned())
        })
        // Read twice, these differ.
        .filter(|(series, _)| !series.starts_with("process_"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn both_formats_say_the_same() {
    let bridge = Bridge::new("", &[Worker::Says(r#"{"action":"Continue"}"#)]);
    bridge.post(r#"{"email":"a@b.c"}"#).await;
    let (plain, open) = (bridge.metrics.text().unwrap(), bridge.metrics.openmetrics());
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    assert!(samples(&plain).len() > 100);
    assert_eq!(samples(&plain), samples(&open));
    // The form of the standard.
    assert!(open.contains("# TYPE connector_bridge_requests counter\n"), "{open}");
    assert!(open.contains("connector_bridge_requests_total{"), "{open}");
    assert!(open.contains("le=\"20.0\"}") && open.contains("le=\"+Inf\"}"), "{open}");
    assert!(!open.contains(" # {"), "nobody records traces here");
}
