//! Strict reading of one JSON object, without building a tree of it.
//!
//! Two readers of the same bytes must not see two different objects, so whatever parsers disagree
//! about is refused: a key that stands twice, an unpaired surrogate, bytes that are not UTF-8.
//! Numbers are never converted: their text is their value.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The deepest nesting that is read; the object itself is level 1.
pub const DEPTH_MAX: usize = 32;

/// Why bytes are not an object that this crate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The bytes are not UTF-8, not JSON, or hold an unpaired surrogate escape.
    #[error("not JSON")]
    NotJson,
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotObject,
    /// A key stands twice in one object, at any depth.
    #[error("a key stands twice")]
    KeyTwice,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested too deeply")]
    TooDeep,
}

/// One JSON object: its members, sorted by name.
#[derive(Clone)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// One JSON value as it was written.
#[derive(Clone, Copy)]
pub struct Value<'a>(&'a RawValue);

/// A JSON value by its kind.
pub enum Kind<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number, as written.
    Number(&'a str),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object.
    Object(Object<'a>),
}

impl<'a> Object<'a> {
    /// Reads `bytes` as exactly one object and checks it at every depth.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| JsonFault::NotJson)?;
        if text.trim_ascii_start().starts_with('{') {
            return object(text, Some(1));
        }
        let other: &RawValue = serde_json::from_str(text).map_err(|_| JsonFault::NotJson)?;
        // A string may hold an unpaired surrogate.
        Value(other).read(Some(1)).and(Err(JsonFault::NotObject))
    }

    /// The value of the member called `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        let at = self.members.binary_search_by(|(member, _)| (**member).cmp(name)).ok()?;
        self.members.get(at).map(|(_, value)| *value)
    }

    /// The members, sorted by name.
    pub fn members(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.members.iter().map(|(name, value)| (&**name, *value))
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl<'a> Value<'a> {
    /// The value as it was written.
    pub fn text(self) -> &'a str {
        self.0.get()
    }

    /// The value by its kind. Values of an [`Object`] were checked at every depth when it was
    /// parsed, so that only this level is read; a fault here would read as `null`.
    pub fn kind(self) -> Kind<'a> {
        self.read(None).unwrap_or(Kind::Null)
    }

    /// The unescaped text of a string; `None` for every other kind.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        self.text().starts_with('"').then(|| string(self.text()).ok()).flatten()
    }

    /// With a depth, everything inside is checked too.
    fn read(self, depth: Option<usize>) -> Result<Kind<'a>, JsonFault> {
        match self.text().as_bytes().first() {
            Some(b'{') => Ok(Kind::Object(object(self.text(), depth)?)),
            Some(b'[') => Ok(Kind::Array(array(self.text(), depth)?)),
            Some(b'"') => Ok(Kind::String(string(self.text())?)),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            Some(_) | None => Ok(Kind::Number(self.text())),
        }
    }
}

/// As it was written.
impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn object(text: &str, depth: Option<usize>) -> Result<Object<'_>, JsonFault> {
    let depth = deeper(depth)?;
    let Members(mut members) = serde_json::from_str(text).map_err(|_| JsonFault::NotJson)?;
    if depth.is_some() {
        members.iter().try_for_each(|(_, value)| value.read(depth).map(drop))?;
    }
    members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let twice = members.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
    if twice { Err(JsonFault::KeyTwice) } else { Ok(Object { members }) }
}

fn array(text: &str, depth: Option<usize>) -> Result<Vec<Value<'_>>, JsonFault> {
    let depth = deeper(depth)?;
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| JsonFault::NotJson)?;
    let items: Vec<_> = items.into_iter().map(Value).collect();
    if depth.is_some() {
        items.iter().try_for_each(|item| item.read(depth).map(drop))?;
    }
    Ok(items)
}

/// The depth of what is inside.
fn deeper(depth: Option<usize>) -> Result<Option<usize>, JsonFault> {
    match depth {
        Some(depth) if depth > DEPTH_MAX => Err(JsonFault::TooDeep),
        Some(depth) => Ok(Some(depth + 1)),
        None => Ok(None),
    }
}

/// `text` with its quotes. The scanner that cut it out has checked all but surrogate escapes, so
/// a string without a backslash is its own text.
fn string(text: &str) -> Result<Cow<'_, str>, JsonFault> {
    match (text.as_bytes(), text.get(1..text.len().saturating_sub(1))) {
        ([b'"', inner @ .., b'"'], Some(text)) if !inner.contains(&b'\\') => {
            Ok(Cow::Borrowed(text))
        }
        (_, _) => serde_json::from_str(text).map(Cow::Owned).map_err(|_| JsonFault::NotJson),
    }
}

/// Claims are personal data: how many, never which.
impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} members)", self.members.len())
    }
}

struct Members<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// A name that borrows where it is written without escapes (a plain `Cow` never borrows).
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, Value(map.next_value()?)));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels))
    }

    #[test]
    fn what_parsers_disagree_about_is_refused() {
        let [ok, deep, far_deeper] = [32, 33, 5_000].map(nested);
        let deep_array = format!("{{\"a\":{}1{}}}", "[".repeat(32), "]".repeat(32));
        let rows: &[(&str, &[u8], Option<JsonFault>)] = &[
            ("empty object", b"{}", None),
            ("white space around", b" \r\n\t{} ", None),
            ("a number beyond a double", br#"{"a":1e400,"b":18446744073709551616}"#, None),
            ("a surrogate pair", br#"{"a":"\ud83d\ude00"}"#, None),
            ("32 levels", ok.as_bytes(), None),
            ("33 levels", deep.as_bytes(), Some(JsonFault::TooDeep)),
            ("an object and 32 arrays", deep_array.as_bytes(), Some(JsonFault::TooDeep)),
            ("5,000 levels", far_deeper.as_bytes(), Some(JsonFault::TooDeep)),
            ("nothing", b"", Some(JsonFault::NotJson)),
            ("an array", b"[]", Some(JsonFault::NotObject)),
            ("a string", b"\"x\"", Some(JsonFault::NotObject)),
            ("null", b"null", Some(JsonFault::NotObject)),
            ("two objects", b"{}{}", Some(JsonFault::NotJson)),
            ("text behind", b"{} x", Some(JsonFault::NotJson)),
            ("a byte order mark", b"\xef\xbb\xbf{}", Some(JsonFault::NotJson)),
            ("not UTF-8", b"{\"a\":\"\xff\"}", Some(JsonFault::NotJson)),
            ("NaN", br#"{"a":NaN}"#, Some(JsonFault::NotJson)),
            ("a trailing comma", br#"{"a":1,}"#, Some(JsonFault::NotJson)),
            ("a raw line break in a string", b"{\"a\":\"\n\"}", Some(JsonFault::NotJson)),
            ("a leading surrogate alone", br#"{"a":"\ud83d"}"#, Some(JsonFault::NotJson)),
            ("a trailing surrogate alone", br#"{"a":"\ude00"}"#, Some(JsonFault::NotJson)),
            ("a surrogate in a name", br#"{"\ud83d":1}"#, Some(JsonFault::NotJson)),
            ("a surrogate in an array", br#"{"a":["\ud83d"]}"#, Some(JsonFault::NotJson)),
            ("a key twice", br#"{"a":1,"b":2,"a":1}"#, Some(JsonFault::KeyTwice)),
            ("a key twice, once escaped", br#"{"a":1,"\u0061":1}"#, Some(JsonFault::KeyTwice)),
            ("a key twice, inside", br#"{"x":[{"a":1,"a":2}]}"#, Some(JsonFault::KeyTwice)),
        ];
        for (name, bytes, fault) in rows {
            assert_eq!(Object::parse(bytes).err(), *fault, "{name}");
        }
    }

    #[test]
    fn members_are_found_by_their_unescaped_name() {
        let object = Object::parse(br#"{"z":1,"\u0061b":"x\ny","c":[]}"#).unwrap();
        assert_eq!(object.get("ab").unwrap().as_str().unwrap(), "x\ny");
        assert_eq!(object.get("z").unwrap().text(), "1");
        assert!(object.get("z").unwrap().as_str().is_none());
        assert!(object.get("y").is_none());
    }
}
