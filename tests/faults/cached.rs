//! What workers once decided outlives the process that heard it, and NATS.

use futures_util::future::join_all;

use crate::{
    caller::Caller,
    cluster::JETSTREAM,
    fleet::{Fleet, Setup, Store},
    history::{Asked, Disturbed},
    load::new_call,
    support::real::{NatsServer, until},
    totals::{MACHINE, calls_of, finish},
    worker::{self, Worker},
};

/// The sources of the answers to these calls, at the only process.
async fn ask(fleet: &Fleet, calls: &[Asked], attempt: u32) -> Vec<String> {
    let to = fleet.endpoints.at(0);
    let mut sources = Vec::new();
    for some in calls.chunks(50) {
        let asks = some.iter().map(async |asked| {
            let answer = Caller::default().ask(&fleet.history, to, asked, (attempt, false)).await;
            answer.ok().flatten().expect("an answer").source
        });
        sources.extend(join_all(asks).await);
    }
    sources
}

/// What the only process has in its caches.
async fn entries(fleet: &Fleet) -> u64 {
    fleet.sum("cache_entries").await as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_never_heard_a_decision_finds_it_while_nats_is_away() {
    let _shared = MACHINE.read().await;
    let mut server = NatsServer::start_with(JETSTREAM).await;
    let mut setup = Setup::at(&[server.url()], Store::Jetstream);
    setup.connectors =
        ", cached: {by: [email], max_age: 1h, shared: true}}, breaker: {failures: 1000000}}".into();
    let mut fleet = Fleet::start(setup, 1).await;
    let worker = Worker::start(&fleet.history, &server.url()).await;
    let calls = calls_of("decisions shared");
    let plans = [worker::DECIDE, worker::BLOCK];
    let calls: Vec<Asked> = (0..calls).map(|number| new_call(plans[number % 2])).collect();
    let sources = ask(&fleet, &calls, 1).await;
    assert!(sources.iter().all(|source| source == "worker"), "{sources:?}");
    let first = fleet.lives()[0];
    let cached = entries(&fleet).await;
    until("all are shared", async || {
        let operations = fleet.store_operations().await;
        let shared = operations.get(&("share".to_owned(), "ok".to_owned())).copied();
        (shared.unwrap_or_default() >= cached).then_some(())
    })
    .await;
    fleet.kill(first);
    fleet.add().await;
    until("all are loaded", async || (entries(&fleet).await == cached).then_some(())).await;
    drop(worker);
    server.kill();
    // The memory of calls is gone with the server: the decisions are not.
    fleet.history.disturb(Disturbed::Store);
    fleet.until_all("nats_connected", 0.0).await;
    let sources = ask(&fleet, &calls, 2).await;
    let others = sources.iter().filter(|source| *source != "cache").count();
    assert_eq!(others, 0, "not from the cache");
    finish("decisions shared", &fleet).await;
}
