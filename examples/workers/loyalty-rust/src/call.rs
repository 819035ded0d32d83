//! What the bridge asks. Knows nothing of NATS.

use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[derive(Debug)]
pub struct Call {
    /// A word that can stand in a subject.
    pub id: String,
    pub deadline: OffsetDateTime,
    claims: Map<String, Value>,
}

impl Call {
    /// Reads a message, whose header of a name is `header(name)`. An error quotes nothing of it,
    /// since claims must not be logged.
    pub fn read<'a>(
        header: impl Fn(&str) -> Option<&'a str>,
        payload: &[u8],
    ) -> Result<Self, &'static str> {
        let id = header("Connector-Call-Id").filter(|id| is_word(id));
        let deadline = header("Connector-Deadline")
            .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        Ok(Self {
            id: id.ok_or("Connector-Call-Id is no word")?.to_owned(),
            deadline: deadline.ok_or("Connector-Deadline is no time")?,
            claims: serde_json::from_slice(payload).map_err(|_| "the claims are no JSON object")?,
        })
    }

    /// Empty where the claim is missing or no text.
    pub fn email(&self) -> &str {
        self.claims.get("email").and_then(Value::as_str).unwrap_or_default()
    }
}

fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "b61f35f4f3634164fe83f2c703a4a1d0";

    fn read(id: &str, deadline: &str, payload: &str) -> Result<Call, &'static str> {
        let headers = [("Connector-Call-Id", id), ("Connector-Deadline", deadline)];
        let header =
            |name: &str| headers.iter().find(|(each, _)| *each == name).map(|(_, value)| *value);
        Call::read(header, payload.as_bytes())
    }

    #[test]
    fn a_call_is_read_from_its_message() {
        let call = read(ID, "2026-11-21T02:21:02.033Z", r#"{"email": "ada@example.com"}"#).unwrap();
        assert_eq!(call.id, ID);
        assert_eq!(call.deadline.unix_timestamp_nanos(), 1_795_227_662_033_000_000);
        assert_eq!(call.email(), "ada@example.com");
    }

    #[test]
    fn an_address_of_another_type_is_as_good_as_missing() {
        for claims in ["{}", r#"{"email": null}"#, r#"{"email": 1}"#, r#"{"email": ["a@b"]}"#] {
            let call = read(ID, "2026-11-21T02:21:02Z", claims).unwrap();
            assert_eq!(call.email(), "", "{claims}");
        }
    }

    #[test]
    fn what_is_no_call_is_not_read() {
        let time = "2026-11-21T02:21:02.033Z";
        for payload in ["", "no JSON", "[]", "null", "\"text\"", "{} {}"] {
            assert_eq!(read(ID, time, payload).unwrap_err(), "the claims are no JSON object");
        }
        // The id becomes part of a subject.
        for id in ["", "a.b", "a b", "*", ">", "ä"] {
            assert_eq!(read(id, time, "{}").unwrap_err(), "Connector-Call-Id is no word");
        }
        for time in ["", "tomorrow", "2026-11-21"] {
            assert_eq!(read(ID, time, "{}").unwrap_err(), "Connector-Deadline is no time");
        }
        let fault = Call::read(|_| None, b"{}").unwrap_err();
        assert_eq!(fault, "Connector-Call-Id is no word");
    }
}
