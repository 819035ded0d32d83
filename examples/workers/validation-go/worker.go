package main

import (
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel/codes"

	"example.com/connectors/validation/call"
	"example.com/connectors/validation/rules"
)

type worker struct {
	rules  *rules.Rules
	tracer tracer
}

// Handle answers one call. nats.go hands a service one message after the other, which is right for
// work of microseconds. A worker that waits for something needs a goroutine for each call, and to
// drain the connection only behind the last of them.
func (w worker) Handle(message micro.Request) {
	span := w.tracer.start(message)
	defer span.End()
	log := slog.With("call_id", message.Headers().Get("Connector-Call-Id"), "trace_id", span.SpanContext().TraceID())

	asked, err := call.Read(message.Headers().Get, message.Data())
	if err != nil {
		span.SetStatus(codes.Error, "")
		log.Error("cannot decide", "error", err)
		sent(log, message.Error("400", "cannot decide", nil))
		return
	}
	log = log.With("attempt", asked.Attempt)
	if !time.Now().Before(asked.Deadline) {
		log.Warn("the call is too late") // nobody waits for it any more
		return
	}
	decision := w.rules.Decide(asked.Step, asked.Claims)
	sent(log, message.RespondJSON(decision))
	log.Info("decided", "action", decision.Action)
}

func sent(log *slog.Logger, err error) {
	if err != nil {
		log.Error("cannot reply", "error", err)
	}
}
