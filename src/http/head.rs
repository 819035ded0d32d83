//! A second look at a connection's bytes, for what the HTTP library lets pass: two lengths, a
//! length together with chunks, codings beside chunks, and a request line without end or with a
//! fragment, of which the library says nothing.
//!
//! Two programs that read such a request differently can be played against each other. A request
//! may come right behind another, so this follows bodies from head to head. It looks at nothing
//! else; reading requests stays with the library.

/// The longest request line.
pub(super) const LINE_BYTES_MAX: usize = 12 * 1024;

/// How much of a line is looked at: more than any name that matters with any value of use.
const LOOK_BYTES_MAX: usize = 64;

/// From here on the library has other meanings for a length.
const NO_LENGTH: u64 = u64::MAX - 1;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// It says in two ways how long the body is.
    TwoLengths,
    /// No body is as long as it says.
    NoLength,
    /// It names another transfer coding than chunks, or more than that.
    Coding,
    /// Its target has a fragment, which no client sends.
    Fragment,
    /// Its first line is too long.
    LineTooLong,
}

/// Where on a connection the look has come to.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    part: Part,
    requests: u64,
    body: Option<BodyLength>,
    /// The start of the current line.
    line: Vec<u8>,
    line_bytes: usize,
    ends_in_return: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// A request line, or what may stand before one.
    #[default]
    Request,
    Header,
    /// This many bytes of a body are left.
    Body(u64),
    ChunkSize,
    /// This many bytes of a chunk are left, its line end included.
    Chunk(u64),
    Trailer,
    /// Nobody can say where the next request starts.
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum BodyLength {
    Bytes(u64),
    Chunks,
    Unreadable,
}

impl HeadScan {
    /// Looks at the next bytes of a connection. After a fault there is nothing more to look at.
    pub(super) fn look_at(&mut self, mut bytes: &[u8]) -> Result<(), HeadFault> {
        while !bytes.is_empty() {
            bytes = match self.part {
                Part::Request | Part::Header | Part::ChunkSize | Part::Trailer => {
                    let length = bytes.iter().position(|byte| *byte == b'\n');
                    let (line, rest) = bytes.split_at(length.unwrap_or(bytes.len()));
                    let looked = self.piece(line).and_then(|()| match rest.is_empty() {
                        true => Ok(()),
                        false => self.end_of_line(),
                    });
                    if looked.is_err() {
                        self.part = Part::Lost;
                        return looked;
                    }
                    rest.get(1..).unwrap_or_default()
                }
                Part::Body(left) => {
                    let (left, rest) = skip(left, bytes);
                    self.part = if left == 0 { Part::Request } else { Part::Body(left) };
                    rest
                }
                Part::Chunk(left) => {
                    let (left, rest) = skip(left, bytes);
                    self.part = if left == 0 { Part::ChunkSize } else { Part::Chunk(left) };
                    rest
                }
                Part::Lost => break,
            };
        }
        Ok(())
    }

    /// How many requests have begun.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether the last request is complete, or none has begun.
    pub(super) fn is_between_requests(&self) -> bool {
        self.part == Part::Request && self.text_bytes() == 0
    }

    /// Whether a head has begun that has not ended.
    pub(super) fn is_in_head(&self) -> bool {
        match self.part {
            Part::Request => self.text_bytes() > 0,
            Part::Header => true,
            Part::Body(_) | Part::ChunkSize | Part::Chunk(_) | Part::Trailer | Part::Lost => false,
        }
    }

    /// Whether a request that comes next could not be looked at.
    pub(super) fn is_lost(&self) -> bool {
        self.part == Part::Lost
    }

    /// A piece of a line, without its line feed.
    fn piece(&mut self, piece: &[u8]) -> Result<(), HeadFault> {
        let [first, ..] = piece else { return Ok(()) };
        let is_request = self.part == Part::Request;
        if is_request && self.line_bytes == 0 && *first != b'\r' {
            self.requests += 1;
        }
        let room = LOOK_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
        self.line_bytes += piece.len();
        self.ends_in_return = piece.ends_with(b"\r");
        if is_request && self.text_bytes() > LINE_BYTES_MAX {
            return Err(HeadFault::LineTooLong);
        }
        if is_request && piece.contains(&b'#') { Err(HeadFault::Fragment) } else { Ok(()) }
    }

    /// The length of the current line so far, without a return that may belong to its end.
    fn text_bytes(&self) -> usize {
        self.line_bytes - usize::from(self.ends_in_return)
    }

    fn end_of_line(&mut self) -> Result<(), HeadFault> {
        let ended = self.go_on();
        (self.line_bytes, self.ends_in_return) = (0, false);
        self.line.clear();
        ended
    }

    /// What comes behind the line that has ended.
    fn go_on(&mut self) -> Result<(), HeadFault> {
        self.line.truncate(self.text_bytes());
        let is_empty = self.line.is_empty();
        self.part = match self.part {
            // Empty lines before the request line do not count (RFC 9112, section 2.2).
            Part::Request if is_empty => Part::Request,
            Part::Request => Part::Header,
            Part::Header if is_empty => match self.body.take() {
                None | Some(BodyLength::Bytes(0)) => Part::Request,
                Some(BodyLength::Bytes(bytes)) => Part::Body(bytes),
                Some(BodyLength::Chunks) => Part::ChunkSize,
                Some(BodyLength::Unreadable) => Part::Lost,
            },
            Part::Header => {
                self.header()?;
                Part::Header
            }
            // Behind the head the library takes no lone line feed for the end of a line.
            Part::ChunkSize | Part::Trailer if !self.ends_in_return => Part::Lost,
            Part::ChunkSize => match chunk_size(&self.line).filter(|_| self.is_whole()) {
                None => Part::Lost,
                Some(0) => Part::Trailer,
                Some(size) => size.checked_add(2).map_or(Part::Lost, Part::Chunk),
            },
            Part::Trailer if is_empty => Part::Request,
            part @ (Part::Trailer | Part::Body(_) | Part::Chunk(_) | Part::Lost) => part,
        };
        Ok(())
    }

    fn header(&mut self) -> Result<(), HeadFault> {
        let mut parts = self.line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { return Ok(()) };
        let length = if name.eq_ignore_ascii_case(b"content-length") {
            match number(value, 10).filter(|_| self.is_whole()) {
                None => BodyLength::Unreadable,
                Some(NO_LENGTH..) => return Err(HeadFault::NoLength),
                Some(length) => BodyLength::Bytes(length),
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !self.is_whole() || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(HeadFault::Coding);
            }
            BodyLength::Chunks
        } else {
            return Ok(());
        };
        match self.body.replace(length) {
            None => Ok(()),
            Some(_) => Err(HeadFault::TwoLengths),
        }
    }

    fn is_whole(&self) -> bool {
        self.line.len() == self.text_bytes()
    }
}

fn skip(left: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (left - skipped as u64, bytes.get(skipped..).unwrap_or_default())
}

/// The size in front of a chunk, which extensions may follow. Nothing where they hold what no text
/// does: the library does not look at them.
fn chunk_size(line: &[u8]) -> Option<u64> {
    if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    number(line.split(|byte| *byte == b';').next()?, 16)
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let is_number = text.bytes().all(|byte| char::from(byte).is_digit(radix));
    u64::from_str_radix(text, radix).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found at once and byte by byte, and how far the look came.
    fn look(bytes: &str) -> (Result<(), HeadFault>, HeadScan) {
        let mut scan = HeadScan::default();
        let whole = scan.look_at(bytes.as_bytes());
        let mut piecemeal = HeadScan::default();
        let pieces = bytes.bytes().try_for_each(|byte| piecemeal.look_at(&[byte]));
        assert_eq!(whole, pieces, "a look at pieces must find the same");
        assert_eq!((scan.requests, scan.part), (piecemeal.requests, piecemeal.part));
        (whole, scan)
    }

    const LINE: &str = "POST / HTTP/1.1\r\nHost: x\r\n";

    #[test]
    fn two_ways_to_say_how_long_the_body_is_are_found() {
        for (headers, fault) in [
            ("Content-Length: 2\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n", false),
            ("X-Content-Length: 1\r\nContent-Length: 2\r\nContent-Lengthy: 3\r\n\r\n", false),
            ("Content-Length: 19\r\n\r\nContent-Length: 2\r\n", false),
            ("Content-Length: 2\r\nContent-Length: 2\r\n\r\n", true),
            ("content-length: 2\r\nCONTENT-LENGTH: 3\r\n\r\n", true),
            ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("Transfer-Encoding: chunked\r\nA: b\r\nContent-Length: 2\r\n\r\n", true),
            ("Content-Length: 2\nTransfer-Encoding: chunked\n\n", true),
        ] {
            let (found, _) = look(&format!("{LINE}{headers}"));
            assert_eq!(found, if fault { Err(HeadFault::TwoLengths) } else { Ok(()) }, "{headers}");
        }
    }

    #[test]
    fn a_length_is_one_that_a_body_can_have_and_a_coding_is_chunks_alone() {
        let padded = format!("Transfer-Encoding: {}chunked\r\n\r\n", " ".repeat(LOOK_BYTES_MAX));
        for (headers, found) in [
            ("Transfer-Encoding:\tChunked \r\n\r\n", Ok(())),
            ("X-Transfer-Encoding: gzip\r\n\r\n", Ok(())),
            ("Transfer-Encoding: gzip, chunked\r\n\r\n", Err(HeadFault::Coding)),
            ("Transfer-Encoding: chunked, chunked\n\n", Err(HeadFault::Coding)),
            ("Transfer-Encoding: xchunked\r\n\r\n", Err(HeadFault::Coding)),
            ("transfer-encoding:\r\n\r\n", Err(HeadFault::Coding)),
            (&padded, Err(HeadFault::Coding)),
            ("Content-Length: 18446744073709551613\r\n\r\n", Ok(())),
            ("Content-Length: 18446744073709551614\r\n\r\n", Err(HeadFault::NoLength)),
            ("Content-Length: 18446744073709551615\r\n\r\n", Err(HeadFault::NoLength)),
        ] {
            assert_eq!(look(&format!("{LINE}{headers}")).0, found, "{headers}");
        }
    }

    #[test]
    fn a_fragment_is_found_in_a_request_line_and_nowhere_else() {
        for (bytes, found) in [
            ("POST /c#d HTTP/1.1\r\n", Err(HeadFault::Fragment)),
            ("\r\nPOST /c?d# HTTP/1.1\r\n", Err(HeadFault::Fragment)),
            ("POST / HTTP/1.1\r\nA: #\r\nContent-Length: 1\r\n\r\n#", Ok(())),
        ] {
            assert_eq!(look(bytes).0, found, "{bytes:?}");
        }
    }

    #[test]
    fn a_request_line_has_an_end_and_a_header_line_is_not_one() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        for (bytes, found) in [
            (long.clone(), Err(HeadFault::LineTooLong)),
            (format!("\r\n\r\n{long}"), Err(HeadFault::LineTooLong)),
            (format!("{LINE}Content-Length: 2\r\n\r\n{{}}{long}"), Err(HeadFault::LineTooLong)),
            (format!("{LINE}X: {long}\r\n"), Ok(())),
            (format!("{LINE}Content-Length: 20000\r\n\r\n{long}"), Ok(())),
        ] {
            assert_eq!(look(&bytes).0, found);
        }
    }

    #[test]
    fn every_body_is_followed_to_the_next_request() {
        let wide = " ".repeat(LOOK_BYTES_MAX);
        for (body, part) in [
            ("\r\n", Part::Request),
            ("Content-Length: 0\r\n\r\n", Part::Request),
            ("Content-Length:  5 \r\n\r\n\r\n\r\n\n", Part::Request),
            ("Content-Length: 5\r\n\r\n1234", Part::Body(1)),
            ("Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n\r\n\r\nA \r\n", Part::Chunk(12)),
            ("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", Part::Trailer),
            ("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Part::Request),
            ("Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", Part::Request),
            ("Transfer-Encoding: chunked\r\n\r\n2\n{}", Part::Lost),
            ("Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\n", Part::Lost),
            ("Transfer-Encoding: chunked\r\n\r\n+2\r\n", Part::Lost),
            ("Transfer-Encoding: chunked\r\n\r\n2;a=\tb\r\n{}", Part::Chunk(2)),
            ("Transfer-Encoding: chunked\r\n\r\n2;\0\r\n{}", Part::Lost),
            ("Transfer-Encoding: chunked\r\n\r\n2;a\rb\r\n{}", Part::Lost),
            ("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", Part::Lost),
            ("Content-Length: +5\r\n\r\n", Part::Lost),
            (&format!("Content-Length:{wide}5\r\n\r\n"), Part::Lost),
        ] {
            let (found, scan) = look(&format!("{LINE}{body}"));
            assert_eq!((found, scan.part, scan.requests), (Ok(()), part, 1), "{body:?}");
            if part == Part::Request {
                let two = format!("{LINE}Content-Length: 1\r\nContent-Length: 1\r\n");
                let (found, scan) = look(&format!("{LINE}{body}{two}"));
                assert_eq!((found, scan.requests), (Err(HeadFault::TwoLengths), 2), "{body:?}");
            }
        }
    }
}
