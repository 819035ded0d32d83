//! Streams that somebody else has made beforehand: what is mended, and what is named.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy, Republish, RetentionPolicy, StorageType},
};

use super::{
    assert_is_decided, claims_of, connector,
    store::jetstream_server,
    worker::{Worker, lets_in},
};
use crate::support::{
    process::Serving,
    real::{Bridge, NatsServer, post, until},
};

const CALLS: &str = "KV_connector_bridge_calls";
const DECISIONS: &str = "KV_connector_bridge_decisions";

/// As found in the field: a few messages, the oldest dropped for newer ones.
fn made_otherwise(stream: &str) -> Config {
    let bucket = stream.strip_prefix("KV_").unwrap();
    Config {
        name: stream.to_owned(),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages: 5,
        max_message_size: 512,
        max_consumers: if stream == CALLS { 1 } else { -1 },
        discard: if stream == CALLS { DiscardPolicy::Old } else { DiscardPolicy::New },
        retention: RetentionPolicy::Interest,
        republish: Some(Republish {
            source: ">".to_owned(),
            destination: "copied.>".to_owned(),
            headers_only: false,
        }),
        storage: StorageType::Memory,
        ..Config::default()
    }
}

async fn make(server: &NatsServer, config: Config) {
    jetstream::new(server.client().await).create_stream(config).await.unwrap();
}

async fn config_of(server: &NatsServer, stream: &str) -> Config {
    let context = jetstream::new(server.client().await);
    context.get_stream(stream).await.unwrap().cached_info().config.clone()
}

/// One line of its log.
async fn until_said(serving: &Serving, what: &str) -> String {
    until(what, async || {
        let err = serving.program.err();
        err.lines().find(|line| line.contains(what)).map(str::to_owned)
    })
    .await
}

async fn replica(server: &NatsServer, calls: &str) -> Serving {
    let root = format!("calls: {{store: jetstream, {calls}}}");
    Serving::start(server, &root, &connector("")).await.connected().await
}

#[tokio::test]
async fn a_stream_that_forgets_calls_is_mended_and_every_retry_elsewhere_is_replayed() {
    let (server, _files) = jetstream_server().await;
    make(&server, made_otherwise(CALLS)).await;
    let root = "calls: {store: jetstream}";
    let a = Bridge::start_with(&server, root, &connector("")).await.connected().await;
    let b = Bridge::start_with(&server, root, &connector("")).await.connected().await;
    for bridge in [&a, &b] {
        bridge.until_metric("store_available", 1.0).await;
    }
    let config = config_of(&server, CALLS).await;
    assert_eq!((config.max_messages, config.max_messages_per_subject), (-1, 1));
    assert_eq!((config.discard, config.retention), (DiscardPolicy::New, RetentionPolicy::Limits));
    assert_eq!((config.max_message_size, config.republish), (131_072, None));
    assert!(config.allow_message_ttl);
    let worker = Worker::start(&server, lets_in).await;
    for person in 0..20 {
        assert_is_decided(&a.post("c", &claims_of(person)).await);
    }
    a.until_metric(r#"store_operations_total{operation="record",result="ok"}"#, 20.0).await;
    for person in 0..20 {
        assert_eq!(b.post("c", &claims_of(person)).await.source(), "replay", "{person}");
    }
    assert_eq!(worker.got().len(), 20);
}

#[tokio::test]
async fn what_the_server_does_not_change_is_named_and_such_a_stream_is_not_used() {
    let (server, _files) = jetstream_server().await;
    make(&server, Config { storage: StorageType::File, ..made_otherwise(CALLS) }).await;
    let serving = replica(&server, "").await;
    let said = until_said(&serving, "the store is not available").await;
    assert!(said.contains("storage is file and must be memory; that cannot"), "{said}");
    assert!(!said.contains("max_msgs"), "the rest is mended: {said}");
    assert_eq!(serving.metric("store_available").await, Some(0.0));
    let _worker = Worker::start(&server, lets_in).await;
    assert_is_decided(&post(serving.port, "c", &claims_of(1)).await);
    let context = jetstream::new(server.client().await);
    let mut stream = context.get_stream(CALLS).await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 0, "nothing is on the disk");
    // Once it is gone, the bridge makes its own.
    context.delete_stream(CALLS).await.unwrap();
    until("the store", async || {
        (serving.metric("store_available").await == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(config_of(&server, CALLS).await.storage, StorageType::Memory);
}

#[tokio::test]
async fn where_nothing_may_be_changed_every_wrong_property_is_named_with_the_right_value() {
    let (server, _files) = jetstream_server().await;
    let made = Config { storage: StorageType::File, max_bytes: 5_000, ..made_otherwise(CALLS) };
    make(&server, made.clone()).await;
    let serving = replica(&server, "create: false").await;
    let said = until_said(&serving, "the store is not available").await;
    for wrong in [
        "storage is file and must be memory",
        "retention is interest and must be limits",
        "discard is old and must be new",
        "max_msgs is 5 and must be -1",
        "max_msgs_per_subject is -1 and must be 1",
        "max_msg_size is 512 and must be at least 131072",
        "allow_msg_ttl is false and must be true",
        "republish is {",
        "calls.create is false",
    ] {
        assert!(said.contains(wrong), "{wrong}: {said}");
    }
    assert_eq!(serving.metric("store_available").await, Some(0.0));
    let context = jetstream::new(server.client().await);
    assert_eq!(config_of(&server, CALLS).await.max_messages, 5, "nothing was changed");

    // One that is only smaller than asked for is used, and that is said.
    context.delete_stream(CALLS).await.unwrap();
    let fit = Config {
        storage: StorageType::Memory,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_messages: -1,
        max_messages_per_subject: 1,
        max_message_size: -1,
        allow_message_ttl: true,
        republish: None,
        max_bytes: 1_000_000,
        ..made
    };
    make(&server, fit).await;
    let said = until_said(&serving, "a stream is smaller than configured").await;
    assert!(said.contains("max_bytes is 1000000 and must be at least 102400000"), "{said}");
    until("the store", async || {
        (serving.metric("store_available").await == Some(1.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_decisions_is_mended_too_or_named() {
    let (server, _files) = jetstream_server().await;
    make(&server, made_otherwise(DECISIONS)).await;
    let shared = connector("fallback: {cached: {by: [email], shared: true}}");
    let serving = Serving::start(&server, "", &shared).await.connected().await;
    until_said(&serving, "changed a stream").await;
    let config = config_of(&server, DECISIONS).await;
    assert_eq!((config.max_messages, config.discard), (-1, DiscardPolicy::Old));
    assert!(config.max_age.is_zero() || config.max_age >= Duration::from_secs(86_400));

    jetstream::new(server.client().await).delete_stream(DECISIONS).await.unwrap();
    make(&server, Config { max_consumers: 1, ..made_otherwise(DECISIONS) }).await;
    let named = Serving::start(&server, "calls: {create: false}", &shared).await.connected().await;
    let said = until_said(&named, "cached decisions are not shared").await;
    for wrong in ["max_consumers is 1 and must be -1", "discard is new and must be old"] {
        assert!(said.contains(wrong), "{wrong}: {said}");
    }
}
