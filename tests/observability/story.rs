//! The whole story: a good day, then fault after fault. Each raises its alerts at the receiver, and
//! mended, they end there.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, stream::Config};

use crate::{
    bridges::{Place, Unread, certified, connector},
    collector::Collector,
    dashboards,
    expected::{Expected, PROVOKED},
    monitors::{Alertmanager, Job, PATIENCE, Prometheus},
    receiver::{ALL, Notice, Receiver, State},
    rounds,
    support::{
        pki::Authority,
        proxy::Proxy,
        real::{Folder, NatsServer, until},
    },
    traffic::Traffic,
    worker::Worker,
};

/// The stream of calls.
const STREAM: &str = "KV_connector_bridge_calls";

/// What was seen of one alert.
struct Row {
    expected: Expected,
    how: &'static str,
    fired: Duration,
    ended: Option<Duration>,
}

/// Everything that takes part.
pub(crate) struct Story {
    pub(crate) nats: NatsServer,
    pub(crate) worker: Option<Worker>,
    /// The way from `b` to NATS.
    pub(crate) line: Proxy,
    /// Two instances of the job `signup`, in a namespace.
    pub(crate) a: Place,
    pub(crate) b: Place,
    /// The job `tokens`, which exports spans.
    _tokens: Place,
    pub(crate) collector: Collector,
    /// The job `edge-connector-bridge`, which speaks TLS.
    pub(crate) edge: Place,
    pub(crate) authority: Authority,
    /// The job `shared`, which uses the streams in `stores` and does not make them.
    _shared: Place,
    stores: NatsServer,
    streams: [Config; 2],
    _worker_at_stores: Worker,
    /// The job `unread`.
    pub(crate) unread: Unread,
    pub(crate) traffic: Traffic,
    pub(crate) receiver: Receiver,
    pub(crate) pages: Alertmanager,
    _all: Alertmanager,
    pub(crate) prometheus: Prometheus,
    started: Instant,
    rows: Vec<Row>,
}

/// Connectors of the job `signup`, beside one that nobody calls.
const SIGNUP: [(&str, &str, &str, &str); 7] = [
    ("approve", "entra", "before-create", "fallback: {cached: {by: [email]}},"),
    ("lookup", "b2c", "after-federation", "fallback: {default: refuse},"),
    ("narrow", "entra", "before-create", "max_in_flight: 2,"),
    ("silent", "entra", "before-create", "deadline: 1s, breaker: {failures: 5, open_for: 2s},"),
    ("garbage", "entra", "before-create", ""),
    ("locked", "entra", "before-create", ""),
    (crate::worker::DESCRIBED, "entra", "before-create", ""),
];

const TLS: &str = "tls: {cert_file: \"{folder}/tls.crt\", key_file: \"{folder}/tls.key\"}";

/// The stream of calls, made by a bridge that may, and that of records; their configurations.
async fn make_streams(stores: &NatsServer) -> [Config; 2] {
    let connectors = connector("kept", "entra", "before-create", "");
    let mut maker = Place::new(&stores.url(), "calls: {store: jetstream}", &connectors);
    maker.start().await;
    let context = jetstream::new(stores.client().await);
    let calls = until("the stream", async || {
        Some(context.get_stream(STREAM).await.ok()?.cached_info().config.clone())
    })
    .await;
    let subjects = vec!["connector-events.decided".to_owned()];
    let records = Config { name: "records".to_owned(), subjects, ..Config::default() };
    context.create_stream(records.clone()).await.unwrap();
    [calls, records]
}

impl Story {
    /// Everything is well and at work.
    async fn begin() -> Self {
        let nats = NatsServer::start().await;
        let line = Proxy::to(nats.port).await;
        let worker = Some(Worker::start(&nats.url()).await);
        let signup: String = SIGNUP
            .iter()
            .map(|(name, protocol, step, more)| connector(name, protocol, step, more))
            .collect();
        let mut a = Place::new(&nats.url(), "", &signup);
        let mut b = Place::new(&format!("nats://127.0.0.1:{}", line.port), "", &signup);
        let slow = connector("slow", "b2c", "after-federation", "deadline: 4s,");
        let collector = Collector::start().await;
        let mut tokens = Place::new(&nats.url(), "", &slow);
        tokens.collector = Some(collector.port);
        let plain = connector("plain", "entra", "before-create", "");
        let mut edge = Place::new(&nats.url(), TLS, &plain);
        let repeated = connector("repeated", "entra", "before-create", "");
        let unread = Unread::start(Place::new(&nats.url(), "", &repeated)).await;
        let files = Folder::new();
        let config = format!("jetstream {{store_dir: \"{}\"}}", files.0.display());
        let stores = NatsServer::start_in(files, &config, &[]).await;
        let streams = make_streams(&stores).await;
        let root = "calls: {store: jetstream, create: false}\nevents: {}";
        let kept = connector("kept", "entra", "before-create", "");
        let mut shared = Place::new(&stores.url(), root, &kept);
        let authority = Authority::new("servers");
        for place in [&mut a, &mut b, &mut tokens, &mut shared] {
            place.start().await;
        }
        edge.start_in(certified(&authority, 60)).await;
        let both = vec![a.port, b.port];
        let called = SIGNUP.iter().map(|(name, ..)| *name);
        let called = called.filter(|name| *name != crate::worker::DESCRIBED);
        let mut called: Vec<_> = called.map(|name| (name, both.clone())).collect();
        called.push(("slow", vec![tokens.port]));
        called.push(("repeated", vec![unread.place.port]));
        called.push(("kept", vec![shared.port]));
        let traffic = Traffic::start(&called);

        let (receiver, port) = Receiver::start().await;
        let all = Alertmanager::telling_all(port).await;
        let pages = Alertmanager::of_example(port).await;
        let job = |name, places: &[&Place]| {
            let ports = places.iter().map(|place| place.admin_port).collect();
            Job { name, namespace: None, ports }
        };
        let jobs = [
            Job { namespace: Some("identity"), ..job("signup", &[&a, &b]) },
            job("tokens", &[&tokens]),
            job("edge-connector-bridge", &[&edge]),
            job("shared", &[&shared]),
            job("unread", &[&unread.place]),
        ];
        let prometheus = Prometheus::start(&jobs, &[&all, &pages]).await;
        Self {
            nats,
            worker,
            line,
            a,
            b,
            _tokens: tokens,
            collector,
            edge,
            authority,
            _shared: shared,
            _worker_at_stores: Worker::start(&stores.url()).await,
            stores,
            streams,
            unread,
            traffic,
            receiver,
            pages,
            _all: all,
            prometheus,
            started: Instant::now(),
            rows: Vec::new(),
        }
    }

    /// Takes the streams of calls and of records away.
    pub(crate) async fn lose_streams(&self) {
        let context = jetstream::new(self.stores.client().await);
        for stream in &self.streams {
            context.delete_stream(&stream.name).await.unwrap();
        }
    }

    /// Brings them back.
    pub(crate) async fn return_streams(&self) {
        let context = jetstream::new(self.stores.client().await);
        for stream in &self.streams {
            context.create_stream(stream.clone()).await.unwrap();
        }
    }

    /// Waits until these alerts have come, by a fault of that time.
    pub(crate) async fn raised(&mut self, then: Instant, how: &'static str, expected: &[Expected]) {
        let took = self.receiver.until(then, expected, State::Firing, PATIENCE).await;
        for (expected, fired) in expected.iter().zip(took) {
            println!("{:>6.1} s {expected:?} by: {how}", fired.as_secs_f64());
            self.rows.push(Row { expected: *expected, how, fired, ended: None });
        }
    }

    /// Waits until these, mended at that time, have ended.
    pub(crate) async fn ended(&mut self, then: Instant, expected: &[Expected]) {
        let soon: Vec<_> = expected.iter().copied().filter(Expected::ends_soon).collect();
        let took = self.receiver.until(then, &soon, State::Resolved, PATIENCE).await;
        for (expected, ended) in soon.iter().zip(took) {
            println!("{:>6.1} s until the end of {expected:?}", ended.as_secs_f64());
            let is_it = |row: &&mut Row| {
                (row.expected.name, row.expected.severity) == (expected.name, expected.severity)
                    && row.expected.labels == expected.labels
            };
            let row = self.rows.iter_mut().rev().find(is_it);
            row.expect("it was raised").ended = Some(ended);
        }
    }

    /// Waits until nothing fires any more, but for what ends later.
    pub(crate) async fn until_quiet(&self) {
        let quiet = r#"absent(ALERTS{alertstate="firing", alertname!~".*BudgetBurn"})"#;
        self.prometheus.until(quiet).await;
    }

    /// Everything that was told of so far.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.receiver.since(self.started, ALL)
    }

    /// What was seen, as a table.
    fn print(&self) {
        println!("| alert | severity | raised by | fired after | ended after |");
        println!("| --- | --- | --- | --- | --- |");
        for Row { expected, how, fired, ended } in &self.rows {
            let Expected { name, severity, .. } = expected;
            let ended =
                ended.map_or("–".to_owned(), |ended| format!("{:.1} s", ended.as_secs_f64()));
            println!("| {name} | {severity} | {how} | {:.1} s | {ended} |", fired.as_secs_f64());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_raises_its_alerts_and_mended_they_end() {
    let mut story = Story::begin().await;
    rounds::a_good_day(&story).await;
    rounds::bad_calls_and_bad_files(&mut story).await;
    rounds::workers_gone(&mut story).await;
    rounds::one_line_cut(&mut story).await;
    rounds::nats_gone(&mut story).await;
    rounds::frozen(&mut story).await;
    rounds::killed(&mut story).await;
    story.until_quiet().await;
    story.print();
    println!("{:?}", story.started.elapsed());

    let seen: BTreeSet<_> =
        story.rows.iter().map(|row| (row.expected.name, row.expected.severity)).collect();
    assert_eq!(PROVOKED.iter().copied().collect::<BTreeSet<_>>(), seen);
    for notice in story.notices() {
        let (labels, description) = (&notice.labels, &notice.annotations["description"]);
        let is_told =
            |label: &str| labels.get(label).is_none_or(|value| description.contains(value));
        assert!(["job", "connector"].iter().all(|label| is_told(label)), "{notice:?}");
        assert!(
            !description.contains("<no value>") && !description.contains("error expanding"),
            "{notice:?}"
        );
    }
    assert_eq!(story.prometheus.sick_rules().await, [""; 0]);
    dashboards::every_dashboard_query_returns_data(&story.prometheus).await;
    // One job exports spans, and only that one.
    let of = |job: &str| format!("connector_bridge_request_duration_seconds_bucket{{job{job}}}");
    let traces = story.prometheus.exemplars(&of("=\"tokens\"")).await;
    assert!(!traces.is_empty() && traces.iter().all(|id| id.len() == 32), "{traces:?}");
    assert_eq!(story.prometheus.exemplars(&of("!=\"tokens\"")).await, [""; 0]);
}
