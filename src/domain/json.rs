//! Strict reading of one JSON object, in one pass and without building a tree of it.
//!
//! The time that reading takes grows with the bytes, however they are nested; so does that of going
//! through all values afterwards, since every container knows where it ends. What is kept has less
//! than 16 times the size of the text.
//!
//! Two readers of the same bytes must not see two different objects, so whatever parsers disagree
//! about is refused: a key that stands twice, an unpaired surrogate, bytes that are not UTF-8.
//! Numbers are never converted: their text is their value.

mod names;
mod reader;
mod text;

use std::{borrow::Cow, fmt, slice};

use serde::{Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;

pub use self::text::Text;

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

/// One JSON object, checked at every depth.
#[derive(Clone)]
pub struct Object<'a> {
    text: &'a str,
    /// Names that were written with escapes, as they are meant, one behind the other.
    unescaped: String,
    /// Of all objects; those of one object stand together, sorted by name.
    members: Vec<Member>,
    /// Objects and arrays in the order in which they begin. Each: where it ends in the text, and
    /// the number of the first one behind it. For an object a second entry follows: which of the
    /// members are its own, from and to.
    containers: Vec<[u32; 2]>,
}

/// One member of an object.
#[derive(Clone, Copy)]
struct Member {
    /// From and to, in the text or, behind its end, in what is unescaped.
    name: [u32; 2],
    /// From and to in the text.
    value: [u32; 2],
    /// The number of the value, if it is a container.
    container: u32,
}

/// One JSON value as it was written.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    whole: &'a Object<'a>,
    from: u32,
    to: u32,
    container: u32,
}

/// A JSON value by its kind.
pub enum Kind<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number, as written.
    Number(&'a str),
    /// A string.
    String(Text<'a>),
    /// An array.
    Array(Items<'a>),
    /// An object.
    Object(Members<'a>),
}

impl<'a> Object<'a> {
    /// Reads `bytes` as exactly one object and checks it at every depth. Of several faults, the
    /// first is named.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| JsonFault::NotJson)?;
        reader::read(text)
    }

    /// The value of the member called `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        let members = self.members_of(0);
        let at = members.binary_search_by(|member| self.name(member).cmp(name)).ok()?;
        members.get(at).map(|member| self.value(member.value, member.container))
    }

    /// The members, sorted by name.
    pub fn members(&self) -> Members<'_> {
        Members { whole: self, members: self.members_of(0).iter() }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    fn members_of(&self, container: u32) -> &[Member] {
        let [from, to] = self.entry(container + 1);
        self.members.get(from as usize..to as usize).unwrap_or_default()
    }

    fn name(&self, member: &Member) -> &str {
        let [from, to] = member.name.map(|at| at as usize);
        let end = self.text.len();
        let name = match from.checked_sub(end) {
            None => self.text.get(from..to),
            Some(from) => self.unescaped.get(from..to - end),
        };
        name.unwrap_or_default()
    }

    fn value(&self, [from, to]: [u32; 2], container: u32) -> Value<'_> {
        Value { whole: self, from, to, container }
    }

    fn entry(&self, container: u32) -> [u32; 2] {
        self.containers.get(container as usize).copied().unwrap_or_default()
    }
}

impl<'a> Value<'a> {
    /// The value as it was written.
    pub fn text(self) -> &'a str {
        self.whole.text.get(self.from as usize..self.to as usize).unwrap_or_default()
    }

    /// The value by its kind.
    #[inline]
    pub fn kind(self) -> Kind<'a> {
        let Self { whole, from, container, .. } = self;
        match whole.text.as_bytes().get(from as usize) {
            Some(b'{') => {
                Kind::Object(Members { whole, members: whole.members_of(container).iter() })
            }
            Some(b'[') => Kind::Array(Items { whole, at: from + 1, container: container + 1 }),
            Some(b'"') => Kind::String(Text::within(self.text())),
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            Some(_) | None => Kind::Number(self.text()),
        }
    }

    /// The unescaped text of a string; `None` for every other kind.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let text = self.text();
        text.starts_with('"').then(|| Text::within(text).unescaped())
    }
}

/// As it was written.
impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.text()).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// The members of one object, sorted by name.
#[derive(Clone)]
pub struct Members<'a> {
    whole: &'a Object<'a>,
    members: slice::Iter<'a, Member>,
}

impl Members<'_> {
    /// Whether there are no more.
    pub fn is_empty(&self) -> bool {
        self.members.as_slice().is_empty()
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.members.next()?;
        Some((self.whole.name(member), self.whole.value(member.value, member.container)))
    }
}

/// The items of one array. They are found in its text; what is inside of an item is passed over.
#[derive(Clone)]
pub struct Items<'a> {
    whole: &'a Object<'a>,
    /// Behind the array's beginning, or behind the item before.
    at: u32,
    /// The number of the next container.
    container: u32,
}

impl Items<'_> {
    /// Whether there are no more.
    pub fn is_empty(&self) -> bool {
        self.clone().next().is_none()
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.whole.text.as_bytes().get(self.at as usize..)?;
        let between = |byte: &u8| matches!(byte, b',' | b' ' | b'\n' | b'\t' | b'\r');
        let skipped = rest.iter().take_while(|byte| between(byte)).count();
        let item = rest.get(skipped..)?;
        let (from, container) = (self.at + skipped as u32, self.container);
        let to = match item.first()? {
            b']' => return None,
            b'{' | b'[' => {
                let [end, next] = self.whole.entry(container);
                self.container = next;
                end
            }
            b'"' => from + text::quoted_len(item) as u32,
            _ => {
                let is_end = |byte: &u8| between(byte) || *byte == b']';
                from + item.iter().take_while(|byte| !is_end(byte)).count() as u32
            }
        };
        self.at = to;
        Some(self.whole.value([from, to], container))
    }
}

/// Claims are personal data: how many, never which.
impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} members)", self.members_of(0).len())
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
