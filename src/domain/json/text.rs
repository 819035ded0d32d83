//! Strings of JSON: where they end, and what their escapes stand for.

use std::borrow::Cow;

/// A string as it was written, between its quotes. It was checked when it was read.
#[derive(Clone, Copy)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// From a string with its quotes.
    pub(super) fn within(quoted: &'a str) -> Self {
        Self(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default())
    }

    /// Whether nothing stands between the quotes.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The text that is meant; borrowed where it is written without escapes.
    pub fn unescaped(self) -> Cow<'a, str> {
        match self.plain() {
            Some(plain) => Cow::Borrowed(plain),
            None => {
                let mut text = String::with_capacity(self.0.len());
                self.pieces(|piece| text.push_str(piece));
                Cow::Owned(text)
            }
        }
    }

    /// The text itself, where it is written without escapes.
    pub fn plain(self) -> Option<&'a str> {
        (!self.0.as_bytes().contains(&b'\\')).then_some(self.0)
    }

    /// Hands on the text that is meant, piece by piece.
    pub fn pieces(self, mut piece: impl FnMut(&str)) {
        let mut rest = self.0;
        // Within a string nothing but an escape needs a look.
        while let Some((plain, escaped)) = rest.split_at_checked(plain_len(rest.as_bytes())) {
            if !plain.is_empty() {
                piece(plain);
            }
            let Some((character, length)) = escape(escaped.as_bytes()) else { return };
            piece(character.encode_utf8(&mut [0; 4]));
            rest = escaped.get(length..).unwrap_or_default();
        }
    }
}

/// How many bytes stand before the first that needs a look: a quote, a backslash, or a control
/// character, which JSON does not allow in strings. Eight at a time.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let is_control = word.wrapping_sub(ONES * 0x20) & !word;
        let is_quote = is_zero(word ^ (ONES * u64::from(b'"')));
        let is_backslash = is_zero(word ^ (ONES * u64::from(b'\\')));
        // A borrow may mark a byte wrongly, but only behind the first that is marked rightly.
        let marked = (is_control | is_quote | is_backslash) & (ONES * 0x80);
        if marked != 0 {
            return at * 8 + marked.trailing_zeros() as usize / 8;
        }
    }
    let needs_a_look = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    let end = rest.iter().position(needs_a_look).unwrap_or(rest.len());
    bytes.len() - rest.len() + end
}

/// The length of the string that `bytes` begin with, with its quotes. It was checked before.
pub(super) fn quoted_len(bytes: &[u8]) -> usize {
    let mut end = 1;
    loop {
        let rest = bytes.get(end..).unwrap_or_default();
        end += plain_len(rest);
        match bytes.get(end) {
            Some(b'\\') => end += 2,
            Some(_) | None => return end + 1,
        }
    }
}

/// The character that the escape at the beginning of `bytes` stands for, and the length of the
/// escape. `None` where it is none, or one half of a surrogate pair.
pub(super) fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let character = match bytes.get(1)? {
        same @ (b'"' | b'\\' | b'/') => char::from(*same),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(bytes),
        _ => return None,
    };
    Some((character, 2))
}

/// `\u` and four digits, twice for a surrogate pair.
fn unicode(bytes: &[u8]) -> Option<(char, usize)> {
    let first = digits(bytes.get(2..6)?)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let [b'\\', b'u', second @ ..] = bytes.get(6..12)? else { return None };
    let second = digits(second)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)?, 12))
}

fn digits(hexadecimal: &[u8]) -> Option<u32> {
    hexadecimal
        .iter()
        .try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_string_is_found_wherever_it_stands_and_whatever_stands_around() {
        for special in ["\"", "\\", "\0", "\n", "\u{1f}"] {
            for before in 0..40 {
                for filling in ["x", " ", "!", "#", "]", "\u{7f}", "é", "\u{10ffff}"] {
                    let plain = filling.repeat(before);
                    for behind in ["", "\"", "\\\\\\\\\\\\\\\\\\\\", "xxxxxxxxxxxxxxxxx"] {
                        let text = format!("{plain}{special}{behind}");
                        assert_eq!(plain_len(text.as_bytes()), plain.len(), "{text:?}");
                    }
                    assert_eq!(plain_len(plain.as_bytes()), plain.len(), "{plain:?}");
                }
            }
        }
    }

    #[test]
    fn an_escape_stands_for_one_character_and_half_a_pair_for_none() {
        for (written, character) in [
            (r#"\""#, Some('"')),
            (r"\\", Some('\\')),
            (r"\/", Some('/')),
            (r"\b", Some('\u{8}')),
            (r"\f", Some('\u{c}')),
            (r"\n", Some('\n')),
            (r"\r", Some('\r')),
            (r"\t", Some('\t')),
            (r"\u0000", Some('\0')),
            (r"\u00e9", Some('é')),
            (r"\uD7FF", Some('\u{d7ff}')),
            (r"\ue000", Some('\u{e000}')),
            (r"\ud800\udc00", Some('\u{10000}')),
            (r"\uDBFF\uDFFF", Some('\u{10ffff}')),
            (r"\ud800", None),
            (r"\udc00", None),
            (r"\udfff\ud800", None),
            (r"\ud800\ud800", None),
            (r"\ud800\ue000", None),
            (r"\ud800\n", None),
            (r"\ud800xudc00", None),
            (r"\ud800\udc0", None),
            (r"\u12", None),
            (r"\u+123", None),
            (r"\u12g4", None),
            (r"\U1234", None),
            (r"\x41", None),
            (r"\'", None),
            (r"\", None),
        ] {
            let read = escape(written.as_bytes());
            assert_eq!(read, character.map(|character| (character, written.len())), "{written}");
        }
    }

    #[test]
    fn a_text_without_escapes_is_not_copied() {
        let text = Text::within(r#""Zoë""#);
        assert!(matches!(text.unescaped(), Cow::Borrowed("Zoë")));
        let text = Text::within(r#""\u005aoe\u0308\n and \\""#);
        assert_eq!(text.unescaped(), "Zoe\u{308}\n and \\");
        assert!(Text::within(r#""""#).is_empty());
    }
}
