package identity;

import identity.Rules.Decision;
import identity.Rules.Person;
import identity.Verification.Unavailable;
import io.nats.client.Connection;
import io.nats.client.ConnectionListener.Events;
import io.nats.client.Nats;
import io.nats.client.Options;
import io.nats.service.Service;
import io.nats.service.ServiceEndpoint;
import io.nats.service.ServiceMessage;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.StatusCode;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Has people verified before their account is made. */
public final class Worker {

    /** How many calls are verified at once. More wait for their turn, at the longest until their deadline. */
    private static final int THREADS = 64;

    /** How long the calls that are here may take when the worker stops. */
    private static final Duration GRACE = Duration.ofSeconds(20);

    private static final Logger LOG = Logger.getLogger("identity");

    private final Connection nats;
    private final Verification verification;
    private final Duration patience;
    private final Tracing tracing;
    private final ExecutorService threads = Executors.newFixedThreadPool(THREADS);

    private Worker(Connection nats, Verification verification, Duration patience, Tracing tracing) {
        this.nats = nats;
        this.verification = verification;
        this.patience = patience;
        this.tracing = tracing;
    }

    public static void main(String[] arguments) throws IOException, InterruptedException {
        System.setProperty("java.util.logging.SimpleFormatter.format", "%1$tFT%1$tT.%1$tL %4$s %5$s%n");
        String subject = variable("SUBJECT", "connectors.verify-identity.before-create");
        URI service = URI.create(variable("VERIFICATION_URL", "http://127.0.0.1:8090"));
        Duration patience = Duration.ofMillis(Long.parseLong(variable("VERIFICATION_TIMEOUT_MS", "5000")));

        CountDownLatch closed = new CountDownLatch(1);
        Connection nats = Nats.connect(Options.builder()
                .server(variable("NATS_URL", Options.DEFAULT_URL))
                .connectionName("identity")
                // Comes back however long NATS was away, and within the 500 ms that the bridge waits for a worker.
                .maxReconnects(-1)
                .reconnectWait(Duration.ofMillis(200))
                .connectionListener((connection, event) -> {
                    if (event == Events.CLOSED) {
                        closed.countDown();
                    }
                })
                .build());
        Tracing tracing = Tracing.start();
        Worker worker = new Worker(nats, new Verification(service), patience, tracing);
        Service endpoints = Service.builder()
                .connection(nats)
                .name("identity")
                .version("1.0.0")
                .addServiceEndpoint(ServiceEndpoint.builder()
                        .endpointName("decide")
                        .endpointSubject(subject)
                        .endpointQueueGroup("workers")
                        .handler(message -> worker.threads.execute(() -> worker.handle(message)))
                        .build())
                .build();
        endpoints.startService();
        // A JVM that is ended by SIGTERM runs this, and then has the exit code 143.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> worker.stop(endpoints)));
        LOG.info("listening at " + subject);

        closed.await();
        System.exit(1); // the server refuses us for good; whoever runs this may start it again
    }

    /** Takes no new calls, answers those that are here, and sends the last spans. */
    private void stop(Service endpoints) {
        endpoints.stop();
        threads.shutdown();
        try {
            threads.awaitTermination(GRACE.toSeconds(), TimeUnit.SECONDS);
            nats.flush(Duration.ofSeconds(5));
            nats.close();
        } catch (InterruptedException | TimeoutException e) {
            LOG.warning("the last replies may be lost");
        }
        tracing.stop();
    }

    private void handle(ServiceMessage message) {
        Span span = tracing.span(message);
        String where = " call_id=" + header(message, "Connector-Call-Id")
                + " attempt=" + header(message, "Connector-Attempt")
                + " trace_id=" + span.getSpanContext().getTraceId();
        try {
            Call call = Call.read(name -> header(message, name), message.getData());
            Optional<Decision> decision = decide(call, Tracing.headers(span));
            if (decision.isEmpty()) {
                LOG.warning("the call is too late" + where);
                return;
            }
            message.respond(nats, decision.get().json().getBytes(StandardCharsets.UTF_8));
            LOG.info("decided action=" + decision.get().action() + where);
        } catch (Call.NoCall e) {
            fail(message, span, 400, e.getMessage() + where);
        } catch (Unavailable e) {
            fail(message, span, e.code, e.getMessage() + where);
        } catch (InterruptedException | RuntimeException e) {
            fail(message, span, 500, e.getClass().getSimpleName() + where); // its text may quote claims
        } finally {
            span.end();
        }
    }

    /** Empty where it is too late to start: nobody waits any more. */
    private Optional<Decision> decide(Call call, Map<String, String> traceContext)
            throws Unavailable, InterruptedException {
        Duration left = Duration.between(Instant.now(), call.deadline());
        if (left.isNegative() || left.isZero()) {
            return Optional.empty();
        }
        Optional<Person> person = Person.of(call);
        if (person.isEmpty()) {
            return Optional.of(Rules.INCOMPLETE);
        }
        Optional<Duration> time = Rules.timeToVerify(left, patience);
        if (time.isEmpty()) {
            throw new Unavailable(504, "there is no time left to verify");
        }
        return Optional.of(Rules.decide(
                verification.verify(person.get(), call.effectKey(), traceContext, time.get())));
    }

    /** Says that there is no decision. The bridge answers with its fallback at once. */
    private void fail(ServiceMessage message, Span span, int code, String why) {
        span.setStatus(StatusCode.ERROR);
        LOG.log(Level.SEVERE, "cannot decide: {0}", why);
        message.respondStandardError(nats, "cannot decide", code);
    }

    /** The value of a header, or an empty text. */
    static String header(ServiceMessage message, String name) {
        String value = message.hasHeaders() ? message.getHeaders().getFirst(name) : null;
        return value == null ? "" : value;
    }

    private static String variable(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }
}
