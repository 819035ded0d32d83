package identity;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import identity.Rules.Finding;
import identity.Rules.Person;
import identity.Verification.Unavailable;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class VerificationTest {

    private static final Person ADA = new Person("Ada", "Lovelace", "12349");
    private static final Duration LONG = Duration.ofSeconds(20);
    private static final Duration SHORT = Duration.ofMillis(300);

    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final CountDownLatch end = new CountDownLatch(1);
    private HttpServer server;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(threads);
        server.start();
    }

    @AfterEach
    void stop() {
        end.countDown();
        server.stop(0);
        threads.shutdownNow();
    }

    private Finding verify(HttpHandler handler, Optional<String> key, Duration time)
            throws Unavailable, InterruptedException {
        server.createContext("/base/verifications", handler);
        URI base = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/base/");
        return new Verification(base).verify(ADA, key, Map.of("traceparent", "00-1-2-01"), time);
    }

    private static HttpHandler saying(int status, String body) {
        return exchange -> {
            try (exchange) {
                exchange.sendResponseHeaders(status, 0);
                exchange.getResponseBody().write(body.getBytes(StandardCharsets.UTF_8));
            }
        };
    }

    @ParameterizedTest
    @CsvSource({"verified, VERIFIED", "not_found, NOT_FOUND", "under_review, UNDER_REVIEW"})
    void passesOnWhatTheServiceFound(String result, Finding finding) throws Exception {
        assertEquals(finding, verify(saying(200, "{\"id\": \"1\", \"result\": \"" + result + "\"}"), Optional.empty(), LONG));
    }

    @Test
    void saysWhoAndUnderWhichKeyAndInWhichTrace() throws Exception {
        List<String> said = new ArrayList<>();
        HttpHandler handler = exchange -> {
            said.add(exchange.getRequestMethod());
            said.add(exchange.getRequestHeaders().getFirst("Idempotency-Key"));
            said.add(exchange.getRequestHeaders().getFirst("traceparent"));
            said.add(new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8));
            saying(200, "{\"result\": \"verified\"}").handle(exchange);
        };
        verify(handler, Optional.of("key"), LONG);
        String body = "{\"givenName\":\"Ada\",\"surname\":\"Lovelace\",\"postalCode\":\"12349\"}";
        assertEquals(List.of("POST", "key", "00-1-2-01", body), said);
    }

    @Test
    void saysNoKeyWhereThereIsNone() throws Exception {
        List<Boolean> said = new ArrayList<>();
        HttpHandler handler = exchange -> {
            said.add(exchange.getRequestHeaders().containsKey("Idempotency-Key"));
            saying(200, "{\"result\": \"verified\"}").handle(exchange);
        };
        verify(handler, Optional.empty(), LONG);
        assertEquals(List.of(false), said);
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "", "null", "[]", "{}", "{\"result\": null}", "{\"result\": []}", "{\"result\": {}}", "{\"result\": \"yes\"}", "<html>",
    })
    void takesNothingElseForAFinding(String body) {
        assertCode(502, saying(200, body), LONG);
    }

    @ParameterizedTest
    @ValueSource(ints = {201, 302, 400, 429, 500, 503})
    void takesNoOtherStatusForAFinding(int status) {
        assertCode(502, saying(status, "{\"result\": \"verified\"}"), LONG);
    }

    @Test
    void givesUpWhereNothingComes() {
        assertCode(504, this::keepWaiting, SHORT);
    }

    @Test
    void givesUpWhereTheBodyDoesNotEnd() {
        HttpHandler handler = exchange -> {
            exchange.sendResponseHeaders(200, 0);
            exchange.getResponseBody().write('{');
            exchange.getResponseBody().flush();
            keepWaiting(exchange);
        };
        assertCode(504, handler, SHORT);
    }

    @Test
    void saysWhereTheServiceHangsUp() {
        assertCode(503, HttpExchange::close, LONG);
    }

    @Test
    void saysWhereTheServiceIsAway() {
        int port = server.getAddress().getPort();
        server.stop(0);
        Verification verification = new Verification(URI.create("http://127.0.0.1:" + port));
        Unavailable fault = assertThrows(Unavailable.class,
                () -> verification.verify(ADA, Optional.empty(), Map.of(), LONG));
        assertEquals(503, fault.code);
    }

    private void keepWaiting(HttpExchange exchange) {
        try {
            end.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void assertCode(int code, HttpHandler handler, Duration time) {
        long begun = System.nanoTime();
        Unavailable fault = assertThrows(Unavailable.class, () -> verify(handler, Optional.empty(), time));
        assertEquals(code, fault.code);
        Duration taken = Duration.ofNanos(System.nanoTime() - begun);
        assertTrue(taken.compareTo(time.plusSeconds(10)) < 0, () -> "took " + taken);
    }
}
