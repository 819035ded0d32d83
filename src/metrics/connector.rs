//! The metrics of one connector, their series looked up once.

use std::{sync::OnceLock, time::Duration};

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use super::{Families, exemplars::Traced};
use crate::{
    cache::Lookup,
    domain::{
        connector::Connector,
        credentials::AuthFailure,
        decision::{Action, Decision, ReturnedClaims, UserMessage},
        outcome::{Outcome, Reason, Source},
        protocol::Answer,
        reply,
    },
};

/// Every HTTP status that a request which named a connector can get.
const CODES: [u16; 11] = [200, 400, 401, 403, 405, 408, 409, 413, 415, 422, 503];
/// Those of requests that were turned away.
const REFUSALS: [u16; 8] = [400, 401, 403, 405, 408, 413, 415, 422];
const ACTIONS: [Option<Action>; 4] =
    [None, Some(Action::Continue), Some(Action::ShowBlockPage), Some(Action::ValidationError)];
const SOURCES: [Option<Source>; 5] =
    [None, Some(Source::Worker), Some(Source::Replay), Some(Source::Cache), Some(Source::Default)];
const FALLBACK_ANSWERS: [Source; 2] = [Source::Cache, Source::Default];

/// What a request for a call was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// It led to a message to the workers.
    First,
    /// It waited for another one.
    Joined,
    /// It got the recorded decision.
    Replayed,
    /// It went on with a call whose replica died.
    TakenOver,
}

impl CallResult {
    const ALL: [Self; 4] = [Self::First, Self::Joined, Self::Replayed, Self::TakenOver];

    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            CallResult::First => "first",
            CallResult::Joined => "joined",
            CallResult::Replayed => "replayed",
            CallResult::TakenOver => "taken_over",
        }
    }
}

/// How a message to the workers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageResult {
    /// With a decision.
    Ok,
    /// With silence.
    Timeout,
    /// Nobody listened.
    NoResponders,
    /// The connection was down or lost.
    Disconnected,
    /// The worker said that it failed.
    WorkerError,
    /// The reply was not a decision.
    InvalidReply,
}

impl MessageResult {
    const ALL: [Self; 6] = [
        Self::Ok,
        Self::Timeout,
        Self::NoResponders,
        Self::Disconnected,
        Self::WorkerError,
        Self::InvalidReply,
    ];

    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            MessageResult::Ok => "ok",
            MessageResult::Timeout => "timeout",
            MessageResult::NoResponders => "no_responders",
            MessageResult::Disconnected => "disconnected",
            MessageResult::WorkerError => "worker_error",
            MessageResult::InvalidReply => "invalid_reply",
        }
    }
}

/// The metrics of one connector.
pub struct ConnectorMetrics {
    families: Families,
    name: String,
    step: &'static str,
    caller_waits: Duration,
    /// One for each of [`CODES`], [`ACTIONS`] and [`SOURCES`]; created when first used.
    requests: Vec<OnceLock<IntCounter>>,
    request_seconds: [Histogram; SOURCES.len()],
    caller_timeout_used: Histogram,
    late_responses: IntCounter,
    messages: [IntCounter; MessageResult::ALL.len()],
    message_seconds: Histogram,
    calls: [IntCounter; CallResult::ALL.len()],
    /// Replies after the deadline.
    pub late_replies: IntCounter,
    /// Claims dropped because the connector does not list them.
    pub claims_not_listed: IntCounter,
    /// Calls that are with the workers.
    pub in_flight: IntGauge,
    /// 1 while the breaker is open.
    pub breaker_open: IntGauge,
    /// Workers seen by the last discovery; -1 until one was seen.
    pub workers_available: IntGauge,
}

impl ConnectorMetrics {
    pub(super) fn new(families: &Families, connector: &Connector) -> Self {
        let name = connector.name.as_str();
        let labels = [name];
        families.deadline_seconds.with_label_values(&labels).set(connector.deadline.as_secs_f64());
        let caller_waits = connector.protocol.caller_waits;
        families.caller_timeout_seconds.with_label_values(&labels).set(caller_waits.as_secs_f64());
        let limit = i64::try_from(connector.max_in_flight).unwrap_or(i64::MAX);
        families.in_flight_limit.with_label_values(&labels).set(limit);
        let calls = &families.calls;
        let messages = &families.nats_requests;
        let seconds =
            |source| families.request_seconds.with_label_values(&[name, source_label(source)]);
        let metrics = Self {
            name: name.to_owned(),
            step: connector.step.name,
            caller_waits,
            requests: (0..CODES.len() * ACTIONS.len() * SOURCES.len())
                .map(|_| OnceLock::new())
                .collect(),
            request_seconds: SOURCES.map(seconds),
            caller_timeout_used: families.caller_timeout_used.with_label_values(&labels),
            late_responses: families.late_responses.with_label_values(&labels),
            messages: MessageResult::ALL
                .map(|result| messages.with_label_values(&[name, result.label()])),
            message_seconds: families.nats_request_seconds.with_label_values(&labels),
            calls: CallResult::ALL.map(|result| calls.with_label_values(&[name, result.label()])),
            late_replies: families.late_replies.with_label_values(&labels),
            claims_not_listed: families
                .reply_rejections
                .with_label_values(&[name, "claim_not_listed"]),
            in_flight: families.in_flight.with_label_values(&labels),
            breaker_open: families.breaker_open.with_label_values(&labels),
            workers_available: families.workers_available.with_label_values(&labels),
            families: families.clone(),
        };
        metrics.workers_available.set(-1);
        metrics.start_at_zero(connector);
        metrics
    }

    /// What alerts and dashboards ask for must be there before it first happens: Prometheus sees no
    /// increase in a series that begins with 1.
    fn start_at_zero(&self, connector: &Connector) {
        let decisions = [
            Decision::Continue(ReturnedClaims::default()),
            Decision::ShowBlockPage(UserMessage::COULD_NOT_CHECK),
            Decision::ValidationError(UserMessage::COULD_NOT_CHECK),
        ];
        for source in [Source::Worker, Source::Replay, Source::Cache, Source::Default] {
            for Answer { status, action, .. } in decisions.each_ref().map(|d| connector.answer(d)) {
                self.request(status, action, Some(source));
            }
        }
        self.request(503, None, Some(Source::Default));
        for code in REFUSALS {
            self.request(code, None, None);
        }
        for reason in Reason::ALL {
            for answer in FALLBACK_ANSWERS {
                self.fallback(reason, answer);
            }
        }
        for failure in AuthFailure::ALL {
            self.auth_failure(failure);
        }
        for rejection in reply::Rejection::ALL {
            self.reply_rejection(rejection);
        }
        for lookup in [Lookup::Miss, Lookup::Expired] {
            self.cache_lookup_counter(lookup_label(&lookup));
        }
        self.cache_lookup_counter(HIT);
    }

    /// A request was answered `taken` after its first byte; `traced` where its trace is recorded.
    pub fn answered(&self, outcome: &Outcome, taken: Duration, traced: Option<Traced>) {
        let answer = &outcome.answer;
        if let Some(traced) = traced {
            let exemplars = &self.families.exemplars;
            exemplars.keep(&self.name, outcome.source.label(), traced, taken.as_secs_f64());
        }
        self.finished(answer.status, answer.action, Some(outcome.source), taken);
        if let Some(reason) = outcome.reason {
            self.fallback(reason, outcome.source).inc();
        }
    }

    /// A request was refused with HTTP `code` before it became a call.
    pub fn refused(&self, code: u16, taken: Duration) {
        self.finished(code, None, None, taken);
    }

    fn finished(&self, code: u16, action: Option<Action>, source: Option<Source>, taken: Duration) {
        self.request(code, action, source).inc();
        if let Some(histogram) =
            position(&SOURCES, &source).and_then(|at| self.request_seconds.get(at))
        {
            histogram.observe(taken.as_secs_f64());
        }
        self.caller_timeout_used.observe(taken.as_secs_f64() / self.caller_waits.as_secs_f64());
        if taken > self.caller_waits {
            self.late_responses.inc();
        }
    }

    /// A request was found to be this.
    pub fn call(&self, result: CallResult) {
        if let Some(counter) = position(&CallResult::ALL, &result).and_then(|at| self.calls.get(at))
        {
            counter.inc();
        }
    }

    /// A message ended like this; with a reply, `taken` after it was sent.
    pub fn message(&self, result: MessageResult, taken: Option<Duration>) {
        let counter = position(&MessageResult::ALL, &result).and_then(|at| self.messages.get(at));
        if let Some(counter) = counter {
            counter.inc();
        }
        if let Some(taken) = taken {
            self.message_seconds.observe(taken.as_secs_f64());
        }
    }

    /// A reply broke the contract.
    pub fn reply_rejected(&self, rejection: reply::Rejection) {
        self.reply_rejection(rejection).inc();
    }

    /// A request was refused for its credentials.
    pub fn auth_failed(&self, failure: AuthFailure) {
        self.auth_failure(failure).inc();
    }

    /// The fallback cache was asked.
    pub fn cache_lookup(&self, lookup: &Lookup) {
        self.cache_lookup_counter(lookup_label(lookup)).inc();
    }

    fn request(&self, code: u16, action: Option<Action>, source: Option<Source>) -> IntCounter {
        let new = || {
            let (code, action) = (code.to_string(), action.map_or("none", Action::label));
            let labels = [&*self.name, self.step, &*code, action, source_label(source)];
            self.families.requests.with_label_values(&labels)
        };
        let slot = || {
            let at = position(&CODES, &code)?;
            let at = at * ACTIONS.len() + position(&ACTIONS, &action)?;
            self.requests.get(at * SOURCES.len() + position(&SOURCES, &source)?)
        };
        slot().map_or_else(new, |slot| slot.get_or_init(new).clone())
    }

    fn fallback(&self, reason: Reason, answer: Source) -> IntCounter {
        let labels = [&*self.name, reason.label(), answer.label()];
        self.families.fallbacks.with_label_values(&labels)
    }

    fn auth_failure(&self, AuthFailure { method, fault }: AuthFailure) -> IntCounter {
        let labels = [&*self.name, method.label(), fault.label()];
        self.families.auth_failures.with_label_values(&labels)
    }

    fn reply_rejection(&self, rejection: reply::Rejection) -> IntCounter {
        self.families.reply_rejections.with_label_values(&[&*self.name, rejection.label()])
    }

    fn cache_lookup_counter(&self, result: &str) -> IntCounter {
        let counters: &IntCounterVec = &self.families.cache_lookups;
        counters.with_label_values(&[&*self.name, result])
    }
}

const HIT: &str = "hit";

fn lookup_label(lookup: &Lookup) -> &'static str {
    match lookup {
        Lookup::Hit(_) => HIT,
        Lookup::Miss => "miss",
        Lookup::Expired => "expired",
    }
}

fn source_label(source: Option<Source>) -> &'static str {
    source.map_or("none", Source::label)
}

fn position<T: PartialEq>(all: &[T], one: &T) -> Option<usize> {
    all.iter().position(|item| item == one)
}
