//! A server that is there and does nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::net::TcpListener;

use super::{
    SLACK, assert_is_decided, assert_is_default, claims_of, connector, person_of, post_all,
    post_until_decided,
    worker::{Worker, lets_in},
};
use crate::support::{
    proxy::Proxy,
    real::{Bridge, Folder, NatsServer, until},
};

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

/// The process at the other end is the old one: what it has of a call, workers have, and their
/// replies come soon.
#[tokio::test]
async fn over_a_new_connection_to_the_same_server_a_reply_is_waited_for_before_a_second_message() {
    let mut in_time = false;
    for replies in [false, true, true, true, true, true] {
        if in_time {
            break;
        }
        let server = NatsServer::start().await;
        let line = Proxy::to(server.port).await;
        let nats = format!("servers: [\"nats://127.0.0.1:{}\"]", line.port);
        let connector = connector("deadline: 18s");
        let bridge = Bridge::start_in(Folder::new(), &nats, "", &connector).await.connected().await;
        let worker = Worker::start(&server, move |message| {
            let attempt = message.headers.as_ref()?.get("Connector-Attempt")?.as_str();
            (attempt != "1").then(|| lets_in(message))?
        })
        .await;
        let cut = async {
            worker.until_got(1).await;
            line.cut();
            bridge.until_metric(r#"nats_connection_events_total{event="connected"}"#, 2.0).await;
            if replies {
                worker.reply_to(0, r#"{"action":"Continue"}"#).await;
            }
        };
        let claims = claims_of(1);
        let (answer, ()) = tokio::join!(bridge.post("c", &claims), cut);
        assert_is_decided(&answer);
        // On a busy machine this test may notice the new connection later than the bridge waits.
        in_time = worker.attempts() == ["1"];
        assert!(in_time && replies || worker.attempts() == ["1", "2"], "{:?}", worker.attempts());
    }
    assert!(in_time, "a reply that comes soon needs no second message");
}

/// What workers get of a call that the server had not passed on when it froze: the first message
/// with what the bridge sends then, each with a deadline that is true.
#[tokio::test]
async fn a_server_that_freezes_and_thaws_hands_out_no_more_than_two_attempts_and_none_is_stale() {
    for thinks in [Duration::ZERO, Duration::from_millis(150)] {
        let server = NatsServer::start().await;
        let bridge = Bridge::start(&server, &connector("")).await.connected().await;
        let worker = Worker::start(&server, move |message| {
            let is_known = message.headers.as_ref()?.get("Connector-Attempt")?.as_str() != "1";
            (thinks.is_zero() || is_known).then(|| lets_in(message))?
        })
        .await;
        server.signal("STOP");
        let thaw = async {
            bridge.until_metric("nats_connected", 0.0).await;
            server.signal("CONT");
            worker.until_got(20).await;
            tokio::time::sleep(thinks).await;
            for number in 0..if thinks.is_zero() { 0 } else { 20 } {
                worker.reply_to(number, r#"{"action":"Continue"}"#).await;
            }
        };
        let (answers, ()) = tokio::join!(post_all(&bridge, 0..20), thaw);
        answers.iter().for_each(assert_is_decided);
        let mut attempts = BTreeMap::<usize, Vec<String>>::new();
        for got in worker.got() {
            assert!(got.is_in_time());
            attempts.entry(person_of(&got.message)).or_default().push(got.attempt().to_owned());
        }
        let twice = attempts.values().filter(|attempts| attempts.len() > 1).count();
        println!("a worker that takes {thinks:?} got {twice} of {} calls twice", attempts.len());
        assert_eq!(attempts.len(), 20);
        for attempts in attempts.values() {
            assert!(attempts == &["1"] || attempts == &["1", "2"], "{attempts:?}");
        }
    }
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
