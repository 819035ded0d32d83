//! A bridge that stands still.

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    process::Serving,
    real::{NatsServer, next_answer, post_head, worker},
};

/// Azure AD B2C waits 5 s.
const C: &str = r#"  c: {protocol: b2c, step: before-create, deadline: 3500ms, auth: {basic: [{username: entra, password_file: "{folder}/password"}]}}
"#;

/// The caller's patience, and more than the deadline.
const FROZEN: Duration = Duration::from_secs(6);

#[tokio::test]
async fn answers_to_requests_that_waited_in_the_kernel_while_the_bridge_was_frozen_are_late() {
    const CLAIMS: &str = r#"{"email":"ada@example.com"}"#;
    let server = NatsServer::start().await;
    let worker = worker(&server, "connectors.>", |_| Some(r#"{"action":"Continue"}"#.to_owned()));
    let asked = worker.await;
    let bridge = Serving::start(&server, "read_timeout: 1m", C).await.connected().await;
    let request = format!("{}\r\n{CLAIMS}", post_head("c", CLAIMS.len()));
    let late = async || bridge.metric(r#"late_responses_total{connector="c"}"#).await;
    let connect = async || TcpStream::connect(("127.0.0.1", bridge.port)).await.unwrap();
    // One that is open already, and is in time.
    let mut open = connect().await;
    open.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut open).await.unwrap().source(), "worker");
    assert_eq!((late().await, bridge.metric("stalls_total").await), (Some(0.0), Some(0.0)));

    bridge.program.signal("STOP");
    let start = Instant::now();
    let mut streams = vec![open];
    for _ in 0..4 {
        streams.push(connect().await);
    }
    for stream in &mut streams {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    tokio::time::sleep(FROZEN.saturating_sub(start.elapsed())).await;
    bridge.program.signal("CONT");
    for stream in &mut streams {
        let answer = next_answer(stream).await.unwrap();
        // Their deadlines are over: no worker is asked for people who have gone.
        assert_ne!(answer.source(), "worker", "{}", answer.head);
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(late().await, Some(5.0));
    assert!(bridge.metric("stalls_total").await >= Some(1.0));
    let stalled = bridge.metric("stalled_seconds_total").await.unwrap();
    assert!(stalled > 5.0, "{stalled}");
    // What comes afterwards is in time.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut open = connect().await;
    open.write_all(request.replace("ada", "bob").as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut open).await.unwrap().source(), "worker");
    assert_eq!(late().await, Some(5.0));
}
