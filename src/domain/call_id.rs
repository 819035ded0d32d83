//! What makes two requests the same call: a keyed hash over the connector and the claims in
//! canonical form.
//!
//! Canonical: members sorted by name at every level, strings by their unescaped text, numbers by
//! their text as posted, white space outside strings ignored.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;

use super::json::{Items, Kind, Members, Object, Text, Value};

/// Room for the parts of a sign-up's claims.
const PARTS_BYTES: usize = 1024;

/// From so many bytes on, the parts are hashed before there are more: a part takes up to nine times
/// the room of what it stands for.
const PARTS_BYTES_MAX: usize = 32 * 1024;

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
        hash.members(claims.members());
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
/// the same. Many are hashed at once: a hash takes long over many small parts.
struct Canonical<'a> {
    key: &'a HashKey,
    /// What is not hashed yet.
    parts: Vec<u8>,
    /// What is hashed already, if that is anything.
    hashed: Option<Box<blake3::Hasher>>,
}

impl<'a> Canonical<'a> {
    fn new(key: &'a HashKey, purpose: &str, connector: &str) -> Self {
        let mut hash = Self { key, parts: Vec::with_capacity(PARTS_BYTES), hashed: None };
        hash.part(b'p', purpose.as_bytes());
        hash.part(b'c', connector.as_bytes());
        hash
    }

    fn part(&mut self, kind: u8, bytes: &[u8]) {
        self.begin(kind, bytes.len());
        if bytes.len() < PARTS_BYTES_MAX {
            self.parts.extend_from_slice(bytes);
        } else {
            self.hash_parts().update(bytes);
        }
    }

    fn begin(&mut self, kind: u8, length: usize) {
        if self.parts.len() >= PARTS_BYTES_MAX {
            self.hash_parts();
        }
        let [a, b, c, d, e, f, g, h] = (length as u64).to_be_bytes();
        self.parts.extend_from_slice(&[kind, a, b, c, d, e, f, g, h]);
    }

    /// Kept out of what is done for each part.
    #[cold]
    fn hash_parts(&mut self) -> &mut blake3::Hasher {
        let new = || Box::new(blake3::Hasher::new_keyed(&self.key.0));
        let hasher = self.hashed.get_or_insert_with(new);
        hasher.update(&self.parts);
        self.parts.clear();
        hasher
    }

    #[inline(never)]
    fn members(&mut self, members: Members<'_>) {
        for (name, value) in members {
            self.part(b'k', name.as_bytes());
            self.value(value);
        }
        self.begin(b'}', 0);
    }

    #[inline(never)]
    fn items(&mut self, items: Items<'_>) {
        for item in items {
            self.value(item);
        }
        self.begin(b']', 0);
    }

    /// Inlined, since most values are no containers, and those need no call.
    #[inline(always)]
    fn value(&mut self, value: Value<'_>) {
        match value.kind() {
            Kind::Null | Kind::Boolean => self.part(b'w', value.text().as_bytes()),
            Kind::Number(text) => self.part(b'n', text.as_bytes()),
            Kind::String(text) => self.text(text),
            Kind::Object(members) => {
                self.begin(b'{', 0);
                self.members(members);
            }
            Kind::Array(items) => {
                self.begin(b'[', 0);
                self.items(items);
            }
        }
    }

    fn text(&mut self, text: Text<'_>) {
        if let Some(plain) = text.plain() {
            return self.part(b's', plain.as_bytes());
        }
        // The length is known only when the text is unescaped.
        self.begin(b's', 0);
        let from = self.parts.len();
        text.pieces(|piece| self.parts.extend_from_slice(piece.as_bytes()));
        let length = (self.parts.len() - from) as u64;
        if let Some(written) = self.parts.get_mut(from - 8..from) {
            written.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn finish(mut self) -> [u8; 16] {
        let mut half = [0; 16];
        let whole = match self.hashed {
            None => blake3::keyed_hash(&self.key.0, &self.parts),
            Some(_) => self.hash_parts().finalize(),
        };
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
    fn ids_are_those_of_the_first_version_however_claims_are_nested_and_however_long() {
        let long = [r#"{"z":[],"y":{}},"#; 5_000].concat();
        let (plain, escaped) = ("x".repeat(40_000), "é".repeat(40_000));
        let long = format!(r#"{{"a":"{plain}","b":"{escaped}\n","c":[{long}1]}}"#);
        let nested = r#"{"b":[{"y":null,"x":[true,-1.50e+3,[]]},"\u00e9\n",{}],"a\ud83d\ude00":{"aaaaaaaab":1,"aaaaaaaa":2,"":"\\"}}"#;
        for (claims, wanted) in [
            ("{}", "2e51e0d8d6727aba679880a76f6e0667"),
            (nested, "178492e5b2b659e87542888dc83db693"),
            (&long, "6121e51275eb61d6f36f242b60fd0a7e"),
        ] {
            assert_eq!(id("c", claims).to_string(), wanted);
        }
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
