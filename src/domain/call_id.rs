//! What makes two requests the same call: a keyed hash over the connector and the claims in
//! canonical form.
//!
//! Canonical: members sorted by name at every level, strings by their unescaped text, numbers by
//! their text as posted, white space outside strings ignored.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;

use super::json::{Kind, Object, Value};

/// Room for the parts of a sign-up's claims.
const PARTS_BYTES: usize = 1024;

/// The key of the hash. Without a secret key the call ids are still equal on every replica, but
/// whoever sees one can find the claims behind it by trying.
#[derive(Clone)]
pub struct HashKey([u8; 32]);

impl HashKey {
    /// From a secret of any length.
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(blake3::derive_key("connector-bridge 2026-11 call id", secret))
    }

    /// The key that everyone knows.
    pub fn public() -> Self {
        Self::from_secret(b"")
    }
}

/// The same for the same claims at the same connector, at any time and on every replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId([u8; 16]);

impl CallId {
    /// How many characters it is written with.
    pub const TEXT_LEN: usize = 32;

    /// The id of the call that `claims` at `connector` are.
    pub fn of(key: &HashKey, connector: &str, claims: &Object<'_>) -> Self {
        let mut hash = Canonical::new(key, "call", connector);
        hash.object(claims);
        Self(hash.finish())
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; Self::TEXT_LEN];
        HEXLOWER.encode_mut(&self.0, &mut digits);
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Under what a decision is found again in the fallback cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 16]);

impl CacheKey {
    /// For the very same call.
    pub fn same_call(call: CallId) -> Self {
        Self(call.0)
    }

    /// For the same values of the claims called `by`; `None` where one of them is not filled.
    pub fn same_values(
        key: &HashKey,
        connector: &str,
        claims: &Object<'_>,
        by: &[String],
    ) -> Option<Self> {
        let mut hash = Canonical::new(key, "values", connector);
        for name in by {
            let value = claims.get(name).filter(|_| super::claims::is_filled(claims, name))?;
            hash.part(b'k', name.as_bytes());
            hash.value(value);
        }
        Some(Self(hash.finish()))
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&CallId(self.0), f)
    }
}

impl FromStr for CacheKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let mut key = [0; 16];
        let digits = text.as_bytes();
        let decoded =
            digits.len() == CallId::TEXT_LEN && HEXLOWER.decode_mut(digits, &mut key).is_ok();
        decoded.then_some(Self(key)).ok_or(NotAKey)
    }
}

/// A text is not 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKey;

/// Every part goes in with its kind and its length, so that no two different inputs are written
/// the same. All are hashed at once: a hash takes long over many small parts.
struct Canonical<'a> {
    key: &'a HashKey,
    parts: Vec<u8>,
}

impl<'a> Canonical<'a> {
    fn new(key: &'a HashKey, purpose: &str, connector: &str) -> Self {
        let mut hash = Self { key, parts: Vec::with_capacity(PARTS_BYTES) };
        hash.part(b'p', purpose.as_bytes());
        hash.part(b'c', connector.as_bytes());
        hash
    }

    fn part(&mut self, kind: u8, bytes: &[u8]) {
        let [a, b, c, d, e, f, g, h] = (bytes.len() as u64).to_be_bytes();
        self.parts.extend_from_slice(&[kind, a, b, c, d, e, f, g, h]);
        self.parts.extend_from_slice(bytes);
    }

    fn object(&mut self, object: &Object<'_>) {
        for (name, value) in object.members() {
            self.part(b'k', name.as_bytes());
            self.value(value);
        }
        self.part(b'}', b"");
    }

    fn value(&mut self, value: Value<'_>) {
        match value.kind() {
            Kind::Null | Kind::Boolean => self.part(b'w', value.text().as_bytes()),
            Kind::Number(text) => self.part(b'n', text.as_bytes()),
            Kind::String(text) => self.part(b's', text.as_bytes()),
            Kind::Object(object) => {
                self.part(b'{', b"");
                self.object(&object);
            }
            Kind::Array(items) => {
                self.part(b'[', b"");
                items.into_iter().for_each(|item| self.value(item));
                self.part(b']', b"");
            }
        }
    }

    fn finish(self) -> [u8; 16] {
        let mut half = [0; 16];
        let whole = blake3::keyed_hash(&self.key.0, &self.parts);
        half.iter_mut().zip(whole.as_bytes()).for_each(|(to, from)| *to = *from);
        half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(connector: &str, claims: &str) -> CallId {
        CallId::of(&HashKey::public(), connector, &Object::parse(claims.as_bytes()).unwrap())
    }

    #[test]
    fn only_order_white_space_and_escapes_may_differ_in_the_same_call() {
        let base = r#"{"a":1,"b":{"x":"é\n","y":[1,2]},"c":true}"#;
        let rows = [
            ("order", r#"{"c":true,"b":{"y":[1,2],"x":"é\n"},"a":1}"#, true),
            (
                "white space",
                "{ \"a\" : 1, \"b\":{\"x\":\"é\\n\",\"y\":[ 1 ,2 ]},\n\"c\":true}",
                true,
            ),
            ("escapes", r#"{"\u0061":1,"b":{"x":"\u00e9\u000a","y":[1,2]},"c":true}"#, true),
            (
                "a number written otherwise",
                r#"{"a":1.0,"b":{"x":"é\n","y":[1,2]},"c":true}"#,
                false,
            ),
            ("order in an array", r#"{"a":1,"b":{"x":"é\n","y":[2,1]},"c":true}"#, false),
            ("a string for a number", r#"{"a":"1","b":{"x":"é\n","y":[1,2]},"c":true}"#, false),
            ("a string for a word", r#"{"a":1,"b":{"x":"é\n","y":[1,2]},"c":"true"}"#, false),
            ("one claim more", r#"{"a":1,"b":{"x":"é\n","y":[1,2]},"c":true,"d":null}"#, false),
            ("upper case", r#"{"A":1,"b":{"x":"é\n","y":[1,2]},"c":true}"#, false),
        ];
        for (name, claims, same) in rows {
            assert_eq!(id("signup", claims) == id("signup", base), same, "{name}");
        }
        assert_ne!(id("signup", base), id("token", base), "another connector");
    }

    #[test]
    fn another_key_gives_another_id_and_the_id_is_stable() {
        let claims = Object::parse(br#"{"email":"a@b.c"}"#).unwrap();
        let secret = HashKey::from_secret(&[7; 32]);
        let ids = [&secret, &HashKey::public()].map(|key| CallId::of(key, "signup", &claims));
        assert_ne!(ids[0], ids[1]);
        assert_eq!(
            ids[1].to_string(),
            "aca6cabf8273e309300e2596f92d484b",
            "replicas of two versions must agree"
        );
    }

    #[test]
    fn values_are_found_by_the_named_claims_only_and_never_by_an_empty_one() {
        let key = |claims: &str| {
            let claims = Object::parse(claims.as_bytes()).unwrap();
            CacheKey::same_values(&HashKey::public(), "c", &claims, &["email".into(), "n".into()])
        };
        let base = key(r#"{"email":"a","n":1}"#);
        assert!(base.is_some());
        assert_eq!(key(r#"{"n":1,"city":"x","email":"a"}"#), base);
        assert_ne!(key(r#"{"email":"a","n":2}"#), base);
        for empty in [r#"{"email":"a"}"#, r#"{"email":"","n":1}"#, r#"{"email":null,"n":1}"#] {
            assert_eq!(key(empty), None, "{empty}");
        }
    }
}
