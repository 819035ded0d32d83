//! Good callers with the right credentials, and a probe of `/livez`, on a thread of their own.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    runtime::Builder,
    sync::oneshot,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    site::{GOOD, Site, decision_for},
    support::real::{Answer, one_answer, post_head},
};

/// How long B2C waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Calls on connections that are open all the time: together 50 a second. Many connections, so that
/// a call that waits does not keep the next ones from being made.
const KEPT: usize = 16;
const KEPT_EVERY: Duration = Duration::from_millis(320);

/// Calls on a connection of their own.
const FRESH_EVERY: Duration = Duration::from_millis(100);

const PROBE_EVERY: Duration = Duration::from_millis(100);

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The worker's decision for this very person, or `200 ok`.
    Right,
    /// A valid answer, but not a worker's.
    Fallback,
    /// Anything else, in words.
    Wrong(String),
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A caller on a connection that was open before.
    Kept,
    /// A caller on a new connection.
    Fresh,
    /// A probe of `/livez`, on a new connection.
    Probe,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) who: Who,
    pub(crate) sent: Instant,
    pub(crate) took: Duration,
    pub(crate) end: End,
}

/// Everybody good, until stopped.
pub(crate) struct Callers {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Callers {
    pub(crate) fn start(site: &Site) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let to = Arc::new(To {
            port: site.serving.port,
            admin_port: site.serving.admin_port,
            tls: site.tls.clone(),
            samples: Arc::clone(&samples),
        });
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for number in 0..KEPT {
                    tokio::spawn(Arc::clone(&to).keeps_calling(number));
                }
                tokio::spawn(Arc::clone(&to).calls_anew());
                tokio::spawn(to.probes());
                drop(stopped.await);
            });
            // What is still under way has no end, and is nobody's fault.
            runtime.shutdown_background();
        });
        Self { samples, stop, thread }
    }

    /// All requests that ended.
    pub(crate) fn stop(self) -> Vec<Sample> {
        self.stop.send(()).unwrap_or(());
        self.thread.join().unwrap();
        std::mem::take(&mut *self.samples.lock().unwrap())
    }
}

/// Where they call, and what they note.
struct To {
    port: u16,
    admin_port: u16,
    tls: Option<Arc<ClientConfig>>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

/// Plain or within TLS.
trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<L: AsyncRead + AsyncWrite + Send + Unpin> Line for L {}
type Connection = BufReader<Box<dyn Line>>;

impl To {
    fn note(&self, who: Who, sent: Instant, end: End) {
        let sample = Sample { who, sent, took: sent.elapsed(), end };
        self.samples.lock().unwrap().push(sample);
    }

    async fn connect(&self) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(BufReader::new(Box::new(stream))) };
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        Ok(BufReader::new(Box::new(stream)))
    }

    async fn keeps_calling(self: Arc<Self>, number: usize) {
        let mut connection = None;
        tokio::time::sleep(KEPT_EVERY * u32::try_from(number).unwrap() / KEPT as u32).await;
        let mut ticks = interval(KEPT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if connection.is_none() {
                // The first one, or the one before was closed.
                connection = timeout(PATIENCE, self.connect()).await.ok().and_then(Result::ok);
            }
            let sent = Instant::now();
            let end = match &mut connection {
                None => End::Wrong("no connection".to_owned()),
                Some(open) => call(open).await,
            };
            if let End::Wrong(_) = end {
                connection = None;
            }
            self.note(Who::Kept, sent, end);
        }
    }

    async fn calls_anew(self: Arc<Self>) {
        let mut ticks = interval(FRESH_EVERY);
        loop {
            ticks.tick().await;
            let to = Arc::clone(&self);
            tokio::spawn(async move {
                let sent = Instant::now();
                let end = match timeout(PATIENCE, to.connect()).await {
                    Ok(Ok(mut connection)) => call(&mut connection).await,
                    Ok(Err(error)) => End::Wrong(format!("no connection: {}", error.kind())),
                    Err(_) => End::Wrong("no connection in time".to_owned()),
                };
                to.note(Who::Fresh, sent, end);
            });
        }
    }

    async fn probes(self: Arc<Self>) {
        let mut ticks = interval(PROBE_EVERY);
        loop {
            ticks.tick().await;
            let to = Arc::clone(&self);
            tokio::spawn(async move {
                let sent = Instant::now();
                let end = timeout(PATIENCE, probe(to.admin_port)).await;
                let end = end.unwrap_or_else(|_| End::Wrong("no answer".to_owned()));
                to.note(Who::Probe, sent, end);
            });
        }
    }
}

/// Claims of a person whom nobody else has.
pub(crate) fn claims() -> Bytes {
    let person = person();
    format!(r#"{{"email":"p{person}@example.com","displayName":"Person {person}"}}"#).into()
}

/// A number that no other person of this run has.
pub(crate) fn person() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A request as bytes.
pub(crate) fn post(connector: &str, claims: &[u8]) -> Vec<u8> {
    [post_head(connector, claims.len()).as_bytes(), b"\r\n", claims].concat()
}

async fn call(connection: &mut Connection) -> End {
    let claims = claims();
    let request = post(GOOD, &claims);
    let exchange = async {
        connection.write_all(&request).await.ok()?;
        connection.flush().await.ok()?;
        one_answer(connection, true).await
    };
    match timeout(PATIENCE, exchange).await {
        Err(_) => End::Wrong("no answer".to_owned()),
        Ok(None) => End::Wrong("closed".to_owned()),
        Ok(Some(answer)) => judged(&answer, &claims),
    }
}

/// A worker's decision is only right for whom it was made.
fn judged(answer: &Answer, claims: &Bytes) -> End {
    let body = serde_json::from_str::<Value>(&answer.body).ok();
    let wanted: Value = serde_json::from_str(&decision_for(claims)).unwrap();
    let action = body.as_ref().map(|body| body["action"].clone());
    match (answer.status, answer.source()) {
        (200, "worker") if body == Some(wanted) => End::Right,
        (200, "default") if action == Some("ShowBlockPage".into()) => End::Fallback,
        (status, source) => End::Wrong(format!("{status} from {source}")),
    }
}

async fn probe(port: u16) -> End {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else {
        return End::Wrong("no connection".to_owned());
    };
    let request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return End::Wrong("closed".to_owned());
    }
    match one_answer(&mut BufReader::new(stream), true).await {
        Some(Answer { status: 200, .. }) => End::Right,
        Some(answer) => End::Wrong(answer.status.to_string()),
        None => End::Wrong("closed".to_owned()),
    }
}
