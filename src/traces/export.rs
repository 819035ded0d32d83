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
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData,
        SpanExporter as Export, SpanProcessor,
    },
};

use super::otlp::{Cause, HttpTransport};
use crate::{
    config::{TraceSettings, TraceTransport},
    metrics::{Metrics, SpanDrop},
    secrets::Live,
    tls::ClientTls,
};

/// Why spans cannot be exported at all.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The library does not take what the variables say. It quotes them, and they may hold secrets.
    #[error("the variables OTEL_EXPORTER_OTLP_… cannot be used: {0}")]
    Unusable(&'static str),
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
        let cause = Cause::default();
        let exporter = match settings.transport {
            TraceTransport::Http => {
                let transport = HttpTransport::new(tls, settings.timeout, cause.clone());
                SpanExporter::builder().with_http().with_http_client(transport).build()
            }
            TraceTransport::Grpc => grpc()?,
        };
        let exporter = exporter.map_err(unusable)?;
        let (gate_behind, is_failing) = (Arc::clone(&gate), AtomicBool::new(false));
        let counted = Counted { exporter, gate: gate_behind, cause, is_failing };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(settings.queue_max)
            .with_scheduled_delay(settings.delay)
            .build();
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

/// What came of building an exporter.
type Built = Result<SpanExporter, ExporterBuildError>;

fn unusable(_: ExporterBuildError) -> TraceError {
    TraceError::Unusable("the endpoint, the headers or the compression")
}

#[cfg(not(feature = "grpc"))]
fn grpc() -> Result<Built, TraceError> {
    Err(TraceError::Unusable("the protocol grpc needs a build with `--features grpc`"))
}

/// Its client needs a runtime to begin in, and goes on in that one: a thread of its own.
#[cfg(feature = "grpc")]
fn grpc() -> Result<Built, TraceError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp-grpc")
        .enable_all()
        .build()?;
    // Lives as long as the process, as the exporter does.
    let runtime: &'static _ = Box::leak(Box::new(runtime));
    let _entered = runtime.enter();
    Ok(SpanExporter::builder().with_tonic().build())
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
    cause: Cause,
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
            Err(_) => {
                self.gate.metrics.spans_dropped(SpanDrop::ExportFailed, spans as u64);
                if !was_failing {
                    let cause = self.cause.get();
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
