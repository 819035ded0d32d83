package identity;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.Strictness;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;

/** What the bridge asks. */
record Call(String id, int attempt, Instant deadline, JsonObject claims) {

    /** The claims that name a person. Without any of them, calls of several people share an id. */
    private static final List<String> NAMES_PERSON =
            List.of("email", "identities", "objectId", "signInName", "correlationId");

    private static final Gson STRICT = new GsonBuilder().setStrictness(Strictness.STRICT).create();

    /** What cannot be read. The text quotes nothing of it, since claims must not be logged. */
    static final class NoCall extends Exception {
        private static final long serialVersionUID = 1;

        NoCall(String what) {
            super(what);
        }
    }

    /** Reads a message. {@code header} gives the value of a header, or null where there is none. */
    static Call read(UnaryOperator<String> header, byte[] payload) throws NoCall {
        return new Call(
                orEmpty(header.apply("Connector-Call-Id")),
                attempt(orEmpty(header.apply("Connector-Attempt"))),
                deadline(orEmpty(header.apply("Connector-Deadline"))),
                claims(new String(payload, StandardCharsets.UTF_8)));
    }

    private static int attempt(String text) throws NoCall {
        try {
            int attempt = Integer.parseInt(text);
            if (attempt >= 1) {
                return attempt;
            }
        } catch (NumberFormatException e) {
            // as below
        }
        throw new NoCall("Connector-Attempt is no number from 1 up");
    }

    private static Instant deadline(String text) throws NoCall {
        try {
            return Instant.parse(text);
        } catch (DateTimeException e) {
            throw new NoCall("Connector-Deadline is no time");
        }
    }

    private static JsonObject claims(String text) throws NoCall {
        try {
            JsonObject claims = STRICT.fromJson(text, JsonObject.class);
            if (claims != null) {
                return claims;
            }
        } catch (JsonParseException | ClassCastException e) {
            // as below
        }
        throw new NoCall("the claims are no JSON object");
    }

    private static String orEmpty(String text) {
        return text == null ? "" : text;
    }

    /** A claim that is a string with something in it. */
    Optional<String> text(String name) {
        return Optional.ofNullable(claims.get(name))
                .filter(Call::isString)
                .map(value -> value.getAsString().strip())
                .filter(text -> !text.isEmpty());
    }

    private static boolean isString(JsonElement value) {
        return value.isJsonPrimitive() && value.getAsJsonPrimitive().isString();
    }

    /** The key under which an effect of this call may happen once; empty where the id names nobody. */
    Optional<String> effectKey() {
        boolean named = NAMES_PERSON.stream().anyMatch(name -> isSomething(claims.get(name)));
        return named && !id.isEmpty() ? Optional.of(id) : Optional.empty();
    }

    private static boolean isSomething(JsonElement value) {
        if (value == null || value.isJsonNull()) {
            return false;
        }
        if (value.isJsonArray()) {
            return !value.getAsJsonArray().isEmpty();
        }
        if (value.isJsonObject()) {
            return !value.getAsJsonObject().isEmpty();
        }
        return !value.getAsString().isEmpty();
    }
}
