//! The store loses its leader, its majority, its stream, its room, and the right to use it.

use std::time::Duration;

use async_nats::ConnectOptions;

use crate::{
    checker::SLACK,
    cluster::{CALLS, Cluster, api, patient_client, until_true},
    fleet::{Fleet, Setup, Store},
    history::{Disturbed, Events},
    load::{Load, MIXED, Mix},
    support::{
        process::Serving,
        real::{Folder, NatsServer, until},
    },
    totals::{MACHINE, calls_of, finish},
    worker::{self, Worker},
};

/// Few enough callers that a call takes as long as it takes alone.
const STEADY: Mix = Mix {
    callers: 6,
    pause: Duration::from_millis(10),
    plans: &[worker::DECIDE],
    asks_again: 0,
    keep: true,
};

/// What the store may add to a call while nobody has noticed that it is away.
const ADDED: Duration = Duration::from_millis(250);
/// And once that is noticed.
const ADDED_NOTICED: Duration = Duration::from_millis(5);

/// How long first calls took that were sent from `from` until `until`, in order.
fn times(events: &Events, from: Duration, until: Duration) -> Vec<Duration> {
    let sent = events.requests.iter().filter(|r| r.attempt == 1 && from < r.sent && r.sent < until);
    let mut times: Vec<_> = sent.map(|request| request.done - request.sent).collect();
    times.sort();
    times
}

fn median(times: &[Duration]) -> Duration {
    times[times.len() / 2]
}

/// Whatever the store does, calls reach their workers. A repeated request may wait in vain for
/// another process, and a busy machine may miss a deadline: hardly ever.
fn assert_workers_decide(events: &Events) {
    let requests = events.requests.iter().filter(|request| !request.is_answered_with_decision());
    let (first, again): (Vec<_>, Vec<_>) = requests.partition(|request| request.attempt == 1);
    println!("without a decision: {} first requests, {} repeated ones", first.len(), again.len());
    let most = events.requests.len() / 200;
    assert!(first.len() + again.len() <= most, "{first:?}, {again:?}");
}

/// The processes and the worker are all at the first server, which does not lead.
async fn fleet_at_first(cluster: &Cluster, count: usize) -> (Fleet, Worker) {
    let fleet = Fleet::start(Setup::at(&[cluster.url(0)], Store::Jetstream), count).await;
    let worker = Worker::start(&fleet.history, &cluster.url(0)).await;
    (fleet, worker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_of_the_store_is_lost_and_no_call_waits_long_for_it() {
    let _alone = MACHINE.write().await;
    let mut cluster = Cluster::start().await;
    let (mut fleet, _worker) = fleet_at_first(&cluster, 3).await;
    fleet.watch_store();
    let history = &fleet.history;
    let load = Load::start(&fleet, STEADY);
    load.until_more(500).await;
    for is_killed in [true, false, true] {
        let leader = cluster.lead_elsewhere(CALLS, 0).await;
        let healthy = history.now();
        load.until_more(1_500).await;
        let lost = history.now();
        history.disturb(Disturbed::Store);
        match is_killed {
            true => cluster.servers[leader].kill(),
            false => cluster.servers[leader].signal("STOP"),
        }
        fleet.until_all("store_available", 0.0).await;
        let noticed = history.now();
        load.until_more(200).await;
        let last = history.now();
        fleet.until_all("store_available", 1.0).await;
        let back = history.now();
        load.until_more(100).await;
        match is_killed {
            true => cluster.servers[leader].run().await,
            false => cluster.servers[leader].signal("CONT"),
        }
        history.mend(Disturbed::Store);

        let events = history.events().clone();
        let before = times(&events, healthy, lost);
        let during = times(&events, lost, back);
        let once_noticed = times(&events, noticed, last);
        let (usual, slowest) = (median(&before), *during.last().unwrap());
        let added = median(&once_noticed).saturating_sub(usual);
        println!(
            "leader {}: noticed after {:?}, back after {:?}; a call took {usual:?} (at most {:?}) \
             before, at most {slowest:?} meanwhile, {:?} once noticed ({added:?} added)",
            if is_killed { "killed" } else { "stopped" },
            noticed - lost,
            back - lost,
            before.last().unwrap(),
            median(&once_noticed),
        );
        assert!(slowest < *before.last().unwrap() + ADDED + SLACK, "{slowest:?}");
        assert!(added < ADDED_NOTICED + Duration::from_millis(20), "{added:?}");
        let all_decided = events.requests.iter().filter(|request| request.sent > healthy);
        assert!(all_decided.into_iter().all(|request| request.is_answered_with_decision()));
    }
    load.stop().await;
    let load = Load::start(&fleet, MIXED);
    load.until_calls(calls_of("leader lost")).await;
    load.stop().await;
    finish("leader lost", &fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_servers_are_down_and_calls_go_on_unclaimed() {
    let _shared = MACHINE.read().await;
    let mut cluster = Cluster::start().await;
    let (mut fleet, _worker) = fleet_at_first(&cluster, 3).await;
    fleet.watch_store();
    let history = &fleet.history;
    let load = Load::start(&fleet, MIXED);
    for _ in 0..2 {
        load.until_more(500).await;
        history.disturb(Disturbed::Store);
        cluster.servers[1].kill();
        cluster.servers[2].kill();
        fleet.until_all("store_available", 0.0).await;
        load.until_more(2_000).await;
        cluster.servers[1].run().await;
        cluster.servers[2].run().await;
        cluster.until_ready().await;
        fleet.until_all("store_available", 1.0).await;
        history.mend(Disturbed::Store);
    }
    load.until_calls(calls_of("majority lost")).await;
    load.stop().await;
    let operations = fleet.store_operations().await;
    let (_, events) = finish("majority lost", &fleet).await;
    assert_workers_decide(&events);
    // What could not be written is tried again, but not all of it all the time.
    let operations: u64 = operations.values().sum();
    let (most, requests) = (10, events.requests.len() as u64);
    assert!(operations <= most * requests, "{operations} operations for {requests} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bucket_is_deleted_or_full_and_calls_go_on_unclaimed() {
    let _shared = MACHINE.read().await;
    let cluster = Cluster::start().await;
    let mut setup = Setup::at(&[cluster.url(0)], Store::Jetstream);
    setup.calls = ", max_entries: 60000".to_owned();
    let mut fleet = Fleet::start(setup, 3).await;
    fleet.watch_store();
    let history = &fleet.history;
    let _worker = Worker::start(history, &cluster.url(0)).await;
    let load = Load::start(&fleet, MIXED);
    let client = patient_client(&cluster.url(0)).await;
    for _ in 0..2 {
        load.until_more(1_000).await;
        history.disturb(Disturbed::Store);
        let deleted = api(&client, &format!("STREAM.DELETE.{CALLS}"), "").await.unwrap();
        assert_eq!(deleted["success"], true, "{deleted}");
        until_true("the stream is made again", async || {
            cluster.leader_of(CALLS, 0).await.is_some()
        })
        .await;
        fleet.until_all("store_available", 1.0).await;
        history.mend(Disturbed::Store);

        load.until_more(1_000).await;
        history.disturb(Disturbed::Store);
        let before = fleet.sum(FULL).await;
        fill(&client).await;
        until_true("claims find it full", async || fleet.sum(FULL).await > before).await;
        load.until_more(1_000).await;
        let filter = format!(r#"{{"filter":"{SUBJECT}fill.>"}}"#);
        let purged = api(&client, &format!("STREAM.PURGE.{CALLS}"), &filter).await.unwrap();
        assert_eq!(purged["success"], true, "{purged}");
        fleet.until_all("store_available", 1.0).await;
        let before = fleet.sum(CLAIMED).await;
        until_true("claims are taken", async || fleet.sum(CLAIMED).await > before + 100.0).await;
        history.mend(Disturbed::Store);
    }
    load.until_calls(calls_of("bucket broken")).await;
    load.stop().await;
    let (_, events) = finish("bucket broken", &fleet).await;
    assert_workers_decide(&events);
}

const SUBJECT: &str = "$KV.connector_bridge_calls.";
const FULL: &str = "store_operations_total{operation=\"claim\",result=\"full\"}";
const LOOKED: &str = "store_operations_total{operation=\"look\",result=\"ok\"}";
const CLAIMED: &str = "store_operations_total{operation=\"claim\",result=\"ok\"}";

/// Writes to the bucket until it takes no more.
async fn fill(client: &async_nats::Client) {
    for size in [120_000, 10_000, 500, 1] {
        for number in 0..10_000 {
            let subject = format!("{SUBJECT}fill.{size}.{number}");
            let written = client.request(subject, vec![b'x'; size].into()).await.unwrap();
            let written: serde_json::Value = serde_json::from_slice(&written.payload).unwrap();
            if !written["error"].is_null() {
                assert_eq!(written["error"]["err_code"], 10_077, "{written}");
                break;
            }
        }
    }
}

/// One server with JetStream, and what the user `bridge` may not publish to.
fn rights(denied: &str) -> String {
    format!(
        "jetstream {{store_dir: \"{{folder}}/store\", max_memory_store: 256MiB}}\n\
         authorization {{users: [\n  {{user: worker, password: secret}}\n  \
         {{user: bridge, password: secret, permissions: {{publish: {{deny: [{denied}]}}}}}}\n]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_to_the_store_is_taken_away_and_calls_go_on_unclaimed() {
    let _shared = MACHINE.read().await;
    let nothing = "\"nothing\"";
    let server = NatsServer::start_with(&rights(nothing)).await;
    let mut setup = Setup::at(&[server.url()], Store::Jetstream);
    setup.nats += ", user: bridge, password_file: \"{folder}/nats-password\"";
    let mut fleet = Fleet::start(setup, 2).await;
    fleet.watch_store();
    let history = &fleet.history;
    let worker = ConnectOptions::with_user_and_password("worker".into(), "secret".into());
    let _worker = Worker::start_as(history, &server.url(), worker).await;
    let load = Load::start(&fleet, MIXED);
    for denied in ["\"$KV.>\"", "\"$JS.API.>\"", "\"$JS.API.>\", \"$KV.>\""] {
        load.until_more(1_000).await;
        history.disturb(Disturbed::Store);
        server.configure(&rights(denied));
        server.signal("HUP");
        if denied.contains("KV") {
            fleet.until_all("store_available", 0.0).await;
        }
        load.until_more(1_000).await;
        server.configure(&rights(nothing));
        server.signal("HUP");
        fleet.until_all("store_available", 1.0).await;
        for series in [CLAIMED, LOOKED] {
            let before = fleet.sum(series).await;
            until_true(series, async || fleet.sum(series).await > before + 20.0).await;
        }
        history.mend(Disturbed::Store);
    }
    load.until_calls(calls_of("store forbidden")).await;
    load.stop().await;
    let (_, events) = finish("store forbidden", &fleet).await;
    assert_workers_decide(&events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_never_there_is_said_to_be_away() {
    let _shared = MACHINE.read().await;
    let server = NatsServer::start().await;
    let folder = Folder::new();
    let nats = format!("servers: [\"{}\"]", server.url());
    let connector = "  c: {protocol: entra, step: before-create, auth: none}\n";
    let root = "calls: {store: jetstream}";
    let serving = Serving::start_in(folder, &nats, root, connector).await.connected().await;
    until("it looks for the store", async || {
        serving.program.err().contains("the store is not available").then_some(())
    })
    .await;
    assert_eq!(serving.metric("store_available").await, Some(0.0));
}
