//! Claims, and what can be done to them so that they are hard to read.

use crate::domain::json::{JsonFault, Object, Value};

/// Claims in their order, each value as it was written: no number is ever converted.
#[derive(Clone)]
pub(super) struct Claims(Vec<(String, String)>);

impl Claims {
    /// From one JSON object.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, JsonFault> {
        let object = Object::parse(bytes)?;
        let owned = |(name, value): (&str, Value<'_>)| (name.to_owned(), value.text().to_owned());
        Ok(Self(object.members().map(owned).collect()))
    }

    /// No claims.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Without the claim called `name`.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(other, _)| other != name);
        self
    }

    /// Only the claim called `name`.
    pub(super) fn only(mut self, name: &str) -> Self {
        self.0.retain(|(other, _)| other == name);
        self
    }

    /// With one more claim, or another value; `json` is its value as it is posted.
    pub(super) fn with(self, name: &str, json: impl Into<String>) -> Self {
        let mut claims = self.without(name);
        claims.0.push((name.to_owned(), json.into()));
        claims
    }

    /// With a claim that is a string.
    pub(super) fn with_text(self, name: &str, text: &str) -> Self {
        self.with(name, string(text))
    }

    /// The same names, each with `json` for its value.
    pub(super) fn all(mut self, json: &str) -> Self {
        self.0.iter_mut().for_each(|(_, value)| json.clone_into(value));
        self
    }

    /// The claims of somebody else: the local part of `email` is followed by `tag`. Where there is
    /// no such claim, `correlationId` tells the person apart.
    pub(super) fn of_person(self, tag: &str) -> Self {
        let email = self.0.iter().find(|(name, _)| name == "email").map(|(_, value)| value);
        match email.and_then(|email| email.strip_suffix('"')?.rsplit_once('@')) {
            Some((local, domain)) => {
                let email = format!("{local}+{tag}@{domain}\"");
                self.with("email", email)
            }
            None => self.with_text("correlationId", tag),
        }
    }

    /// As they are posted.
    pub(super) fn body(&self) -> Vec<u8> {
        let members = self.0.iter().map(|(name, value)| format!("{}:{value}", string(name)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(",")).into_bytes()
    }

    /// With a claim so long that the body has exactly `bytes` bytes, if it is shorter without.
    pub(super) fn filled_to(self, bytes: usize) -> Self {
        const NAME: &str = "extension_WorkerCheckLong";
        let claims = self.with_text(NAME, "");
        let missing = bytes.saturating_sub(claims.body().len());
        claims.with_text(NAME, &"x".repeat(missing))
    }
}

fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Claims {
        Claims::parse(text.as_bytes()).unwrap()
    }

    fn text(claims: &Claims) -> String {
        String::from_utf8(claims.body()).unwrap()
    }

    #[test]
    fn values_stay_as_they_were_written() {
        let base = claims(r#"{"n":1.50, "s":"\u00e9","a":[1, {}]}"#);
        assert_eq!(text(&base.clone()), r#"{"a":[1, {}],"n":1.50,"s":"\u00e9"}"#);
        assert_eq!(
            text(&base.clone().only("n").with_text("q\"", "x\n")),
            r#"{"n":1.50,"q\"":"x\n"}"#
        );
        assert_eq!(text(&base.all("null").without("s")), r#"{"a":null,"n":null}"#);
    }

    #[test]
    fn somebody_else_has_another_address_of_the_same_domain() {
        for (base, other) in [
            (r#"{"email":"a@b.example"}"#, r#"{"email":"a+7@b.example"}"#),
            (r#"{"email":"\"@\"@b.example"}"#, r#"{"email":"\"@\"+7@b.example"}"#),
            (r#"{"email":5}"#, r#"{"email":5,"correlationId":"7"}"#),
            (r#"{"email":"nobody"}"#, r#"{"email":"nobody","correlationId":"7"}"#),
            ("{}", r#"{"correlationId":"7"}"#),
        ] {
            assert_eq!(text(&claims(base).of_person("7")), other);
        }
    }

    #[test]
    fn a_body_is_filled_to_the_byte() {
        let body = claims(r#"{"email":"a@b.example"}"#).filled_to(65_536).body();
        assert_eq!(body.len(), 65_536);
        assert!(Object::parse(&body).is_ok());
    }
}
