//! The end of the program, from the signal to the exit code.

use std::{
    io,
    time::{Duration, Instant},
};

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use connector_bridge::{
    http::{
        arriving::Arriving,
        listener::{self, Terms},
    },
    lifecycle::{self, Phase},
    metrics::Metrics,
};
use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    process::Serving,
    real::{
        Answer, NatsServer, SOON, get, post, post_head, read_answer, round_trip, until, worker,
    },
};

const SUBJECT: &str = "connectors.c.before-create";
const CONTINUE: &str = r#"{"action":"Continue"}"#;

async fn serve(server: &NatsServer, root: &str) -> Serving {
    let auth = r#"{basic: [{username: entra, password_file: "{folder}/password"}]}"#;
    let connectors = format!("  c: {{protocol: entra, step: before-create, auth: {auth}}}\n");
    Serving::start(server, root, &connectors).await.connected().await
}

/// A worker that decides when the test says so.
async fn slow_worker(server: &NatsServer) -> (Client, Subscriber) {
    let client = server.client().await;
    let calls = client.subscribe(SUBJECT).await.unwrap();
    round_trip(&client).await;
    (client, calls)
}

async fn asked(calls: &mut Subscriber) -> Message {
    timeout(SOON, calls.next()).await.expect("a message").unwrap()
}

/// Writes bytes to a new connection and leaves it open.
async fn open(port: u16, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

fn call(claims: &str) -> String {
    format!("{}\r\n{claims}", post_head("c", claims.len()))
}

async fn until_unready(serving: &Serving) {
    until("/readyz is 503", async || {
        (get(serving.admin_port, "/readyz").await.status == 503).then_some(())
    })
    .await;
}

/// Waits until no connection is accepted any more.
async fn until_refused(serving: &Serving) {
    until("new connections are refused", async || {
        TcpStream::connect(("127.0.0.1", serving.port)).await.err()
    })
    .await;
}

async fn assert_ends_well(serving: Serving) {
    let ended = serving.program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("panic"), "{}", ended.err);
}

#[tokio::test]
async fn after_the_signal_it_is_unready_at_once_and_goes_on_deciding_for_drain_delay() {
    let server = NatsServer::start().await;
    worker(&server, SUBJECT, |_| Some(CONTINUE.to_owned())).await;
    for signal in ["TERM", "INT"] {
        let serving = serve(&server, "drain_delay: 2s").await;
        assert_eq!(get(serving.admin_port, "/readyz").await.status, 200);
        let start = Instant::now();
        serving.program.signal(signal);
        until_unready(&serving).await;
        let answer = post(serving.port, "c", "{}").await;
        assert_eq!((answer.status, answer.source()), (200, "worker"), "on a new connection");
        assert_eq!(get(serving.admin_port, "/livez").await.status, 200);
        let status = get(serving.admin_port, "/status").await.body;
        assert!(status.contains(r#""state": "draining""#), "{status}");
        until_refused(&serving).await;
        assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
        assert_ends_well(serving).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_used_while_draining_is_not_kept() {
    let server = NatsServer::start().await;
    worker(&server, SUBJECT, |_| Some(CONTINUE.to_owned())).await;
    let serving = serve(&server, "drain_delay: 1m\nshutdown_grace: 2m").await;
    let mut stream = open(serving.port, "").await;
    serving.program.signal("TERM");
    until_unready(&serving).await;
    stream.write_all(call("{}").as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream, Instant::now()).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
}

#[tokio::test]
async fn calls_in_flight_are_decided_by_their_workers_after_the_listener_is_closed() {
    let server = NatsServer::start().await;
    let (client, mut calls) = slow_worker(&server).await;
    let serving = serve(&server, "drain_delay: 0s\nshutdown_grace: 1m").await;
    let mut streams = Vec::new();
    let mut messages = Vec::new();
    for n in 0..5 {
        streams.push(open(serving.port, &call(&format!("{{\"n\":{n}}}"))).await);
        messages.push(asked(&mut calls).await);
    }
    serving.program.signal("TERM");
    until_refused(&serving).await;
    assert_eq!(get(serving.admin_port, "/readyz").await.status, 503, "probes are answered");
    for message in messages {
        client.publish(message.reply.unwrap(), CONTINUE.into()).await.unwrap();
    }
    for stream in &mut streams {
        let answer = read_answer(stream, Instant::now()).await;
        assert_eq!((answer.status, answer.source()), (200, "worker"));
    }
    assert_ends_well(serving).await;
}

#[tokio::test]
async fn a_call_whose_worker_is_silent_gets_its_fallback_before_shutdown_grace_ends() {
    let server = NatsServer::start().await;
    let (_client, mut calls) = slow_worker(&server).await;
    let serving = serve(&server, "drain_delay: 500ms\nshutdown_grace: 2s").await;
    let mut before = open(serving.port, &call(r#"{"n":1}"#)).await;
    asked(&mut calls).await;
    let start = Instant::now();
    serving.program.signal("TERM");
    until_unready(&serving).await;
    let mut after = open(serving.port, &call(r#"{"n":2}"#)).await;
    asked(&mut calls).await;
    for stream in [&mut before, &mut after] {
        let answer = read_answer(stream, start).await;
        assert_eq!((answer.status, answer.source()), (200, "default"));
        assert!(answer.took >= Duration::from_secs(1), "not before it has to: {:?}", answer.took);
    }
    let ended = serving.program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    // The connector's own deadline is 15 s.
    assert_eq!(ended.err.matches(r#""reason":"shutting_down""#).count(), 2, "{}", ended.err);
    assert!(ended.err.contains("every call was answered"), "{}", ended.err);
}

#[tokio::test]
async fn requests_that_never_become_whole_do_not_hold_up_the_end() {
    let server = NatsServer::start().await;
    let root = "read_timeout: 5m\ndrain_delay: 0s\nshutdown_grace: 1s";
    let serving = serve(&server, root).await;
    let _open = [
        open(serving.port, "POST /conn").await,
        open(serving.port, &post_head("c", 100)).await,
        open(serving.port, &format!("{}\r\n{{\"email\":", post_head("c", 100))).await,
        open(serving.admin_port, "GET /met").await,
    ];
    serving.program.signal("TERM");
    assert_ends_well(serving).await;
}

#[tokio::test]
async fn idle_connections_are_closed_and_do_not_hold_up_the_end() {
    let server = NatsServer::start().await;
    worker(&server, SUBJECT, |_| Some(CONTINUE.to_owned())).await;
    let root = "read_timeout: 5m\ndrain_delay: 0s\nshutdown_grace: 5m";
    let serving = serve(&server, root).await;
    let mut used = open(serving.port, &call("{}")).await;
    let mut first = [0; 12];
    used.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let mut idle = [used, open(serving.port, "").await, open(serving.port, "").await];
    drop(server);
    serving.program.signal("TERM");
    for stream in &mut idle {
        let mut rest = Vec::new();
        timeout(SOON, stream.read_to_end(&mut rest)).await.expect("closed").unwrap();
    }
    assert_ends_well(serving).await;
}

/// What came of a request: `None` where the connection was refused.
async fn request(port: u16) -> Option<io::Result<Answer>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    Some(answer(stream).await)
}

/// Posts a call on a new connection that may break.
async fn answer(mut stream: TcpStream) -> io::Result<Answer> {
    let start = Instant::now();
    let request = format!("{}Connection: close\r\n\r\n{{}}", post_head("c", 2));
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await??;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.into(), body: body.into(), took: start.elapsed() })
}

#[tokio::test]
async fn whoever_connected_before_the_listener_was_closed_is_answered() {
    let server = NatsServer::start().await;
    worker(&server, SUBJECT, |_| Some(CONTINUE.to_owned())).await;
    for _ in 0..5 {
        let serving = serve(&server, "drain_delay: 0s").await;
        // While it stands still, the system takes connections and the signal comes.
        serving.program.signal("STOP");
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let stream = TcpStream::connect(("127.0.0.1", serving.port)).await.unwrap();
            requests.spawn(answer(stream));
        }
        serving.program.signal("TERM");
        serving.program.signal("CONT");
        for answer in requests.join_all().await {
            let answer = answer.expect("whoever connects gets an answer");
            assert_eq!((answer.status, answer.source()), (200, "worker"));
        }
        assert_ends_well(serving).await;
    }
}

#[tokio::test]
async fn connections_that_wait_to_be_accepted_are_taken_before_the_listener_is_closed() {
    let listener = listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        requests.spawn(answer(stream));
    }
    let (stop, stopping) = lifecycle::new();
    stop.enter(Phase::Closed);
    let service = async |_: Request<Arriving>, _, _| Response::new(Full::new(Bytes::from("ok")));
    let terms = Terms::plain(SOON, 100);
    let metrics = Metrics::new().unwrap();
    let served = listener::serve(listener, terms, metrics, stopping, service);
    let (served, answers) = tokio::join!(served, requests.join_all());
    served.unwrap();
    for answer in answers {
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn no_answer_is_lost_when_the_signal_comes_at_200_calls_a_second() {
    let server = NatsServer::start().await;
    worker(&server, SUBJECT, |_| Some(CONTINUE.to_owned())).await;
    for _ in 0..3 {
        let serving = serve(&server, "drain_delay: 300ms").await;
        let (port, mut pace) = (serving.port, tokio::time::interval(Duration::from_millis(5)));
        let mut requests = tokio::task::JoinSet::new();
        let (mut answered, mut refused) = (0, 0);
        while refused < 20 {
            pace.tick().await;
            requests.spawn(request(port));
            while let Some(done) = requests.try_join_next() {
                match done.unwrap() {
                    None => refused += 1,
                    Some(answer) => {
                        let answer = answer.expect("whoever connects gets an answer");
                        assert_eq!((answer.status, answer.source()), (200, "worker"));
                        answered += 1;
                        if answered == 100 {
                            serving.program.signal("TERM");
                        }
                    }
                }
            }
        }
        for done in requests.join_all().await {
            assert!(done.is_none_or(|answer| answer.is_ok()), "whoever connects gets an answer");
        }
        assert_ends_well(serving).await;
    }
}
