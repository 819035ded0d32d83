//! Cached decisions that replicas share by way of a real nats-server.

use super::{
    assert_is_decided, assert_is_default, claims_of, connector,
    store::jetstream_server,
    worker::{Reply, Worker, says},
};
use crate::support::real::{Answer, Bridge, Folder, NatsServer, until};

const STREAM: &str = "KV_connector_bridge_decisions";

/// A replica that caches decisions by e-mail address, and shares them.
async fn replica(server: &NatsServer, cached: &str) -> Bridge {
    let cached = format!("fallback: {{cached: {{by: [email], shared: true, {cached}}}}}");
    Bridge::start(server, &connector(&format!("grace: 0ms, {cached}"))).await.connected().await
}

/// Blocks with a message that names nobody.
fn blocks(_: &async_nats::Message) -> Reply {
    says(r#"{"action":"ShowBlockPage","userMessage":"Not canary-9."}"#)
}

/// What is cached for a person where no worker is.
async fn until_cached(bridge: &Bridge, person: usize) -> Answer {
    until("the decision is cached", async || {
        let answer = bridge.post("c", &claims_of(person)).await;
        (answer.source() == "cache").then_some(answer)
    })
    .await
}

async fn until_shared(bridge: &Bridge, count: f64) {
    bridge.until_metric(r#"store_operations_total{operation="share",result="ok"}"#, count).await;
}

async fn until_loaded(bridge: &Bridge, count: f64) {
    bridge.until_metric(r#"store_operations_total{operation="load",result="ok"}"#, count).await;
}

#[tokio::test]
async fn what_one_replica_keeps_the_others_and_new_ones_find_even_without_nats() {
    let (mut server, _files) = jetstream_server().await;
    let (a, b) = (replica(&server, "").await, replica(&server, "").await);
    let worker = Worker::start(&server, blocks).await;
    let first = a.post("c", &claims_of(1)).await;
    assert_is_decided(&first);
    // Under the same call, and under the same values.
    until_shared(&a, 2.0).await;
    until_loaded(&b, 2.0).await;
    let late = replica(&server, "").await;
    until_loaded(&late, 2.0).await;
    worker.leave().await;
    server.kill();
    for bridge in [&b, &late] {
        let other_form = claims_of(1).replace("Person", "Miss");
        for claims in [claims_of(1), other_form] {
            let answer = bridge.post("c", &claims).await;
            assert_eq!((answer.source(), &answer.body), ("cache", &first.body), "{answer:?}");
        }
        assert_is_default(&bridge.post("c", &claims_of(2)).await);
    }
}

#[tokio::test]
async fn a_decision_that_was_overtaken_is_forgotten_everywhere() {
    let (server, _files) = jetstream_server().await;
    let (a, b) = (replica(&server, "").await, replica(&server, "").await);
    let worker = Worker::start(&server, blocks).await;
    a.post("c", &claims_of(1)).await;
    until_loaded(&b, 2.0).await;
    worker.leave().await;
    let worker = Worker::start(&server, |_| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Cache-Control", "no-store");
        Some((headers, r#"{"action":"Continue"}"#.to_owned()))
    })
    .await;
    // Another form of the same person, so that it is no retry.
    let other_form = claims_of(1).replace("Person", "Miss");
    assert_is_decided(&b.post("c", &other_form).await);
    until_loaded(&a, 2.0).await;
    worker.leave().await;
    let third_form = claims_of(1).replace("Person", "Mister");
    for bridge in [&a, &b] {
        assert_is_default(&bridge.post("c", &third_form).await);
    }
}

#[tokio::test]
async fn with_a_key_shared_decisions_are_sealed_and_none_is_shared_unless_written() {
    let (server, _files) = jetstream_server().await;
    let folder = Folder::new();
    let key = folder.0.join("key");
    std::fs::write(&key, "k".repeat(32)).unwrap();
    let root = format!("calls: {{encryption_key_files: [{key:?}]}}");
    let cached = "fallback: {cached: {by: [email], shared: true}}";
    let nats = format!("servers: [\"{}\"]", server.url());
    let sealed = Bridge::start_in(Folder::new(), &nats, &root, &connector(cached)).await;
    let sealed = sealed.connected().await;
    let _worker = Worker::start(&server, blocks).await;
    sealed.post("c", &claims_of(1)).await;
    until_shared(&sealed, 2.0).await;
    let context = async_nats::jetstream::new(server.client().await);
    let stream = context.get_stream(STREAM).await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 2);
    for sequence in 1..=2 {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let subject = message.subject.to_string();
        assert!(subject.starts_with("$KV.connector_bridge_decisions.c."), "{subject}");
        assert!(!message.payload.windows(8).any(|part| part == b"canary-9"));
    }
    // Who has no key cannot use them.
    let open = replica(&server, "").await;
    open.until_metric(r#"store_operations_total{operation="load",result="unreadable"}"#, 2.0).await;

    let own = connector("fallback: {cached: {by: [email]}}");
    let alone = Bridge::start(&server, &own).await.connected().await;
    assert_is_decided(&alone.post("c", &claims_of(2)).await);
    let mut stream = stream;
    assert_eq!(stream.info().await.unwrap().state.messages, 2);
}

#[tokio::test]
async fn a_shared_decision_is_not_used_beyond_its_age() {
    let (server, _files) = jetstream_server().await;
    let a = replica(&server, "max_age: 2s").await;
    let worker = Worker::start(&server, blocks).await;
    a.post("c", &claims_of(1)).await;
    until_shared(&a, 2.0).await;
    worker.leave().await;
    let b = replica(&server, "max_age: 2s").await;
    until_cached(&b, 1).await;
    until("it is too old", async || {
        (b.post("c", &claims_of(1)).await.source() == "default").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_own_rules_bound_what_other_replicas_share() {
    let (server, _files) = jetstream_server().await;
    let a = replica(&server, "max_age: 1h").await;
    let worker =
        Worker::start(&server, |_| says(r#"{"action":"Continue","tier":"gold","secret":"x"}"#))
            .await;
    a.post("c", &claims_of(1)).await;
    until_shared(&a, 2.0).await;
    worker.leave().await;
    let cached = "fallback: {cached: {by: [email], shared: true, max_age: 2s}}";
    let more = format!("grace: 0ms, claims: {{return: [tier]}}, {cached}");
    let b = Bridge::start(&server, &connector(&more)).await.connected().await;
    let answer = until_cached(&b, 1).await;
    assert!(answer.body.contains("gold") && !answer.body.contains("secret"), "{answer:?}");
    until("it is too old here", async || {
        (b.post("c", &claims_of(1)).await.source() == "default").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_stream_is_made_again_and_a_newer_change_is_not_overwritten() {
    let (server, _files) = jetstream_server().await;
    let (a, b) = (replica(&server, "").await, replica(&server, "").await);
    let worker = Worker::start(&server, blocks).await;
    a.post("c", &claims_of(1)).await;
    until_loaded(&b, 2.0).await;
    let context = async_nats::jetstream::new(server.client().await);
    context.delete_stream(STREAM).await.unwrap();
    // Nobody is there to take this one, and the next ones of the same person wait behind it.
    let form = |name: &str| claims_of(2).replace("Person", name);
    a.post("c", &form("Miss")).await;
    worker.leave().await;
    let worker = Worker::start(&server, |_| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Cache-Control", "no-store");
        Some((headers, r#"{"action":"Continue"}"#.to_owned()))
    })
    .await;
    a.post("c", &form("Mister")).await;
    worker.leave().await;
    let unavailable = r#"store_operations_total{operation="share",result="unavailable"}"#;
    assert!(a.metric(unavailable).await.unwrap() >= 1.0);
    until("the stream is made again, and followed", async || {
        let loaded = r#"store_operations_total{operation="load",result="ok"}"#;
        (b.metric(loaded).await.unwrap() >= 5.0).then_some(())
    })
    .await;
    for bridge in [&a, &b] {
        assert_is_default(&bridge.post("c", &form("Doctor")).await);
    }
}
