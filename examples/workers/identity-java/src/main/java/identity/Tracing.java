package identity;

import io.nats.service.ServiceMessage;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import java.util.Map;
import java.util.TreeMap;

/** Begins spans below those of the bridge, and hands them on. */
final class Tracing {

    private static final W3CTraceContextPropagator W3C = W3CTraceContextPropagator.getInstance();

    private static final TextMapGetter<ServiceMessage> HEADERS = Worker::header;

    private final OpenTelemetry telemetry;

    private Tracing(OpenTelemetry telemetry) {
        this.telemetry = telemetry;
    }

    /** Spans go to the collector that the standard OTEL variables name, and nowhere without one. */
    static Tracing start() {
        boolean hasCollector = System.getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != null
                || System.getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != null;
        if (!hasCollector) {
            return new Tracing(OpenTelemetry.noop());
        }
        return new Tracing(AutoConfiguredOpenTelemetrySdk.builder()
                .addPropertiesSupplier(() -> Map.of(
                        "otel.service.name", "identity",
                        "otel.exporter.otlp.protocol", "http/protobuf",
                        "otel.metrics.exporter", "none",
                        "otel.logs.exporter", "none"))
                .disableShutdownHook() // the last spans end when the worker stops, which is in a hook itself
                .build()
                .getOpenTelemetrySdk());
    }

    /** Begins a span below that of the message. */
    Span span(ServiceMessage message) {
        return telemetry.getTracer("identity")
                .spanBuilder("process " + message.getSubject())
                .setParent(W3C.extract(Context.root(), message, HEADERS))
                .setSpanKind(SpanKind.CONSUMER)
                .setAttribute("messaging.system", "nats")
                .setAttribute("messaging.operation.name", "process")
                .setAttribute("messaging.operation.type", "process")
                .setAttribute("messaging.destination.name", message.getSubject())
                .setAttribute("messaging.message.id", Worker.header(message, "Connector-Call-Id"))
                .startSpan();
    }

    /** The headers that tell another service of this span. */
    static Map<String, String> headers(Span span) {
        Map<String, String> headers = new TreeMap<>();
        W3C.inject(Context.root().with(span), headers, Map::put);
        return headers;
    }

    /** Sends the last spans. */
    void stop() {
        if (telemetry instanceof OpenTelemetrySdk sdk) {
            sdk.close();
        }
    }
}
