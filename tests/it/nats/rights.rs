//! What the bridge says where the server does not grant all that it needs.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use super::permissions::{as_bridge, connectors, permissions, server, worker};
use crate::support::{
    process::Serving,
    proxy::{Flow, Proxy},
    real::{Folder, NatsServer, post, until},
};

const LACKS: &str = "the NATS user lacks a right that the bridge needs";
const AUTH_ERROR: &str = r#"nats_connection_events_total{event="auth_error"}"#;
const CONNECTED: &str = r#"nats_connection_events_total{event="connected"}"#;

/// The file without the lines that hold `right`.
fn without(right: &str) -> String {
    let all = permissions();
    let rest: Vec<&str> = all.lines().filter(|line| !line.contains(right)).collect();
    assert!(rest.len() < all.lines().count(), "{right} is not in the file");
    rest.join("\n")
}

/// The bridge as a process, at a server that grants everything but `right`.
async fn serve_without(right: &str) -> (NatsServer, Serving) {
    let server = server(&without(right)).await;
    let root = "calls: {store: jetstream}\nevents: {}\ndrain_delay: 0s";
    let serving = Serving::start_in(Folder::new(), &as_bridge(&server), root, connectors()).await;
    (server, serving.connected().await)
}

/// Other rights from now on, on connections that there are too.
fn grant(server: &NatsServer, permissions: &str) {
    fs::write(server.folder.0.join("permissions.conf"), permissions).unwrap();
    server.signal("HUP");
}

/// The log lines of this level so far.
fn lines(serving: &Serving, level: &str) -> Vec<Value> {
    // The last line may not be whole yet.
    let err = serving.program.err();
    let lines = err.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["level"] == level).collect()
}

/// Waits for a log line of this level.
async fn until_line(serving: &Serving, level: &str, is_wanted: impl Fn(&Value) -> bool) {
    until("the line", async || lines(serving, level).into_iter().find(&is_wanted).map(drop)).await;
}

async fn missing(serving: &Serving) -> Value {
    serving.status().await["nats"]["missing_rights"].take()
}

async fn until_missing(serving: &Serving, wanted: &[&str]) {
    until(&format!("{wanted:?} are missing"), async || {
        (missing(serving).await == json!(wanted)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_in_the_log_and_the_status_and_counted() {
    const CALL: &str = "publish connectors.approve-signup.before-create";
    const OTHER: &str = "publish connectors.other.before-create";
    const READ: &str = "publish $JS.API.STREAM.MSG.GET.KV_connector_bridge_calls";
    const FOLLOW: &str = "publish $JS.API.CONSUMER.CREATE.KV_connector_bridge_decisions.*";
    let rows: [(&str, &[(&str, &str)]); 7] = [
        (
            "\"connectors.>\"",
            &[(CALL, "connectors.approve-signup.subject"), (OTHER, "connectors.other.subject")],
        ),
        ("$SRV.INFO", &[("publish $SRV.INFO", "connectors")]),
        ("$KV.connector_bridge_calls", &[("publish $KV.connector_bridge_calls.*", "calls.store")]),
        ("STREAM.MSG.GET.KV_connector_bridge_calls", &[(READ, "calls.store")]),
        (
            "$KV.connector_bridge_decisions",
            &[("publish $KV.connector_bridge_decisions.*.*", "fallback.cached.shared")],
        ),
        ("connector-events", &[("publish connector-events.decided", "events.subject")]),
        ("CONSUMER.CREATE", &[(FOLLOW, "fallback.cached.shared")]),
    ];
    for (removed, wanted) in rows {
        let (_server, serving) = serve_without(removed).await;
        let rights: Vec<&str> = wanted.iter().map(|(right, _)| *right).collect();
        until_missing(&serving, &rights).await;
        for (right, key) in wanted {
            let is_about = |line: &Value| {
                line["message"] == LACKS && line["right"] == *right && line["key"] == *key
            };
            until_line(&serving, "ERROR", is_about).await;
        }
        let said = lines(&serving, "ERROR");
        let named = said.iter().filter(|line| line["right"] != Value::Null).count();
        assert_eq!(named, wanted.len(), "{removed}: {said:?}");
        assert!(serving.metric(AUTH_ERROR).await.unwrap() >= wanted.len() as f64, "{removed}");
    }
}

/// All rights but that to hear replies.
fn deaf() -> String {
    permissions().replace("_INBOX_connector_bridge.>", "_INBOX_other.>")
}

#[tokio::test]
async fn a_bridge_that_may_not_hear_replies_says_what_the_server_says_and_asks_nobody() {
    let server = server(&deaf()).await;
    let serving = Serving::start_in(Folder::new(), &as_bridge(&server), "", connectors()).await;
    until_line(&serving, "ERROR", |line| {
        let violation = r#"Permissions Violation for Subscription to "_INBOX_connector_bridge."#;
        let error = line["error"].as_str().unwrap_or_default();
        line["message"] == LACKS && error.contains(violation)
    })
    .await;
    assert!(serving.metric(AUTH_ERROR).await.unwrap() >= 1.0);
    assert_eq!(missing(&serving).await, Value::Null, "nobody says");
    let worker = worker(&server).await;
    let answer = post(serving.port, "approve-signup", "{}").await;
    assert_eq!((answer.source(), worker.got().len()), ("default", 0));
    until("the next connection is no better", async || {
        serving.metric(AUTH_ERROR).await.filter(|count| *count >= 2.0)
    })
    .await;
    assert_eq!(serving.metric(CONNECTED).await, Some(1.0), "the next one is not used");
}

#[tokio::test]
async fn replies_that_were_forbidden_for_a_while_are_heard_again_when_they_are_allowed() {
    let server = server(&permissions()).await;
    let serving = Serving::start_in(Folder::new(), &as_bridge(&server), "", connectors()).await;
    let worker = worker(&server).await;
    let until_decided = async || {
        let decided = until("a worker decides", async || {
            let answer = post(serving.port, "approve-signup", "{}").await;
            (answer.source() == "worker").then_some(())
        });
        decided.await;
    };
    until_decided().await;
    grant(&server, &deaf());
    until("it is not connected", async || {
        (serving.metric("nats_connected").await == Some(0.0)).then_some(())
    })
    .await;
    grant(&server, &permissions());
    until_decided().await;
    assert!(worker.got().len() >= 2);
}

/// The rights are not known, and how they would be.
fn is_unknown(line: &Value) -> bool {
    let message = line["message"].as_str().unwrap();
    message.contains("does not say which rights") && message.contains("$SYS.REQ.USER.INFO")
}

#[tokio::test]
async fn a_bridge_that_may_not_ask_for_its_rights_says_so_and_counts_no_error() {
    let (_server, serving) = serve_without("$SYS.REQ.USER.INFO").await;
    until_line(&serving, "INFO", is_unknown).await;
    assert_eq!(serving.metric(AUTH_ERROR).await, Some(0.0));
    assert_eq!(missing(&serving).await, Value::Null);
    assert_eq!(lines(&serving, "ERROR"), [Value::Null; 0]);
}

#[tokio::test]
async fn a_right_that_is_granted_later_is_missing_no_more_on_the_same_connection() {
    let (server, serving) = serve_without("$SRV.INFO").await;
    until_missing(&serving, &["publish $SRV.INFO"]).await;
    grant(&server, &permissions());
    until_missing(&serving, &[]).await;
    until_line(&serving, "INFO", |line| {
        line["message"] == "the NATS user has all rights that the bridge needs"
    })
    .await;
    assert_eq!(serving.metric(CONNECTED).await, Some(1.0));
}

#[tokio::test]
async fn a_right_is_missed_at_a_server_that_is_far_away_too() {
    let server = server(&without("$SRV.INFO")).await;
    let line = Proxy::to(server.port).await;
    line.set(Flow::Delayed(Duration::from_millis(150)));
    let nats = as_bridge(&server).replace(&server.port.to_string(), &line.port.to_string());
    let serving = Serving::start_in(Folder::new(), &nats, "", connectors()).await;
    until_missing(&serving, &["publish $SRV.INFO"]).await;
}
