//! One nats-server that is killed, started again, and frozen.

use std::time::Duration;

use crate::{
    fleet::{DEADLINE_MAX, Fleet, Setup, Store},
    history::{Disturbed, Events},
    load::{Load, MIXED},
    support::real::NatsServer,
    totals::{MACHINE, calls_of, finish, soak},
    worker::Worker,
};

/// The promise, and what a busy machine may add to it.
const BACK_WITHIN: Duration = Duration::from_millis(1_200 + 800);

/// The time from `since` to the first answer that a worker decided.
fn first_decided(events: &Events, since: Duration) -> Duration {
    let decided = events.requests.iter().filter(|request| request.is_decided());
    let done = decided.map(|request| request.done).filter(|done| *done > since);
    done.min().expect("a decision") - since
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_killed_and_workers_decide_again_soon_after_it_is_back() {
    let _shared = MACHINE.read().await;
    let mut server = NatsServer::start().await;
    let fleet = Fleet::start(Setup::at(&[server.url()], Store::Memory), 3).await;
    let history = &fleet.history;
    let _worker = Worker::start(history, &server.url()).await;
    let _another = Worker::start(history, &server.url()).await;
    let load = Load::start(&fleet, MIXED);
    let outages: &[u64] = if soak().is_some() { &[2, 15, 120] } else { &[2, 15] };
    for seconds in outages {
        load.until_more(2_000).await;
        server.kill();
        fleet.until_all("nats_connected", 0.0).await;
        let down = history.now();
        tokio::time::sleep(Duration::from_secs(*seconds)).await;
        server.run().await;
        let back = history.now();
        load.until_decided().await;
        let took = first_decided(&history.events(), back);
        println!("first decision {took:?} after NATS was back from {:?}", back - down);
        assert!(took < BACK_WITHIN, "{took:?}");
    }
    load.until_calls(calls_of("server killed")).await;
    load.stop().await;
    finish("server killed", &fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_frozen_and_thawed_and_every_call_is_answered_in_time() {
    let _shared = MACHINE.read().await;
    let server = NatsServer::start().await;
    let fleet = Fleet::start(Setup::at(&[server.url()], Store::Memory), 3).await;
    let history = &fleet.history;
    let _worker = Worker::start(history, &server.url()).await;
    let load = Load::start(&fleet, MIXED);
    // Shorter than a deadline; longer than one; long enough to be noticed.
    for frozen in [Duration::from_secs(1), DEADLINE_MAX + DEADLINE_MAX, Duration::ZERO] {
        load.until_more(1_000).await;
        history.disturb(Disturbed::Transport);
        server.signal("STOP");
        if frozen.is_zero() {
            fleet.until_all("nats_connected", 0.0).await;
        }
        tokio::time::sleep(frozen).await;
        server.signal("CONT");
        fleet.until_all("nats_connected", 1.0).await;
        load.until_decided().await;
        history.mend(Disturbed::Transport);
    }
    load.until_calls(calls_of("server frozen")).await;
    load.stop().await;
    finish("server frozen", &fleet).await;
}
