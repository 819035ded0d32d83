//! A server that is there and does nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::net::TcpListener;

use super::{
    SLACK, assert_is_default, claims_of, connector, post_until_decided,
    worker::{Worker, lets_in},
};
use crate::support::real::{Bridge, Folder, NatsServer, until};

#[tokio::test]
async fn a_frozen_server_is_noticed_and_calls_are_answered_in_time_all_the_while() {
    let server = NatsServer::start().await;
    let deadline = Duration::from_secs(1);
    let connector = connector("deadline: 1s, breaker: {failures: 1000}");
    let bridge = Bridge::start(&server, &connector).await.connected().await;
    let _worker = Worker::start(&server, lets_in).await;
    server.signal("STOP");
    let person = std::cell::Cell::new(0);
    until("the connection counts as lost", async || {
        let answer = bridge.post("c", &claims_of(person.replace(person.get() + 1))).await;
        assert_is_default(&answer);
        assert!(answer.took < deadline + SLACK, "{:?}", answer.took);
        (bridge.metric("nats_connected").await == Some(0.0)).then_some(())
    })
    .await;
    // At once after the freeze, one per second; the connection is taken for dead within about 3 s.
    assert!(person.get() <= 10, "noticed only after {} s", person.get());
    assert_is_default(&bridge.post("c", &claims_of(100)).await);
    assert_eq!(bridge.admin("/readyz").await.status, 200);

    server.signal("CONT");
    bridge.until_metric("nats_connected", 1.0).await;
    post_until_decided(&bridge, 200).await;
}

/// Takes connections, says nothing, and counts them.
async fn deaf_server() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (url, count)
}

#[tokio::test]
async fn a_server_that_takes_connections_and_says_nothing_is_tried_again_and_holds_up_no_call() {
    let (url, attempts) = deaf_server().await;
    let bridge =
        Bridge::start_in(Folder::new(), &format!("servers: [\"{url}\"]"), "", &connector("")).await;
    until("it is tried twice", async || {
        assert_is_default(&bridge.post("c", &claims_of(1)).await);
        (attempts.load(Ordering::Relaxed) >= 2).then_some(())
    })
    .await;
    assert_eq!(bridge.admin("/readyz").await.status, 200);
    assert_eq!(bridge.metric("nats_connected").await, Some(0.0));
}
