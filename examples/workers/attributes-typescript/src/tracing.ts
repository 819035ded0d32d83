import { ROOT_CONTEXT, SpanKind, defaultTextMapGetter, type Span } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const NAME = "attributes";
const W3C = new W3CTraceContextPropagator();

/** Begins spans below those of the bridge. */
export class Tracing {
  readonly #provider: BasicTracerProvider;

  /** Spans go to the collector that the standard OTEL variables name, and nowhere without one. */
  constructor(environment: NodeJS.ProcessEnv) {
    const names = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    const hasCollector = names.some((name) => (environment[name] ?? "") !== "");
    this.#provider = new BasicTracerProvider({
      resource: defaultResource()
        .merge(resourceFromAttributes({ "service.name": NAME }))
        .merge(detectResources({ detectors: [envDetector] })),
      spanProcessors: hasCollector ? [new BatchSpanProcessor(new OTLPTraceExporter())] : [],
    });
  }

  /** Begins a span below that of a message. */
  start(subject: string, header: (name: string) => string): Span {
    const carrier = { traceparent: header("traceparent"), tracestate: header("tracestate") };
    const parent = W3C.extract(ROOT_CONTEXT, carrier, defaultTextMapGetter);
    const attributes = {
      "messaging.system": "nats",
      "messaging.operation.name": "process",
      "messaging.operation.type": "process",
      "messaging.destination.name": subject,
      "messaging.message.id": header("Connector-Call-Id"),
    };
    return this.#provider.getTracer(NAME).startSpan(`process ${subject}`, { kind: SpanKind.CONSUMER, attributes }, parent);
  }

  /** Sends the last spans. */
  async stop(): Promise<void> {
    await this.#provider.shutdown();
  }
}
