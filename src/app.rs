//! Builds the bridge from its parts, runs it, and ends it in order.

mod ports;
mod room;
mod sharing_out;
mod threads;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Request;
use tokio::sync::mpsc;

use self::ports::Port;
use crate::{
    admin::{self, Admin, Scrapes},
    budget::{Crowd, Order},
    call::Watcher,
    clock,
    config::{CallStore, Config, ConfigError},
    domain::budget::Part,
    events::Events,
    http::{
        Endpoint, Front, Room,
        arriving::Arriving,
        connection::Progress,
        listener::{self, Terms},
        peer::{CertificateRules, Peer},
    },
    journal::Journal,
    lane::{Lane, Sharing},
    lifecycle::{self, Phase, Stop, Stopping, Timetable},
    logs::{self, Logs},
    memory::Memory,
    metrics::Metrics,
    nats::{self, Decisions, NatsWire},
    pipeline::Pipeline,
    playground::{self, Extras, Playground},
    secrets::Secrets,
    stalls::Pulse,
    store::SharedCalls,
    traces::{Callers, Exporter, TraceError, Traces},
};

/// How long the end of the program waits for the last spans.
const SPANS_FLUSH_MAX: Duration = Duration::from_secs(2);

/// The pause before a background task begins anew.
const BEGIN_ANEW_PAUSE: Duration = Duration::from_secs(1);

/// Why the bridge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration or a file that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A port cannot be had.
    #[error("{key}: cannot listen on {address}: {error}")]
    Listen {
        /// The key in the configuration.
        key: &'static str,
        /// The address there.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The exporter of spans.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// Something that should never fail.
    #[error("internal: {0}")]
    Internal(String),
}

/// A bridge whose ports are open.
pub struct App {
    /// Where callers connect.
    pub address: SocketAddr,
    /// Where probes and Prometheus connect.
    pub admin_address: SocketAddr,
    /// Where the playground's page is, if there is one.
    pub playground_address: Option<SocketAddr>,
    /// How many threads serve callers; at least one, the one that runs it.
    pub threads: usize,
    playground: Option<(std::net::TcpListener, Playground)>,
    config: Config,
    front: Arc<Front<NatsWire>>,
    admin: Arc<Admin>,
    link: nats::Link,
    wire: Arc<NatsWire>,
    decisions: Decisions,
    events: Option<Events<NatsWire>>,
    secrets: Secrets,
    listener: std::net::TcpListener,
    admin_listener: std::net::TcpListener,
    stop: Stop,
    stopping: Stopping,
}

impl App {
    /// Reads the secrets, opens the ports and starts to connect to NATS.
    ///
    /// `logs_here` where the log lines of this process are this bridge's.
    pub async fn start(mut config: Config, logs_here: bool) -> Result<Self, StartError> {
        let internal = |error: &dyn std::fmt::Display| StartError::Internal(error.to_string());
        let secrets = Secrets::open(&config)?;
        let metrics = Metrics::new().map_err(|error| internal(&error))?;
        let logs = logs_here.then(|| start_logs(&config, &metrics));
        let budget = sharing_out::budget(&config);
        config.max_connections = sharing_out::fitting(&config, &budget);
        let traces = traces(&config, &secrets, &metrics)?;
        let listen = |key, address| {
            let fault = move |error| StartError::Listen { key, address, error };
            let listener = listener::bind(address).map_err(fault)?;
            let address = listener.local_addr().map_err(fault)?;
            Ok::<_, StartError>((listener, address))
        };
        let (listener, address) = listen("listen", config.listen)?;
        let (admin_listener, admin_address) = listen("admin_listen", config.admin_listen)?;
        let playground =
            config.playground_listen.map(|address| listen("playground_listen", address));
        let playground = playground.transpose()?;
        let playground_address = playground.as_ref().map(|(_, address)| *address);
        let journal = playground.as_ref().map_or_else(Journal::default, |_| Journal::open());
        let (wire, link) = nats::new(&config, &secrets).map_err(|error| internal(&error))?;
        let wire = Arc::new(wire);
        let window = config.calls.replay_window;
        let behind = budget.share(Part::Behind);
        let memory =
            Memory::new(window, config.calls.max_entries).within(budget.share(Part::Remembered));
        let shared = (config.calls.store == CallStore::Jetstream).then(|| {
            metrics.store_available.set(0);
            let keys = Arc::clone(&secrets.seal_keys);
            SharedCalls::new(Arc::clone(&wire), window, keys, metrics.clone())
                .within(Arc::clone(&behind))
        });
        let pipeline = Pipeline::new(Arc::clone(&wire), memory, shared);
        let pipeline = Arc::new(pipeline.within(budget.share(Part::Late)));
        let (changes, changed) = mpsc::channel(nats::CHANGES_MAX);
        let sharing = Sharing { changes, room: Arc::clone(&behind), metrics: metrics.clone() };
        let cache_bytes = sharing_out::cache_bytes(&config, &budget);
        let lanes: Vec<Arc<Lane>> = config
            .connectors
            .iter()
            .map(|settings| {
                let connector = settings.connector.clone();
                Arc::new(Lane::new(connector, &metrics, cache_bytes, Some(&sharing)))
            })
            .collect();
        let decisions = Decisions {
            changes: changed.into(),
            lanes: lanes.clone(),
            keys: Arc::clone(&secrets.seal_keys),
            metrics: metrics.clone(),
        };
        let room = Room::of(&budget, lanes.len());
        let endpoints = lanes.iter().zip(&secrets.auth).map(|(lane, (_, auth))| {
            let (reserve, auth) = (room.reserve(), auth.clone());
            let endpoint = Endpoint { reserve, lane: Arc::clone(lane), auth };
            (lane.connector.name.as_str().into(), endpoint)
        });
        let events = config.events.clone().map(|rules| {
            let instance = config.instance.clone().unwrap_or_else(|| wire.instance().to_owned());
            Events::new(Arc::clone(&wire), rules, instance, metrics.clone()).within(behind)
        });
        let tell = |events: Events<_>| -> Watcher { Box::new(move |ended| events.tell(ended)) };
        let told = events.clone().map(tell).into_iter();
        let noted = playground.iter().map(|_| note());
        let front = Front {
            pipeline: Arc::clone(&pipeline),
            endpoints: endpoints.collect(),
            certificates: certificate_rules(&config, &secrets),
            hash_key: Arc::clone(&secrets.hash_key),
            metrics: metrics.clone(),
            max_body: config.max_body,
            room,
            tells_bodies: config.events.as_ref().is_some_and(|rules| !rules.claims.is_empty()),
            read_timeout: config.read_timeout,
            scheme: if config.tls.is_some() { "https" } else { "http" },
            traces,
            journal: journal.clone(),
            watchers: told.chain(noted).collect(),
        };
        let (stop, stopping) = lifecycle::new();
        let stopping_admin = stopping.clone();
        let admin = Admin {
            started: clock::now(),
            stopping: stopping_admin,
            metrics,
            lanes,
            budget,
            pipeline,
            logs,
            scrapes: Scrapes::default(),
        };
        let admin = Arc::new(admin);
        let playground = playground.map(|(listener, _)| {
            let (doors, server_tls) =
                (ports::doors(&config, &secrets, &admin), secrets.server_tls.clone());
            (listener, Playground::new(Arc::clone(&admin), journal, doors, address, server_tls))
        });
        Ok(Self {
            address,
            admin_address,
            playground_address,
            playground,
            config,
            front: Arc::new(front),
            admin,
            link,
            wire,
            decisions,
            events,
            secrets,
            listener,
            admin_listener,
            stop,
            stopping,
            threads: threads::fitting(),
        })
    }

    /// Gives the playground's page what a demo has besides.
    pub fn give(&mut self, extras: Extras) {
        if let Some((_, playground)) = &mut self.playground {
            playground.extras = extras;
        }
    }

    /// Serves until `signal`, then ends in order: at the latest `shutdown_grace` after it.
    pub async fn run(self, signal: impl Future<Output = ()>) -> Result<(), StartError> {
        let internal = |error: io::Error| StartError::Internal(error.to_string());
        let Self { config, front, admin, stop, stopping, .. } = self;
        let (pipeline, metrics) = (Arc::clone(&front.pipeline), front.metrics.clone());
        let budget = admin.budget.clone();
        let mut background = tokio::task::JoinSet::new();
        background.spawn(self.link.run(Arc::clone(&pipeline), metrics.clone()));
        let store = (Arc::clone(&pipeline), metrics.clone());
        background.spawn(kept_up(move || nats::keep_store(store.0.clone(), store.1.clone())));
        let decisions = Arc::new(self.decisions);
        let sharing = (self.wire, config.clone());
        background.spawn(kept_up(move || {
            Arc::clone(&decisions).share(Arc::clone(&sharing.0), sharing.1.clone())
        }));
        let rights = (Arc::clone(&pipeline), config.clone(), metrics.clone());
        background.spawn(kept_up(move || {
            nats::check_rights(Arc::clone(&rights.0), rights.1.clone(), rights.2.clone())
        }));
        background.spawn(nats::count_workers(Arc::clone(&pipeline), admin.lanes.clone()));
        let keeper = Arc::clone(&pipeline);
        background.spawn(async move { keeper.keep().await });
        let tls = threads::tls(&self.secrets).map_err(internal)?;
        let secrets_metrics = metrics.clone();
        background.spawn(async move { self.secrets.keep(secrets_metrics).await });
        let administration = (Port::Administration, self.admin_listener, admin::router(admin));
        let page = self.playground.map(|(listener, playground)| {
            (Port::Playground, listener, playground::router(Arc::new(playground)))
        });
        for (port, listener, router) in [administration].into_iter().chain(page) {
            background.spawn(ports::serve(port, listener, router, &config, &metrics));
        }

        let crowd = Crowd::new(budget.share(Part::Connections), Order::Arrival);
        let terms =
            Terms { tls, crowd, ..Terms::plain(config.read_timeout, config.max_connections) };
        let stalls = Arc::default();
        let serve = || {
            let listener = self.listener.try_clone()?;
            let front = Arc::clone(&front);
            let service =
                move |request: Request<Arriving>, progress: Arc<Progress>, peer: Arc<Peer>| {
                    let front = Arc::clone(&front);
                    async move { front.handle(request, &progress, &peer).await }
                };
            let metrics = metrics.clone();
            let terms = Terms { pulse: Some(Pulse::new(Arc::clone(&stalls))), ..terms.clone() };
            Ok(listener::serve(listener, terms, metrics, stopping.clone(), service))
        };
        let helpers: Vec<_> = (1..self.threads)
            .map(|_| serve().and_then(threads::serve))
            .collect::<io::Result<_>>()
            .map_err(internal)?;
        let mut serving = std::pin::pin!(serve().map_err(internal)?);
        drop(self.listener);

        tokio::select! {
            ended = &mut serving => return ended.map_err(internal),
            // They run for ever; without one of them the bridge would be deaf or without deadlines.
            Some(_) = background.join_next() => {
                return Err(StartError::Internal("a background task has ended".to_owned()));
            }
            () = signal => {}
        }
        let times = Timetable::from_now(config.drain_delay, config.shutdown_grace);
        tracing::info!("stopping");
        stop.enter(Phase::Draining);
        pipeline.cut_short(times.cut);
        let close = async {
            clock::sleep_until(times.closes).await;
            stop.enter(Phase::Closed);
            std::future::pending::<()>().await;
        };
        let answers = async {
            serving.await?;
            for helper in helpers {
                drop(helper.await);
            }
            Ok::<_, io::Error>(())
        };
        let end = async {
            let answered = clock::until(times.written, answers).await.transpose()?;
            tokio::join!(pipeline.flush(), flush_events(self.events, times.ends));
            flush_spans(front, times.ends).await;
            Ok::<_, io::Error>(answered)
        };
        let end = clock::until(times.ends, end);
        let ended = tokio::select! {
            ended = end => ended.transpose().map_err(internal)?.flatten(),
            () = close => None,
        };
        match ended {
            Some(()) => tracing::info!("stopped; every call was answered"),
            None => tracing::warn!("stopped with connections open: shutdown_grace is over"),
        }
        Ok(())
    }
}

/// Waits for the last records of decisions, but leaves time for what comes after them.
async fn flush_events(events: Option<Events<NatsWire>>, ends: Instant) {
    let now = clock::now();
    if let Some(events) = events {
        events.flush(now + ends.saturating_duration_since(now) / 2).await;
    }
}

/// Sends the last spans, until `end` at the longest, on a thread that may wait.
async fn flush_spans(front: Arc<Front<NatsWire>>, end: Instant) {
    let time = end.saturating_duration_since(clock::now()).min(SPANS_FLUSH_MAX);
    let flushed = tokio::task::spawn_blocking(move || front.traces.flush(time));
    drop(flushed.await);
}

/// Which certificates of callers count.
pub fn certificate_rules(config: &Config, secrets: &Secrets) -> CertificateRules {
    CertificateRules {
        authorities: secrets.client_authorities.clone(),
        trusted_proxies: config.forwarded.trusted_proxies.clone(),
        header: config.forwarded.header.clone(),
    }
}

fn traces(config: &Config, secrets: &Secrets, metrics: &Metrics) -> Result<Traces, TraceError> {
    let start = |settings| Exporter::start(settings, secrets.collector_tls.clone(), metrics);
    let exporter = config.traces.as_ref().map(start).transpose()?;
    let callers = match config.trust_incoming_traces {
        true => Callers::AreContinued,
        false => Callers::AreLinked,
    };
    Ok(Traces::new(exporter, callers))
}

/// What the bridge can do without for a moment: begun anew after a panic, which is counted.
async fn kept_up<F: Future<Output = ()> + Send + 'static>(begin: impl Fn() -> F) {
    loop {
        if tokio::spawn(begin()).await.is_err() {
            tracing::error!("a background task has panicked; it begins anew");
        }
        clock::sleep_until(clock::now() + BEGIN_ANEW_PAUSE).await;
    }
}

fn start_logs(config: &Config, metrics: &Metrics) -> Logs {
    let logs = logs::start(config.log, metrics);
    logs::count_panics(metrics);
    config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    logs
}

/// Has the journal take note of the end of a call.
fn note() -> Watcher {
    Box::new(|ended| ended.call.notes.answered(ended.outcome))
}
