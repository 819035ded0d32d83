//! Nothing is sent after its deadline, whatever happens to the connection.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{
    assert_is_default, connector, person_of, post_all, post_until_decided,
    worker::{Worker, lets_in},
};
use crate::support::real::{Bridge, Folder, NatsServer, exchange, post_head};

/// A line to a server that can stall, and lose what is on it.
struct Line {
    url: String,
    is_stalled: watch::Sender<bool>,
}

impl Line {
    async fn to(server: &NatsServer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let (is_stalled, stalled) = watch::channel(false);
        let port = server.port;
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut stalled = stalled.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let stalls = async { drop(stalled.wait_for(|is_stalled| *is_stalled).await) };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => return,
                        () = stalls => {}
                    }
                    drop(stalled.wait_for(|is_stalled| !*is_stalled).await);
                });
            }
        });
        Self { url, is_stalled }
    }

    /// Nothing moves any more.
    fn stall(&self) {
        self.is_stalled.send_replace(true);
    }

    /// What stalled is closed, and what was on it is lost. New connections are as good as ever.
    fn cut(&self) {
        self.is_stalled.send_replace(false);
    }
}

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
    let line = Line::to(&server).await;
    let nats = format!("servers: [\"{}\"]", line.url);
    let connector = connector("deadline: 500ms, breaker: {failures: 1000}");
    let bridge = Bridge::start_in(Folder::new(), &nats, "", &connector).await.connected().await;
    let worker = Worker::start(&server, lets_in).await;
    post_until_decided(&bridge, 0).await;
    line.stall();
    // 12 MB: more than the sockets hold.
    let large = (0..200).map(async |person| post_large(&bridge, person).await);
    futures_util::future::join_all(large).await;
    line.cut();
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
