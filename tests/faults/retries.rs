//! One of three processes is killed while workers think. Its callers, whose connections broke, try
//! again a moment later: every retry is decided soon, by the next attempt of the same call.
//!
//! `CRASH_ROUNDS=84 CRASH_CALLS=360 cargo test --test faults retries -- --nocapture` makes 10,000
//! of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    checker::SLACK,
    cluster::JETSTREAM,
    support::{
        process::Serving,
        real::{Folder, NatsServer, post_head, round_trip, until},
    },
    totals::MACHINE,
};

/// How long a worker takes.
const THINKS: Duration = Duration::from_secs(3);

/// When a process is killed, counted from the calls.
const KILLED_AFTER: Duration = Duration::from_millis(1_500);

/// How long after its connection broke a caller tries again.
const RETRIES_AFTER: Duration = Duration::from_millis(600);

/// How much longer than the worker a retry may take.
const ADDED: Duration = Duration::from_millis(2_500);

/// What workers got: by call, the attempts in their order.
type Asked = Arc<Mutex<HashMap<String, Vec<u32>>>>;

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// A worker that thinks about every call at the same time.
async fn worker(server: &NatsServer) -> Asked {
    let client = server.client().await;
    let mut calls = client.queue_subscribe("connectors.c.*", "w".to_owned()).await.unwrap();
    round_trip(&client).await;
    let asked = Asked::default();
    let notes = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            let header = |name| call.headers.as_ref().unwrap().get(name).unwrap().to_string();
            let (id, attempt) = (header("Connector-Call-Id"), header("Connector-Attempt"));
            notes.lock().unwrap().entry(id).or_default().push(attempt.parse().unwrap());
            let client = client.clone();
            tokio::spawn(async move {
                tokio::time::sleep(THINKS).await;
                let decision = r#"{"action":"Continue"}"#;
                client.publish(call.reply.unwrap(), decision.into()).await.unwrap();
            });
        }
    });
    asked
}

async fn replica(server: &NatsServer) -> Serving {
    let nats = format!("servers: [\"{}\"]", server.url());
    let connector = "  c: {protocol: entra, step: before-create, auth: {basic: [{username: entra, \
        password_file: \"{folder}/password\"}]}}\n";
    let root = "calls: {store: jetstream}";
    let serving = Serving::start_in(Folder::new(), &nats, root, connector).await.connected().await;
    until("the store", async || {
        serving.program.err().contains("the store is available").then_some(())
    })
    .await;
    serving
}

/// Source and call id of the answer; nothing where the connection broke.
async fn post(port: u16, claims: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let head = post_head("c", claims.len());
    let request = format!("{head}Connection: close\r\n\r\n{claims}");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let header = |name: &str| {
        let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    Some((header("connector-answer-source")?, header("connector-call-id")?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_retry_after_a_crash_is_decided_soon_as_the_next_attempt() {
    let (rounds, calls) = (number("CRASH_ROUNDS", 3), number("CRASH_CALLS", 36));
    let _alone = MACHINE.write().await;
    let server = NatsServer::start_with(JETSTREAM).await;
    let asked = worker(&server).await;
    let (mut retries, mut slowest) = (0, Duration::ZERO);
    let mut fleet = vec![replica(&server).await, replica(&server).await, replica(&server).await];
    for round in 0..rounds {
        let ports: Vec<u16> = fleet.iter().map(|serving| serving.port).collect();
        let all = (0..calls).map(async |call| {
            let claims = format!(r#"{{"email":"{round}-{call}@example.com"}}"#);
            if let Some(answer) = post(ports[call % 3], &claims).await {
                return (answer, None);
            }
            tokio::time::sleep(RETRIES_AFTER).await;
            let start = Instant::now();
            let answer = post(ports[1 + call % 2], &claims).await.expect("an answer");
            (answer, Some(start.elapsed()))
        });
        let kill = async {
            tokio::time::sleep(KILLED_AFTER).await;
            drop(fleet.remove(0));
        };
        let (answers, ()) = tokio::join!(join_all(all), kill);
        let messages = asked.lock().unwrap().clone();
        for ((source, id), retried) in answers {
            assert_eq!(source, "worker", "round {round}, retried {retried:?}");
            let attempts: &[u32] = if retried.is_some() { &[1, 2] } else { &[1] };
            assert_eq!(messages[&id], attempts, "round {round}, retried {retried:?}");
            if let Some(took) = retried {
                assert!(took < THINKS + ADDED + SLACK, "round {round}: {took:?}");
                slowest = slowest.max(took);
                retries += 1;
            }
        }
        fleet.push(replica(&server).await);
    }
    println!("{retries} retries after {rounds} crashes decided, the slowest after {slowest:?}");
    assert_eq!(retries, rounds * calls.div_ceil(3));
}
