//! Every metric, in one place. A label value comes from a closed set in code or from the
//! configuration, never from traffic; every known set of labels is there with 0 from the start.

mod connector;
mod exemplars;
mod labels;
mod openmetrics;

use std::time::Duration;

use prometheus::{
    Counter, Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use self::exemplars::Exemplars;
pub use self::{
    connector::{CallResult, ConnectorMetrics, MessageResult},
    exemplars::Traced,
    labels::{
        CertificateRole, ConnectionEvent, EventResult, LOG_LEVELS, Rejection, SECRET_KINDS,
        SpanDrop, StoreOperation, StoreResult,
    },
    openmetrics::OPENMETRICS_TYPE,
};
use crate::{
    budget::Budget,
    domain::{budget::Part, connector::Connector},
};

/// Upper bounds in seconds. A round trip on loopback takes less than 1 ms; every line of a
/// contract (5, 10, 20 s) and of an objective (2.5 s) is a bound of its own.
const SECONDS: [f64; 18] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0,
    15.0, 18.0, 20.0,
];

/// The family whose buckets name traces.
const FAMILY_WITH_EXEMPLARS: &str = "request_duration_seconds";

/// Upper bounds as shares of the time that the caller waits.
const SHARES: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25];

/// The metrics of one bridge.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    rejections: IntCounterVec,
    connection_events: IntCounterVec,
    log_messages: IntCounterVec,
    credentials_loaded: IntGaugeVec,
    certificate_not_after: IntGaugeVec,
    store_operations: IntCounterVec,
    memory_limit: IntGauge,
    memory_share: IntGaugeVec,
    memory_held: IntGaugeVec,
    memory_refusals: IntCounterVec,
    spans_dropped: IntCounterVec,
    events: IntCounterVec,
    /// 1 while the store that is configured can be used, and where none is.
    pub store_available: IntGauge,
    /// Entries in the fallback caches of all connectors.
    pub cache_entries: IntGauge,
    /// 1 while there is a NATS connection.
    pub nats_connected: IntGauge,
    /// 0 after a secret file could not be taken over.
    pub last_reload_successful: IntGauge,
    /// 1 while `/readyz` is 200.
    pub ready: IntGauge,
    /// 1 after the signal to stop.
    pub draining: IntGauge,
    /// How often a serving thread stood still.
    pub stalls: IntCounter,
    /// For how long, in seconds.
    pub stalled_seconds: Counter,
    /// Panics so far.
    pub panics: IntCounter,
    /// Log lines dropped because the reader of standard error was too slow.
    pub log_messages_dropped: IntCounter,
}

/// The families that have a child per connector.
#[derive(Clone)]
struct Families {
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    caller_timeout_used: HistogramVec,
    deadline_seconds: prometheus::GaugeVec,
    caller_timeout_seconds: prometheus::GaugeVec,
    late_responses: IntCounterVec,
    in_flight: IntGaugeVec,
    in_flight_limit: IntGaugeVec,
    auth_failures: IntCounterVec,
    fallbacks: IntCounterVec,
    nats_requests: IntCounterVec,
    nats_request_seconds: HistogramVec,
    late_replies: IntCounterVec,
    reply_rejections: IntCounterVec,
    calls: IntCounterVec,
    cache_lookups: IntCounterVec,
    breaker_open: IntGaugeVec,
    workers_available: IntGaugeVec,
    exemplars: Exemplars,
}

impl Metrics {
    /// All metrics, at 0. Fails only where two metrics have one name, which is a fault in the code.
    #[rustfmt::skip]
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let new = Builder(&registry);
        let c = "connector";
        let families = Families {
            requests: new.counters("requests_total", "Requests that named a configured connector", &[c, "step", "code", "action", "source"])?,
            request_seconds: new.histograms(FAMILY_WITH_EXEMPLARS, "From the first byte of a request to its answer", &SECONDS, &[c, "source"])?,
            caller_timeout_used: new.histograms("caller_timeout_used_ratio", "Share of the time that the caller waits which an answer took", &SHARES, &[c])?,
            deadline_seconds: new.gauges("deadline_seconds", "Configured deadline", &[c])?,
            caller_timeout_seconds: new.gauges("caller_timeout_seconds", "How long the caller waits", &[c])?,
            late_responses: new.counters("late_responses_total", "Answers after the caller stopped waiting; must stay 0", &[c])?,
            in_flight: new.int_gauges("requests_in_flight", "Calls that are with the workers", &[c])?,
            in_flight_limit: new.int_gauges("requests_in_flight_limit", "The most calls that are with the workers at once", &[c])?,
            auth_failures: new.counters("auth_failures_total", "Requests refused for their credentials; method none: they used no way that the connector has", &[c, "method", "reason"])?,
            fallbacks: new.counters("fallbacks_total", "Answers without a decision made for them", &[c, "reason", "answer"])?,
            nats_requests: new.counters("nats_requests_total", "Messages to workers, by how they ended", &[c, "result"])?,
            nats_request_seconds: new.histograms("nats_request_duration_seconds", "From sending a message to its reply", &SECONDS, &[c])?,
            late_replies: new.counters("late_replies_total", "Replies after the deadline", &[c])?,
            reply_rejections: new.counters("reply_rejections_total", "What broke the contract in replies", &[c, "reason"])?,
            calls: new.counters("calls_total", "Requests by what they were: a first call or a retry", &[c, "result"])?,
            cache_lookups: new.counters("cache_lookups_total", "Lookups in the fallback cache", &[c, "result"])?,
            breaker_open: new.int_gauges("breaker_open", "1 while the breaker is open", &[c])?,
            workers_available: new.int_gauges("workers_available", "Workers that answered the last discovery; -1 until one was seen", &[c])?,
            exemplars: Exemplars::default(),
        };
        let metrics = Self {
            families,
            store_operations: new.counters("store_operations_total", "What was asked of the shared store, and how that went", &["operation", "result"])?,
            store_available: new.int_gauge("store_available", "1 while the shared store can be used, and where none is configured")?,
            spans_dropped: new.counters("spans_dropped_total", "Spans that did not reach the collector", &["reason"])?,
            events: new.counters("events_total", "Records of decisions, by what became of them", &["result"])?,
            rejections: new.counters("rejections_total", "Connections and requests turned away before they became a call", &["reason"])?,
            connection_events: new.counters("nats_connection_events_total", "What happened to the NATS connection", &["event"])?,
            log_messages: new.counters("log_messages_total", "Log lines by level", &["level"])?,
            credentials_loaded: new.int_gauges("credentials_loaded_timestamp_seconds", "When secret files of a kind were last taken over", &["kind"])?,
            certificate_not_after: new.int_gauges("tls_certificate_not_after_timestamp_seconds", "When the first certificate of this role ends; only where there is one", &["role"])?,
            memory_limit: new.int_gauge("memory_limit_bytes", "What the process may take; connections, calls and decisions share what it does not need itself")?,
            memory_share: new.int_gauges("memory_share_bytes", "The most bytes of a share", &["share"])?,
            memory_held: new.int_gauges("memory_held_bytes", "Bytes of a share that are held", &["share"])?,
            memory_refusals: new.counters("memory_refusals_total", "What was refused, closed or forgotten early because its share was full", &["share"])?,
            cache_entries: new.int_gauge("cache_entries", "Entries in the fallback caches of all connectors")?,
            nats_connected: new.int_gauge("nats_connected", "1 while there is a NATS connection")?,
            last_reload_successful: new.int_gauge("config_last_reload_successful", "0 after a changed secret file could not be taken over")?,
            ready: new.int_gauge("ready", "1 while the bridge is ready")?,
            draining: new.int_gauge("draining", "1 after the signal to stop")?,
            stalls: new.counter("stalls_total", "How often a serving thread stood still for more than a quarter of a second")?,
            stalled_seconds: new.seconds("stalled_seconds_total", "For how long serving threads stood still then")?,
            panics: new.counter("panics_total", "Panics; must stay 0")?,
            log_messages_dropped: new.counter("log_messages_dropped_total", "Log lines dropped because standard error was not read fast enough")?,
            registry: registry.clone(),
        };
        new.build_info()?;
        for result in EventResult::ALL {
            metrics.events.with_label_values(&[result.label()]);
        }
        for drop in SpanDrop::ALL {
            metrics.spans_dropped.with_label_values(&[drop.label()]);
        }
        metrics.last_reload_successful.set(1);
        metrics.store_available.set(1);
        for rejection in Rejection::ALL {
            metrics.rejections.with_label_values(&[rejection.label()]);
        }
        for event in ConnectionEvent::ALL {
            metrics.connection_events.with_label_values(&[event.label()]);
        }
        for operation in StoreOperation::ALL {
            for result in StoreResult::ALL {
                metrics.store_operations.with_label_values(&[operation.label(), result.label()]);
            }
        }
        for part in Part::ALL {
            metrics.memory_share.with_label_values(&[part.label()]);
            metrics.memory_held.with_label_values(&[part.label()]);
            metrics.memory_refusals.with_label_values(&[part.label()]);
        }
        for kind in SECRET_KINDS {
            metrics.credentials_loaded.with_label_values(&[kind]);
        }
        for level in LOG_LEVELS {
            metrics.log_messages.with_label_values(&[level]);
        }
        Ok(metrics)
    }

    /// The metrics of one connector, its known label sets at 0.
    pub fn connector(&self, connector: &Connector) -> ConnectorMetrics {
        ConnectorMetrics::new(&self.families, connector)
    }

    /// A connection or request was turned away.
    pub fn rejected(&self, rejection: Rejection) {
        self.rejections.with_label_values(&[rejection.label()]).inc();
    }

    /// A serving thread has stood still for so long.
    pub fn stalled(&self, time: Duration) {
        self.stalls.inc();
        self.stalled_seconds.inc_by(time.as_secs_f64());
    }

    /// Something happened to the NATS connection.
    pub fn connection_event(&self, event: ConnectionEvent) {
        self.connection_events.with_label_values(&[event.label()]).inc();
    }

    /// The store was asked for something.
    pub fn store_operation(&self, operation: StoreOperation, result: StoreResult) {
        self.store_operations.with_label_values(&[operation.label(), result.label()]).inc();
    }

    /// Brings up to date what is held of the memory, and what was refused for want of it.
    pub fn memory(&self, budget: &Budget) {
        let gauge = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.memory_limit.set(gauge(budget.limit()));
        for share in budget.shares() {
            let label = [share.part().label()];
            self.memory_share.with_label_values(&label).set(gauge(share.limit()));
            self.memory_held.with_label_values(&label).set(gauge(share.held()));
            let refusals = self.memory_refusals.with_label_values(&label);
            refusals.inc_by(share.refusals().saturating_sub(refusals.get()));
        }
    }

    /// So many spans were lost.
    pub fn spans_dropped(&self, drop: SpanDrop, spans: u64) {
        self.spans_dropped.with_label_values(&[drop.label()]).inc_by(spans);
    }

    /// That became of a record of a decision.
    pub fn event(&self, result: EventResult) {
        self.events.with_label_values(&[result.label()]).inc();
    }

    /// A log line was written at this level, one of [`LOG_LEVELS`].
    pub fn logged(&self, level: &'static str) {
        self.log_messages.with_label_values(&[level]).inc();
    }

    /// Secret files of this kind, one of [`SECRET_KINDS`], were taken over at this Unix time.
    pub fn credentials_loaded(&self, kind: &'static str, unix_seconds: i64) {
        self.credentials_loaded.with_label_values(&[kind]).set(unix_seconds);
    }

    /// The first certificate of this role ends at this Unix time.
    pub fn certificate_ends(&self, role: CertificateRole, unix_seconds: i64) {
        self.certificate_not_after.with_label_values(&[role.label()]).set(unix_seconds);
    }

    /// Everything in the OpenMetrics text format.
    pub fn openmetrics(&self) -> String {
        openmetrics::text(&self.registry.gather(), &self.families.exemplars)
    }

    /// Everything in the Prometheus text format.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|_| prometheus::Error::Msg("not UTF-8".to_owned()))
    }
}

/// Creates and registers metrics under the common prefix.
struct Builder<'a>(&'a Registry);

impl Builder<'_> {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("connector_bridge")
    }

    fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        collector: C,
    ) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::with_opts(Self::opts(name, help))?)
    }

    fn seconds(&self, name: &str, help: &str) -> prometheus::Result<Counter> {
        self.register(Counter::with_opts(Self::opts(name, help))?)
    }

    fn counters(&self, n: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Self::opts(n, help), labels)?)
    }

    fn int_gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::with_opts(Self::opts(name, help))?)
    }

    fn int_gauges(&self, n: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Self::opts(n, help), labels)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<prometheus::GaugeVec> {
        self.register(prometheus::GaugeVec::new(Self::opts(name, help), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(bounds.to_vec());
        self.register(HistogramVec::new(opts, labels)?)
    }

    fn build_info(&self) -> prometheus::Result<()> {
        let info = self.int_gauges("build_info", "What runs here", &["version", "revision"])?;
        info.with_label_values(&[crate::VERSION, crate::REVISION]).set(1);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.0.register(Box::new(process))
    }
}
