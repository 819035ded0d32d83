//! Who may call: several live credentials, compared in constant time.

use data_encoding::BASE64;

/// A user name and a password as one value that never shows them.
#[derive(Clone)]
pub struct BasicCredential {
    username: String,
    password: Vec<u8>,
}

impl BasicCredential {
    /// As configured.
    pub fn new(username: &str, password: &[u8]) -> Self {
        Self { username: username.to_owned(), password: password.to_owned() }
    }
}

/// What is wrong with a request's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthFault {
    /// There are none.
    Missing,
    /// They are not what the method prescribes.
    Malformed,
    /// They are not configured here.
    Wrong,
}

impl AuthFault {
    /// Every fault.
    pub const ALL: [Self; 3] = [Self::Missing, Self::Malformed, Self::Wrong];

    /// The value of a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            AuthFault::Missing => "missing",
            AuthFault::Malformed => "malformed",
            AuthFault::Wrong => "wrong",
        }
    }
}

/// The credentials of one connector, as hashes under a key that only this process knows.
#[derive(Clone)]
pub struct Credentials {
    key: [u8; 32],
    hashes: Vec<blake3::Hash>,
}

impl Credentials {
    /// Any of `credentials` is right. `key` should be random.
    pub fn new(key: [u8; 32], credentials: &[BasicCredential]) -> Self {
        let hashes = credentials
            .iter()
            .map(|credential| hash(&key, credential.username.as_bytes(), &credential.password))
            .collect();
        Self { key, hashes }
    }

    /// Checks the values of all `Authorization` headers of a request (RFC 7617).
    ///
    /// The comparison takes the same time whichever credential is right, or none: hashes are
    /// compared in constant time, and all of them are.
    pub fn check<'a>(&self, mut headers: impl Iterator<Item = &'a [u8]>) -> Result<(), AuthFault> {
        let header = headers.next().ok_or(AuthFault::Missing)?;
        if headers.next().is_some() {
            return Err(AuthFault::Malformed);
        }
        let (username, password) = basic(header).ok_or(AuthFault::Malformed)?;
        let presented = hash(&self.key, username.as_bytes(), password.as_bytes());
        let is_right = self.hashes.iter().fold(false, |right, hash| right | (*hash == presented));
        if is_right { Ok(()) } else { Err(AuthFault::Wrong) }
    }
}

/// User name and password, split at the first colon.
fn basic(header: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(encoded.trim_matches(' ').as_bytes()).ok()?;
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

fn hash(key: &[u8; 32], username: &[u8], password: &[u8]) -> blake3::Hash {
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
        let credentials = Credentials::new(
            [1; 32],
            &[
                BasicCredential::new("entra", "old:pässword".as_bytes()),
                BasicCredential::new("entra", b"new"),
            ],
        );
        type Row = (&'static str, Vec<Vec<u8>>, Result<(), AuthFault>);
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
        ];
        for (name, headers, wanted) in rows {
            let got = credentials.check(headers.iter().map(Vec::as_slice));
            assert_eq!(got, wanted, "{name}");
        }
    }

    #[test]
    fn nothing_is_right_where_nothing_is_configured() {
        let none = Credentials::new([1; 32], &[]);
        let header = header("Basic", b":");
        assert_eq!(none.check([header.as_slice()].into_iter()), Err(AuthFault::Wrong));
    }
}
