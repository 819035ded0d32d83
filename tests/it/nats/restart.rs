//! A server that ends and comes back, or is not there at the start.

use std::time::Duration;

use super::{
    SLACK, assert_is_decided, assert_is_default, claims_of, connector, fallbacks, messages,
    person_of, post_all, post_until_decided,
    worker::{Worker, is_silent, lets_in, says},
};
use crate::support::real::{Bridge, NatsServer, until};

#[tokio::test]
async fn a_call_that_waits_when_the_server_is_killed_is_decided_after_its_return() {
    let mut server = NatsServer::start().await;
    let connector = connector("deadline: 18s, grace: 15s");
    let bridge = Bridge::start(&server, &connector).await.connected().await;
    let worker = Worker::start(&server, |message| {
        let attempt = message.headers.as_ref()?.get("Connector-Attempt")?.as_str();
        (attempt != "1").then(|| says(r#"{"action":"Continue"}"#))?
    })
    .await;
    let interrupt = async {
        worker.until_got(1).await;
        server.kill();
        bridge.until_metric("nats_connected", 0.0).await;
        server.run().await;
    };
    let claims = claims_of(1);
    let (answer, ()) = tokio::join!(bridge.post("c", &claims), interrupt);
    assert_is_decided(&answer);
    assert_eq!(worker.attempts(), ["1", "2"]);
    let got = worker.got();
    assert_eq!(got[0].header("Connector-Call-Id"), got[1].header("Connector-Call-Id"));
    assert_eq!(got[0].message.payload, got[1].message.payload);
}

#[tokio::test]
async fn a_message_that_may_have_reached_a_worker_is_sent_once_more_and_not_twice() {
    let mut server = NatsServer::start().await;
    let connector = connector("deadline: 10s, grace: 9s");
    let bridge = Bridge::start(&server, &connector).await.connected().await;
    let worker = Worker::start(&server, is_silent).await;
    let interrupt = async {
        for messages in 1..=2 {
            worker.until_got(messages).await;
            server.kill();
            bridge.until_metric("nats_connected", 0.0).await;
            server.run().await;
            bridge.until_metric("nats_connected", 1.0).await;
        }
    };
    let claims = claims_of(1);
    let (answer, ()) = tokio::join!(bridge.post("c", &claims), interrupt);
    assert_is_default(&answer);
    assert_eq!(worker.attempts(), ["1", "2"]);
    assert_eq!(fallbacks(&bridge, "disconnected").await, 1.0);
}

#[tokio::test]
async fn a_call_whose_server_is_killed_for_good_gets_the_fallback_by_its_deadline() {
    let mut server = NatsServer::start().await;
    let deadline = Duration::from_millis(1_500);
    let bridge = Bridge::start(&server, &connector("deadline: 1500ms")).await.connected().await;
    let worker = Worker::start(&server, is_silent).await;
    let kill = async {
        worker.until_got(1).await;
        server.kill();
    };
    let claims = claims_of(1);
    let (answer, ()) = tokio::join!(bridge.post("c", &claims), kill);
    assert_is_default(&answer);
    assert!(answer.took >= deadline * 9 / 10, "{:?}: a sent message is waited for", answer.took);
    assert!(answer.took < deadline + SLACK, "{:?}", answer.took);
    assert_eq!(fallbacks(&bridge, "disconnected").await, 1.0);
    assert_eq!(messages(&bridge, "disconnected").await, 1.0);
}

#[tokio::test]
async fn a_lost_connection_is_noticed_at_once_and_waited_for_no_longer_than_it_may_take() {
    let mut server = NatsServer::start().await;
    let connector = connector("deadline: 18s, reconnect_grace: 3s");
    let bridge = Bridge::start(&server, &connector).await.connected().await;
    let event = |event: &str| format!(r#"nats_connection_events_total{{event="{event}"}}"#);
    assert_eq!(bridge.metric(&event("disconnected")).await, Some(0.0));
    server.kill();
    bridge.until_metric("nats_connected", 0.0).await;
    assert_eq!(bridge.metric(&event("disconnected")).await, Some(1.0));
    for (person, least) in [(1, 1_000), (2, 490)] {
        let answer = bridge.post("c", &claims_of(person)).await;
        assert_is_default(&answer);
        assert!(answer.took >= Duration::from_millis(least), "{:?}", answer.took);
        assert!(answer.took < Duration::from_secs(18) / 2, "{:?}", answer.took);
        assert_eq!(fallbacks(&bridge, "disconnected").await, person as f64);
        assert_eq!(messages(&bridge, "disconnected").await, person as f64);
    }
    assert_eq!(bridge.admin("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_connection_that_returns_within_the_grace_lets_the_call_through() {
    let mut server = NatsServer::start().await;
    let connector = connector("deadline: 18s, grace: 17s");
    let bridge = Bridge::start(&server, &connector).await.connected().await;
    let worker = Worker::start(&server, lets_in).await;
    server.kill();
    bridge.until_metric("nats_connected", 0.0).await;
    let come_back = async {
        bridge.until_metric(r#"requests_in_flight{connector="c"}"#, 1.0).await;
        server.run().await;
    };
    let claims = claims_of(1);
    let (answer, ()) = tokio::join!(bridge.post("c", &claims), come_back);
    assert_is_decided(&answer);
    assert_eq!(worker.attempts(), ["1"]);
}

/// NATS is away for five seconds, and workers come back two seconds after the bridge, as clients of
/// NATS do.
#[tokio::test]
async fn an_outage_of_five_seconds_costs_nobody_the_decision() {
    let mut server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("")).await.connected().await;
    let before = Worker::start(&server, is_silent).await;
    let in_flight = post_all(&bridge, 0..10);
    let outage = async {
        before.until_got(10).await;
        before.leave().await;
        server.kill();
        bridge.until_metric("nats_connected", 0.0).await;
        let waiting = post_all(&bridge, 10..50);
        let worker = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.run().await;
            bridge.until_metric("nats_connected", 1.0).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            Worker::start(&server, lets_in).await
        };
        tokio::join!(waiting, worker)
    };
    let (in_flight, (waiting, worker)) = tokio::join!(in_flight, outage);
    in_flight.iter().chain(&waiting).for_each(assert_is_decided);
    let got = worker.got();
    assert_eq!(got.len(), 50, "once each");
    for got in got {
        let attempt = if person_of(&got.message) < 10 { "2" } else { "1" };
        assert_eq!(got.attempt(), attempt);
        assert!(got.is_in_time());
    }
}

#[tokio::test]
async fn five_hundred_calls_of_an_outage_all_get_fallbacks_and_none_reaches_a_worker_later() {
    let mut server = NatsServer::start().await;
    let connector = connector("deadline: 18s, reconnect_grace: 1s");
    let bridge = Bridge::start(&server, &connector).await.connected().await;
    let worker = Worker::start(&server, lets_in).await;
    assert_is_decided(&bridge.post("c", &claims_of(0)).await);
    server.kill();
    bridge.until_metric("nats_connected", 0.0).await;
    post_all(&bridge, 1..501).await.iter().for_each(assert_is_default);
    assert_eq!(fallbacks(&bridge, "disconnected").await, 500.0);

    server.run().await;
    let posted = post_until_decided(&bridge, 501).await;
    // Messages come in the order in which they were sent: none of the 500 is still on its way.
    // Of those posted since, the earlier ones may have found the worker still away.
    let got = worker.got();
    assert!((2..=posted + 1).contains(&got.len()), "{} of {posted}", got.len());
    for got in &got[1..] {
        assert!(person_of(&got.message) > 500);
    }
    post_all(&bridge, 1_000..1_100).await.iter().for_each(assert_is_decided);
}

#[tokio::test]
async fn a_bridge_that_starts_before_the_server_is_ready_and_decides_once_it_is_there() {
    let mut server = NatsServer::later().await;
    let bridge = Bridge::start(&server, &connector("")).await;
    assert_eq!(bridge.admin("/readyz").await.status, 200);
    assert_eq!(bridge.metric("nats_connected").await, Some(0.0));
    assert_is_default(&bridge.post("c", &claims_of(1)).await);
    assert_eq!(fallbacks(&bridge, "disconnected").await, 1.0);

    server.run().await;
    let worker = Worker::start(&server, lets_in).await;
    let posted = post_until_decided(&bridge, 2).await;
    assert!(worker.got().len() <= posted);
    assert!(worker.attempts().iter().all(|attempt| attempt == "1"));
    assert_eq!(bridge.metric("nats_connected").await, Some(1.0));
}

/// Two servers, of which the first tells its clients of the second.
async fn cluster_of_two() -> [NatsServer; 2] {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let route = free.local_addr().unwrap();
    drop(free);
    let first = format!("cluster {{name: C, listen: \"{route}\"}}");
    let second = format!(
        "cluster {{name: C, listen: \"127.0.0.1:-1\", routes: [\"nats-route://{route}\"]}}"
    );
    let servers = [NatsServer::start_with(&first).await, NatsServer::start_with(&second).await];
    until("the servers know each other", async || {
        let known = servers[0].client().await.server_info().connect_urls;
        known.iter().any(|url| url.ends_with(&servers[1].port.to_string())).then_some(())
    })
    .await;
    servers
}

#[tokio::test]
async fn another_server_of_the_cluster_takes_over_although_only_one_is_configured() {
    let [mut first, second] = cluster_of_two().await;
    let bridge = Bridge::start(&first, &connector("")).await.connected().await;
    let worker = Worker::start(&second, lets_in).await;
    post_until_decided(&bridge, 1).await;
    first.kill();
    bridge.until_metric(r#"nats_connection_events_total{event="connected"}"#, 2.0).await;
    post_until_decided(&bridge, 100).await;
    assert!(worker.got().iter().any(|got| person_of(&got.message) >= 100));
}
