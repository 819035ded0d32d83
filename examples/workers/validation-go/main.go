// The program validation checks what people type when they sign up.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"example.com/connectors/validation/rules"
)

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	if err := run(); err != nil {
		slog.Error("validation ends", "error", err)
		os.Exit(1)
	}
}

func run() error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()

	loaded, err := loadRules(os.Getenv("RULES"))
	if err != nil {
		return fmt.Errorf("the rules: %w", err)
	}
	tracer, err := newTracer()
	if err != nil {
		return fmt.Errorf("tracing: %w", err)
	}

	closed := make(chan struct{})
	nc, err := nats.Connect(
		orElse("NATS_URL", nats.DefaultURL),
		nats.Name("validation"),
		// Comes back however long NATS was away, and within the 500 ms that the bridge waits for a worker.
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200*time.Millisecond),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { slog.Warn("NATS", "error", err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
	)
	if err != nil {
		return err
	}
	subject := orElse("SUBJECT", "connectors.validate-form.before-create")
	service, err := micro.AddService(nc, micro.Config{Name: "validation", Version: "1.0.0", QueueGroup: "workers"})
	if err != nil {
		return err
	}
	if err := service.AddEndpoint("decide", worker{loaded, tracer}, micro.WithEndpointSubject(subject)); err != nil {
		return err
	}
	slog.Info("listening", "subject", subject)

	select {
	case <-stop.Done():
	case <-closed: // the server refuses us for good; whoever runs this may start it again
		return errors.Join(errors.New("the connection is closed"), nc.LastError())
	}
	// Takes no new calls, and answers those that are here. While NATS is away it closes at once.
	if err := nc.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionReconnecting) {
		return err
	}
	<-closed
	last, cancelLast := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancelLast()
	if err := tracer.stop(last); err != nil {
		slog.Warn("the last spans are lost", "error", err)
	}
	return nil
}

// loadRules reads the rules from a file, or takes those that are built in.
func loadRules(path string) (*rules.Rules, error) {
	if path == "" {
		return rules.Load(rules.Default)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return rules.Load(file)
}

func orElse(variable, otherwise string) string {
	if value := os.Getenv(variable); value != "" {
		return value
	}
	return otherwise
}
