//! Probes, metrics and status, on a port of their own.

mod sharing;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use serde_json::{Value, json};

use self::sharing::Shared;
use crate::{
    budget::Budget,
    clock,
    config::LogLevel,
    lane::{Lane, refresh_gauges},
    lifecycle::{Phase, Stopping},
    logs::Logs,
    metrics::{Metrics, OPENMETRICS_TYPE},
    nats::NatsWire,
    pipeline::Pipeline,
    wire::Wire,
};

/// The Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The longest name of a log level that is read: more than there is.
const LEVEL_BYTES_MAX: usize = 64;

/// What is shown.
pub struct Admin {
    /// When the bridge was ready.
    pub started: Instant,
    /// How far the end has come.
    pub stopping: Stopping,
    /// What is counted.
    pub metrics: Metrics,
    /// The connectors at work.
    pub lanes: Vec<Arc<Lane>>,
    /// The memory that is shared out.
    pub budget: Budget,
    /// Decides calls.
    pub pipeline: Arc<Pipeline<NatsWire>>,
    /// Where log lines go, in a process whose logs are this bridge's.
    pub logs: Option<Logs>,
    /// Who waits for the metrics.
    pub scrapes: Scrapes,
}

/// All paths.
pub fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/log-level", get(log_level).put(set_log_level))
        .layer(DefaultBodyLimit::max(LEVEL_BYTES_MAX))
        .with_state(admin)
}

/// Stays 200 while NATS is down: the bridge still answers, from its fallback.
async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    match admin.stopping.phase() {
        Phase::Running => (StatusCode::OK, "ok\n"),
        Phase::Draining | Phase::Closed => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let (kind, media_type, write): (_, _, fn(&Metrics) -> _) = if takes_openmetrics(&headers) {
        (&admin.scrapes.openmetrics, OPENMETRICS_TYPE, |metrics| Some(metrics.openmetrics()))
    } else {
        (&admin.scrapes.text, METRICS_TYPE, |metrics| metrics.text().ok())
    };
    let shown = Arc::clone(&admin);
    let text = kind.get(move || {
        shown.refresh();
        write(&shown.metrics).map(Bytes::from)
    });
    match text.await.flatten() {
        Some(text) => ([(CONTENT_TYPE, media_type)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether whoever asks says so: Prometheus does, and gets the exemplars with it.
fn takes_openmetrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|range| range.trim_start().starts_with("application/openmetrics-text"))
}

async fn log_level(State(admin): State<Arc<Admin>>) -> Result<String, StatusCode> {
    let logs = admin.logs.as_ref().ok_or(StatusCode::NOT_FOUND)?;
    Ok(format!("{}\n", logs.level().word()))
}

/// For the time until the process ends: what `log.level` says is for the next one.
async fn set_log_level(
    State(admin): State<Arc<Admin>>,
    name: String,
) -> Result<String, (StatusCode, &'static str)> {
    let logs = admin.logs.as_ref().ok_or((StatusCode::NOT_FOUND, ""))?;
    let level = LogLevel::named(name.trim())
        .ok_or((StatusCode::BAD_REQUEST, "is not one of error, warn, info, debug, trace\n"))?;
    logs.set_level(level);
    Ok(format!("{}\n", logs.level().word()))
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    ([(CONTENT_TYPE, "application/json")], format!("{:#}\n", admin.status())).into_response()
}

/// The metrics as they are being written for who has asked.
#[derive(Default)]
pub struct Scrapes {
    text: Shared<Option<Bytes>>,
    openmetrics: Shared<Option<Bytes>>,
}

impl Admin {
    /// Measures what is not counted as it happens.
    fn refresh(&self) {
        let is_running = self.stopping.phase() == Phase::Running;
        self.metrics.ready.set(i64::from(is_running));
        self.metrics.draining.set(i64::from(!is_running));
        refresh_gauges(&self.lanes, &self.budget, &self.metrics);
        if let Some(logs) = &self.logs {
            logs.refresh(&self.metrics);
        }
    }

    /// The state of the bridge, with nothing of any call in it.
    pub fn status(&self) -> Value {
        let wire = self.pipeline.wire();
        let (calls, (waiting, late)) = self.pipeline.sizes();
        let connectors: serde_json::Map<String, Value> = self
            .lanes
            .iter()
            .map(|lane| (lane.connector.name.to_string(), connector(lane)))
            .collect();
        json!({
            "version": crate::VERSION,
            "revision": crate::REVISION,
            "uptime_seconds": (clock::now() - self.started).as_secs(),
            "state": match self.stopping.phase() {
                Phase::Running => "running",
                Phase::Draining => "draining",
                Phase::Closed => "closed",
            },
            "nats": {
                "connected": wire.is_connected(),
                "server_version": wire.server_version(),
                "missing_rights": wire.missing_rights(),
            },
            "store": self.pipeline.store_is_available().map(|available| json!({"available": available})),
            "calls": {"remembered": calls, "messages_waiting": waiting, "messages_late": late},
            "connectors": connectors,
        })
    }
}

fn connector(lane: &Lane) -> Value {
    let connector = &lane.connector;
    let seconds = |duration: Duration| duration.as_secs_f64();
    json!({
        "protocol": connector.protocol.name,
        "step": connector.step.name,
        "subject": connector.subject.as_str(),
        "deadline_seconds": seconds(connector.deadline),
        "caller_timeout_seconds": seconds(connector.protocol.caller_waits),
        "breaker": if lane.breaker_is_open() { "open" } else { "closed" },
        "in_flight": lane.in_flight(),
        "cached_decisions": lane.cached_decisions(),
        "workers_available": lane.metrics.workers_available.get(),
    })
}
