//! What calls that no worker answers cost, measured at the program itself.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{SUBJECT, claims_of, connector};
use crate::support::{
    process::Serving,
    real::{NatsServer, post_head, until},
};

const KIB: u64 = 1024;

/// A connector that waits for its silent worker as briefly as may be, and never sheds.
const BRIEF: &str = "deadline: 200ms, max_in_flight: 1000000, breaker: {failures: 1000000}";

/// Takes every message and never says anything.
async fn silent_subscriber(server: &NatsServer) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let hello = format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {SUBJECT} 1\r\n");
    stream.write_all(hello.as_bytes()).await.unwrap();
    tokio::spawn(async move {
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    });
}

/// Posts calls over one connection, one after the other, until `next` has reached `end`.
async fn post_in_turn(port: u16, next: Arc<AtomicUsize>, end: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut buffer = vec![0; 4_096];
    loop {
        let person = next.fetch_add(1, Ordering::Relaxed);
        if person >= end {
            return;
        }
        let claims = claims_of(person);
        let request = format!("{}\r\n{claims}", post_head("c", claims.len()));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        let answer = loop {
            length += stream.read(&mut buffer[length..]).await.unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            // The answer has one object and nothing behind it.
            if text.ends_with('}') {
                break text;
            }
        };
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("connector-answer-source: default"), "{answer}");
    }
}

/// Posts a call of each of these people over this many connections.
async fn post_all(bridge: &Serving, people: std::ops::Range<usize>, connections: usize) {
    let next = Arc::new(AtomicUsize::new(people.start));
    let post = |_| tokio::spawn(post_in_turn(bridge.port, Arc::clone(&next), people.end));
    for task in (0..connections).map(post).collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn remembered(bridge: &Serving) -> u64 {
    bridge.status().await["calls"]["remembered"].as_u64().unwrap()
}

/// Waits until every call and every message is forgotten.
async fn until_forgotten(bridge: &Serving) {
    until("all calls are forgotten", async || {
        let calls = &bridge.status().await["calls"];
        let is_zero = |name: &str| calls[name] == 0;
        ["remembered", "messages_waiting", "messages_late"].iter().all(|n| is_zero(n)).then_some(())
    })
    .await;
}

/// The resident memory once it does not change any more.
async fn settled_bytes(bridge: &Serving) -> u64 {
    const LOOKS: u32 = 30;
    let (last, looks) = (Cell::new(0), Cell::new(0));
    until("the memory in use settles", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = bridge.resident_bytes();
        looks.set(if last.replace(now) == now { looks.get() + 1 } else { 0 });
        (looks.get() == LOOKS).then_some(now)
    })
    .await
}

/// How many calls go unanswered in each of two rounds. A million by hand, with
/// `UNANSWERED_CALLS=1000000`.
fn unanswered_calls() -> usize {
    std::env::var("UNANSWERED_CALLS").map_or(100_000, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn unanswered_calls_leave_no_memory_behind() {
    let calls = unanswered_calls();
    let server = NatsServer::start().await;
    silent_subscriber(&server).await;
    let root = "calls: {replay_window: 2s, max_entries: 200000}";
    let bridge = Serving::start(&server, root, &connector(BRIEF)).await.connected().await;
    let mut in_use = Vec::new();
    for round in 0..2 {
        post_all(&bridge, round * calls..(round + 1) * calls, 1_000).await;
        until_forgotten(&bridge).await;
        in_use.push(settled_bytes(&bridge).await);
    }
    let growth = in_use[1].saturating_sub(in_use[0]);
    assert!(growth <= 2 * KIB * KIB, "{in_use:?} bytes");
    // Where the machine is too slow for all of them, a few calls are over before they are sent.
    let sent = bridge.metric(r#"nats_requests_total{connector="c",result="timeout"}"#).await;
    assert!(sent.unwrap() >= calls as f64, "{sent:?} calls were with the worker");
}

#[tokio::test]
async fn an_unanswered_call_costs_at_most_three_kib_while_it_is_remembered() {
    let server = NatsServer::start().await;
    silent_subscriber(&server).await;
    let root = "calls: {replay_window: 10m}";
    let bridge = Serving::start(&server, root, &connector(BRIEF)).await.connected().await;
    // What the connections cost does not count.
    post_all(&bridge, 0..2_000, 300).await;
    let (calls, bytes) = (remembered(&bridge).await, settled_bytes(&bridge).await);
    post_all(&bridge, 2_000..22_000, 300).await;
    let more_calls = remembered(&bridge).await - calls;
    assert_eq!(more_calls, 20_000);
    let more_bytes = settled_bytes(&bridge).await.saturating_sub(bytes);
    assert!(more_bytes <= 3 * KIB * more_calls, "{} bytes each", more_bytes / more_calls);
}
