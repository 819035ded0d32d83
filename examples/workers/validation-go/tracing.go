package main

import (
	"context"
	"os"

	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracer begins spans below those of the bridge.
type tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// newTracer sends spans to the collector that the standard OTEL variables name, by OTLP over HTTP,
// and nowhere without one.
func newTracer() (tracer, error) {
	var options []sdktrace.TracerProviderOption
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" {
		exporter, err := otlptracehttp.New(context.Background())
		if err != nil {
			return tracer{}, err
		}
		options = append(options, sdktrace.WithBatcher(exporter))
	}
	provider := sdktrace.NewTracerProvider(options...)
	return tracer{provider, provider.Tracer("validation")}, nil
}

func (t tracer) start(message micro.Request) trace.Span {
	// Names of NATS headers have a case, and this one is in lower case.
	carrier := propagation.MapCarrier{
		"traceparent": message.Headers().Get("traceparent"),
		"tracestate":  message.Headers().Get("tracestate"),
	}
	parent := propagation.TraceContext{}.Extract(context.Background(), carrier)
	_, span := t.tracer.Start(parent, "process "+message.Subject(),
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			attribute.String("messaging.system", "nats"),
			attribute.String("messaging.operation.name", "process"),
			attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.destination.name", message.Subject()),
			attribute.String("messaging.message.id", message.Headers().Get("Connector-Call-Id")),
		))
	return span
}

// stop sends the last spans.
func (t tracer) stop(ctx context.Context) error {
	return t.provider.Shutdown(ctx)
}
