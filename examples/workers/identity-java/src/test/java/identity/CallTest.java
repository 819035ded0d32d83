package identity;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import identity.Call.NoCall;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CallTest {

    static final String ID = "b61f35f4f3634164fe83f2c703a4a1d0";

    static Call read(String payload) throws NoCall {
        return read(payload, "", "");
    }

    private static Call read(String payload, String header, String value) throws NoCall {
        Map<String, String> headers = new HashMap<>(Map.of(
                "Connector-Call-Id", ID,
                "Connector-Attempt", "2",
                "Connector-Deadline", "2026-11-21T02:21:02.033Z"));
        headers.put(header, value);
        return Call.read(headers::get, payload.getBytes(StandardCharsets.UTF_8));
    }

    @Test
    void isReadFromItsMessage() throws NoCall {
        Call call = read("{\"givenName\": \" Ada \", \"surname\": 1, \"city\": \"  \", \"state\": null}");
        assertEquals(ID, call.id());
        assertEquals(2, call.attempt());
        assertEquals(Instant.parse("2026-11-21T02:21:02.033Z"), call.deadline());
        assertEquals(Optional.of("Ada"), call.text("givenName"));
        for (String name : new String[] {"surname", "city", "state", "country"}) {
            assertEquals(Optional.empty(), call.text(name), name);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "secret", "[\"secret\"]", "\"secret\"", "null", "{\"a\": \"secret\"} {}", "{a: 'secret'}"})
    void isNothingButOneJsonObject(String payload) {
        NoCall fault = assertThrows(NoCall.class, () -> read(payload));
        assertFalse(fault.getMessage().contains("secret"));
    }

    @ParameterizedTest
    @CsvSource({
        "Connector-Attempt, ", "Connector-Attempt, 0", "Connector-Attempt, secret",
        "Connector-Deadline, ", "Connector-Deadline, secret",
    })
    void hasItsHeaders(String header, String value) {
        NoCall fault = assertThrows(NoCall.class, () -> read("{}", header, value));
        assertFalse(fault.getMessage().contains("secret"));
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{\"email\": \"ada@example.com\"}", "{\"identities\": [{}]}", "{\"objectId\": 1}",
        "{\"email\": \"\", \"signInName\": \"ada\"}", "{\"correlationId\": {\"a\": 1}}",
    })
    void hasAKeyForItsEffectWhereItNamesAPerson(String payload) throws NoCall {
        assertEquals(Optional.of(ID), read(payload).effectKey());
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{}", "{\"givenName\": \"Ada\"}", "{\"email\": \"\"}", "{\"email\": null}", "{\"identities\": []}",
        "{\"objectId\": {}}",
    })
    void hasNoneWhereOthersMayHaveTheSameId(String payload) throws NoCall {
        assertEquals(Optional.empty(), read(payload).effectKey());
    }

    @Test
    void hasNoneWithoutAnId() throws NoCall {
        assertEquals(Optional.empty(), read("{\"email\": \"ada\"}", "Connector-Call-Id", "").effectKey());
    }
}
