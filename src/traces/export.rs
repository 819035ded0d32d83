//! Finished spans on their way out: a queue with a bound, a thread of the OpenTelemetry SDK that
//! sends batches, and a count of what is lost. Nobody who serves a call ever waits for it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData,
        SpanExporter as Export, SpanProcessor,
    },
};

use super::otlp::HttpTransport;
use crate::{
    config::{TraceSettings, TraceTransport},
    metrics::{Metrics, SpanDrop},
    secrets::Live,
    tls::ClientTls,
};

/// The longest that a cause is quoted in a log line.
const CAUSE_CHARS_MAX: usize = 200;

/// Why spans cannot be exported at all.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The OTEL variables contradict each other, or this build.
    #[error("OTEL_EXPORTER_OTLP_*: {0}")]
    Unusable(String),
    /// Something that should never fail.
    #[error("internal: {0}")]
    Internal(#[from] std::io::Error),
}

/// Sends spans to a collector.
pub struct Exporter {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Exporter {
    /// To the collector that the standard `OTEL_*` variables name; `tls` for `https`.
    pub fn start(
        settings: &TraceSettings,
        tls: Option<Arc<Live<ClientTls>>>,
        metrics: &Metrics,
    ) -> Result<Self, TraceError> {
        let gate = Arc::new(Gate {
            waiting: AtomicUsize::new(0),
            waiting_max: settings.queue_max,
            metrics: metrics.clone(),
        });
        let exporter = match settings.transport {
            TraceTransport::Http => http(settings, tls)?,
            TraceTransport::Grpc => grpc()?,
        };
        let counted =
            Counted { exporter, gate: Arc::clone(&gate), is_failing: AtomicBool::new(false) };
        let batches = BatchConfigBuilder::default().with_max_queue_size(settings.queue_max).build();
        let batches = BatchSpanProcessor::builder(counted).with_batch_config(batches).build();
        let resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", crate::VERSION));
        let resource = match settings.service_is_named {
            true => resource,
            false => resource.with_service_name(env!("CARGO_PKG_NAME")),
        };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Gated { batches, gate })
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Ok(Self { provider, tracer })
    }

    pub(super) fn tracer(&self) -> &SdkTracer {
        &self.tracer
    }

    /// Sends what is left, for so long at most.
    pub(super) fn shut_down(&self, time: Duration) {
        if self.provider.shutdown_with_timeout(time).is_err() {
            tracing::warn!("spans were left when the bridge stopped");
        }
    }
}

fn http(
    settings: &TraceSettings,
    tls: Option<Arc<Live<ClientTls>>>,
) -> Result<SpanExporter, TraceError> {
    let transport = HttpTransport::new(tls, settings.timeout)?;
    let exporter = SpanExporter::builder().with_http().with_http_client(transport).build();
    exporter.map_err(|error| TraceError::Unusable(error.to_string()))
}

#[cfg(not(feature = "grpc"))]
fn grpc() -> Result<SpanExporter, TraceError> {
    let what = "the protocol grpc needs a build with `--features grpc`";
    Err(TraceError::Unusable(what.to_owned()))
}

/// Its client needs a runtime to begin in, and goes on in that one: a thread of its own.
#[cfg(feature = "grpc")]
fn grpc() -> Result<SpanExporter, TraceError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp-grpc")
        .enable_all()
        .build()?;
    // Lives as long as the process, as the exporter does.
    let runtime: &'static _ = Box::leak(Box::new(runtime));
    let _entered = runtime.enter();
    let exporter = SpanExporter::builder().with_tonic().build();
    exporter.map_err(|error| TraceError::Unusable(error.to_string()))
}

/// Lets no more spans into the queue than it has room for, so that the library never drops one
/// without a word.
struct Gate {
    waiting: AtomicUsize,
    waiting_max: usize,
    metrics: Metrics,
}

impl Gate {
    fn enter(&self) -> bool {
        let room = |waiting| (waiting < self.waiting_max).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok()
    }

    fn leave(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
    }
}

/// In front of the queue.
struct Gated {
    batches: BatchSpanProcessor,
    gate: Arc<Gate>,
}

impl fmt::Debug for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gated")
    }
}

impl SpanProcessor for Gated {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.gate.enter() {
            self.batches.on_end(span);
        } else {
            self.gate.metrics.spans_dropped(SpanDrop::QueueFull, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, time: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(time)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Behind the queue.
struct Counted<E> {
    exporter: E,
    gate: Arc<Gate>,
    is_failing: AtomicBool,
}

impl<E> fmt::Debug for Counted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

impl<E: Export> Export for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.gate.leave(spans);
        let exported = self.exporter.export(batch).await;
        let was_failing = self.is_failing.swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Ok(()) if was_failing => tracing::info!("spans are exported again"),
            Ok(()) => {}
            Err(error) => {
                self.gate.metrics.spans_dropped(SpanDrop::ExportFailed, spans as u64);
                if !was_failing {
                    let cause: String = error.to_string().chars().take(CAUSE_CHARS_MAX).collect();
                    tracing::warn!(cause, "spans cannot be exported; they are dropped and counted");
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, time: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(time)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
