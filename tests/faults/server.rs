//! One nats-server that is killed, started again, and frozen.

use std::time::Duration;

use crate::{
    fleet::{Fleet, Setup, Store},
    history::Events,
    load::{Load, Mix},
    support::real::NatsServer,
    totals::{calls_of, finish, soak},
    worker::{self, Worker},
};

/// The promise, and what a busy machine may add to it.
const BACK_WITHIN: Duration = Duration::from_millis(1_200 + 800);

const MIX: Mix = Mix {
    callers: 24,
    pause: Duration::ZERO,
    plans: &[
        worker::DECIDE,
        worker::DECIDE,
        worker::BLOCK,
        worker::DECIDE,
        worker::INVALID,
        worker::DECIDE,
        worker::DECIDE,
        worker::SLOW,
    ],
    asks_again: 8,
    keep: true,
};

/// The time from `since` to the first answer that a worker decided.
fn first_decided(events: &Events, since: Duration) -> Duration {
    let decided = events.requests.iter().filter(|request| request.is_decided());
    let done = decided.map(|request| request.done).filter(|done| *done > since);
    done.min().expect("a decision") - since
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_killed_and_workers_decide_again_soon_after_it_is_back() {
    let mut server = NatsServer::start().await;
    let fleet = Fleet::start(Setup::at(&[server.url()], Store::Memory), 3).await;
    let history = &fleet.history;
    let _workers =
        [Worker::start(history, &server.url()).await, Worker::start(history, &server.url()).await];
    let load = Load::start(&fleet, MIX);
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
    load.until_more(calls_of("server killed")).await;
    load.stop().await;
    finish("server killed", &fleet).await;
}
