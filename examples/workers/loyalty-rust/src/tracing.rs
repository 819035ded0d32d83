//! Spans below those of the bridge.

use std::{collections::HashMap, env, time::Duration};

use async_nats::{Error, Message};
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};

/// How long the last spans may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Tracing {
    provider: SdkTracerProvider,
    w3c: TraceContextPropagator,
}

/// What is done with one message; ends when it is dropped.
pub struct Processing(Context);

impl Tracing {
    /// Spans go to the collector that the standard OTEL variables name, by OTLP over HTTP, and
    /// nowhere without one.
    pub fn start() -> Result<Self, Error> {
        let names = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        let has_collector =
            names.iter().any(|name| env::var(name).is_ok_and(|url| !url.is_empty()));
        let mut provider = SdkTracerProvider::builder();
        if has_collector {
            provider = provider.with_batch_exporter(SpanExporter::builder().with_http().build()?);
        }
        Ok(Self { provider: provider.build(), w3c: TraceContextPropagator::new() })
    }

    /// Begins a span below that of a message.
    pub fn process(&self, message: &Message) -> Processing {
        let header = |name: &str| {
            let value = message.headers.as_ref().and_then(|headers| headers.get(name));
            value.map_or(String::new(), |value| value.as_str().to_owned())
        };
        let carrier: HashMap<_, _> =
            ["traceparent", "tracestate"].map(|name| (name.to_owned(), header(name))).into();
        let parent = self.w3c.extract_with_context(&Context::new(), &carrier);
        let tracer = self.provider.tracer("loyalty");
        let span = tracer
            .span_builder(format!("process {}", message.subject))
            .with_kind(SpanKind::Consumer)
            .with_attributes([
                KeyValue::new("messaging.system", "nats"),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", message.subject.to_string()),
                KeyValue::new("messaging.message.id", header("Connector-Call-Id")),
            ])
            .start_with_context(&tracer, &parent);
        Processing(parent.with_span(span))
    }

    /// Sends the last spans.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(PATIENCE) {
            eprintln!("the last spans are lost: {error}");
        }
    }
}

impl Processing {
    pub fn trace_id(&self) -> String {
        self.0.span().span_context().trace_id().to_string()
    }

    /// The header that tells others of this span.
    pub fn traceparent(&self) -> String {
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&self.0, &mut carrier);
        carrier.remove("traceparent").unwrap_or_default()
    }

    pub fn fail(&self) {
        self.0.span().set_status(Status::error(""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "e3a746c1dcbc2e8281565afab007c714";
    const PARENT: &str = "54d2e76796f9b7ff";

    fn process(traceparent: &str) -> Processing {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("traceparent", traceparent);
        let message = Message {
            subject: "a.b".into(),
            reply: None,
            payload: "{}".into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        };
        Tracing { provider: SdkTracerProvider::default(), w3c: TraceContextPropagator::new() }
            .process(&message)
    }

    #[test]
    fn the_trace_of_a_message_goes_on_to_others_whether_it_is_recorded_or_not() {
        for flags in ["00", "01"] {
            let processing = process(&format!("00-{TRACE}-{PARENT}-{flags}"));
            assert_eq!(processing.trace_id(), TRACE);
            let handed_on = processing.traceparent();
            assert!(handed_on.starts_with(&format!("00-{TRACE}-")), "{handed_on}");
            assert!(handed_on.ends_with(&format!("-{flags}")), "{handed_on}");
            assert!(!handed_on.contains(PARENT), "its own span: {handed_on}");
        }
    }

    #[test]
    fn without_a_trace_a_new_one_begins() {
        for traceparent in ["", "nonsense", "00-E3A7-54d2e76796f9b7ff-00"] {
            let trace = process(traceparent).trace_id();
            assert!(trace.len() == 32 && trace != TRACE && trace != "0".repeat(32), "{trace}");
        }
    }
}
