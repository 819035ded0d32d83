package identity;

import static org.junit.jupiter.api.Assertions.assertEquals;

import identity.Rules.Finding;
import identity.Rules.Person;
import java.time.Duration;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class RulesTest {

    @Test
    void whoeverIsVerifiedGoesOnWithAClaim() {
        assertEquals("{\"extension_IdentityVerified\":true,\"action\":\"Continue\"}", Rules.decide(Finding.VERIFIED).json());
    }

    @ParameterizedTest
    @CsvSource({"NOT_FOUND, ValidationError", "UNDER_REVIEW, ShowBlockPage"})
    void whoeverIsNotIsTold(Finding finding, String action) {
        assertEquals(action, Rules.decide(finding).action());
        assertEquals(1, Rules.decide(finding).more().get("userMessage").getAsString().lines().count());
    }

    @Test
    void aPersonHasANameAndAPostalCode() throws Call.NoCall {
        Call call = CallTest.read("{\"givenName\": \"Ada\", \"surname\": \"Lovelace\", \"postalCode\": \"12349\", \"city\": \"Ely\"}");
        assertEquals(Optional.of(new Person("Ada", "Lovelace", "12349")), Person.of(call));
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{\"surname\": \"Lovelace\", \"postalCode\": \"12349\"}",
        "{\"givenName\": \"Ada\", \"postalCode\": \"12349\"}",
        "{\"givenName\": \"Ada\", \"surname\": \"Lovelace\"}",
        "{\"givenName\": \"Ada\", \"surname\": \" \", \"postalCode\": \"12349\"}",
    })
    void whoeverSaysLessIsAskedForIt(String claims) throws Call.NoCall {
        assertEquals(Optional.empty(), Person.of(CallTest.read(claims)));
    }

    /** Milliseconds that are left, and those that the service gets, when it gets 4000 at most. */
    @ParameterizedTest
    @CsvSource({"15000, 4000", "4251, 4000", "4249, 3999", "251, 1", "250, ", "1, ", "-1, "})
    void theServiceNeverGetsMoreTimeThanIsLeft(long left, Long time) {
        Optional<Duration> wanted = Optional.ofNullable(time).map(Duration::ofMillis);
        assertEquals(wanted, Rules.timeToVerify(Duration.ofMillis(left), Duration.ofMillis(4000)));
    }
}
