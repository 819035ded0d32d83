//! User name and password (RFC 7617).

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::{AuthFault, CompareKey, Verdict, is_among};

/// The user names and passwords of one connector, as hashes.
#[derive(Clone)]
pub struct BasicCredentials {
    key: CompareKey,
    hashes: Vec<blake3::Hash>,
}

impl BasicCredentials {
    /// Each user name with its password is right.
    pub fn new<'a>(
        key: CompareKey,
        credentials: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let hash = |(username, password): (&str, &[u8])| hash(&key, username.as_bytes(), password);
        let hashes = credentials.into_iter().map(hash).collect();
        Self { key, hashes }
    }

    /// Checks the values of all `Authorization` headers of a request.
    pub fn check<'a>(&self, mut headers: impl Iterator<Item = &'a [u8]>) -> Verdict {
        let header = headers.next().ok_or(AuthFault::Missing)?;
        if headers.next().is_some() {
            return Err(AuthFault::Malformed);
        }
        let decoded = decode(header).ok_or(AuthFault::Malformed)?;
        let (username, password) = split(&decoded).ok_or(AuthFault::Malformed)?;
        let presented = hash(&self.key, username.as_bytes(), password.as_bytes());
        if is_among(&self.hashes, presented) { Ok(()) } else { Err(AuthFault::Wrong) }
    }
}

/// User name and password, in memory that is cleared.
fn decode(header: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, encoded) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    BASE64.decode(encoded.trim_matches(' ').as_bytes()).ok().map(Zeroizing::new)
}

/// At the first colon.
fn split(decoded: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(decoded).ok()?.split_once(':')
}

fn hash(key: &CompareKey, username: &[u8], password: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&(username.len() as u64).to_be_bytes());
    hasher.update(username);
    hasher.update(password);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(scheme: &str, user_and_password: &[u8]) -> Vec<u8> {
        format!("{scheme} {}", BASE64.encode(user_and_password)).into_bytes()
    }

    #[test]
    fn one_right_credential_suffices_and_nothing_else_does() {
        let credentials = BasicCredentials::new(
            [1; 32],
            [("entra", "old:pässword".as_bytes()), ("entra", b"new")],
        );
        type Row = (&'static str, Vec<Vec<u8>>, Verdict);
        let rows: Vec<Row> = vec![
            ("old, colon inside", vec![header("Basic", "entra:old:pässword".as_bytes())], Ok(())),
            ("new", vec![header("Basic", b"entra:new")], Ok(())),
            ("scheme in any case", vec![header("bASIC", b"entra:new")], Ok(())),
            ("no header", vec![], Err(AuthFault::Missing)),
            ("two headers", vec![header("Basic", b"entra:new"); 2], Err(AuthFault::Malformed)),
            ("bearer", vec![header("Bearer", b"entra:new")], Err(AuthFault::Malformed)),
            ("no scheme", vec![BASE64.encode(b"entra:new").into()], Err(AuthFault::Malformed)),
            ("not base64", vec![b"Basic %%%".to_vec()], Err(AuthFault::Malformed)),
            ("no colon", vec![header("Basic", b"entra")], Err(AuthFault::Malformed)),
            ("not UTF-8", vec![header("Basic", b"entra:\xff")], Err(AuthFault::Malformed)),
            ("empty", vec![b"".to_vec()], Err(AuthFault::Malformed)),
            ("wrong user", vec![header("Basic", b"Entra:new")], Err(AuthFault::Wrong)),
            ("wrong password", vec![header("Basic", b"entra:new ")], Err(AuthFault::Wrong)),
            ("parts shifted", vec![header("Basic", b"entr:anew")], Err(AuthFault::Wrong)),
            ("empty password", vec![header("Basic", b"entra:")], Err(AuthFault::Wrong)),
            ("NUL", vec![header("Basic", b"entra:new\0")], Err(AuthFault::Wrong)),
        ];
        for (name, headers, wanted) in rows {
            let got = credentials.check(headers.iter().map(Vec::as_slice));
            assert_eq!(got, wanted, "{name}");
        }
    }

    #[test]
    fn nothing_is_right_where_nothing_is_configured() {
        let none = BasicCredentials::new([1; 32], []);
        let header = header("Basic", b":");
        assert_eq!(none.check([header.as_slice()].into_iter()), Err(AuthFault::Wrong));
    }
}
