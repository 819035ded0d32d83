//! The bridge without sockets: real front, pipeline, memory and inbox; a scripted worker in place
//! of NATS. Time can be paused.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use connector_bridge::{
    app::certificate_rules,
    budget::Budget,
    call::Watcher,
    clock,
    config::{CallStore, Config},
    domain::{
        budget::{Caches, Part},
        call_id::CallId,
        connector::Subject,
        reply::{CacheControl, Reply, ServiceError},
        sending::Line,
        shared::{Owner, Revision, UnixMicros},
    },
    events::Events,
    http::{Endpoint, Front, Room, connection::Progress, peer::Peer},
    inbox::{Arrival, Token},
    journal::Journal,
    lane::{Lane, refresh_gauges},
    memory::Memory,
    metrics::Metrics,
    pipeline::Pipeline,
    secrets::Secrets,
    store::SharedCalls,
    traces::{Callers, Traces},
    wire::{
        EventStream, Kept, Message, NotKept, NotSent, Store, StoreFault, Stored, Wire, Written,
    },
};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::sync::{mpsc, watch};

use super::{fake_store::FakeStore, fake_stream::FakeStream};

/// What the worker does with a message.
#[derive(Clone, Debug)]
pub(crate) enum Worker {
    /// Replies at once.
    Says(&'static str),
    /// Replies after a while.
    SaysAfter(u64, &'static str),
    /// Replies with headers.
    SaysWith(&'static str, CacheControl),
    /// Says that it failed.
    Fails(Option<u32>),
    /// Takes the message and keeps silent.
    Silent,
    /// Does not listen.
    Absent,
    /// Makes the bridge panic.
    Panics,
}

/// A message as the worker got it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) call_id: String,
    pub(crate) attempt: u32,
    pub(crate) time_left: Duration,
    pub(crate) body: Bytes,
}

/// In place of NATS.
pub(crate) struct ScriptedWire {
    /// What the worker does with each message: the first, the second, and so on; the last again
    /// and again.
    script: Mutex<Vec<Worker>>,
    got: Mutex<Vec<Got>>,
    connected: watch::Sender<bool>,
    arrivals: mpsc::UnboundedSender<(Token, Arrival)>,
    store: Arc<FakeStore>,
    stream: FakeStream,
    is_dead: AtomicBool,
    store_is_cut_off: watch::Sender<bool>,
    /// When the connection was lost.
    lost: Mutex<Option<Instant>>,
    /// How long the process stands still before it hands a message over.
    stands_still: Mutex<Duration>,
}

impl Store for ScriptedWire {
    fn is_available(&self) -> bool {
        self.store.is_available() && !*self.store_is_cut_off.borrow()
    }

    async fn available(&self) {
        let mut is_cut_off = self.store_is_cut_off.subscribe();
        is_cut_off.wait_for(|is_cut_off| !is_cut_off).await.unwrap();
        self.store.available().await;
    }

    fn wall(&self) -> UnixMicros {
        self.store.wall()
    }

    async fn read(&self, call: CallId, end: Instant) -> Result<Option<Stored>, StoreFault> {
        self.reach_store().await?;
        self.store.read(call, end).await
    }

    async fn write(
        &self,
        call: CallId,
        revision: Revision,
        life_seconds: u64,
        record: Vec<u8>,
        end: Instant,
    ) -> Result<Written, StoreFault> {
        self.reach_store().await?;
        self.store.write(call, revision, life_seconds, record, end).await
    }

    async fn beat(&self, owner: Owner, life_seconds: u64, end: Instant) -> Result<(), StoreFault> {
        self.reach_store().await?;
        self.store.beat(owner, life_seconds, end).await
    }

    async fn last_beat(&self, owner: Owner, end: Instant) -> Result<Revision, StoreFault> {
        self.reach_store().await?;
        self.store.last_beat(owner, end).await
    }
}

impl ScriptedWire {
    /// Whoever is dead gets no further.
    async fn live(&self) {
        if self.is_dead.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }

    async fn reach_store(&self) -> Result<(), StoreFault> {
        self.live().await;
        let is_cut_off = *self.store_is_cut_off.borrow();
        if is_cut_off { Err(StoreFault::Unavailable) } else { Ok(()) }
    }
}

impl Wire for ScriptedWire {
    fn line(&self) -> Line {
        Line { is_up: *self.connected.borrow(), lost: *self.lost.lock().unwrap(), heard: None }
    }

    async fn connected(&self) {
        self.connected.subscribe().wait_for(|connected| *connected).await.unwrap();
    }

    async fn publish(
        &self,
        token: Token,
        message: Message<'_>,
        mut may_go: impl FnMut() -> bool + Send,
    ) -> Result<(), NotSent> {
        self.live().await;
        let still = *self.stands_still.lock().unwrap();
        if !still.is_zero() {
            tokio::time::advance(still).await;
        }
        if !may_go() {
            return Err(NotSent::HeldBack);
        }
        assert!(self.is_connected(), "nothing is sent while disconnected");
        self.got.lock().unwrap().push(Got {
            call_id: message.call_id.to_string(),
            attempt: message.attempt,
            time_left: message.deadline.saturating_duration_since(clock::now()),
            // A copy: what is kept of the body itself counts.
            body: Bytes::copy_from_slice(&message.body),
        });
        let worker = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.remove(0) } else { script[0].clone() }
        };
        let (after, arrival) = match worker {
            Worker::Says(text) => (0, replies(text, CacheControl::default())),
            Worker::SaysAfter(ms, text) => (ms, replies(text, CacheControl::default())),
            Worker::SaysWith(text, cache_control) => (0, replies(text, cache_control)),
            Worker::Fails(code) => {
                let service_error = Some(ServiceError { code });
                (0, Arrival::Reply(Reply { service_error, ..Reply::default() }))
            }
            Worker::Silent => return Ok(()),
            Worker::Absent => (0, Arrival::NoResponders),
            Worker::Panics => {
                panic!("a fault in the bridge");
            }
        };
        let arrivals = self.arrivals.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            arrivals.send((token, arrival)).unwrap_or(());
        });
        Ok(())
    }
}

impl EventStream for ScriptedWire {
    async fn keep(
        &self,
        _: &Subject,
        id: &str,
        json: Bytes,
        end: Instant,
    ) -> Result<Kept, NotKept> {
        assert!(self.is_connected(), "nothing is published while disconnected");
        self.stream.keep(id, &json, end).await
    }
}

fn replies(text: &'static str, cache_control: CacheControl) -> Arrival {
    let payload = Bytes::from_static(text.as_bytes());
    Arrival::Reply(Reply { payload, cache_control, service_error: None })
}

/// The bridge and its worker.
pub(crate) struct Bridge {
    pub(crate) front: Arc<Front<ScriptedWire>>,
    pub(crate) metrics: Metrics,
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) budget: Budget,
    /// Where the configuration has `events`.
    pub(crate) events: Option<Events<ScriptedWire>>,
}

/// An answer as the caller gets it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) source: String,
    pub(crate) call_id: String,
    pub(crate) body: String,
}

/// Someone on this machine who shows no certificate.
fn nearby() -> Peer {
    Peer::new((Ipv4Addr::LOCALHOST, 0).into(), Vec::new())
}

impl Bridge {
    /// One connector called `c`, of protocol `entra` at `before-create`, without authentication;
    /// `more` are lines of its section.
    pub(crate) fn new(more: &str, script: &[Worker]) -> Self {
        Self::at("entra", "before-create", more, script)
    }

    pub(crate) fn at(protocol: &str, step: &str, more: &str, script: &[Worker]) -> Self {
        let more: String = more.lines().map(|line| format!("    {line}\n")).collect();
        Self::with(
            &format!(
                "connectors:\n  c:\n    protocol: {protocol}\n    step: {step}\n    auth: none\n{more}"
            ),
            script,
        )
    }

    /// Any configuration.
    pub(crate) fn with(config: &str, script: &[Worker]) -> Self {
        Self::at_store(config, script, &Arc::new(FakeStore::new()))
    }

    /// A replica of [`Self::new`] that shares its calls by way of `store`.
    pub(crate) fn replica(more: &str, script: &[Worker], store: &Arc<FakeStore>) -> Self {
        let config = format!(
            "calls: {{store: jetstream}}\nconnectors:\n  c: {{protocol: entra, step: before-create, auth: none, {more}}}"
        );
        Self::at_store(&config, script, store)
    }

    /// Any configuration, at a store that others may share.
    pub(crate) fn at_store(config: &str, script: &[Worker], store: &Arc<FakeStore>) -> Self {
        let config = Config::parse(config).unwrap_or_else(|error| panic!("{error}\n{config}"));
        let secrets = Secrets::open(&config).unwrap();
        let metrics = Metrics::new().unwrap();
        let (arrivals, mut arrived) = mpsc::unbounded_channel();
        let wire = ScriptedWire {
            script: Mutex::new(script.to_vec()),
            got: Mutex::default(),
            connected: watch::Sender::new(true),
            arrivals,
            store: Arc::clone(store),
            stream: FakeStream::new(),
            is_dead: AtomicBool::new(false),
            store_is_cut_off: watch::Sender::new(false),
            lost: Mutex::default(),
            stands_still: Mutex::default(),
        };
        let wire = Arc::new(wire);
        let window = config.calls.replay_window;
        let budget = Budget::new(config.memory_limit.unwrap_or(usize::MAX), Caches::Some);
        let memory =
            Memory::new(window, config.calls.max_entries).within(budget.share(Part::Remembered));
        let shared = (config.calls.store == CallStore::Jetstream).then(|| {
            let keys = Arc::clone(&secrets.seal_keys);
            SharedCalls::new(Arc::clone(&wire), window, keys, metrics.clone())
        });
        let events = config.events.clone().map(|rules| {
            Events::new(Arc::clone(&wire), rules, "pod-1".to_owned(), metrics.clone())
        });
        let pipeline = Pipeline::new(wire, memory, shared).within(budget.share(Part::Late));
        let pipeline = Arc::new(pipeline);
        let keeper = Arc::clone(&pipeline);
        tokio::spawn(async move { keeper.keep().await });
        let reader = Arc::clone(&pipeline);
        tokio::spawn(async move {
            while let Some((token, arrival)) = arrived.recv().await {
                reader.deliver(token, arrival);
            }
        });
        let connectors = config.connectors.iter();
        let lanes: Vec<_> = connectors
            .map(|settings| {
                let cache_bytes = budget.share(Part::Cached).limit();
                Arc::new(Lane::new(settings.connector.clone(), &metrics, cache_bytes, None))
            })
            .collect();
        let room = Room::of(&budget, lanes.len());
        let endpoints = lanes.iter().zip(&secrets.auth).map(|(lane, (_, auth))| {
            let (reserve, auth) = (room.reserve(), auth.clone());
            let endpoint = Endpoint { reserve, lane: Arc::clone(lane), auth };
            (lane.connector.name.as_str().into(), endpoint)
        });
        let watcher = |events: Events<_>| -> Watcher { Box::new(move |ended| events.tell(ended)) };
        let front = Front {
            pipeline,
            endpoints: endpoints.collect(),
            certificates: certificate_rules(&config, &secrets),
            hash_key: Arc::clone(&secrets.hash_key),
            metrics: metrics.clone(),
            max_body: config.max_body,
            room,
            tells_bodies: config.events.as_ref().is_some_and(|rules| !rules.claims.is_empty()),
            read_timeout: config.read_timeout,
            scheme: "http",
            traces: Traces::new(None, Callers::AreLinked),
            watchers: events.clone().map(watcher).into_iter().collect(),
            journal: Journal::default(),
        };
        Self { front: Arc::new(front), metrics, lanes, budget, events }
    }

    /// Posts claims to the connector `c` and hears the answer, which is thereby delivered.
    pub(crate) async fn post(&self, claims: &'static str) -> Heard {
        self.post_to("c", claims).await
    }

    pub(crate) async fn post_to(&self, connector: &str, claims: &'static str) -> Heard {
        let request = Request::post(format!("/connectors/{connector}"))
            .header("host", "x")
            .body(Full::new(Bytes::from_static(claims.as_bytes())))
            .unwrap();
        self.request(request).await
    }

    /// Sends any request and hears the answer, which is thereby delivered.
    pub(crate) async fn request(&self, request: Request<Full<Bytes>>) -> Heard {
        let progress = Arc::new(Progress::default());
        let response = self.front.handle(request, &progress, &nearby()).await;
        hear(response, Some(&progress)).await
    }

    /// Posts claims whose bytes come only after `ms`.
    pub(crate) async fn post_slowly(&self, claims: &'static str, ms: u64) -> Heard {
        let body = Box::pin(futures_util::stream::once(async move {
            pass(ms).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(claims.as_bytes())))
        }));
        let request =
            Request::post("/connectors/c").header("host", "x").body(StreamBody::new(body)).unwrap();
        let progress = Arc::new(Progress::default());
        hear(self.front.handle(request, &progress, &nearby()).await, Some(&progress)).await
    }

    /// Posts claims and hears an answer that is never delivered: the connection breaks first.
    pub(crate) async fn post_and_lose(&self, claims: &'static str) -> Heard {
        let request = Request::post("/connectors/c")
            .header("host", "x")
            .body(Full::new(Bytes::from_static(claims.as_bytes())))
            .unwrap();
        let progress = Arc::new(Progress::default());
        hear(self.front.handle(request, &progress, &nearby()).await, None).await
    }

    /// The caller hangs up after a while, before there is an answer.
    pub(crate) async fn post_and_hang_up(&self, claims: &'static str, after: u64) {
        let hung_up = tokio::time::timeout(Duration::from_millis(after), self.post(claims)).await;
        assert!(hung_up.is_err(), "the answer came first: {hung_up:?}");
    }

    /// The worker does this from now on.
    pub(crate) fn worker(&self, script: &[Worker]) {
        *self.wire().script.lock().unwrap() = script.to_vec();
    }

    /// The messages that the worker got so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.wire().got.lock().unwrap().clone()
    }

    /// The attempts of the messages that the worker got so far.
    pub(crate) fn attempts(&self) -> Vec<u32> {
        self.got().iter().map(|got| got.attempt).collect()
    }

    /// The stream that keeps records of decisions.
    pub(crate) fn stream(&self) -> &FakeStream {
        &self.wire().stream
    }

    /// From now on nothing that it does reaches anyone.
    pub(crate) fn kill(&self) {
        self.wire().is_dead.store(true, Ordering::Relaxed);
    }

    /// Whether the store is out of its reach, and of nobody else's.
    pub(crate) fn cut_off_store(&self, is_cut_off: bool) {
        self.wire().store_is_cut_off.send_replace(is_cut_off);
    }

    /// From now on the process stands still for so long before it hands a message over.
    pub(crate) fn stand_still(&self, time: Duration) {
        *self.wire().stands_still.lock().unwrap() = time;
    }

    /// The connection was never there.
    pub(crate) fn never_connected(&self) {
        self.wire().connected.send_replace(false);
    }

    pub(crate) fn disconnect(&self) {
        *self.wire().lost.lock().unwrap() = Some(clock::now());
        self.wire().connected.send_replace(false);
        self.front.pipeline.connection_lost();
    }

    pub(crate) fn reconnect(&self) {
        self.wire().connected.send_replace(true);
        self.front.pipeline.connection_returned();
    }

    /// The value of a metric's series, written as in the text format without the prefix.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        refresh_gauges(&self.lanes, &self.budget, &self.metrics);
        let text = self.metrics.text().unwrap();
        let line = text.lines().find_map(|line| {
            line.strip_prefix("connector_bridge_")?.strip_prefix(series)?.strip_prefix(' ')
        });
        line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
    }

    fn wire(&self) -> &ScriptedWire {
        self.front.pipeline.wire()
    }
}

/// Reads an answer; with the progress of its connection, as one that was written to the end.
async fn hear(
    response: Response<connector_bridge::http::connection::AnswerBody>,
    delivered_over: Option<&Arc<Progress>>,
) -> Heard {
    let header = |name| {
        let value = response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        value.unwrap_or_default()
    };
    let (source, call_id) = (header("connector-answer-source"), header("connector-call-id"));
    let status = response.status().as_u16();
    let body = match delivered_over {
        Some(progress) => {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            progress.written();
            body
        }
        None => response.into_body().collect().await.unwrap().to_bytes(),
    };
    Heard { status, source, call_id, body: String::from_utf8(body.to_vec()).unwrap() }
}

/// A time after which the paused clock has moved on by exactly `ms`.
pub(crate) async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// How long `future` took, by the paused clock, in milliseconds.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (T, u128) {
    let start = clock::now();
    let output = future.await;
    (output, (clock::now() - start).as_millis())
}
