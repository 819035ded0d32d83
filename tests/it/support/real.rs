//! The bridge as it runs: a real nats-server, real sockets, a real worker.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::Client;
use connector_bridge::{app::App, config::Config};
use futures_util::StreamExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

/// How long anything that should happen soon may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A folder of a test's own, removed when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("connector-bridge-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What `make` has found or installed: the path that an environment variable names, else `path`.
pub(crate) fn tool(variable: &str, path: &str) -> PathBuf {
    let path = std::env::var_os(variable).unwrap_or_else(|| path.into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A nats-server; killed when dropped. It keeps its port when it is started again.
pub(crate) struct NatsServer {
    pub(crate) folder: Folder,
    process: Option<Child>,
    more: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
    pub(crate) port: u16,
}

impl NatsServer {
    /// On a port that it chooses.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With lines of a configuration of its own; `{folder}` in it is a folder of its own.
    pub(crate) async fn start_with(config: &str) -> Self {
        Self::start_in(Folder::new(), config, &[]).await
    }

    /// In a folder that may hold more files, with variables in its environment.
    pub(crate) async fn start_in(
        folder: Folder,
        config: &str,
        environment: &[(&'static str, &'static str)],
    ) -> Self {
        let file = folder.0.join("nats.conf");
        let more = vec!["--config".to_owned(), file.to_str().unwrap().to_owned()];
        let environment = environment.to_vec();
        let mut server = Self { folder, process: None, more, environment, port: 0 };
        server.configure(config);
        server.run().await;
        server
    }

    /// Other lines from the next start or `SIGHUP` on.
    pub(crate) fn configure(&self, config: &str) {
        let text = config.replace("{folder}", self.folder.0.to_str().unwrap());
        fs::write(self.folder.0.join("nats.conf"), text).unwrap();
    }

    /// One that is not running yet, and the port that it will have.
    pub(crate) async fn later() -> Self {
        let mut server = Self::start().await;
        server.kill();
        server
    }

    /// Starts it (again), and waits until it listens.
    pub(crate) async fn run(&mut self) {
        for old in self.ports_files() {
            fs::remove_file(old).unwrap();
        }
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let process = Command::new(tool("NATS_SERVER", ".tools/nats-server/bin/nats-server"))
            .args(["--addr", "127.0.0.1", "--port", &port, "--ports_file_dir"])
            .arg(&self.folder.0)
            .args(&self.more)
            .envs(self.environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server; `make test` installs it");
        self.process = Some(process);
        let port = until("nats-server listens", async || {
            let text = fs::read_to_string(self.ports_files().into_iter().next()?).ok()?;
            let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
            let url = ports["nats"][0].as_str()?.to_owned();
            url.rsplit(':').next()?.parse().ok()
        });
        self.port = port.await;
    }

    fn ports_files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.folder.0).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|ending| ending == "ports")).collect()
    }

    /// Where it tells about itself, if it is configured to.
    pub(crate) fn monitoring_port(&self) -> u16 {
        let text = fs::read_to_string(&self.ports_files()[0]).unwrap();
        let ports: serde_json::Value = serde_json::from_str(&text).unwrap();
        ports["monitoring"][0].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
    }

    /// What is in a file of its folder.
    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.0.join(name)).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A client of its own.
    pub(crate) async fn client(&self) -> Client {
        async_nats::connect(self.url()).await.unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends a signal: `STOP`, `CONT`, `HUP`.
    pub(crate) fn signal(&self, signal: &str) {
        signal_process(self.process.as_ref().unwrap().id(), signal);
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal, as `kill -SIGNAL PID` does.
pub(crate) fn signal_process(pid: u32, signal: &str) {
    let done = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(done.success());
}

/// Asks until there is a value.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A configuration for ports of the bridge's choice, with any keys of the section `nats`; writes the
/// password file in `folder`.
pub(crate) fn config_at(folder: &Folder, nats: &str, root: &str, connectors: &str) -> String {
    fs::write(folder.0.join("password"), "secret\n").unwrap();
    let text = format!(
        "listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nnats: {{{nats}}}\n{root}\nconnectors:\n{connectors}"
    );
    text.replace("{folder}", folder.0.to_str().unwrap())
}

/// The bridge in this process; stopped when dropped.
pub(crate) struct Bridge {
    pub(crate) port: u16,
    pub(crate) admin_port: u16,
    pub(crate) playground_port: Option<u16>,
    _stop: oneshot::Sender<()>,
    /// `{folder}` in its configuration.
    pub(crate) folder: Folder,
}

impl Bridge {
    /// With the connectors in `connectors` (lines below `connectors:`), at `server`. The basic
    /// credential is `entra` with `secret`; its file is `{folder}/password`.
    pub(crate) async fn start(server: &NatsServer, connectors: &str) -> Self {
        Self::start_with(server, "", connectors).await
    }

    /// Also with lines at the root.
    pub(crate) async fn start_with(server: &NatsServer, root: &str, connectors: &str) -> Self {
        let nats = format!("servers: [\"{}\"]", server.url());
        Self::start_in(Folder::new(), &nats, root, connectors).await
    }

    /// In a folder that may hold more files, with any keys of the section `nats`.
    pub(crate) async fn start_in(folder: Folder, nats: &str, root: &str, connectors: &str) -> Self {
        let text = config_at(&folder, nats, root, connectors);
        let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut app = App::start(config, false).await.unwrap();
        // However few cores this machine has: what they share is to be tried.
        app.threads = 2;
        let (port, admin_port) = (app.address.port(), app.admin_address.port());
        let playground_port = app.playground_address.map(|address| address.port());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move { app.run(async { drop(stopped.await) }).await.unwrap() });
        Self { port, admin_port, playground_port, _stop: stop, folder }
    }

    /// Waits until it is connected to NATS.
    pub(crate) async fn connected(self) -> Self {
        self.until_metric("nats_connected", 1.0).await;
        self
    }

    /// Posts claims to a connector as `entra` with `secret`.
    pub(crate) async fn post(&self, connector: &str, claims: &str) -> Answer {
        post(self.port, connector, claims).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// `GET` on the administration port.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        get(self.admin_port, path).await
    }

    /// The value of a metric's series, written as in the text format without the prefix.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        metric(self.admin_port, series).await
    }

    pub(crate) async fn until_metric(&self, series: &str, value: f64) {
        until(series, async || (self.metric(series).await == Some(value)).then_some(())).await;
    }
}

/// An answer as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn source(&self) -> &str {
        self.header("connector-answer-source").unwrap_or("none")
    }
}

/// Posts claims as `entra` with `secret`, on a connection of its own.
pub(crate) async fn post(port: u16, connector: &str, claims: &str) -> Answer {
    let head = post_head(connector, claims.len());
    exchange(port, format!("{head}Connection: close\r\n\r\n{claims}").as_bytes()).await
}

/// The head of such a request, without its empty line.
pub(crate) fn post_head(connector: &str, length: usize) -> String {
    // entra:secret
    format!(
        "POST /connectors/{connector} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Authorization: Basic ZW50cmE6c2VjcmV0\r\nContent-Length: {length}\r\n"
    )
}

/// `GET`, on a connection of its own.
pub(crate) async fn get(port: u16, path: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(port, head.as_bytes()).await
}

/// The value of a metric's series, written as in the text format without the prefix.
pub(crate) async fn metric(admin_port: u16, series: &str) -> Option<f64> {
    value_of(series, &get(admin_port, "/metrics").await.body)
}

/// The same, in a text.
pub(crate) fn value_of(series: &str, metrics: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| {
        line.strip_prefix("connector_bridge_")?.strip_prefix(series)?.strip_prefix(' ')
    });
    line.map(|value| value.parse().unwrap())
}

/// Writes bytes to a connection of its own and reads until it is closed.
pub(crate) async fn exchange(port: u16, bytes: &[u8]) -> Answer {
    let start = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_answer(&mut stream, start).await
}

/// Reads one answer until the connection is closed.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin), start: Instant) -> Answer {
    let mut answer = Vec::new();
    tokio::time::timeout(SOON + SOON, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned(), took: start.elapsed() }
}

/// Reads one answer and leaves the connection open. `None` where it was closed instead.
pub(crate) async fn next_answer(stream: &mut (impl AsyncRead + Unpin)) -> Option<Answer> {
    tokio::time::timeout(SOON, one_answer(stream, true)).await.expect("an answer, or an end")
}

pub(crate) async fn one_answer(
    stream: &mut (impl AsyncRead + Unpin),
    has_body: bool,
) -> Option<Answer> {
    let start = Instant::now();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.ok()?));
    }
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let answer = Answer { status, head, body: String::new(), took: start.elapsed() };
    let length = answer.header("content-length").filter(|_| has_body);
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(Answer { body: String::from_utf8(body).unwrap(), ..answer })
}

/// After it the server knows of everything that was sent before: what comes to a subject reaches
/// its subscriber, over whatever connection it comes. (`flush` returns once the socket has it.)
pub(crate) async fn round_trip(client: &Client) {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    replies.next().await.unwrap();
}

/// A worker on `subject`: what `decide` returns for a message is its reply, if anything. Counts.
pub(crate) async fn worker(
    server: &NatsServer,
    subject: &str,
    decide: impl Fn(&async_nats::Message) -> Option<String> + Send + 'static,
) -> Arc<AtomicU64> {
    worker_of(server.client().await, subject, decide).await
}

/// The same, as a client of any kind.
pub(crate) async fn worker_of(
    client: Client,
    subject: &str,
    decide: impl Fn(&async_nats::Message) -> Option<String> + Send + 'static,
) -> Arc<AtomicU64> {
    let mut calls = client.queue_subscribe(subject.to_owned(), "w".to_owned()).await.unwrap();
    round_trip(&client).await;
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            counter.fetch_add(1, Ordering::Relaxed);
            if let (Some(reply), Some(decision)) = (call.reply.clone(), decide(&call)) {
                client.publish(reply, decision.into()).await.unwrap();
            }
        }
    });
    count
}
