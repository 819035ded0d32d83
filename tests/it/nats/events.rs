//! Records of decisions at a real stream, and without one.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use jsonschema::draft202012;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{claims_of, connector};
use crate::support::{
    process::Serving,
    real::{Bridge, Folder, NatsServer, config_at, post, post_head, until, worker},
    records::{JETSTREAM, Records},
};

/// Where anything may come that must not be in a record.
const CANARY: &str = "kanarienvogel";

/// How many records ended so.
async fn ended(bridge: &Bridge, result: &str) -> f64 {
    bridge.metric(&format!(r#"events_total{{result="{result}"}}"#)).await.unwrap()
}

/// What a request is answered, and what its record says of that.
struct Row {
    connector: &'static str,
    /// What the worker is told to do.
    worker: &'static str,
    http: u16,
    action: &'static str,
    source: &'static str,
    reason: Option<&'static str>,
    attempt: Option<u32>,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { connector: "c", worker: "continue", http: 200, action: "continue", source: "worker", reason: None, attempt: Some(1) },
    Row { connector: "c", worker: "block", http: 200, action: "show_block_page", source: "worker", reason: None, attempt: Some(1) },
    Row { connector: "c", worker: "invalid", http: 400, action: "validation_error", source: "worker", reason: None, attempt: Some(1) },
    Row { connector: "c", worker: "silent", http: 200, action: "show_block_page", source: "default", reason: Some("timeout"), attempt: Some(1) },
    Row { connector: "c", worker: "broken", http: 200, action: "show_block_page", source: "default", reason: Some("invalid_reply"), attempt: Some(1) },
    Row { connector: "cached", worker: "continue", http: 200, action: "continue", source: "worker", reason: None, attempt: Some(1) },
    Row { connector: "cached", worker: "silent", http: 200, action: "continue", source: "cache", reason: Some("timeout"), attempt: Some(1) },
    Row { connector: "absent", worker: "", http: 200, action: "continue", source: "default", reason: Some("no_responders"), attempt: Some(1) },
    Row { connector: "requiring", worker: "", http: 400, action: "validation_error", source: "default", reason: Some("missing_claim"), attempt: None },
    Row { connector: "full", worker: "", http: 503, action: "none", source: "default", reason: Some("no_responders"), attempt: Some(1) },
    Row { connector: "token", worker: "block", http: 503, action: "show_block_page", source: "worker", reason: None, attempt: Some(1) },
    Row { connector: "policy", worker: "block", http: 409, action: "show_block_page", source: "worker", reason: None, attempt: Some(1) },
];

/// The connectors of [`ROWS`].
const CONNECTORS: &str = "  c: {protocol: entra, step: before-create, auth: none, deadline: 500ms}
  cached: {protocol: entra, step: before-create, auth: none, deadline: 500ms, fallback: {cached: {by: [email]}}}
  absent: {protocol: entra, step: after-federation, auth: none, grace: 0s, fallback: {default: continue}}
  requiring: {protocol: entra, step: before-create, auth: none, claims: {require: [missing]}}
  full: {protocol: entra, step: before-create, auth: none, grace: 0s, fallback: {default: refuse}}
  token: {protocol: b2c, step: before-token, auth: none, fallback: {default: refuse}}
  policy: {protocol: b2c-policy, step: custom, auth: none}
";

/// Does what the claims say.
async fn obedient_worker(server: &NatsServer) {
    for subject in
        ["connectors.c.*", "connectors.cached.*", "connectors.token.*", "connectors.policy.*"]
    {
        worker(server, subject, |call| {
            let claims: Value = serde_json::from_slice(&call.payload).unwrap();
            Some(match claims["worker"].as_str()? {
                "continue" => format!(r#"{{"action":"Continue","secret":"{CANARY}"}}"#),
                "block" => format!(r#"{{"action":"ShowBlockPage","userMessage":"{CANARY}"}}"#),
                "invalid" => format!(r#"{{"action":"ValidationError","userMessage":"{CANARY}"}}"#),
                "broken" => CANARY.to_owned(),
                _ => return None,
            })
        })
        .await;
    }
}

#[tokio::test]
async fn every_answered_call_is_one_record_that_says_how_and_fits_its_schema() {
    let server = NatsServer::start_with(JETSTREAM).await;
    let records = Records::start(&server).await;
    obedient_worker(&server).await;
    let root = "events: {claims: [displayName, age, news, roles, nobody]}";
    let bridge = Bridge::start_with(&server, root, CONNECTORS).await.connected().await;
    let schema = include_str!("../../../src/schemas/event.json");
    let validator = draft202012::new(&serde_json::from_str(schema).unwrap()).unwrap();
    for (count, row) in (1..).zip(ROWS) {
        let claims = format!(
            r#"{{"email":"{CANARY}@example.com","displayName":"Ada \u00e9","age":36.50,"news":true,"roles":["{CANARY}"],"{CANARY}":1,"worker":"{}"}}"#,
            row.worker
        );
        let answer = bridge.post(row.connector, &claims).await;
        let what = format!("{} {}", row.connector, row.worker);
        assert_eq!((answer.status, answer.source()), (row.http, row.source), "{what}");
        let kept = records.until(count).await;
        assert_eq!(kept.len() as u64, count, "{what}");
        let record = kept.last().unwrap();
        let event = &record.event;
        assert!(validator.is_valid(event), "{what}: {event:#}");
        let known: Value = serde_json::from_str(schema).unwrap();
        for (object, pointer) in
            [(event, "/properties"), (&event["data"], "/$defs/data/properties")]
        {
            for member in object.as_object().unwrap().keys() {
                assert!(known.pointer(pointer).unwrap().get(member).is_some(), "{member}");
            }
        }
        let said = ["status", "action", "source", "reason", "attempt", "connector"];
        let wanted =
            json!([row.http, row.action, row.source, row.reason, row.attempt, row.connector]);
        assert_eq!(json!(said.map(|name| record.data(name))), wanted, "{what}");
        assert_eq!(record.data("call_id"), answer.header("connector-call-id").unwrap(), "{what}");
        assert_eq!(event["subject"], row.connector);
        assert!(
            record
                .text
                .contains(r#""claims":{"displayName":"Ada \u00e9","age":36.50,"news":true}"#),
            "{}",
            record.text
        );
        assert!(!record.text.contains(CANARY), "{}", record.text);
        let header = |name| record.headers.get(name).map(|value| value.as_str().to_owned());
        assert_eq!(header("Nats-Msg-Id").as_deref(), event["id"].as_str());
        assert_eq!(header("Content-Type").as_deref(), Some("application/cloudevents+json"));
        let time =
            |name: &str| humantime::parse_rfc3339(record.data(name).as_str().unwrap()).unwrap();
        let took = time("answered").duration_since(time("received")).unwrap().as_secs_f64() * 1e3;
        assert!((took - record.data("ms").as_f64().unwrap()).abs() <= 1.0, "{event:#}");
        assert!(time("deadline") > time("received"));
    }
    assert_eq!(ended(&bridge, "published").await, ROWS.len() as f64);
    // A request that never was a call is none.
    assert_eq!(bridge.post("c", "[]").await.status, 422);
    assert_eq!(bridge.post("nowhere", "{}").await.status, 404);
    // A retry, published once more, is known to the stream.
    let claims = claims_of(1).replace('{', r#"{"worker":"continue","#);
    assert_eq!(bridge.post("c", &claims).await.source(), "worker");
    assert_eq!(bridge.post("c", &claims).await.source(), "replay");
    bridge.until_metric(r#"events_total{result="duplicate"}"#, 1.0).await;
    assert_eq!(records.count().await, ROWS.len() as u64 + 1);
}

#[tokio::test]
async fn without_events_nothing_is_published() {
    let server = NatsServer::start_with(JETSTREAM).await;
    let records = Records::start(&server).await;
    let bridge = Bridge::start(&server, &connector("grace: 0s")).await.connected().await;
    bridge.post("c", &claims_of(1)).await;
    let with = Bridge::start_with(&server, "events: {}", &connector("grace: 0s")).await;
    let with = with.connected().await;
    with.post("c", &claims_of(2)).await;
    let [record] = &records.until(1).await[..] else { panic!("one of the two") };
    assert!(!record.text.contains("claims"), "none are listed");
    assert_eq!(ended(&bridge, "published").await, 0.0);
}

#[tokio::test]
async fn without_a_stream_calls_are_answered_and_that_is_counted_and_said_once() {
    let server = NatsServer::start_with(JETSTREAM).await;
    let connectors = connector("deadline: 1s, grace: 0s");
    let serving = Serving::start(&server, "events: {}", &connectors).await.connected().await;
    for person in 0..20 {
        let answer = post(serving.port, "c", &claims_of(person)).await;
        assert_eq!((answer.status, answer.source()), (200, "default"), "{answer:?}");
    }
    // On a busy machine the server's word may come too late for some.
    until("they are given up", async || {
        let (mut all, no_stream) = (0.0, r#"events_total{result="no_stream"}"#);
        for result in ["unacknowledged", "disconnected", "no_stream"] {
            all += serving.metric(&format!(r#"events_total{{result="{result}"}}"#)).await?;
        }
        (all == 20.0 && serving.metric(no_stream).await? > 0.0).then_some(())
    })
    .await;
    let said = until("that is said", async || {
        let err = serving.program.err();
        let lines = err.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let lines = lines.filter(|line| line.contains("records of decisions are lost"));
        let said: Vec<_> =
            lines.filter(|line| line.contains("no_stream")).map(str::to_owned).collect();
        (!said.is_empty()).then_some(said)
    })
    .await;
    let [line] = &said[..] else { panic!("{said:?}") };
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["subject"], "connector-events.decided");
}

#[tokio::test]
async fn a_stream_that_is_made_a_little_late_gets_the_records_of_before() {
    let server = NatsServer::start_with(JETSTREAM).await;
    let bridge = Bridge::start_with(&server, "events: {}", &connector("grace: 0s")).await;
    let bridge = bridge.connected().await;
    bridge.post("c", &claims_of(1)).await;
    let records = Records::start(&server).await;
    assert_eq!(records.until(1).await[0].data("reason"), "no_responders");
    bridge.until_metric(r#"events_total{result="published"}"#, 1.0).await;
}

#[tokio::test]
async fn a_server_that_freezes_holds_up_no_answer_and_gets_the_records_when_it_goes_on() {
    let server = NatsServer::start_with(JETSTREAM).await;
    let records = Records::start(&server).await;
    let connectors = connector("deadline: 1s, grace: 0s, breaker: {failures: 1, open_for: 60s}");
    let bridge = Bridge::start_with(&server, "events: {}", &connectors).await.connected().await;
    server.signal("STOP");
    // The first waits for its deadline; the breaker answers the others at once.
    let start = Instant::now();
    for person in 0..50 {
        let answer = bridge.post("c", &claims_of(person)).await;
        assert_eq!((answer.status, answer.source()), (200, "default"), "{answer:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    server.signal("CONT");
    until("each record has its end", async || {
        let mut sum = 0.0;
        for result in ["published", "disconnected", "unacknowledged", "no_stream"] {
            sum += ended(&bridge, result).await;
        }
        (sum == 50.0).then_some(())
    })
    .await;
    let kept = records.count().await as f64;
    assert!(kept >= ended(&bridge, "published").await && kept >= 1.0, "{kept}");
    assert!(kept <= 50.0, "none of them twice");
}

#[tokio::test]
async fn the_last_records_are_out_before_the_program_ends() {
    let server = NatsServer::start_with(JETSTREAM).await;
    let (folder, nats) = (Folder::new(), format!("servers: [\"{}\"]", server.url()));
    let root = "events: {}\ndrain_delay: 0s";
    let config = config_at(&folder, &nats, root, &connector("grace: 0s"));
    let environment = [("HOSTNAME", Path::new("pod-7"))];
    let serving = Serving::start_as(folder, &environment, &config).await.connected().await;
    // Nobody takes the record yet: it waits for its next try.
    post(serving.port, "c", &claims_of(1)).await;
    serving.program.signal("TERM");
    let records = Records::start(&server).await;
    let ended = serving.program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let [record] = &records.until(1).await[..] else { panic!("one") };
    assert_eq!(record.data("instance"), "pod-7");
    assert!(!ended.err.contains("were left"), "{}", ended.err);
}

#[tokio::test]
async fn records_that_are_left_are_owned_up_to_even_where_a_connection_stays_open() {
    let server = NatsServer::start_with(JETSTREAM).await;
    let root = "events: {}\ndrain_delay: 0s\nshutdown_grace: 400ms";
    let serving = Serving::start(&server, root, &connector("grace: 0s")).await.connected().await;
    // There is no stream: the record is tried again and again.
    post(serving.port, "c", &claims_of(1)).await;
    // When it is refused, the rest of this request is still waited for, for longer than the grace.
    let mut half = TcpStream::connect(("127.0.0.1", serving.port)).await.unwrap();
    half.write_all(format!("{}\r\n{{", post_head("c", 100)).as_bytes()).await.unwrap();
    serving.program.signal("TERM");
    let ended = serving.program.ended().await;
    for said in ["with connections open", "records of decisions were left", r#""records":1"#] {
        assert!(ended.err.contains(said), "{said}: {}", ended.err);
    }
}
