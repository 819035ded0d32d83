//! Attacks on a process with little memory: it stays below its limit, and answers those who may call.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::SMALL;
use crate::support::{
    pki::{Authority, client_config, connect},
    process::Serving,
    real::{Folder, NatsServer, next_answer, post, post_head, until, worker},
};

const MIB: u64 = 1024 * 1024;

/// How much more the process may have than at rest, with the 3 MiB for what the allocator has and does
/// not use and 2 MiB for what a build for tests takes besides. Each attack would take twice as much.
const MORE_MAX: u64 = 12 * MIB;

/// A bridge that lets everybody in who has the password, with a worker.
struct Site {
    bridge: Serving,
    at_rest: u64,
    _server: NatsServer,
}

impl Site {
    async fn new() -> Self {
        Self::with(Folder::new(), "").await
    }

    /// In a folder that may hold more files, with more lines at the root.
    async fn with(folder: Folder, root: &str) -> Self {
        let server = NatsServer::start().await;
        worker(&server, "connectors.c.before-create", |call| {
            let claims: serde_json::Value = serde_json::from_slice(&call.payload).unwrap();
            let text =
                claims.get("returns").and_then(|n| n.as_u64()).map(|n| "y".repeat(n as usize));
            let is_slow = claims.get("is_slow").is_some();
            (!is_slow).then(|| {
                format!(r#"{{"action":"Continue","text":"{}"}}"#, text.unwrap_or_default())
            })
        })
        .await;
        let auth = r#"{basic: [{username: entra, password_file: "{folder}/password"}]}"#;
        let connector = format!("  c: {{protocol: entra, step: before-create, auth: {auth}}}\n");
        let root = format!("{SMALL}\nread_timeout: 1m\n{root}");
        let nats = format!("servers: [\"{}\"]", server.url());
        let bridge = Serving::start_in(folder, &nats, &root, &connector).await.connected().await;
        let at_rest = bridge.resident_bytes();
        Self { bridge, at_rest, _server: server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.bridge.port)).await.unwrap()
    }

    /// Somebody who may call is answered by the worker, on a new connection.
    async fn assert_calls_are_decided(&self, person: usize) {
        let claims = format!(r#"{{"email":"{person}@good.example"}}"#);
        let answer = post(self.bridge.port, "c", &claims).await;
        assert_eq!((answer.status, answer.source()), (200, "worker"));
    }

    fn assert_is_small(&self) {
        let more = self.bridge.resident_bytes().saturating_sub(self.at_rest);
        assert!(more < MORE_MAX, "{} KiB more than at rest", more / 1024);
    }

    async fn refusals(&self, share: &str) -> f64 {
        let series = format!("memory_refusals_total{{share=\"{share}\"}}");
        self.bridge.metric(&series).await.unwrap()
    }

    async fn until_refused(&self, share: &str, least: f64) {
        until(share, async || (self.refusals(share).await >= least).then_some(())).await;
    }
}

/// Sends as much as the bridge takes: it may be gone already.
async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    drop(stream.write_all(bytes).await);
}

#[tokio::test]
async fn unfinished_heads_of_strangers_make_room_for_those_who_call() {
    let site = Site::new().await;
    let head = format!("POST /connectors/c HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(15_000));
    let mut strangers = Vec::new();
    for round in 0..10 {
        for _ in 0..60 {
            let mut stream = site.connect().await;
            send(&mut stream, head.as_bytes()).await;
            strangers.push(stream);
        }
        site.assert_calls_are_decided(round).await;
        site.assert_is_small();
    }
    // A head that is longer takes room from another, besides those who make room as a whole.
    site.until_refused("connections", 10.0).await;
    let closed = site.bridge.metric(r#"rejections_total{reason="gave_way"}"#).await.unwrap();
    assert!(closed > 500.0, "{closed} of 600 were closed");
}

#[tokio::test]
async fn a_connection_that_is_known_is_not_closed_for_strangers() {
    let site = Site::new().await;
    let mut known = site.connect().await;
    let call = |n: u32| {
        let claims = format!(r#"{{"email":"{n}@known.example"}}"#);
        format!("{}\r\n{claims}", post_head("c", claims.len()))
    };
    let mut answer = vec![0; 4_096];
    send(&mut known, call(0).as_bytes()).await;
    assert!(known.read(&mut answer).await.unwrap() > 0);
    let mut strangers = Vec::new();
    for _ in 0..400 {
        strangers.push(site.connect().await);
    }
    until("strangers are closed", async || {
        let closed = site.bridge.metric(r#"rejections_total{reason="gave_way"}"#).await;
        closed.is_some_and(|closed| closed > 200.0).then_some(())
    })
    .await;
    send(&mut known, call(1).as_bytes()).await;
    let length = known.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "it is still there");
}

#[tokio::test]
async fn unfinished_handshakes_make_room_for_those_who_call() {
    let (authority, folder) = (Authority::new("servers"), Folder::new());
    let shown = authority.server();
    std::fs::write(folder.0.join("crt"), &shown.pem).unwrap();
    std::fs::write(folder.0.join("key"), &shown.key_pem).unwrap();
    let tls = r#"tls: {cert_file: "{folder}/crt", key_file: "{folder}/key"}"#;
    let site = Site::with(folder, tls).await;
    // The start of a ClientHello of 64 KiB, in four records.
    let mut hello = vec![1, 0, 0xff, 0xf0, 3, 3];
    hello.resize(64_000, b'x');
    let records = hello.chunks(16_000).flat_map(|part| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &length, part].concat()
    });
    let records: Vec<u8> = records.collect();
    let mut strangers = Vec::new();
    for _ in 0..300 {
        let mut stream = site.connect().await;
        send(&mut stream, &records).await;
        strangers.push(stream);
        site.assert_is_small();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    site.assert_is_small();
    let mut caller = connect(client_config(&authority, None), site.bridge.port).await.unwrap();
    let claims = r#"{"email":"a@good.example"}"#;
    let request = format!("{}\r\n{claims}", post_head("c", claims.len()));
    caller.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut caller).await.unwrap().source(), "worker");
}

#[tokio::test]
async fn unfinished_bodies_make_room_for_calls() {
    let site = Site::new().await;
    let mut unfinished = Vec::new();
    for n in 0..400 {
        let mut stream = site.connect().await;
        let head = post_head("c", 60_001);
        send(&mut stream, format!("{head}\r\n{}", " ".repeat(60_000)).as_bytes()).await;
        unfinished.push(stream);
        if n % 50 == 0 {
            site.assert_calls_are_decided(n).await;
        }
    }
    site.until_refused("bodies", 300.0).await;
    site.assert_is_small();
    let mut answer = [0; 12];
    unfinished[0].read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408", "the first one made room");
}

#[tokio::test]
async fn posting_the_same_again_and_again_and_hanging_up_holds_nothing() {
    let site = Site::new().await;
    let claims = format!(r#"{{"email":"a@b.c","is_slow":1,"text":"{}"}}"#, "x".repeat(60_000));
    let request = format!("{}\r\n{claims}", post_head("c", claims.len()));
    let joined = r#"calls_total{connector="c",result="joined"}"#;
    for round in 0..80 {
        let mut posted = Vec::new();
        for _ in 0..5 {
            let mut stream = site.connect().await;
            send(&mut stream, request.as_bytes()).await;
            posted.push(stream);
        }
        // They hang up once the bridge has read them; the first of all leads.
        let all = f64::from(round * 5 + 4);
        until("they have joined", async || {
            (site.bridge.metric(joined).await >= Some(all)).then_some(())
        })
        .await;
        site.assert_is_small();
    }
    site.assert_calls_are_decided(1_000).await;
}

#[tokio::test]
async fn large_decisions_are_forgotten_early_rather_than_too_many() {
    let site = Site::new().await;
    for person in 0..400 {
        let claims = format!(r#"{{"email":"{person}@b.c","returns":60000}}"#);
        let answer = post(site.bridge.port, "c", &claims).await;
        assert_eq!((answer.status, answer.source()), (200, "worker"));
        site.assert_is_small();
    }
    assert!(site.refusals("remembered").await > 300.0);
    let last = post(site.bridge.port, "c", r#"{"email":"399@b.c","returns":60000}"#).await;
    assert_eq!(last.source(), "replay");
}
