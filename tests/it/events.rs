//! Records of decisions behind answers: which there are, and what becomes of them when the stream
//! does not keep them. Time is paused; `nats/events` has a real stream.

use connector_bridge::{
    clock,
    events::{BYTES_MAX, RECORDS_MAX},
    wire::NotKept,
};
use serde_json::Value;

use crate::support::{
    fake::{Bridge, Worker, pass, timed},
    fake_stream::Fate,
};

const CLAIMS: &str = r#"{"email":"a@b.c","city":"Ulm"}"#;
const CONTINUE: &str = r#"{"action":"Continue","tier":"gold"}"#;
const INVALID: &str = r#"{"action":"ValidationError","userMessage":"Bad zip"}"#;

/// A connector `c` whose records are published; `more` are further keys of its section.
fn bridge(more: &str, script: &[Worker]) -> Bridge {
    let config = format!(
        "events: {{claims: [essay]}}\nconnectors:\n  c: {{protocol: entra, step: before-create, auth: none, deadline: 1s{more}}}"
    );
    Bridge::with(&config, script)
}

/// One that answers without a worker, so that no time passes.
fn bridge_without_workers() -> Bridge {
    bridge(", claims: {require: [missing]}", &[Worker::Absent])
}

/// How many records ended so.
fn ended(bridge: &Bridge, result: &str) -> f64 {
    bridge.metric(&format!("events_total{{result=\"{result}\"}}"))
}

/// These ends, and no others.
#[track_caller]
fn assert_ended(bridge: &Bridge, wanted: &[(&str, f64)]) {
    for result in [
        "published",
        "duplicate",
        "queue_full",
        "disconnected",
        "no_stream",
        "unacknowledged",
        "refused",
    ] {
        let count =
            wanted.iter().find(|(name, _)| *name == result).map_or(0.0, |(_, count)| *count);
        assert_eq!(ended(bridge, result), count, "{result}");
    }
}

/// What the records say at `pointer`.
fn say(records: &[Value], pointer: &str) -> Vec<Value> {
    records.iter().map(|record| record.pointer(pointer).cloned().unwrap_or_default()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_one_record_however_many_requests_got_it() {
    let bridge = bridge("", &[Worker::SaysAfter(500, CONTINUE)]);
    let (_, _) = tokio::join!(bridge.post(CLAIMS), async {
        pass(100).await;
        bridge.post(CLAIMS).await
    });
    let replayed = bridge.post(CLAIMS).await;
    pass(10).await;
    assert_eq!(replayed.source, "replay");
    let kept = bridge.stream().kept();
    assert_eq!(say(&kept, "/data/source"), ["worker"]);
    assert_eq!(say(&kept, "/data/call_id"), [&*replayed.call_id]);
    assert_eq!(say(&kept, "/data/attempt"), [1]);
    assert_ended(&bridge, &[("published", 1.0), ("duplicate", 2.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_came_late_is_a_record_beside_that_of_the_fallback() {
    let bridge = bridge("", &[Worker::SaysAfter(1_500, CONTINUE)]);
    bridge.post(CLAIMS).await;
    pass(1_000).await;
    bridge.post(CLAIMS).await;
    bridge.post(CLAIMS).await;
    pass(10).await;
    let kept = bridge.stream().kept();
    assert_eq!(say(&kept, "/data/source"), ["default", "replay"]);
    assert_eq!(say(&kept, "/data/action"), ["show_block_page", "continue"]);
    assert_eq!(say(&kept, "/data/reason"), [Value::from("timeout"), Value::Null]);
    assert_eq!(say(&kept, "/data/attempt"), [1.into(), Value::Null], "a replay asks nobody");
    let calls = say(&kept, "/data/call_id");
    assert_eq!(calls[0], calls[1]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_falls_back_again_in_its_retry_is_one_record() {
    let bridge = bridge("", &[Worker::Silent]);
    bridge.post(CLAIMS).await;
    bridge.post(CLAIMS).await;
    pass(10).await;
    assert_eq!(bridge.attempts(), [1, 2]);
    assert_eq!(say(&bridge.stream().kept(), "/data/attempt"), [1]);
    assert_ended(&bridge, &[("published", 1.0), ("duplicate", 1.0)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_anew_is_a_record_of_its_own() {
    // A form that was posted again; people who cannot be told apart; a claim that is missing.
    for (more, claims, reply) in [
        ("", CLAIMS, INVALID),
        ("", r#"{"city":"Ulm"}"#, CONTINUE),
        (", claims: {require: [zip]}", CLAIMS, CONTINUE),
    ] {
        let bridge = bridge(more, &[Worker::Says(reply)]);
        bridge.post(claims).await;
        bridge.post(claims).await;
        pass(10).await;
        assert_ended(&bridge, &[("published", 2.0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_that_share_a_call_bring_one_record() {
    let store = std::sync::Arc::new(crate::support::fake_store::FakeStore::new());
    let config = "calls: {store: jetstream}\nevents: {}\nconnectors:\n  c: {protocol: entra, step: before-create, auth: none}";
    let replica = || Bridge::at_store(config, &[Worker::Says(CONTINUE)], &store);
    let (one, other) = (replica(), replica());
    one.post(CLAIMS).await;
    pass(100).await;
    assert_eq!(other.post(CLAIMS).await.source, "replay");
    pass(10).await;
    let ids = |bridge: &Bridge| say(&bridge.stream().kept(), "/id");
    assert_eq!((ids(&one), ids(&one).len()), (ids(&other), 1));
}

#[tokio::test(start_paused = true)]
async fn no_answer_waits_for_a_stream_and_a_record_is_not_tried_for_ever() {
    for (fate, result, tries) in [
        (Fate::Silence, "unacknowledged", 4),
        (Fate::Fails(NotKept::NoStream), "no_stream", 20),
        (Fate::Fails(NotKept::Refused(Some(10_077))), "refused", 20),
        (Fate::Fails(NotKept::Disconnected), "disconnected", 20),
    ] {
        let bridge = bridge_without_workers();
        bridge.stream().fates(&[fate]);
        let (_, took) = timed(bridge.post("{}")).await;
        assert_eq!(took, 0, "{result}");
        pass(9_000).await;
        assert_ended(&bridge, &[]);
        pass(1_001).await;
        assert_ended(&bridge, &[(result, 1.0)]);
        assert_eq!(bridge.stream().asked(), tries, "{result}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_is_tried_again_under_the_same_id_until_the_stream_has_it() {
    for (fates, tries) in [
        (&[Fate::KeptInSilence, Fate::Kept(0)][..], 2),
        (&[Fate::Fails(NotKept::NoStream), Fate::Silence, Fate::Kept(0)], 3),
    ] {
        let bridge = bridge_without_workers();
        bridge.stream().fates(fates);
        bridge.post("{}").await;
        pass(9_000).await;
        assert_ended(&bridge, &[("published", 1.0)]);
        assert_eq!((bridge.stream().kept().len(), bridge.stream().asked()), (1, tries));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_nothing_is_published_and_a_record_waits_a_while() {
    for (away, end) in [(8_000, "published"), (12_000, "disconnected")] {
        let bridge = bridge_without_workers();
        bridge.disconnect();
        bridge.post("{}").await;
        pass(away).await;
        assert_eq!(bridge.stream().asked(), 0);
        bridge.reconnect();
        pass(10).await;
        assert_ended(&bridge, &[(end, 1.0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn records_on_their_way_are_bounded_in_number_and_in_bytes() {
    let most = RECORDS_MAX as usize;
    let essay = format!(r#"{{"essay":"{}"}}"#, "x".repeat(60_000));
    let of_essays = BYTES_MAX as usize / 61_000;
    for (claims, fit) in [("{}".to_owned(), most..=most), (essay, of_essays..=of_essays + 1)] {
        let bridge = bridge_without_workers();
        bridge.stream().fates(&[Fate::Silence]);
        let claims: &'static str = claims.leak();
        for _ in 0..fit.end() + 5 {
            bridge.post(claims).await;
        }
        let lost = ended(&bridge, "queue_full");
        let on_their_way = fit.end() + 5 - lost as usize;
        assert!(fit.contains(&on_their_way), "{on_their_way} of {fit:?}");
        // Their places are given back.
        bridge.stream().fates(&[Fate::Kept(0)]);
        pass(11_000).await;
        bridge.post(claims).await;
        pass(10).await;
        assert_eq!(ended(&bridge, "queue_full"), lost);
        assert!(ended(&bridge, "published") >= 1.0);
        let all: f64 =
            ["published", "queue_full", "unacknowledged"].map(|r| ended(&bridge, r)).iter().sum();
        assert_eq!(all as usize, fit.end() + 6, "each record has one end");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_program_waits_for_records_but_not_long() {
    for (fate, time, wanted) in [
        (Fate::Kept(700), 5_000, 700),
        (Fate::Silence, 5_000, 2_000),
        (Fate::Silence, 1_000, 1_000),
    ] {
        let bridge = bridge_without_workers();
        bridge.stream().fates(&[fate]);
        bridge.post("{}").await;
        let end = clock::now() + std::time::Duration::from_millis(time);
        let ((), took) = timed(bridge.events.as_ref().unwrap().flush(end)).await;
        assert!((wanted..wanted + 5).contains(&took), "{fate:?}: {took}");
    }
}
