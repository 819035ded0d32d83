//! The store in a real nats-server: what replicas share, and what the server does that a fake one
//! would not.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy, StorageType, Stream},
};

use super::{
    assert_is_decided, claims_of, connector,
    worker::{Worker, is_silent, lets_in, says},
};
use crate::support::real::{Answer, Bridge, Folder, NatsServer, until};

const STREAM: &str = "KV_connector_bridge_calls";

/// A server with JetStream, its files in a folder of its own.
pub(super) async fn jetstream_server() -> (NatsServer, Folder) {
    let folder = Folder::new();
    let config = format!("jetstream {{store_dir: \"{}\"}}", folder.0.display());
    (NatsServer::start_with(&config).await, folder)
}

/// A replica whose store is available.
async fn replica(server: &NatsServer, calls: &str, more: &str) -> Bridge {
    let root = format!("calls: {{store: jetstream, {calls}}}");
    let bridge = Bridge::start_with(server, &root, &connector(more)).await;
    bridge.until_metric("store_available", 1.0).await;
    bridge.connected().await
}

#[tokio::test]
async fn an_owner_that_lives_is_heard_of_and_one_that_is_silent_is_taken_over_from() {
    let (server, _files) = jetstream_server().await;
    let (a, b) = (replica(&server, "", "").await, replica(&server, "", "").await);
    let worker = Worker::start(&server, is_silent).await;
    let claims = claims_of(1);
    let first = a.post("c", &claims);
    let second = async {
        worker.until_got(1).await;
        b.post("c", &claims).await
    };
    let decide = async {
        // A lease is over after 1.8 s without a beat.
        a.until_metric(r#"store_operations_total{operation="beat",result="ok"}"#, 7.0).await;
        worker.reply_to(0, r#"{"action":"Continue"}"#).await;
    };
    let (first, second, ()) = tokio::join!(first, second, decide);
    assert_is_decided(&first);
    assert_eq!((second.source(), worker.got().len()), ("worker", 1));
    assert!(operations(&b, "watch", "ok").await >= 10.0);

    // Nobody beats for this one.
    let owner = "{\"version\":1,\"round\":7,\"unanswered\":0,\"ends\":4000000000000000,\
        \"phase\":{\"claimed\":{\"owner\":9,\"until\":4000000000000000,\"beats\":true}}}\n";
    let id = first.header("connector-call-id").unwrap();
    let subject = format!("$KV.connector_bridge_calls.{id}");
    let record = [b"\0", owner.as_bytes()].concat();
    let context = jetstream::new(server.client().await);
    context.publish(subject, record.into()).await.unwrap().await.unwrap();
    let c = replica(&server, "", "").await;
    let decide = async {
        worker.until_got(2).await;
        worker.reply_to(1, r#"{"action":"Continue"}"#).await;
    };
    let (third, ()) = tokio::join!(c.post("c", &claims), decide);
    assert_is_decided(&third);
    assert_eq!(worker.attempts(), ["1", "2"]);
    assert!(third.took >= Duration::from_millis(1_800), "{:?}", third.took);
}

async fn operations(bridge: &Bridge, operation: &str, result: &str) -> f64 {
    let labels = format!(r#"{{operation="{operation}",result="{result}"}}"#);
    bridge.metric(&format!("store_operations_total{labels}")).await.unwrap()
}

/// Waits until the decision of a call is in the store.
async fn until_recorded(bridge: &Bridge, count: f64) {
    until("the decision is recorded", async || {
        (operations(bridge, "record", "ok").await >= count).then_some(())
    })
    .await;
}

fn assert_is_replay(answer: &Answer, of: &Answer) {
    assert_eq!(answer.source(), "replay", "{answer:?}");
    assert_eq!((answer.status, &answer.body), (of.status, &of.body));
    let id = |answer: &Answer| answer.header("connector-call-id").unwrap().to_owned();
    assert_eq!(id(answer), id(of));
}

#[tokio::test]
async fn the_bridge_makes_the_stream_that_it_needs() {
    let (server, _files) = jetstream_server().await;
    let bridge = replica(&server, "max_entries: 2000", "").await;
    let context = jetstream::new(server.client().await);
    let config = context.get_stream(STREAM).await.unwrap().cached_info().config.clone();
    assert_eq!(config.subjects, ["$KV.connector_bridge_calls.>"]);
    assert_eq!((config.storage, config.num_replicas), (StorageType::Memory, 1));
    assert!(config.allow_message_ttl && !config.allow_direct && config.deny_delete);
    assert_eq!((config.max_messages_per_subject, config.max_bytes), (1, 2_048_000));
    assert_eq!(config.subject_delete_marker_ttl, None, "a marker would end the next TTL");
    assert_eq!(config.max_age, Duration::from_secs(120));
    assert!(bridge.admin("/status").await.body.contains(
        r#""store": {
    "available": true
  }"#
    ));
}

#[tokio::test]
async fn a_retry_at_another_replica_is_replayed_and_the_record_is_gone_after_its_time() {
    let (server, _files) = jetstream_server().await;
    let a = replica(&server, "replay_window: 2s", "").await;
    let b = replica(&server, "replay_window: 2s", "").await;
    let worker = Worker::start(&server, lets_in).await;
    let first = a.post("c", &claims_of(1)).await;
    assert_is_decided(&first);
    until_recorded(&a, 1.0).await;
    assert_is_replay(&b.post("c", &claims_of(1)).await, &first);
    assert_eq!(worker.got().len(), 1);

    let context = jetstream::new(server.client().await);
    until("the server forgets the record by its TTL, not by the age of the stream", async || {
        let mut stream = context.get_stream(STREAM).await.unwrap();
        (stream.info().await.unwrap().state.messages == 0).then_some(())
    })
    .await;
    assert_is_decided(&b.post("c", &claims_of(1)).await);
}

async fn stream(server: &NatsServer) -> Stream {
    jetstream::new(server.client().await).get_stream(STREAM).await.unwrap()
}

#[tokio::test]
async fn the_largest_answer_is_recorded_and_replayed() {
    let (server, _files) = jetstream_server().await;
    let (a, b) = (replica(&server, "", "").await, replica(&server, "", "").await);
    let claim = "x".repeat(65_000);
    let reply = format!(r#"{{"action":"Continue","claim":"{claim}"}}"#);
    let _worker = Worker::start(&server, move |_| says(&reply)).await;
    let first = a.post("c", &claims_of(1)).await;
    assert_is_decided(&first);
    until_recorded(&a, 1.0).await;
    assert_is_replay(&b.post("c", &claims_of(1)).await, &first);
}

#[tokio::test]
async fn a_call_in_flight_at_one_replica_is_joined_at_another() {
    let (server, _files) = jetstream_server().await;
    let (a, b) = (replica(&server, "", "").await, replica(&server, "", "").await);
    let worker = Worker::start(&server, is_silent).await;
    let claims = claims_of(1);
    let decide = async {
        worker.until_got(1).await;
        b.until_metric(r#"store_operations_total{operation="look",result="ok"}"#, 2.0).await;
        worker.reply_to(0, r#"{"action":"Continue","tier":"gold"}"#).await;
    };
    let second = async {
        worker.until_got(1).await;
        b.post("c", &claims).await
    };
    let (first, second, ()) = tokio::join!(a.post("c", &claims), second, decide);
    for answer in [&first, &second] {
        assert_is_decided(answer);
        assert_eq!(answer.body, first.body);
    }
    assert_eq!(worker.got().len(), 1);
}

#[tokio::test]
async fn a_form_posted_again_at_once_at_another_replica_is_checked_again() {
    let (server, _files) = jetstream_server().await;
    let (a, b) = (replica(&server, "", "").await, replica(&server, "", "").await);
    let invalid = r#"{"action":"ValidationError","userMessage":"Bad."}"#;
    let worker = Worker::start(&server, move |_| says(invalid)).await;
    for person in 0..100 {
        for bridge in [&a, &b, &a] {
            let answer = bridge.post("c", &claims_of(person)).await;
            assert_eq!((answer.status, answer.source()), (400, "worker"), "{person} {answer:?}");
        }
        assert_eq!(worker.got().len(), 3 * (person + 1));
    }
    assert!(worker.attempts().iter().all(|attempt| attempt == "1"));
}

#[tokio::test]
async fn many_copies_at_once_at_two_replicas_are_one_message() {
    let (server, _files) = jetstream_server().await;
    let (a, b) = (replica(&server, "", "").await, replica(&server, "", "").await);
    let worker = Worker::start(&server, lets_in).await;
    for person in 0..30 {
        let claims = claims_of(person);
        let posts = (0..6).map(|at| if at % 2 == 0 { &a } else { &b }.post("c", &claims));
        for answer in futures_util::future::join_all(posts).await {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(["worker", "replay"].contains(&answer.source()), "{answer:?}");
        }
        assert_eq!(worker.got().len(), person + 1);
    }
}

#[tokio::test]
async fn a_deleted_stream_is_made_again_and_meanwhile_every_call_is_answered() {
    let (server, _files) = jetstream_server().await;
    let (a, b) = (replica(&server, "", "").await, replica(&server, "", "").await);
    let worker = Worker::start(&server, lets_in).await;
    assert_is_decided(&a.post("c", &claims_of(1)).await);
    let context = jetstream::new(server.client().await);
    context.delete_stream(STREAM).await.unwrap();
    assert_is_decided(&a.post("c", &claims_of(2)).await);
    // Whichever operation meets the gap first makes the bridge look for the stream.
    until("the stream is back", async || context.get_stream(STREAM).await.ok().map(drop)).await;
    a.until_metric("store_available", 1.0).await;
    let first = a.post("c", &claims_of(3)).await;
    assert_is_decided(&first);
    until("the other replica sees it", async || {
        (b.post("c", &claims_of(3)).await.source() == "replay").then_some(())
    })
    .await;
    assert!(worker.got().len() >= 3);
}

#[tokio::test]
async fn where_it_may_not_create_it_waits_for_a_fit_stream_and_answers_meanwhile() {
    let (server, _files) = jetstream_server().await;
    let root = "calls: {store: jetstream, create: false}";
    let bridge = Bridge::start_with(&server, root, &connector("")).await.connected().await;
    let _worker = Worker::start(&server, lets_in).await;
    assert_is_decided(&bridge.post("c", &claims_of(1)).await);
    let context = jetstream::new(server.client().await);
    assert!(context.get_stream(STREAM).await.is_err(), "nothing was created");

    let unfit = Config {
        name: STREAM.to_owned(),
        subjects: vec!["$KV.connector_bridge_calls.>".to_owned()],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        storage: StorageType::Memory,
        ..Config::default()
    };
    context.create_stream(unfit.clone()).await.unwrap();
    assert_is_decided(&bridge.post("c", &claims_of(2)).await);
    assert_eq!(bridge.metric("store_available").await, Some(0.0));

    let is_unfit = stream(&server).await.cached_info().config.clone();
    assert!(!is_unfit.allow_message_ttl, "it changes nothing");

    let second = Duration::from_secs(1);
    let forgetful = Config { max_age: second, duplicate_window: second, ..unfit.clone() };
    let forgetful = Config { allow_message_ttl: true, ..forgetful };
    context.update_stream(forgetful).await.unwrap();
    tokio::time::sleep(second).await; // two looks; nothing is to happen
    assert_eq!(bridge.metric("store_available").await, Some(0.0));

    context.update_stream(Config { allow_message_ttl: true, ..unfit }).await.unwrap();
    bridge.until_metric("store_available", 1.0).await;
    assert_is_decided(&bridge.post("c", &claims_of(3)).await);
    assert_eq!(operations(&bridge, "claim", "ok").await, 1.0);
}

#[tokio::test]
async fn a_stream_that_lacks_what_is_needed_is_changed() {
    let (server, _files) = jetstream_server().await;
    let context = jetstream::new(server.client().await);
    let old = Config {
        name: STREAM.to_owned(),
        subjects: vec!["$KV.connector_bridge_calls.>".to_owned()],
        max_messages_per_subject: 5,
        max_age: Duration::from_secs(30),
        duplicate_window: Duration::from_secs(10),
        storage: StorageType::Memory,
        ..Config::default()
    };
    context.create_stream(old).await.unwrap();
    let bridge = replica(&server, "", "").await;
    let config = stream(&server).await.cached_info().config.clone();
    assert!(config.allow_message_ttl && config.max_messages_per_subject == 1, "{config:?}");
    assert_eq!(config.max_age, Duration::from_secs(120));
    drop(bridge);
}

#[tokio::test]
async fn a_full_stream_costs_no_answer_and_is_used_again_when_there_is_room() {
    let (server, _files) = jetstream_server().await;
    let bridge = replica(&server, "max_entries: 1", "").await;
    let _worker = Worker::start(&server, lets_in).await;
    let context = jetstream::new(server.client().await);
    let filler = vec![b'x'; 100_000];
    for at in 0.. {
        let subject = format!("$KV.connector_bridge_calls.filler{at}");
        let acknowledgement = context.publish(subject, filler.clone().into()).await.unwrap();
        if acknowledgement.await.is_err() {
            break;
        }
        assert!(at < 20, "1 MiB is full by now");
    }
    // The last small gap is filled by claims.
    let mut person = 0;
    while operations(&bridge, "claim", "full").await < 1.0 {
        assert!(person < 10_000);
        let posts = (0..100).map(async |at| bridge.post("c", &claims_of(person + at)).await);
        futures_util::future::join_all(posts).await.iter().for_each(assert_is_decided);
        person += 100;
        if bridge.metric("store_available").await == Some(0.0) {
            break;
        }
    }
    assert_is_decided(&bridge.post("c", &claims_of(person)).await);
    let mut full = 0.0;
    for operation in ["claim", "record"] {
        full += operations(&bridge, operation, "full").await;
    }
    assert!(full >= 1.0);
    stream(&server).await.purge().await.unwrap();
    bridge.until_metric("store_available", 1.0).await;
}

#[tokio::test]
async fn without_jetstream_or_the_rights_to_it_calls_are_answered_and_the_metric_says_so() {
    let no_rights = "authorization {users: [
        {user: bridge, password: secret, permissions: {
            publish: [\"connectors.>\", \"$SRV.INFO\"], subscribe: [\"_INBOX_connector_bridge.>\"]}}
        {user: worker, password: secret}]}";
    let (_, files) = jetstream_server().await;
    let denied = format!("jetstream {{store_dir: \"{}\"}}\n{no_rights}", files.0.display());
    for (config, user) in
        [("", ""), (&*denied, ", user: bridge, password_file: \"{folder}/password\"")]
    {
        let server = NatsServer::start_with(config).await;
        let nats = format!("servers: [\"{}\"]{user}", server.url());
        let root = "calls: {store: jetstream}";
        let bridge = Bridge::start_in(Folder::new(), &nats, root, &connector("")).await;
        let bridge = bridge.connected().await;
        let options = async_nats::ConnectOptions::with_user_and_password(
            "worker".to_owned(),
            "secret".to_owned(),
        );
        let _worker = Worker::with(Worker::client(&server, options).await, lets_in).await;
        for person in 0..3 {
            let answer = bridge.post("c", &claims_of(person)).await;
            assert_is_decided(&answer);
            assert_is_decided(&bridge.post("c", &claims_of(person + 10)).await);
        }
        assert_eq!(bridge.metric("store_available").await, Some(0.0), "{config}");
        assert!(operations(&bridge, "claim", "unavailable").await >= 6.0);
    }
}

#[tokio::test]
async fn a_store_that_can_be_written_and_not_read_is_not_used() {
    let (_, files) = jetstream_server().await;
    let config = format!(
        "jetstream {{store_dir: \"{}\"}}
         authorization {{users: [
           {{user: bridge, password: secret, permissions: {{publish: {{
             allow: \">\", deny: \"$JS.API.STREAM.MSG.GET.>\"}}}}}}
           {{user: worker, password: secret}}]}}",
        files.0.display()
    );
    let server = NatsServer::start_with(&config).await;
    let user = "user: bridge, password_file: \"{folder}/password\"";
    let nats = format!("servers: [\"{}\"], {user}", server.url());
    let root = "calls: {store: jetstream}";
    let bridge = Bridge::start_in(Folder::new(), &nats, root, &connector("")).await;
    // Once for asking which rights there are, once for trying.
    until("the missing right is counted", async || {
        let series = r#"nats_connection_events_total{event="auth_error"}"#;
        bridge.metric(series).await.filter(|count| *count >= 2.0)
    })
    .await;
    assert_eq!(bridge.metric("store_available").await, Some(0.0));
}

/// Everything that the stream holds, as the server stores it.
async fn stored(server: &NatsServer) -> Vec<u8> {
    let stream = stream(server).await;
    let last = stream.cached_info().state.last_sequence;
    let mut all = Vec::new();
    for sequence in 1..=last {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            all.extend_from_slice(message.subject.as_bytes());
            all.extend_from_slice(&message.payload);
        }
    }
    all
}

fn holds(all: &[u8], text: &str) -> bool {
    all.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn with_a_key_records_are_sealed_and_keys_can_be_rotated() {
    let (server, _files) = jetstream_server().await;
    let folder = Folder::new();
    for (name, secret) in [("old", "o"), ("new", "n")] {
        std::fs::write(folder.0.join(name), secret.repeat(32)).unwrap();
    }
    let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let keys = |files: &[&str]| format!("encryption_key_files: {files:?}");
    let a = replica(&server, &keys(&[&path("old")]), "").await;
    let b = replica(&server, &keys(&[&path("new"), &path("old")]), "").await;
    let _worker =
        Worker::start(&server, |_| says(r#"{"action":"Continue","tier":"canary-7"}"#)).await;
    let first = a.post("c", &claims_of(1)).await;
    until_recorded(&a, 1.0).await;
    assert!(first.body.contains("canary-7"));
    assert!(!holds(&stored(&server).await, "canary-7"));
    assert_is_replay(&b.post("c", &claims_of(1)).await, &first);
    let second = b.post("c", &claims_of(2)).await;
    until_recorded(&b, 1.0).await;
    // Who has the old key only cannot read it, and decides anew.
    assert_is_decided(&a.post("c", &claims_of(2)).await);
    assert_eq!(operations(&a, "look", "unreadable").await, 1.0);
    drop(second);

    let open = replica(&server, "", "").await;
    open.post("c", &claims_of(3)).await;
    until_recorded(&open, 1.0).await;
    assert!(holds(&stored(&server).await, "canary-7"), "without a key it lies open");
}
