package sandbox;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Stands in for a verification service, to try the worker with. The surname decides: Unknown is not
 * found, Review has to be looked at, Slow takes ten minutes, Broken is an error, and everybody else is
 * verified.
 *
 * <p>POST /verifications verifies a person, once for each Idempotency-Key. GET /verifications lists
 * what was done, which a real service would send a bill for.
 */
public final class VerificationService {

    private static final Duration SLOW = Duration.ofMinutes(10);

    private static final Gson GSON = new Gson();

    private record Verification(String id, String result) {}

    private final Map<String, CompletableFuture<Verification>> byKey = new ConcurrentHashMap<>();
    private final List<Verification> done = new CopyOnWriteArrayList<>();
    private final ExecutorService threads = Executors.newCachedThreadPool();

    /** Serves at a port of this machine, which is the argument, or 8090. */
    public static void main(String[] arguments) throws IOException {
        int port = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 8090;
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        VerificationService service = new VerificationService();
        server.createContext("/verifications", service::handle);
        server.setExecutor(service.threads);
        server.start();
        System.err.println("verification service at http://127.0.0.1:" + server.getAddress().getPort());
    }

    private void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            switch (exchange.getRequestMethod()) {
                case "GET" -> reply(exchange, 200, list());
                case "POST" -> post(exchange);
                default -> reply(exchange, 405, "");
            }
        }
    }

    private String list() {
        StringBuilder lines = new StringBuilder();
        done.forEach(each -> lines.append(each.id).append(' ').append(each.result).append('\n'));
        return lines.toString();
    }

    private void post(HttpExchange exchange) throws IOException {
        String surname;
        try {
            String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
            surname = GSON.fromJson(body, JsonObject.class).get("surname").getAsString();
        } catch (JsonParseException | IllegalStateException | NullPointerException e) {
            reply(exchange, 400, "");
            return;
        }
        if (surname.equals("Broken")) {
            reply(exchange, 500, "");
            return;
        }
        String key = exchange.getRequestHeaders().getFirst("Idempotency-Key");
        CompletableFuture<Verification> verification = key == null
                ? start(surname)
                : byKey.computeIfAbsent(key, unused -> start(surname));
        reply(exchange, 200, GSON.toJson(verification.join()));
    }

    /** The work goes on where nobody waits for it any more. */
    private CompletableFuture<Verification> start(String surname) {
        return CompletableFuture.supplyAsync(() -> verify(surname), threads);
    }

    private Verification verify(String surname) {
        String result = switch (surname) {
            case "Unknown" -> "not_found";
            case "Review" -> "under_review";
            case "Slow" -> {
                sleep(SLOW);
                yield "verified";
            }
            default -> "verified";
        };
        Verification verification = new Verification(UUID.randomUUID().toString(), result);
        done.add(verification);
        return verification;
    }

    private static void sleep(Duration time) {
        try {
            Thread.sleep(time.toMillis());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static void reply(HttpExchange exchange, int status, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(status, bytes.length == 0 ? -1 : bytes.length);
        exchange.getResponseBody().write(bytes);
    }
}
