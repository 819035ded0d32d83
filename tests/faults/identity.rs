//! What the bridge may do at NATS is taken away while it works, and given back.

use std::time::Duration;

use async_nats::ConnectOptions;

use crate::{
    fleet::{Fleet, Setup, Store},
    load::{Load, MIXED},
    support::real::NatsServer,
    totals::{MACHINE, calls_of, finish},
    worker::Worker,
};

/// The server's configuration, with what the user `bridge` is or may.
fn users(bridge: &str) -> String {
    format!(
        "authorization {{users: [\n  {{user: worker, password: secret}}\n  \
         {{user: bridge, {bridge}}}\n]}}\n"
    )
}

const ALL: &str = "password: secret";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_and_credentials_are_taken_away_and_every_call_is_answered_in_time() {
    let _shared = MACHINE.read().await;
    let server = NatsServer::start_with(&users(ALL)).await;
    let mut setup = Setup::at(&[server.url()], Store::Memory);
    setup.nats += ", user: bridge, password_file: \"{folder}/nats-password\"";
    let fleet = Fleet::start(setup, 2).await;
    let history = &fleet.history;
    let worker = ConnectOptions::with_user_and_password("worker".into(), "secret".into());
    let _worker = Worker::start_as(history, &server.url(), worker).await;
    let load = Load::start(&fleet, MIXED);
    for (taken, is_connected) in [
        ("password: secret, permissions: {publish: {deny: [\"connectors.>\"]}}", 1.0),
        ("password: secret, permissions: {subscribe: {deny: [\"_INBOX_life1.>\"]}}", 1.0),
        ("password: another", 0.0),
        ("password: secret, permissions: {publish: {deny: \">\"}, subscribe: {deny: \">\"}}", 1.0),
    ] {
        load.until_more(1_000).await;
        server.configure(&users(taken));
        server.signal("HUP");
        if is_connected == 0.0 {
            fleet.until_all("nats_connected", is_connected).await;
        }
        load.until_more(200).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.configure(&users(ALL));
        server.signal("HUP");
        fleet.until_all("nats_connected", 1.0).await;
        load.until_decided().await;
    }
    load.until_calls(calls_of("rights taken away")).await;
    load.stop().await;
    let (_, events) = finish("rights taken away", &fleet).await;
    let last = events.requests.iter().rev().take(500);
    assert!(last.into_iter().all(|request| request.is_answered_with_decision()), "decided again");
}
