//! Every secret is replaced under load, without one call that fails or one connection that breaks.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use data_encoding::BASE64;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use super::{Authority, Folder, Issued, NatsServer, client_config, connect};
use crate::support::{
    process::Serving,
    real::{get, until, value_of, worker_of},
};

/// What callers show, and how often that has changed.
#[derive(Clone)]
struct Shown {
    version: usize,
    tls: ClientConfig,
    password: String,
    api_key: String,
}

/// Callers that call without a pause.
struct Load {
    shown: Arc<Mutex<Shown>>,
    calls: Arc<AtomicUsize>,
    faults: Arc<Mutex<Vec<String>>>,
    stops: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// The promise.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// Half of them keep their connections.
const CALLERS: usize = 8;

impl Load {
    fn start(port: u16, shown: Shown) -> Self {
        let mut load = Self {
            shown: Arc::new(Mutex::new(shown)),
            calls: Arc::default(),
            faults: Arc::default(),
            stops: Arc::default(),
            tasks: JoinSet::new(),
        };
        for caller in 0..CALLERS {
            let keeps = caller % 2 == 0;
            let (shown, calls) = (Arc::clone(&load.shown), Arc::clone(&load.calls));
            let (faults, stops) = (Arc::clone(&load.faults), Arc::clone(&load.stops));
            load.tasks.spawn(async move {
                let mut kept: Option<(SendRequest<Full<Bytes>>, usize)> = None;
                while !stops.load(Ordering::Relaxed) {
                    let shown = shown.lock().unwrap().clone();
                    let number = calls.fetch_add(1, Ordering::Relaxed);
                    let connection = kept.take().filter(|(_, version)| *version == shown.version);
                    match call(connection.map(|(sender, _)| sender), port, &shown, number).await {
                        Ok(sender) => kept = Some((sender, shown.version)).filter(|_| keeps),
                        Err(fault) => faults.lock().unwrap().push(fault),
                    }
                }
            });
        }
        load
    }

    /// From now on callers show something else.
    fn show(&self, change: impl FnOnce(&mut Shown)) {
        let mut shown = self.shown.lock().unwrap();
        change(&mut shown);
        shown.version += 1;
    }

    /// Waits for so many calls more, and for those in flight.
    async fn until_more(&self, calls: usize) {
        let goal = self.calls.load(Ordering::Relaxed) + calls + CALLERS;
        until("calls", async || (self.calls.load(Ordering::Relaxed) >= goal).then_some(())).await;
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{} faults: {:?}", faults.len(), &faults[..faults.len().min(5)]);
    }

    async fn stop(mut self) -> usize {
        self.stops.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        self.calls.load(Ordering::Relaxed)
    }
}

/// One call on a connection that is open, or on a new one; a worker must have decided it.
async fn call(
    open: Option<SendRequest<Full<Bytes>>>,
    port: u16,
    shown: &Shown,
    number: usize,
) -> Result<SendRequest<Full<Bytes>>, String> {
    let mut sender = match open {
        Some(sender) => sender,
        None => {
            let stream = connect(shown.tls.clone(), port).await;
            let stream = stream.map_err(|error| format!("{number}: no handshake: {error}"))?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender
        }
    };
    let credentials = BASE64.encode(format!("entra:{}", shown.password).as_bytes());
    let claims = format!(r#"{{"email":"{number}@example.com"}}"#);
    let request = Request::post(format!("/connectors/c?code={}", shown.api_key))
        .header("host", "x")
        .header("authorization", format!("Basic {credentials}"))
        .body(Full::new(Bytes::from(claims)))
        .unwrap();
    let broken = |error: hyper::Error| format!("{number}: the connection broke: {error}");
    let answer = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = answer.into_parts();
    body.collect().await.map_err(broken)?;
    let source = head.headers.get("connector-answer-source").and_then(|v| v.to_str().ok());
    match (head.status.as_u16(), source) {
        (200, Some("worker")) => {}
        other => return Err(format!("{number}: {other:?}")),
    }
    // It takes the next request only once it has seen the end of the answer.
    sender.ready().await.map_err(broken)?;
    Ok(sender)
}

/// Files in a folder that are replaced all at once, as Kubernetes does it: a link is swapped.
struct Mounted {
    folder: Folder,
    versions: usize,
}

impl Mounted {
    const FILES: [&str; 11] = [
        "crt",
        "key",
        "ca",
        "password",
        "next-password",
        "api-key",
        "next-api-key",
        "nats",
        "hash-key",
        "seal-key",
        "next-seal-key",
    ];

    fn new(files: &[(&str, &str)]) -> Self {
        let mut mounted = Self { folder: Folder::new(), versions: 0 };
        mounted.write(files);
        for name in Self::FILES {
            symlink(format!("..data/{name}"), mounted.folder.0.join(name)).unwrap();
        }
        mounted
    }

    /// Replaces some files.
    fn write(&mut self, files: &[(&str, &str)]) {
        self.versions += 1;
        let root = &self.folder.0;
        let (old, new) = (root.join("..data"), root.join(format!("..{}", self.versions)));
        fs::create_dir(&new).unwrap();
        for name in Self::FILES {
            let changed = files.iter().find(|(changed, _)| *changed == name);
            let content = changed.map_or_else(
                || fs::read(old.join(name)).unwrap(),
                |(_, text)| text.as_bytes().to_vec(),
            );
            fs::write(new.join(name), content).unwrap();
        }
        let link = root.join("..next");
        symlink(&new, &link).unwrap();
        fs::rename(link, old).unwrap();
    }
}

struct Site {
    serving: Serving,
    mounted: Mounted,
    load: Load,
}

impl Site {
    async fn metric(&self, series: &str) -> f64 {
        let metrics = get(self.serving.admin_port, "/metrics").await.body;
        value_of(series, &metrics).unwrap_or_else(|| panic!("{series}"))
    }

    /// Replaces files, waits until they are in force, and for some calls.
    async fn rotate(&mut self, kind: &str, files: &[(&str, &str)]) {
        let took_over = || {
            let log = self.serving.program.err();
            log.matches(&format!(r#""message":"took over a changed secret file","kind":"{kind}""#))
                .count()
        };
        let (before, start) = (took_over(), Instant::now());
        self.mounted.write(files);
        until(kind, async || (took_over() > before).then_some(())).await;
        assert!(start.elapsed() < IN_FORCE_WITHIN, "{kind}: {:?}", start.elapsed());
        self.load.until_more(200).await;
        assert_eq!(self.metric("config_last_reload_successful").await, 1.0);
    }

    /// Writes something that cannot be used, waits until that is noticed, and for some calls; then
    /// takes it back.
    async fn break_and_mend(&mut self, files: &[(&str, &str)], good: &[(&str, &str)]) {
        self.mounted.write(files);
        for (files, well) in [(None, 0.0), (Some(good), 1.0)] {
            if let Some(files) = files {
                self.mounted.write(files);
            }
            until("the look at the files", async || {
                (self.metric("config_last_reload_successful").await == well).then_some(())
            })
            .await;
            self.load.until_more(200).await;
        }
    }
}

impl Site {
    /// What was replaced is not right any more.
    async fn assert_refused(&self, servers: &Authority, password: &str, api_key: &str) {
        let shown = Shown {
            version: 0,
            tls: client_config(servers, None),
            password: password.to_owned(),
            api_key: api_key.to_owned(),
        };
        let refused = call(None, self.serving.port, &shown, usize::MAX).await.err();
        assert!(refused.as_ref().is_some_and(|why| why.contains("(401, None)")), "{refused:?}");
    }
}

fn nats_config(password: &str) -> String {
    format!(
        "jetstream {{store_dir: \"{{folder}}\"}}\nauthorization {{users: [{{user: bridge, password: {password}}}, \
         {{user: worker, password: worker}}]}}"
    )
}

async fn start(
    servers: &Authority,
    shown: &Issued,
    callers: &Authority,
    own: &[&Issued],
) -> (Site, NatsServer) {
    let server = NatsServer::start_with(&nats_config("one")).await;
    let client = async_nats::ConnectOptions::with_user_and_password(
        "worker".to_owned(),
        "worker".to_owned(),
    );
    worker_of(client.connect(server.url()).await.unwrap(), "connectors.>", |_| {
        Some(r#"{"action":"Continue"}"#.to_owned())
    })
    .await;
    let mounted = Mounted::new(&[
        ("crt", &shown.pem),
        ("key", &shown.key_pem),
        ("ca", &callers.pem()),
        ("password", "secret"),
        ("next-password", "secret"),
        ("api-key", "a"),
        ("next-api-key", "a"),
        ("nats", "one"),
        ("hash-key", &"h".repeat(32)),
        ("seal-key", &"s".repeat(32)),
        ("next-seal-key", &"s".repeat(32)),
    ]);
    let path = |name: &str| format!("\"{}\"", mounted.folder.0.join(name).display());
    let nats =
        format!("servers: [\"{}\"], user: bridge, password_file: {}", server.url(), path("nats"));
    let root = format!(
        "tls: {{cert_file: {}, key_file: {}, client_ca_file: {}}}\n\
         calls: {{store: jetstream, hash_key_file: {}, encryption_key_files: [{}, {}]}}",
        path("crt"),
        path("key"),
        path("ca"),
        path("hash-key"),
        path("seal-key"),
        path("next-seal-key"),
    );
    let sha256 = |own: &&Issued| format!("{{sha256: {}}}", super::certificates::hash_of(own));
    let listed: Vec<String> = own.iter().map(sha256).collect();
    let user = |file: &str| format!("{{username: entra, password_file: {}}}", path(file));
    let connectors = format!(
        "  c: {{protocol: entra, step: before-create, auth: {{basic: [{}, {}], \
         api_key_files: [{}, {}], client_certificates: [{}]}}}}\n",
        user("password"),
        user("next-password"),
        path("api-key"),
        path("next-api-key"),
        listed.join(", "),
    );
    let serving =
        Serving::start_in(Folder::new(), &nats, &root, &connectors).await.connected().await;
    until("the store", async || {
        (serving.metric("store_available").await == Some(1.0)).then_some(())
    })
    .await;
    let tls = client_config(servers, None);
    let shown = Shown { version: 0, tls, password: "secret".to_owned(), api_key: "a".to_owned() };
    let load = Load::start(serving.port, shown);
    load.until_more(100).await;
    (Site { serving, mounted, load }, server)
}

/// What a new connection is shown.
async fn shown_now(port: u16, servers: &Authority) -> Vec<u8> {
    let stream = connect(client_config(servers, None), port).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_secret_is_replaced_under_load_and_no_call_fails() {
    let servers = Authority::new("servers");
    let (old, new) = (Authority::new("old callers"), Authority::new("new callers"));
    let (old_own, new_own) = (old.client("old"), new.client("new"));
    let (first, second) = (servers.server(), servers.server());
    let (mut site, server) = start(&servers, &first, &old, &[&old_own, &new_own]).await;
    let port = site.serving.port;

    // The server's certificate, at first without its key.
    assert_eq!(shown_now(port, &servers).await, first.der.to_vec());
    site.break_and_mend(&[("crt", &second.pem)], &[("crt", &first.pem)]).await;
    site.break_and_mend(&[("key", "no key")], &[("key", &first.key_pem)]).await;
    site.rotate("tls", &[("crt", &second.pem), ("key", &second.key_pem)]).await;
    assert_eq!(shown_now(port, &servers).await, second.der.to_vec());

    // A password, in three steps as the documents say.
    let both = |password| [("password", password), ("next-password", password)];
    site.break_and_mend(&both(""), &both("secret")).await;
    site.rotate("basic", &[("next-password", "next")]).await;
    site.load.show(|shown| shown.password = "next".to_owned());
    site.load.until_more(100).await;
    site.rotate("basic", &[("password", "next")]).await;
    site.assert_refused(&servers, "secret", "a").await;

    // An API key, the same way.
    site.rotate("api_key", &[("next-api-key", "b")]).await;
    site.load.show(|shown| shown.api_key = "b".to_owned());
    site.load.until_more(100).await;
    site.rotate("api_key", &[("api-key", "b")]).await;
    site.assert_refused(&servers, "next", "a").await;

    // What seals shared records, and what call ids are made of.
    site.rotate("encryption_key", &[("next-seal-key", &"t".repeat(32))]).await;
    let swapped = [("seal-key", "t".repeat(32)), ("next-seal-key", "s".repeat(32))];
    site.rotate("encryption_key", &swapped.each_ref().map(|(name, key)| (*name, &**key))).await;
    site.break_and_mend(&[("hash-key", "short")], &[("hash-key", &"h".repeat(32))]).await;
    site.rotate("hash_key", &[("hash-key", &"i".repeat(32))]).await;

    // From the password to a certificate, and from its authority to another one.
    site.load.show(|shown| {
        shown.tls = client_config(&servers, Some(&old_own));
        shown.password = "none".to_owned();
    });
    site.load.until_more(100).await;
    site.break_and_mend(&[("ca", "no authority")], &[("ca", &old.pem())]).await;
    site.rotate("client_ca", &[("ca", &format!("{}{}", new.pem(), old.pem()))]).await;
    site.load.show(|shown| shown.tls = client_config(&servers, Some(&new_own)));
    site.load.until_more(100).await;
    site.rotate("client_ca", &[("ca", &new.pem())]).await;

    // The password for NATS: the file first, then the server, which ends the connection.
    site.rotate("nats", &[("nats", "two")]).await;
    server.configure(&nats_config("two"));
    let reconnected = site.metric(r#"nats_connection_events_total{event="connected"}"#).await;
    server.signal("HUP");
    until("the new connection", async || {
        let connected = site.metric(r#"nats_connection_events_total{event="connected"}"#).await;
        (connected > reconnected).then_some(())
    })
    .await;
    site.load.until_more(200).await;

    let refused = r#"auth_failures_total{connector="c",method="basic",reason="wrong"}"#;
    assert_eq!(site.metric(refused).await, 1.0, "only the old password");
    let refused = r#"auth_failures_total{connector="c",method="api_key",reason="wrong"}"#;
    assert_eq!(site.metric(refused).await, 1.0, "only the old key");
    until("the store", async || (site.metric("store_available").await == 1.0).then_some(())).await;
    let calls = site.load.stop().await;
    println!("{calls} calls, none failed");
}
