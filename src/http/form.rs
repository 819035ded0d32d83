//! Whether a head that was read says one thing only: to whom it goes, and for what it asks.
//!
//! The HTTP library takes more for a Host or a target than RFC 9110 to 9112 do. A proxy in front may
//! read such a request otherwise, and so be led past what it guards.

use std::net::Ipv6Addr;

use http::{Method, Request, Uri, Version, header::HOST};

use super::refusal::Refusal;

/// Exactly one Host, which names one host; and a target that disagrees neither with it nor with the
/// method.
pub fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter().map(http::HeaderValue::as_bytes);
    let host = hosts.next();
    let is_left_out = host.is_none() && request.version() == Version::HTTP_10;
    if hosts.next().is_some() || !(is_left_out || host.is_some_and(is_host)) {
        return Err(Refusal::Host);
    }
    let is_target = match request.uri().authority() {
        None => is_path(request.uri(), request.method()),
        Some(authority) => {
            let authority = authority.as_str().as_bytes();
            let is_same = host.is_none_or(|host| host.eq_ignore_ascii_case(authority));
            is_absolute(request.uri(), request.method()) && is_same && is_host(authority)
        }
    };
    if is_target { Ok(()) } else { Err(Refusal::Target) }
}

/// A path with or without a query; or `*`, which only OPTIONS asks for.
fn is_path(uri: &Uri, method: &Method) -> bool {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    match target {
        "*" => *method == Method::OPTIONS,
        _ => target.starts_with('/') && has_only_characters_of_an_address(target),
    }
}

/// A whole address; or a host alone, which only CONNECT asks for.
fn is_absolute(uri: &Uri, method: &Method) -> bool {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    match uri.scheme_str() {
        None => *method == Method::CONNECT,
        Some("http" | "https") => has_only_characters_of_an_address(target),
        Some(_) => false,
    }
}

/// A path has the characters of RFC 3986, and a percent sign before two digits only. A query may have
/// some more, because .NET and browsers leave them as they are: a key that was pasted into a URL.
fn has_only_characters_of_an_address(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    is_path_text(path.as_bytes())
        && query.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\".contains(&byte))
}

fn is_path_text(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let is_one = match byte {
            b'%' => {
                bytes.next().is_some_and(u8::is_ascii_hexdigit)
                    && bytes.next().is_some_and(u8::is_ascii_hexdigit)
            }
            _ => byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(byte),
        };
        if !is_one {
            return false;
        }
    }
    true
}

/// A name or an address, and a port behind it or none. Names are those that people give to hosts:
/// the comma of two that were joined, an escape or a user's name is in none of them.
fn is_host(text: &[u8]) -> bool {
    let is_in_brackets = text.first() == Some(&b'[');
    let end = match text.iter().position(|byte| *byte == b']') {
        Some(bracket) if is_in_brackets => bracket + 1,
        Some(_) | None => text.iter().position(|byte| *byte == b':').unwrap_or(text.len()),
    };
    let (name, port) = text.split_at(end);
    let is_name = match name {
        [b'[', address @ .., b']'] => {
            std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
        }
        [] => false,
        _ => name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)),
    };
    is_name && is_port(port)
}

/// Nothing, or a colon and a number behind it or none.
fn is_port(text: &[u8]) -> bool {
    let Some((colon, digits)) = text.split_first() else { return true };
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let port = digits.iter().fold(0_u32, |port, digit| {
        port.saturating_mul(10).saturating_add(u32::from(digit.wrapping_sub(b'0')))
    });
    *colon == b':' && is_number && port <= u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(
        method: &str,
        target: &str,
        version: Version,
        hosts: &[&[u8]],
    ) -> Result<(), Refusal> {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).unwrap())
    }

    #[test]
    fn a_host_is_one_name_or_address_with_a_port_or_none() {
        for right in [
            "x",
            "x.",
            "A-b_c.example",
            "127.0.0.1",
            "x:0",
            "x:65535",
            "x:",
            "[::1]",
            "[::1]:80",
            "[::ffff:1.2.3.4]",
        ] {
            let found = checked("POST", "/c", Version::HTTP_11, &[right.as_bytes()]);
            assert_eq!(found, Ok(()), "{right}");
        }
        for wrong in [
            "",
            " ",
            "a b",
            "a\tb",
            "u@x",
            "u:p@x",
            "a,b",
            "a, b",
            "x:65536",
            "x:99999999999999999999",
            "x:+80",
            "x:8a",
            "x:80:80",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]:x",
            "[::g]",
            "[]",
            "[v1.x]",
            "[fe80::1%25a]",
            "a]",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a%20b",
            "*",
            "a;b",
            "<x>",
            ":80",
            "é",
        ] {
            for version in [Version::HTTP_10, Version::HTTP_11] {
                let found = checked("POST", "/c", version, &[wrong.as_bytes()]);
                assert_eq!(found, Err(Refusal::Host), "{wrong}");
            }
        }
    }

    #[test]
    fn a_host_stands_there_once_and_only_http_1_0_may_leave_it_out() {
        for (version, hosts, found) in [
            (Version::HTTP_10, &[][..], Ok(())),
            (Version::HTTP_11, &[], Err(Refusal::Host)),
            (Version::HTTP_10, &[&b"x"[..]], Ok(())),
            (Version::HTTP_10, &[b"x", b"x"], Err(Refusal::Host)),
            (Version::HTTP_11, &[b"x", b"x"], Err(Refusal::Host)),
        ] {
            assert_eq!(checked("POST", "/c", version, hosts), found, "{version:?} {hosts:?}");
        }
    }

    #[test]
    fn a_target_is_of_the_form_that_its_method_has_and_names_the_host_that_host_names() {
        let wrong = Err(Refusal::Target);
        for (method, target, found) in [
            ("POST", "/", Ok(())),
            ("POST", "/a-b/%63?code=a%2Fb&c=d;e:@/?!$'()*+,~_.", Ok(())),
            ("POST", "//x/c", Ok(())),
            ("POST", "http://x:80/c?d", Ok(())),
            ("POST", "HTTPS://X:80/c", Ok(())),
            ("GET", "http://x:80", Ok(())),
            ("OPTIONS", "*", Ok(())),
            ("CONNECT", "x:80", Ok(())),
            ("POST", "*", wrong),
            ("POST", "x:80", wrong),
            ("CONNECT", "y:80", wrong),
            ("POST", "http://y:80/c", wrong),
            ("POST", "http://x/c", wrong),
            ("POST", "http://u@x:80/c", wrong),
            ("POST", "ftp://x:80/c", wrong),
            ("POST", "/c?code=a|b[c]{d}^e`f%&g=%6g", Ok(())),
            ("POST", "/c%", wrong),
            ("POST", "/c%6g", wrong),
            ("POST", "/c|", wrong),
            ("POST", "/c[]", wrong),
            ("POST", "/c?é", wrong),
            ("POST", "/c?\\", wrong),
        ] {
            let found_here = checked(method, target, Version::HTTP_11, &[b"x:80"]);
            assert_eq!(found_here, found, "{method} {target}");
        }
        for (target, found) in [("http://x/c", Ok(())), ("http://x:65536/c", wrong)] {
            assert_eq!(checked("POST", target, Version::HTTP_10, &[]), found, "{target}");
        }
    }
}
