//! The lines between bridges and NATS: slow, trickling, silent, cut, reset, refused.

use std::time::Duration;

use crate::{
    fleet::{Fleet, Setup, Store},
    history::Disturbed,
    load::{Load, MIXED},
    support::{
        proxy::{Flow, Proxy},
        real::NatsServer,
    },
    totals::{MACHINE, calls_of, finish},
    worker::Worker,
};

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Flow(Flow),
    Cut,
    Reset,
}

const TROUBLES: [Trouble; 6] = [
    Trouble::Flow(Flow::Delayed(Duration::from_millis(100))),
    Trouble::Cut,
    Trouble::Flow(Flow::Stalled),
    Trouble::Reset,
    Trouble::Flow(Flow::Trickling(40)),
    Trouble::Flow(Flow::Refused),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_to_nats_fail_in_every_way_and_every_call_is_answered_in_time() {
    let _shared = MACHINE.read().await;
    let server = NatsServer::start().await;
    let mut fleet = Fleet::empty(Setup::at(&[server.url()], Store::Memory));
    let lines = [Proxy::to(server.port).await, Proxy::to(server.port).await];
    for line in &lines {
        fleet.add_at(&format!("servers: [\"nats://127.0.0.1:{}\"]", line.port)).await;
    }
    fleet.add().await;
    let history = &fleet.history;
    let _worker = Worker::start(history, &server.url()).await;
    let load = Load::start(&fleet, MIXED);
    for (number, trouble) in TROUBLES.iter().enumerate() {
        load.until_more(200).await;
        // One line, then both.
        let disturbed = &lines[..1 + number % 2];
        history.disturb(Disturbed::Transport);
        for line in disturbed {
            match trouble {
                Trouble::Flow(flow) => line.set(*flow),
                Trouble::Cut => line.cut(),
                Trouble::Reset => line.reset(),
            }
            if let Trouble::Flow(Flow::Refused) = trouble {
                line.cut();
            }
        }
        // Longer than it takes to take a silent connection for dead.
        tokio::time::sleep(Duration::from_secs(5)).await;
        for line in disturbed {
            line.set(Flow::Free);
        }
        fleet.until_all("nats_connected", 1.0).await;
        load.until_decided().await;
        history.mend(Disturbed::Transport);
    }
    load.until_calls(calls_of("lines to NATS")).await;
    load.stop().await;
    finish("lines to NATS", &fleet).await;
}
