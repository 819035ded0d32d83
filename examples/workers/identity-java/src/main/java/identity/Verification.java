package identity;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import identity.Rules.Finding;
import identity.Rules.Person;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Asks the verification service. */
final class Verification {

    /** Why there is no finding, as an HTTP status would say it. */
    static final class Unavailable extends Exception {
        private static final long serialVersionUID = 1;
        final int code;

        Unavailable(int code, String what) {
            super(what);
            this.code = code;
        }
    }

    private static final Gson GSON = new Gson();

    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final URI verifications;

    /** {@code base} is the URL of the service. */
    Verification(URI base) {
        verifications = URI.create(base.toString().replaceAll("/+$", "") + "/verifications");
    }

    /**
     * Has a person verified, and waits for at most {@code time}. The service does the same work once
     * for the same {@code key}, and gives the same finding again; so a call that was given up here and
     * comes again gets what was found meanwhile.
     */
    Finding verify(Person person, Optional<String> key, Map<String, String> traceContext, Duration time)
            throws Unavailable, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(verifications)
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString(GSON.toJson(person)));
        key.ifPresent(value -> request.header("Idempotency-Key", value));
        traceContext.forEach(request::header);

        // The request's own timeout ends with the response's head, so a body that trickles in would
        // outlast it. This one covers everything.
        CompletableFuture<HttpResponse<String>> response =
                client.sendAsync(request.build(), BodyHandlers.ofString());
        try {
            return finding(response.get(time.toMillis(), TimeUnit.MILLISECONDS));
        } catch (TimeoutException e) {
            throw new Unavailable(504, "the verification service is slow");
        } catch (ExecutionException e) {
            throw new Unavailable(503, "the verification service is away");
        } finally {
            response.cancel(true); // gives the connection back where nobody waits for it any more
        }
    }

    private static Finding finding(HttpResponse<String> response) throws Unavailable {
        if (response.statusCode() == 200) {
            try {
                JsonObject body = GSON.fromJson(response.body(), JsonObject.class);
                switch (body.get("result").getAsString()) {
                    case "verified":
                        return Finding.VERIFIED;
                    case "not_found":
                        return Finding.NOT_FOUND;
                    case "under_review":
                        return Finding.UNDER_REVIEW;
                    default:
                        break;
                }
            } catch (JsonParseException | IllegalStateException | UnsupportedOperationException
                    | NullPointerException | ClassCastException e) {
                // as below
            }
        }
        throw new Unavailable(502, "the verification service gives no finding");
    }
}
