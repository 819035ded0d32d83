//! Nothing is sent after its deadline, whatever happens to the connection.

use super::{
    assert_is_default, connector, person_of, post_all, post_until_decided,
    worker::{Worker, lets_in},
};
use crate::support::{
    proxy::{Flow, Proxy},
    real::{Bridge, Folder, NatsServer, exchange, post_head},
};

/// A call with a large body, so that few of them fill what a frozen server does not read.
async fn post_large(bridge: &Bridge, person: usize) {
    let padding = "x".repeat(60_000);
    let claims = format!(r#"{{"email":"large{person}@example.com","padding":"{padding}"}}"#);
    let request = format!("{}Connection: close\r\n\r\n{claims}", post_head("c", claims.len()));
    assert_is_default(&exchange(bridge.port, request.as_bytes()).await);
}

#[tokio::test]
async fn what_a_lost_connection_did_not_take_is_not_sent_after_its_deadline() {
    let server = NatsServer::start().await;
    let line = Proxy::to(server.port).await;
    let nats = format!("servers: [\"nats://127.0.0.1:{}\"]", line.port);
    let connector = connector("deadline: 500ms, breaker: {failures: 1000}");
    let bridge = Bridge::start_in(Folder::new(), &nats, "", &connector).await.connected().await;
    let worker = Worker::start(&server, lets_in).await;
    post_until_decided(&bridge, 0).await;
    line.set(Flow::Stalled);
    // 12 MB: more than the sockets hold.
    let large = (0..200).map(async |person| post_large(&bridge, person).await);
    futures_util::future::join_all(large).await;
    line.cut();
    line.set(Flow::Free);
    bridge.until_metric(r#"nats_connection_events_total{event="connected"}"#, 2.0).await;
    post_until_decided(&bridge, 1_000).await;
    let overdue = worker.got().iter().filter(|got| got.message.payload.len() > 60_000).count();
    assert_eq!(overdue, 0, "calls whose callers are gone reached a worker");
}

#[tokio::test]
async fn calls_in_flight_when_the_server_is_killed_reach_no_worker_after_their_deadline() {
    let mut server = NatsServer::start().await;
    let connector = connector("deadline: 1s, breaker: {failures: 1000}");
    let bridge = Bridge::start(&server, &connector).await.connected().await;
    let worker = Worker::start(&server, |message| {
        (person_of(message) >= 100_000).then(|| lets_in(message))?
    })
    .await;
    for round in 0..3 {
        let people = round * 1_000 + 1;
        let before = worker.got().len();
        let kill = async {
            worker.until_got(before + 1).await;
            server.kill();
        };
        let (answers, ()) = tokio::join!(post_all(&bridge, people..people + 200), kill);
        answers.iter().for_each(assert_is_default);
        let before = worker.got().len();
        server.run().await;
        post_until_decided(&bridge, 100_000 * (round + 1)).await;
        for got in &worker.got()[before..] {
            let person = person_of(&got.message);
            assert!(person >= 100_000, "{person} in round {round}");
        }
    }
}
