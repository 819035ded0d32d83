//! A second look at the bytes of a request's head, for what the HTTP library lets pass: two
//! lengths, a length together with chunks, and a request line without end.
//!
//! Two programs that read such a request differently can be played against each other. This looks
//! at names of header lines only; reading the request stays with the library.

/// The longest request line.
pub(super) const LINE_BYTES_MAX: usize = 12 * 1024;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// It says in two ways how long the body is.
    TwoLengths,
    /// Its first line is too long.
    LineTooLong,
}

/// Where in a head the look has come to.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// The name of the current header line, as far as it may be one that matters.
    name: Vec<u8>,
    line_bytes: usize,
    in_name: bool,
    in_headers: bool,
    is_over: bool,
    lengths: u8,
}

/// The longest name that matters.
const NAME_BYTES_MAX: usize = b"transfer-encoding".len();

impl HeadScan {
    /// Looks at the next bytes of a connection.
    pub(super) fn look_at(&mut self, bytes: &[u8]) -> Result<(), HeadFault> {
        for byte in bytes {
            if self.is_over {
                return Ok(());
            }
            self.byte(*byte)?;
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), HeadFault> {
        match byte {
            b'\n' => self.end_of_line(),
            b'\r' => Ok(()),
            b':' if self.in_name => {
                self.in_name = false;
                self.end_of_name()
            }
            _ => {
                self.line_bytes += 1;
                if self.in_name && self.name.len() <= NAME_BYTES_MAX {
                    self.name.push(byte.to_ascii_lowercase());
                }
                let too_long = !self.in_headers && self.line_bytes > LINE_BYTES_MAX;
                if too_long { Err(HeadFault::LineTooLong) } else { Ok(()) }
            }
        }
    }

    fn end_of_line(&mut self) -> Result<(), HeadFault> {
        // Empty lines before the request line do not count (RFC 9112, section 2.2).
        if self.line_bytes == 0 && !self.in_headers {
            return Ok(());
        }
        self.is_over = self.in_headers && self.line_bytes == 0;
        self.in_headers = true;
        self.in_name = true;
        self.line_bytes = 0;
        self.name.clear();
        Ok(())
    }

    fn end_of_name(&mut self) -> Result<(), HeadFault> {
        self.line_bytes += 1;
        if matches!(self.name.as_slice(), b"content-length" | b"transfer-encoding") {
            self.lengths += 1;
        }
        if self.lengths > 1 { Err(HeadFault::TwoLengths) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(head: &[u8]) -> Result<(), HeadFault> {
        let whole = HeadScan::default().look_at(head);
        let mut scan = HeadScan::default();
        let mut bytes = head.iter();
        let in_pieces = loop {
            match bytes.next() {
                None => break Ok(()),
                Some(byte) => match scan.look_at(&[*byte]) {
                    Ok(()) => {}
                    Err(fault) => break Err(fault),
                },
            }
        };
        assert_eq!(whole, in_pieces, "a look at pieces must find the same");
        whole
    }

    #[test]
    fn two_ways_to_say_how_long_the_body_is_are_found() {
        let line = "POST / HTTP/1.1\r\nHost: x\r\n";
        for (headers, fault) in [
            ("Content-Length: 2\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n", false),
            ("X-Content-Length: 1\r\nContent-Length: 2\r\nContent-Lengthy: 3\r\n\r\n", false),
            ("Content-Length: 2\r\n\r\nContent-Length: 2\r\n", false),
            ("Content-Length: 2\r\nContent-Length: 2\r\n\r\n", true),
            ("content-length: 2\r\nCONTENT-LENGTH: 3\r\n\r\n", true),
            ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("Transfer-Encoding: chunked\r\nA: b\r\nContent-Length: 2\r\n\r\n", true),
            ("Content-Length: 2\nTransfer-Encoding: chunked\n\n", true),
        ] {
            let found = look(format!("{line}{headers}").as_bytes());
            assert_eq!(found, if fault { Err(HeadFault::TwoLengths) } else { Ok(()) }, "{headers}");
        }
    }

    #[test]
    fn a_request_line_has_an_end_and_a_header_line_is_not_one() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        assert_eq!(look(long.as_bytes()), Err(HeadFault::LineTooLong));
        assert_eq!(look(format!("\r\n\r\n{long}").as_bytes()), Err(HeadFault::LineTooLong));
        assert_eq!(look(format!("POST / HTTP/1.1\r\nX: {long}\r\n").as_bytes()), Ok(()));
    }
}
