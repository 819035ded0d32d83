package identity;

import com.google.gson.JsonObject;
import java.time.Duration;
import java.util.Optional;

/** What is verified, and what comes of it. No clock, no network. */
final class Rules {

    /** What of a call's time is kept for the reply. */
    private static final Duration RESERVE = Duration.ofMillis(250);

    /** Of whom it is to be found out whether they exist. */
    record Person(String givenName, String surname, String postalCode) {

        /** Empty where the person has not said enough. */
        static Optional<Person> of(Call call) {
            return call.text("givenName").flatMap(givenName ->
                    call.text("surname").flatMap(surname ->
                            call.text("postalCode").map(postalCode ->
                                    new Person(givenName, surname, postalCode))));
        }
    }

    /** What the verification service found out. */
    enum Finding { VERIFIED, NOT_FOUND, UNDER_REVIEW }

    /** What is replied. */
    record Decision(String action, JsonObject more) {

        String json() {
            JsonObject reply = more.deepCopy();
            reply.addProperty("action", action);
            return reply.toString();
        }
    }

    static final Decision INCOMPLETE =
            message("ValidationError", "Please enter your given name, your surname and your postal code.");

    static Decision decide(Finding finding) {
        return switch (finding) {
            case VERIFIED -> {
                JsonObject claims = new JsonObject();
                claims.addProperty("extension_IdentityVerified", true);
                yield new Decision("Continue", claims);
            }
            // The person can correct what they typed.
            case NOT_FOUND -> message("ValidationError",
                    "We cannot find you. Please enter name and postal code as they stand in your identity card.");
            // Nothing that the person could do now would help.
            case UNDER_REVIEW -> message("ShowBlockPage",
                    "Somebody has to look at your details. Please try again tomorrow.");
        };
    }

    /** How long the service may take, when a call has so much time {@code left}; empty where there is none. */
    static Optional<Duration> timeToVerify(Duration left, Duration patience) {
        Duration most = left.minus(RESERVE);
        if (most.toMillis() <= 0) {
            return Optional.empty();
        }
        return Optional.of(most.compareTo(patience) < 0 ? most : patience);
    }

    private static Decision message(String action, String text) {
        JsonObject message = new JsonObject();
        message.addProperty("userMessage", text);
        return new Decision(action, message);
    }

    private Rules() {}
}
