//! What strangers cost: `cargo bench --bench security`.
//!
//! First, whether the time that a password takes to compare says anything of it (Welch's t-test,
//! as in "dude, is my code constant time?", Reparaz, Balasch and Verbauwhede, 2017). Then, what
//! good calls notice of 10,000 wrong logins a minute, over HTTP and over HTTPS with a handshake for
//! each. Both are taken in turns on the same machine; nothing is asserted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs
)]

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/support/pki.rs"]
mod pki;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/support/process.rs"]
mod process;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/support/real.rs"]
mod real;

use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use connector_bridge::domain::credentials::basic::BasicCredentials;
use data_encoding::BASE64;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use self::{
    pki::{Authority, client_config, connect},
    process::Serving,
    real::{Folder, NatsServer, worker},
};

const COMPARISONS: usize = 1_000_000;

/// Good calls: so many a second, and so long a turn.
const GOOD_EVERY: Duration = Duration::from_millis(5);
const TURN: Duration = Duration::from_secs(6);
const TURNS: usize = 5;

/// 10,000 a minute.
const WRONG_EVERY: Duration = Duration::from_millis(6);

fn main() {
    compare();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for is_secure in [false, true] {
            flood(is_secure).await;
        }
    });
}

/// Mean and variance, one value after the other.
#[derive(Default)]
struct Sample {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Sample {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let away = value - self.mean;
        self.mean += away / self.count;
        self.squares += away * (value - self.mean);
    }

    fn variance_of_mean(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// Two classes of wrong passwords, drawn in turns that nobody can foresee: one that is right but
/// for its last character, and one that is wrong from the first on.
fn compare() {
    let right = "correct horse battery staple, 44 characters.";
    let credentials =
        BasicCredentials::new([7; 32], [("entra", right.as_bytes()), ("entra", b"next")]);
    let header = |password: &str| {
        format!("Basic {}", BASE64.encode(format!("entra:{password}").as_bytes())).into_bytes()
    };
    let near = header(&format!("{}!", &right[..right.len() - 1]));
    let far = header(&"x".repeat(right.len()));
    let mut classes = [Sample::default(), Sample::default()];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..COMPARISONS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let class = usize::from(state & 1 == 1);
        let header = black_box([&near, &far][class].as_slice());
        let start = Instant::now();
        let verdict = credentials.check([header].into_iter());
        let taken = start.elapsed().as_nanos() as f64;
        assert!(black_box(verdict).is_err());
        // What the machine did meanwhile says nothing.
        if taken < 20_000.0 {
            classes[class].add(taken);
        }
    }
    let [near, far] = &classes;
    let t = (near.mean - far.mean) / (near.variance_of_mean() + far.variance_of_mean()).sqrt();
    println!(
        "a password that is nearly right: {:.1} ns, wrong throughout: {:.1} ns",
        near.mean, far.mean
    );
    println!(
        "t = {t:.2} over {COMPARISONS} comparisons; beyond 4.5 they would tell each other apart"
    );
}

async fn flood(is_secure: bool) {
    let server = NatsServer::start().await;
    worker(&server, "connectors.>", |_| Some(r#"{"action":"Continue"}"#.to_owned())).await;
    let servers = Authority::new("servers");
    let (shown, folder) = (servers.server(), Folder::new());
    fs::write(folder.0.join("crt"), &shown.pem).unwrap();
    fs::write(folder.0.join("key"), &shown.key_pem).unwrap();
    let tls = match is_secure {
        true => r#"tls: {cert_file: "{folder}/crt", key_file: "{folder}/key"}"#,
        false => "",
    };
    let root = format!("log: {{level: info}}\n{tls}");
    let connectors = "  c: {protocol: entra, step: before-create, auth: {basic: [{username: entra, password_file: \"{folder}/password\"}]}}\n";
    let nats = format!("servers: [\"{}\"]", server.url());
    let serving = Serving::start_in(folder, &nats, &root, connectors).await.connected().await;
    let tls = is_secure.then(|| client_config(&servers, None));
    let name = if is_secure { "HTTPS" } else { "HTTP" };
    let (mut quiet, mut loud) = (Vec::new(), Vec::new());
    good(&serving, tls.clone()).await;
    for _ in 0..TURNS {
        quiet.extend(good(&serving, tls.clone()).await);
        let (port, client) = (serving.port, tls.clone());
        let strangers = tokio::spawn(async move {
            let mut pace = tokio::time::interval(WRONG_EVERY);
            let mut tasks = JoinSet::new();
            loop {
                pace.tick().await;
                tasks.spawn(wrong(port, client.clone()));
                while tasks.try_join_next().is_some() {}
            }
        });
        loud.extend(good(&serving, tls.clone()).await);
        strangers.abort();
    }
    for (percent, rank) in [("50 %", 0.5), ("99 %", 0.99)] {
        let at = |sample: &mut Vec<Duration>| {
            sample.sort_unstable();
            sample[(sample.len() as f64 * rank) as usize]
        };
        let (quiet, loud) = (at(&mut quiet), at(&mut loud));
        let ratio = loud.as_secs_f64() / quiet.as_secs_f64();
        println!(
            "{name}: {percent} of good calls within {quiet:?}, with wrong logins {loud:?}: {ratio:.3}"
        );
    }
    let refused =
        serving.metric(r#"auth_failures_total{connector="c",method="basic",reason="wrong"}"#);
    println!("{name}: {} wrong logins", refused.await.unwrap());
}

/// One turn of good calls on connections that are kept: how long each took.
async fn good(serving: &Serving, tls: Option<ClientConfig>) -> Vec<Duration> {
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(open(serving.port, tls.clone()).await);
    }
    let mut pace = tokio::time::interval(GOOD_EVERY);
    let (mut taken, start) = (Vec::new(), Instant::now());
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    while start.elapsed() < TURN {
        let due = pace.tick().await;
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let claims = format!(r#"{{"email":"{number:012}@example.com"}}"#);
        let at = number as usize % connections.len();
        let status = call(&mut connections[at], "ZW50cmE6c2VjcmV0", &claims, "").await;
        assert_eq!(status, "200");
        taken.push(due.elapsed());
    }
    taken
}

/// Somebody who tries a password.
async fn wrong(port: u16, tls: Option<ClientConfig>) {
    let mut stream = open(port, tls).await;
    let status = call(&mut stream, "ZW50cmE6d3Jvbmc=", "{}", "Connection: close\r\n").await;
    assert_eq!(status, "401");
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn open(port: u16, tls: Option<ClientConfig>) -> Box<dyn Stream> {
    match tls {
        Some(tls) => Box::new(connect(tls, port).await.unwrap()),
        None => {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.set_nodelay(true).unwrap();
            Box::new(stream)
        }
    }
}

/// One call; its status.
async fn call(
    stream: &mut Box<dyn Stream>,
    credentials: &str,
    claims: &str,
    headers: &str,
) -> String {
    let request = format!(
        "POST /connectors/c HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\
         {headers}Content-Length: {}\r\n\r\n{claims}",
        claims.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut more = [0; 1024];
        let read = stream.read(&mut more).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&more[..read]);
    }
    String::from_utf8_lossy(&answer[9..12]).into_owned()
}
