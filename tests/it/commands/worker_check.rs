//! `connector-bridge worker-check` against a worker that keeps the contract, and against many that
//! each break it in one way.

mod broken;
mod refused;
mod worker;

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::Value;

use self::{
    broken::{BROKEN, Breaks, expected},
    worker::{Copies, good, start},
};
use super::written;
use crate::support::{
    process::{Ended, run},
    real::{Folder, NatsServer},
};

/// Runs a check of the worker called `name`, with `more` options.
async fn check(server: &NatsServer, name: &str, more: &[&str]) -> Ended {
    let (subject, url) = (format!("connectors.{name}.before-create"), server.url());
    let least = ["worker-check", &subject, "--server", &url, "--burst", "10"];
    run(&[&least, more].concat()).await
}

/// Whoever reads replies late takes a worker for late, and whoever looks for calls one after the
/// other does not come to an end.
#[tokio::test]
async fn a_large_burst_makes_no_good_worker_look_late() {
    let server = NatsServer::start().await;
    start(&server, "many", Copies::Two, good).await;
    let more = ["--burst", "5000", "--effects", "effects.many.>", "--format", "json"];
    let subject = "connectors.many.before-create";
    let url = server.url();
    let ended = run(&[&["worker-check", subject, "--server", &url], &more[..]].concat()).await;
    let report = report(&ended);
    assert_eq!((ended.code, &report["failed"]), (Some(0), &0.into()), "{}", ended.out);
}

/// The report as JSON.
fn report(ended: &Ended) -> Value {
    assert_eq!(ended.err, "", "{ended:?}");
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"))
}

/// Each finding of this level: the row, and the reason.
fn findings(report: &Value, level: &str) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found = BTreeSet::new();
    for row in report["rows"].as_array().unwrap() {
        for finding in row["findings"].as_array().unwrap() {
            if finding["level"] == level {
                found.insert((text(&row["row"]), text(&finding["reason"])));
            }
        }
    }
    found
}

fn pairs(of: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    of.iter().map(|(row, reason)| ((*row).to_owned(), (*reason).to_owned())).collect()
}

#[tokio::test]
async fn a_worker_that_keeps_the_contract_passes_and_gets_every_kind_of_call() {
    let server = NatsServer::start().await;
    let got = start(&server, "good", Copies::Two, good).await;
    let more = ["--effects", "effects.good.>", "--format", "json"];
    let ended = check(&server, "good", &more).await;
    let report = report(&ended);
    assert_eq!((ended.code, &report["failed"]), (Some(0), &0.into()), "{}", ended.out);
    let notes = [
        ("claims.no-email", "service_error"),
        ("claims.none", "service_error"),
        ("claims.null", "service_error"),
        ("claims.empty", "service_error"),
    ];
    assert_eq!(findings(&report, "note"), pairs(&notes), "{}", ended.out);
    let passed = findings(&report, "pass");
    for row in [
        "step.entra.before-create",
        "step.entra.after-federation",
        "step.b2c.after-federation",
        "step.b2c.before-create",
        "step.b2c.before-token",
        "step.b2c-policy.custom",
        "claims.only-email",
        "locale.absent",
        "locale.unknown",
        "locale.several",
        "locale.malformed",
        "locale.empty",
        "attributes.custom",
        "attributes.nested",
        "attributes.unicode",
        "attributes.long",
        "attributes.64KiB",
        "repeat.1",
        "repeat.2",
        "repeat.3",
        "unseen",
        "at-once.1",
        "at-once.2",
        "late",
        "not-json",
        "burst",
        "alive",
        "replies",
        "discovery",
        "effects",
    ] {
        assert!(passed.contains(&(row.to_owned(), "ok".to_owned())), "{row}: {}", ended.out);
    }
    assert_eq!(passed.len() + notes.len(), report["rows"].as_array().unwrap().len());
    let burst = report["rows"].as_array().unwrap().iter().find(|row| row["row"] == "burst");
    let speed = |name: &str| burst.unwrap()["speed"][name].as_f64().unwrap();
    assert!(0.0 < speed("p50_ms") && speed("p50_ms") <= speed("p99_ms"), "{burst:?}");
    assert!(speed("p99_ms") <= speed("max_ms"), "{burst:?}");

    let got = got.lock().unwrap();
    let steps: BTreeSet<_> = got
        .iter()
        .map(|got| (got.header("Connector-Protocol"), got.header("Connector-Step")))
        .collect();
    assert_eq!(steps.len(), 6, "{steps:?}");
    assert!(got.iter().any(|got| got.attempt == 2) && got.iter().any(|got| got.is_late));
    for got in got.iter() {
        assert_eq!(got.header("Connector-Name"), "good");
        assert_eq!(got.header("Nats-Msg-Id"), got.id);
        assert!(got.header("traceparent").ends_with("-00"));
    }
}

#[tokio::test]
async fn each_broken_worker_fails_in_the_right_row_for_the_right_reason() {
    let server = NatsServer::start_with("jetstream: {store_dir: \"{folder}/js\"}").await;
    let client = server.client().await;
    let stream = r#"{"name":"S","subjects":["connectors.captured.>"],"storage":"memory"}"#;
    client.request("$JS.API.STREAM.CREATE.S", stream.into()).await.unwrap();
    join_all(BROKEN.iter().map(async |broken| {
        let name = broken.name;
        start(&server, name, broken.copies, broken.behave).await;
        let effects = format!("effects.{name}.>");
        let least = ["--format", "json", "--wait", "5s", "--deadline", broken.deadline];
        let ended = match broken.shows_effects {
            true => check(&server, name, &[&least[..], &["--effects", &effects]].concat()).await,
            false => check(&server, name, &least).await,
        };
        let report = report(&ended);
        assert_eq!(ended.code, Some(1), "{name}: {}", ended.out);
        let failed = findings(&report, "fail");
        match broken.breaks {
            Breaks::Rows(rows) => assert_eq!(failed, pairs(rows), "{name}: {}", ended.out),
            Breaks::All { row, reason } => {
                assert!(
                    failed.contains(&(row.to_owned(), reason.to_owned())),
                    "{name}: {failed:?}"
                );
                let reasons: BTreeSet<&str> =
                    failed.iter().map(|(_, reason)| reason.as_str()).collect();
                assert_eq!(reasons, BTreeSet::from([reason]), "{name}: {}", ended.out);
            }
        }
    }))
    .await;
    assert!(BROKEN.len() >= 25 && expected().len() >= 20, "{:?}", expected());
}

#[tokio::test]
async fn the_table_for_people_has_a_line_for_each_row_and_says_how_it_ended() {
    let server = NatsServer::start().await;
    start(&server, "good", Copies::One, good).await;
    let ended = check(&server, "good", &["--deadline", "10s"]).await;
    assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{ended:?}");
    let mut lines = ended.out.lines();
    let first = format!(
        "connectors.good.before-create at {}, as connector good of entra at before-create, deadline 10000 ms",
        server.url()
    );
    assert_eq!((lines.next(), lines.next()), (Some(&*first), Some("")));
    let rows: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(rows.iter().all(|row| row.starts_with("pass  ") || row.starts_with("note  ")));
    assert!(rows[0].contains("a sign-up at before-create (entra)"), "{}", rows[0]);
    assert!(rows[0].ends_with(" ms  Continue"), "{}", rows[0]);
    // 33 rows, without that of effects.
    let (notes, count) = (rows.iter().filter(|row| row.starts_with("note")).count(), rows.len());
    let last = format!("{} passed, {notes} with a note, 0 failed", count - notes);
    assert_eq!(lines.next(), Some(&*last), "{}", ended.out);
    assert!(lines.next().unwrap().starts_with("Effects cannot be seen from here"));
    assert_eq!((count, notes, lines.next()), (33, 5, None), "{}", ended.out);
}

#[tokio::test]
async fn neither_claims_nor_a_workers_words_are_printed() {
    let server = NatsServer::start().await;
    let folder = Folder::new();
    let claims = r#"{"email":"canary@example.com","canary":"canary"}"#;
    let claims = written(&folder, "claims", claims);
    join_all(broken::CANARIES.iter().map(async |(name, behave)| {
        start(&server, name, Copies::One, *behave).await;
        for format in ["text", "json"] {
            let more = ["--claims", &*claims, "--format", format, "--effects", "effects.>"];
            let ended = check(&server, name, &more).await;
            assert!(ended.out.contains("before-create"), "{ended:?}");
            assert!(!format!("{ended:?}").contains("canary"), "{name}: {ended:?}");
        }
    }))
    .await;
}
