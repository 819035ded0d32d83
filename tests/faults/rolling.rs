//! A rolling restart under 200 calls a second, with slow clients open.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    caller::{Caller, Endpoints},
    clients::BadClients,
    cluster::JETSTREAM,
    fleet::{Fleet, Setup, Store},
    history::{History, Life},
    load::new_call,
    support::{
        process::Serving,
        real::{NatsServer, until},
    },
    totals::{MACHINE, calls_of, finish},
    worker::{self, Worker},
};

const PLANS: [&str; 4] = [worker::DECIDE, worker::SLOW, worker::DECIDE, worker::BLOCK];

/// 200 a second, as [`Setup`] says.
const PACE: Duration = Duration::from_millis(5);
const DRAIN_DELAY: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(10);

/// What an orchestrator does: another process first, then the signal, then, a little later, the
/// load balancer hears of it.
async fn replace(fleet: &mut Fleet, old: Life) -> (Serving, Instant) {
    fleet.add().await;
    let serving = fleet.processes.remove(&old).unwrap();
    let signalled = Instant::now();
    serving.program.signal("TERM");
    tokio::time::sleep(DRAIN_DELAY / 2).await;
    fleet.endpoints.remove(old);
    (serving, signalled)
}

/// The time from the signal to the end.
async fn ends_well(serving: Serving, signalled: Instant) -> Duration {
    let ended = serving.program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("panic"), "{}", ended.err);
    assert!(ended.err.contains("every call was answered"), "{}", ended.err);
    signalled.elapsed()
}

/// So many calls at [`PACE`]; every second one on a connection that is kept.
async fn calls(history: Arc<History>, endpoints: Arc<Endpoints>, goal: usize) {
    let mut pace = tokio::time::interval(PACE);
    let mut calls = JoinSet::new();
    let mut kept: Vec<Caller> = Vec::new();
    for number in 0..goal {
        pace.tick().await;
        let (history, endpoints) = (Arc::clone(&history), Arc::clone(&endpoints));
        calls.spawn(call(history, endpoints, kept.pop().unwrap_or_default(), number));
        while let Some(done) = calls.try_join_next() {
            kept.push(done.expect("a call"));
        }
    }
    while let Some(done) = calls.join_next().await {
        done.expect("a call");
    }
}

async fn call(
    history: Arc<History>,
    endpoints: Arc<Endpoints>,
    mut caller: Caller,
    number: usize,
) -> Caller {
    let asked = new_call(PLANS[number % PLANS.len()]);
    drop(caller.call(&history, &endpoints, &asked, number.is_multiple_of(2)).await);
    caller
}

async fn rolls(store: Store, server: &NatsServer, scenario: &str) {
    let mut fleet = Fleet::start(Setup::at(&[server.url()], store), 3).await;
    let history = Arc::clone(&fleet.history);
    let _worker = Worker::start(&history, &server.url()).await;
    let slow = BadClients::start(&fleet, 10);
    let endpoints = Arc::clone(&fleet.endpoints);
    let goal = calls_of(scenario);
    let calls = tokio::spawn(calls(history, endpoints, goal));
    let (mut restarts, mut longest) = (0, Duration::ZERO);
    while !calls.is_finished() {
        let oldest = fleet.lives()[0];
        let (serving, signalled) = replace(&mut fleet, oldest).await;
        longest = longest.max(ends_well(serving, signalled).await);
        restarts += 1;
    }
    calls.await.unwrap();
    println!("{restarts} restarts, the longest took {longest:?} of a grace of {GRACE:?}");
    assert!(longest < GRACE + Duration::from_secs(1), "{longest:?}");
    drop(slow);
    until("the rest is idle", async || {
        let in_flight = fleet.sum("requests_in_flight{connector=\"entra\"}").await;
        (in_flight == 0.0).then_some(())
    })
    .await;
    finish(scenario, &fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_replaced_one_by_one_and_no_answer_is_lost() {
    let _shared = MACHINE.read().await;
    rolls(Store::Memory, &NatsServer::start().await, "rolling restart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_share_a_store_are_replaced_one_by_one_and_no_answer_is_lost() {
    let _shared = MACHINE.read().await;
    let server = NatsServer::start_with(JETSTREAM).await;
    rolls(Store::Jetstream, &server, "shared rolling restart").await;
}
