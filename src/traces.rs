//! Spans: one for each request, and one for each message to a worker. Their ids are made whether
//! or not anything is recorded, since every message carries them.
//!
//! Names follow the semantic conventions of OpenTelemetry 1.44 for HTTP servers and messaging.
//! Nothing of a caller's or a worker's text is ever in a span.

mod export;
mod otlp;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::Method;
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState, Tracer,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, Span};

pub use self::export::{Exporter, TraceError};
use crate::{
    clock,
    domain::{
        call_id::CallId,
        connector::Connector,
        outcome::Outcome,
        trace_context::{SpanRef, TraceContext},
    },
    metrics::{CallResult, MessageResult},
    random::Random,
};

/// Any other method is text that a stranger chose.
const METHODS: [Method; 9] = [
    Method::POST,
    Method::GET,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::CONNECT,
    Method::PATCH,
    Method::TRACE,
];

/// What becomes of a trace context that a caller sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Its trace goes on.
    AreContinued,
    /// It is linked.
    AreLinked,
}

/// Makes spans.
pub struct Traces {
    exporter: Option<Exporter>,
    callers: Callers,
    random: Random,
}

/// What is known of a request before it is read.
pub struct NewRequest<'a> {
    /// The connector that it names.
    pub connector: &'a Connector,
    /// Its method.
    pub method: &'a Method,
    /// When its first byte came.
    pub at: Instant,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The trace context that it brings.
    pub context: Option<TraceContext>,
}

impl Traces {
    /// Recorded by `exporter`, if there is one.
    pub fn new(exporter: Option<Exporter>, callers: Callers) -> Self {
        Self { exporter, callers, random: Random::default() }
    }

    /// A request has come.
    pub fn request(&self, arrival: NewRequest<'_>) -> RequestSpan {
        let NewRequest { connector, method, at, scheme, context } = arrival;
        let (continued, linked) = match self.callers {
            Callers::AreContinued => (context, None),
            Callers::AreLinked => (None, context),
        };
        let Some(exporter) = &self.exporter else {
            let context = self.next(continued);
            return RequestSpan { context, recording: None };
        };
        let route = format!("/connectors/{}", connector.name);
        let (method, name) = match METHODS.iter().find(|known| *known == method) {
            Some(method) => (method.as_str(), method.as_str()),
            None => ("_OTHER", "HTTP"),
        };
        let attributes = vec![
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("http.route", route.clone()),
            KeyValue::new("url.path", route.clone()),
            KeyValue::new("url.scheme", scheme),
            KeyValue::new("connector-bridge.connector", connector.name.to_string()),
            KeyValue::new("connector-bridge.step", connector.step.name),
            KeyValue::new("connector-bridge.protocol", connector.protocol.name),
            KeyValue::new("connector-bridge.deadline_ms", milliseconds(connector.deadline)),
        ];
        let tracer = exporter.tracer();
        let builder = tracer
            .span_builder(format!("{name} {route}"))
            .with_kind(SpanKind::Server)
            .with_start_time(clock::wall() - (clock::now() - at))
            .with_attributes(attributes);
        let parent =
            continued.as_ref().map_or_else(Context::new, |context| within(foreign(context.span)));
        let mut span = tracer.build_with_context(builder, &parent);
        if let Some(caller) = linked {
            span.add_link(foreign(caller.span), Vec::new());
        }
        let own = own(span.span_context());
        let context = match continued {
            Some(context) => context.at(own),
            None => TraceContext::root(own),
        };
        let recording = span.is_recording().then(|| {
            let open = Mutex::new(span);
            Arc::new(Recording { open, tracer: tracer.clone() })
        });
        RequestSpan { context, recording }
    }

    /// The next span of a caller's trace, or the first one of another.
    fn next(&self, continued: Option<TraceContext>) -> TraceContext {
        let span_id = self.random.next().max(1);
        match continued {
            Some(context) => context.at(SpanRef { span_id, ..context.span }),
            None => {
                let (high, low) = (self.random.next(), self.random.next());
                let trace_id = (u128::from(high) << 64 | u128::from(low)).max(1);
                TraceContext::root(SpanRef { trace_id, span_id, flags: 0 })
            }
        }
    }

    /// Sends what is left, for so long at most.
    pub fn flush(&self, time: Duration) {
        if let Some(exporter) = &self.exporter {
            exporter.shut_down(time);
        }
    }
}

/// A request, from its first byte to its answer.
#[derive(Clone)]
pub struct RequestSpan {
    context: TraceContext,
    recording: Option<Arc<Recording>>,
}

struct Recording {
    open: Mutex<Span>,
    tracer: SdkTracer,
}

impl Recording {
    fn open(&self) -> MutexGuard<'_, Span> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestSpan {
    /// Of a request that nobody traces, as in tests.
    pub fn unrecorded(span: SpanRef) -> Self {
        Self { context: TraceContext::root(span), recording: None }
    }

    /// Its place in its trace.
    pub fn place(&self) -> SpanRef {
        self.context.span
    }

    /// Its trace, where that is recorded.
    pub fn recorded(&self) -> Option<u128> {
        self.recording.is_some().then_some(self.context.span.trace_id)
    }

    /// The same as in `traceparent`: 32 digits.
    pub fn trace_id(&self) -> impl fmt::Display {
        let id = self.context.span.trace_id;
        fmt::from_fn(move |f| write!(f, "{id:032x}"))
    }

    /// An earlier request for the same call is linked.
    pub fn follows(&self, earlier: SpanRef) {
        if let Some(recording) = &self.recording {
            recording.open().add_link(local(earlier), Vec::new());
        }
    }

    /// What the request was found to be.
    pub fn found(&self, result: CallResult) {
        self.set("connector-bridge.call.result", result.label());
    }

    /// The request became this call.
    pub fn became(&self, call: CallId, body_bytes: usize) {
        if let Some(recording) = &self.recording {
            recording.open().set_attributes([
                KeyValue::new("connector-bridge.call.id", call.to_string()),
                KeyValue::new("http.request.body.size", count(body_bytes)),
            ]);
        }
    }

    /// The call is answered; that ends the span.
    pub fn answered(&self, outcome: &Outcome) {
        self.set("connector-bridge.source", outcome.source.label());
        if let Some(action) = outcome.answer.action {
            self.set("connector-bridge.action", action.label());
        }
        if let Some(reason) = outcome.reason {
            self.set("connector-bridge.fallback.reason", reason.label());
        }
        self.ended(outcome.answer.status);
    }

    /// The request gets this HTTP status; that ends the span. Only a 5xx is an error: anything
    /// else is between the caller and the person.
    pub fn ended(&self, status: u16) {
        let Some(recording) = &self.recording else { return };
        let mut span = recording.open();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
        span.end();
    }

    fn set(&self, key: &'static str, value: &'static str) {
        if let Some(recording) = &self.recording {
            recording.open().set_attribute(KeyValue::new(key, value));
        }
    }

    /// A message to the workers is about to be sent.
    pub fn message(
        &self,
        connector: &Connector,
        call: CallId,
        attempt: u32,
        body_bytes: usize,
    ) -> MessageSpan {
        let Some(recording) = &self.recording else {
            // The request's own place: a worker's span is then its child.
            return MessageSpan { context: self.context.clone(), recording: None };
        };
        let subject = connector.subject.as_str();
        let attributes = vec![
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.name", "request"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", subject.to_owned()),
            KeyValue::new("messaging.message.id", call.to_string()),
            KeyValue::new("messaging.message.body.size", count(body_bytes)),
            KeyValue::new("connector-bridge.attempt", i64::from(attempt)),
        ];
        let builder = recording
            .tracer
            .span_builder(format!("request {subject}"))
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes);
        let span = recording.tracer.build_with_context(builder, &within(local(self.context.span)));
        let context = self.context.at(own(span.span_context()));
        MessageSpan { context, recording: Some(Box::new(span)) }
    }
}

/// A message to the workers, until its reply or its end. Dropped without a word, it just ends.
pub struct MessageSpan {
    context: TraceContext,
    /// In a box: most messages have none, and it is large.
    recording: Option<Box<Span>>,
}

impl MessageSpan {
    /// What the message carries.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// How it ended; with the worker's own number where it said that it failed.
    pub fn ended(self, result: MessageResult, code: Option<u32>) {
        let Some(mut span) = self.recording else { return };
        if result == MessageResult::Timeout {
            span.add_event("deadline_reached", Vec::new());
        }
        if result != MessageResult::Ok {
            let kind = code.map_or_else(|| result.label().to_owned(), |code| code.to_string());
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(result.label()));
        }
        span.end();
    }
}

fn own(context: &SpanContext) -> SpanRef {
    SpanRef {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
    }
}

/// A span of another process. What others have said of its trace is passed on by the bridge, and
/// not kept in spans.
fn foreign(span: SpanRef) -> SpanContext {
    let (trace, id, flags) = ids(span);
    SpanContext::new(trace, id, flags, true, TraceState::NONE)
}

/// A span of this process.
fn local(span: SpanRef) -> SpanContext {
    let (trace, id, flags) = ids(span);
    SpanContext::new(trace, id, flags, false, TraceState::NONE)
}

fn ids(span: SpanRef) -> (TraceId, SpanId, TraceFlags) {
    (
        TraceId::from_bytes(span.trace_id.to_be_bytes()),
        SpanId::from_bytes(span.span_id.to_be_bytes()),
        TraceFlags::new(span.flags),
    )
}

fn within(parent: SpanContext) -> Context {
    Context::new().with_remote_span_context(parent)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
