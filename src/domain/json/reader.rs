//! One pass over the bytes of a JSON text: is it JSON, and where is what?
//!
//! Where the reader stands is handed from step to step and not kept: it stays in a register.

use super::{DEPTH_MAX, JsonFault, Member, Object, names, text};

/// Numbers of 32 bits say where something stands, also in what is appended to the text.
const BYTES_MAX: usize = u32::MAX as usize / 2;

/// Room for the members of a sign-up.
const MEMBERS: usize = 24;

/// Room for its containers.
const CONTAINERS: usize = 8;

/// Reads `text` as exactly one object.
pub(super) fn read(text: &str) -> Result<Object<'_>, JsonFault> {
    if text.len() > BYTES_MAX {
        return Err(JsonFault::NotJson);
    }
    let mut reader = Reader::of(text);
    let from = reader.space(0);
    let is_object = reader.byte(from) == b'{';
    let read = reader.value(from, 1).map(|end| reader.space(end));
    match read {
        Some(end) if end < text.len() => Err(JsonFault::NotJson),
        Some(_) if is_object => Ok(reader.whole),
        Some(_) => Err(JsonFault::NotObject),
        None => Err(reader.fault),
    }
}

/// Every step begins at a byte and returns the one behind what it has read, or `None` for a fault.
struct Reader<'a> {
    bytes: &'a [u8],
    whole: Object<'a>,
    /// Members of objects that have not ended yet, as they come.
    open: Vec<Member>,
    order: Vec<names::Key>,
    /// What is wrong, after a fault.
    fault: JsonFault,
}

impl<'a> Reader<'a> {
    fn of(text: &'a str) -> Self {
        let whole = Object {
            text,
            unescaped: String::new(),
            members: Vec::new(),
            containers: Vec::with_capacity(CONTAINERS),
        };
        Self {
            bytes: text.as_bytes(),
            whole,
            open: Vec::with_capacity(MEMBERS),
            order: Vec::new(),
            fault: JsonFault::NotJson,
        }
    }

    /// Any value; if it is a container, the one at `depth`. Inlined, since most are no containers,
    /// and those need no call.
    #[inline(always)]
    fn value(&mut self, at: usize, depth: usize) -> Option<usize> {
        match self.byte(at) {
            b'"' => self.string(at).map(|(end, _)| end),
            b'{' => self.object(at, depth),
            b'[' => self.array(at, depth),
            b'-' | b'0'..=b'9' => self.number(at),
            b't' => self.word(at, b"true"),
            b'f' => self.word(at, b"false"),
            b'n' => self.word(at, b"null"),
            _ => None,
        }
    }

    #[inline(never)]
    fn object(&mut self, at: usize, depth: usize) -> Option<usize> {
        let (container, first_open) = (self.begin(depth)?, self.open.len());
        self.whole.containers.push([0; 2]);
        let mut at = self.space(at + 1);
        if self.byte(at) != b'}' {
            loop {
                let (name, end) = self.name(at)?;
                let colon = self.space(end);
                let from = (self.byte(colon) == b':').then(|| self.space(colon + 1))?;
                let container = self.whole.containers.len() as u32;
                let end = self.value(from, depth + 1)?;
                self.open.push(Member { name, value: [from as u32, end as u32], container });
                at = self.space(end);
                match self.byte(at) {
                    b'}' => break,
                    b',' => at = self.space(at + 1),
                    _ => return None,
                }
            }
        }
        let first = self.whole.members.len() as u32;
        self.close(first_open)?;
        self.end(container, [at as u32 + 1, self.whole.containers.len() as u32]);
        self.end(container + 1, [first, self.whole.members.len() as u32]);
        Some(at + 1)
    }

    /// Moves the members of an object that has ended to those of the whole, sorted.
    fn close(&mut self, first_open: usize) -> Option<()> {
        let members = self.open.get(first_open..).unwrap_or_default();
        if let [] | [_] = members {
            self.whole.members.extend_from_slice(members);
        } else {
            let whole = &mut self.whole;
            let name = |place| members.get(place).map_or("", |m: &Member| whole.name(m)).as_bytes();
            let sorted = names::sort(&mut self.order, members.len(), name);
            sorted.map_err(|fault| self.fault = fault).ok()?;
            whole.members.extend(self.order.iter().filter_map(|key| members.get(key.place())));
        }
        self.open.truncate(first_open);
        Some(())
    }

    #[inline(never)]
    fn array(&mut self, at: usize, depth: usize) -> Option<usize> {
        let container = self.begin(depth)?;
        let mut at = self.space(at + 1);
        if self.byte(at) != b']' {
            loop {
                let end = self.value(at, depth + 1)?;
                at = self.space(end);
                match self.byte(at) {
                    b']' => break,
                    b',' => at = self.space(at + 1),
                    _ => return None,
                }
            }
        }
        self.end(container, [at as u32 + 1, self.whole.containers.len() as u32]);
        Some(at + 1)
    }

    /// The number of a container that begins, if it is not too deep.
    fn begin(&mut self, depth: usize) -> Option<usize> {
        if depth > DEPTH_MAX {
            self.fault = JsonFault::TooDeep;
            return None;
        }
        self.whole.containers.push([0; 2]);
        Some(self.whole.containers.len() - 1)
    }

    fn end(&mut self, container: usize, entry: [u32; 2]) {
        if let Some(begun) = self.whole.containers.get_mut(container) {
            *begun = entry;
        }
    }

    /// A name, where it stands, and what is behind it. One with escapes is appended, as it is
    /// meant, to what is not in the text.
    fn name(&mut self, at: usize) -> Option<([u32; 2], usize)> {
        let (end, has_escapes) = (self.byte(at) == b'"').then(|| self.string(at))??;
        if !has_escapes {
            return Some(([at as u32 + 1, end as u32 - 1], end));
        }
        let Object { text, unescaped, .. } = &mut self.whole;
        let from = text.len() + unescaped.len();
        text::Text::within(text.get(at..end)?).pieces(|piece| unescaped.push_str(piece));
        Some(([from as u32, (text.len() + unescaped.len()) as u32], end))
    }

    /// A string from its quote on, and whether it has escapes.
    fn string(&self, at: usize) -> Option<(usize, bool)> {
        let (mut at, mut has_escapes) = (at + 1, false);
        loop {
            at += text::plain_len(self.bytes.get(at..)?);
            match self.byte(at) {
                b'"' => return Some((at + 1, has_escapes)),
                b'\\' => at += text::escape(self.bytes.get(at..)?)?.1,
                _ => return None,
            }
            has_escapes = true;
        }
    }

    fn number(&self, at: usize) -> Option<usize> {
        let at = at + usize::from(self.byte(at) == b'-');
        let mut at = if self.byte(at) == b'0' { at + 1 } else { self.digits(at)? };
        if self.byte(at) == b'.' {
            at = self.digits(at + 1)?;
        }
        if self.byte(at) | 0x20 == b'e' {
            at += 1;
            at = self.digits(at + usize::from(matches!(self.byte(at), b'+' | b'-')))?;
        }
        Some(at)
    }

    fn digits(&self, from: usize) -> Option<usize> {
        let mut at = from;
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        (at > from).then_some(at)
    }

    fn word(&self, at: usize, word: &[u8]) -> Option<usize> {
        self.bytes.get(at..)?.starts_with(word).then_some(at + word.len())
    }

    fn space(&self, mut at: usize) -> usize {
        while let b' ' | b'\n' | b'\t' | b'\r' = self.byte(at) {
            at += 1;
        }
        at
    }

    /// The byte there; behind the end 0, which JSON allows nowhere.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reading takes, beside the text and what the allocator adds.
    fn room(text: &str) -> usize {
        let mut reader = Reader::of(text);
        assert_eq!(reader.value(0, 1), Some(text.len()), "{}", &text[..100]);
        let Object { unescaped, members, containers, .. } = &reader.whole;
        unescaped.capacity()
            + (members.capacity() + reader.open.capacity()) * size_of::<Member>()
            + containers.capacity() * size_of_val(&containers[0])
            + reader.order.capacity() * size_of::<names::Key>()
    }

    #[test]
    fn no_text_takes_sixteen_times_its_room() {
        let list = |item: &str, count: usize| format!("{{\"\":[{}0]}}", item.repeat(count));
        let deep = |open: &str, close: &str| format!("{}{},", open.repeat(30), close.repeat(30));
        let members = |count: u32, begin: &str| {
            let member = |number: u32| format!("\"{begin}{number:x}\":1");
            (0..count).map(member).collect::<Vec<_>>().join(",")
        };
        // The worst are those that have just made one of the lists grow.
        for power in 6..14_u32 {
            let count = (1 << power) + 1;
            let texts = [
                list("[],", count),
                list("{},", count),
                list("1,", count),
                list("{\"\":1},", count),
                list("{\"a\":1,\"b\":1},", count),
                list(&deep("[", "]"), count / 30 + 1),
                list(&deep("{\"\":", "}").replace(":}", ":1}"), count / 60 + 1),
                list(&deep("[{\"\":", "}]")[..], 0),
                format!("{{{}}}", members(count as u32, "")),
                format!("{{{}}}", members(count as u32, r"\u0061")),
                format!("{{\"\":{{{}}}}}", members(count as u32, "")),
                format!("{{\"\":{{{}}}}}", members(count as u32, "aaaaaaaaaaaaaaaa")),
            ];
            for text in texts {
                let times = room(&text) as f64 / text.len() as f64;
                // Room that even the shortest text is given.
                let least = (MEMBERS * size_of::<Member>()) as f64 / text.len() as f64;
                assert!(times < 16.0 + 2.0 * least, "{times:.1}: {}", &text[..30]);
            }
        }
    }
}
