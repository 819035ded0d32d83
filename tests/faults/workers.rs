//! Workers that are slow, silent, late, double, wrong, or gone.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    caller::Caller,
    fleet::{DEADLINE_MAX, Fleet, Setup, Store},
    load::{Load, MIXED, Mix, new_call},
    support::{
        proxy::Proxy,
        real::{NatsServer, until},
    },
    totals::{MACHINE, calls_of, finish},
    worker::{self, Worker},
};

/// Many callers: those whose worker is silent wait long.
const BAD: Mix = Mix {
    callers: 300,
    pause: Duration::from_millis(50),
    plans: &[
        worker::DECIDE,
        worker::SLOW,
        worker::SILENT,
        worker::DECIDE,
        worker::TWICE,
        worker::GARBAGE,
        worker::FAILS,
        worker::SILENT_FIRST,
        worker::INVALID,
        worker::LATE,
        worker::BLOCK,
    ],
    asks_again: 4,
    keep: true,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_do_everything_wrong_and_every_call_is_answered_in_time() {
    let _shared = MACHINE.read().await;
    let server = NatsServer::start().await;
    let fleet = Fleet::start(Setup::at(&[server.url()], Store::Memory), 3).await;
    let history = &fleet.history;
    let line = Proxy::to(server.port).await;
    let through = format!("nats://127.0.0.1:{}", line.port);
    let steady = Worker::start(history, &server.url()).await;
    let _dying = Worker::start(history, &through).await;
    let load = Load::start(&fleet, BAD);
    // One dies in the middle of what it does, again and again.
    for _ in 0..10 {
        load.until_more(300).await;
        line.reset();
    }
    // What is given to a worker in the moment that its line breaks is lost.
    load.until_more(300).await;
    late_decisions_are_replayed(&fleet).await;
    load.stop().await;
    // All are gone, and come back.
    drop((steady, _dying));
    let load = Load::start(&fleet, MIXED);
    load.until_more(500).await;
    let _worker = Worker::start(history, &server.url()).await;
    load.until_decided().await;
    load.until_calls(calls_of("bad workers")).await;
    load.stop().await;
    finish("bad workers", &fleet).await;
}

/// A decision that came after the fallback answers whoever asks again, and no worker is asked.
async fn late_decisions_are_replayed(fleet: &Fleet) {
    let history = &fleet.history;
    let ask = async |number: usize| {
        let asked = new_call(worker::LATE);
        let lives = fleet.lives();
        let life = lives[number % lives.len()];
        let to = (life, fleet[life].port);
        let answer = Caller::default().ask(history, to, &asked, (1, false)).await;
        assert_eq!(answer.unwrap().expect("an answer").source, "default");
        until("the late decision", async || {
            let messages = history.messages_of(&asked.claims);
            messages.first().filter(|message| !message.decisions.is_empty()).map(drop)
        })
        .await;
        // What the worker has published is on its way.
        tokio::time::sleep(DEADLINE_MAX / 5).await;
        let answer = Caller::default().ask(history, to, &asked, (2, false)).await;
        assert_eq!(answer.unwrap().expect("an answer").source, "replay");
        assert_eq!(history.messages_of(&asked.claims).len(), 1);
    };
    join_all((0..60).map(ask)).await;
}
