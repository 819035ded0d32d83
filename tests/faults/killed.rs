//! A process is killed in the middle of many calls, and every caller tries again at once elsewhere.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    caller::{Caller, Endpoints},
    checker::SLACK,
    cluster::Cluster,
    fleet::{Fleet, PATIENT, Setup, Store},
    history::{History, Life},
    load::new_call_at,
    support::real::NatsServer,
    totals::{MACHINE, calls_of, finish},
    worker::Worker,
};

/// Callers of one round. A third of them are at the process that is killed.
const CALLERS: usize = 180;

/// How long the worker thinks, and when in this time the process is killed.
const THINKS: &str = "decide 1500";
const THINKS_FOR: Duration = Duration::from_millis(1_500);
const KILLED_AFTER: Duration = Duration::from_millis(750);

/// How soon a caller tries again whose connection broke.
const TRIES_AGAIN_AFTER: Duration = Duration::from_millis(600);

/// How much longer than the worker thinks a retry may take: what is left of the lease of the process
/// that died.
const LEASE: Duration = Duration::from_millis(2_500);

/// Calls once, and once more elsewhere if the connection broke.
async fn call(history: Arc<History>, endpoints: Arc<Endpoints>, to: (Life, u16)) {
    let asked = new_call_at(PATIENT, THINKS);
    let answer = Caller::default().ask(&history, to, &asked, (1, false)).await;
    if !matches!(answer, Ok(Some(_))) {
        sleep(TRIES_AGAIN_AFTER).await;
        let to = endpoints.pick(Some(to.0)).expect("another process");
        drop(Caller::default().ask(&history, to, &asked, (2, false)).await);
    }
}

async fn kill_and_retry(mut fleet: Fleet, scenario: &str) {
    let history = Arc::clone(&fleet.history);
    let mut calls = 0;
    while calls < calls_of(scenario) {
        let lives = fleet.lives();
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            let life = lives[number % lives.len()];
            let (history, endpoints) = (Arc::clone(&history), Arc::clone(&fleet.endpoints));
            callers.spawn(call(history, endpoints, (life, fleet[life].port)));
        }
        calls += CALLERS;
        sleep(KILLED_AFTER).await;
        fleet.kill(lives[0]);
        while let Some(caller) = callers.join_next().await {
            caller.expect("a caller");
        }
        fleet.add().await;
    }
    let (verdict, _) = finish(scenario, &fleet).await;
    let retries = verdict.retries_after_kills;
    assert_eq!(retries.decided, retries.all, "{retries:?}");
    // Some calls of the process may have been answered just before.
    assert!(retries.all >= calls / 4, "{retries:?}");
    // With what a machine adds that is busy with 180 callers at once.
    let longest = THINKS_FOR + LEASE + 3 * SLACK;
    assert!(retries.slowest <= longest, "{retries:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_of_calls_whose_process_was_killed_are_decided() {
    let _alone = MACHINE.write().await;
    let server = NatsServer::start().await;
    let fleet = Fleet::start(Setup::at(&[server.url()], Store::Memory), 3).await;
    let _worker = Worker::start(&fleet.history, &server.url()).await;
    kill_and_retry(fleet, "killed under load").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_of_calls_whose_process_was_killed_are_decided_where_calls_are_shared() {
    let _alone = MACHINE.write().await;
    let cluster = Cluster::start().await;
    let fleet = Fleet::start(Setup::at(&[cluster.url(0)], Store::Jetstream), 3).await;
    let _worker = Worker::start(&fleet.history, &cluster.url(0)).await;
    kill_and_retry(fleet, "killed under load, shared").await;
}
