//! A key in the URL: `?code=` and the key, percent-encoded.

use percent_encoding::percent_decode_str;

use super::{AuthFault, CompareKey, Verdict, is_among};

const NAME: &str = "code";

/// The API keys of one connector, as hashes.
#[derive(Clone)]
pub struct ApiKeys {
    key: CompareKey,
    hashes: Vec<blake3::Hash>,
}

impl ApiKeys {
    /// Each of `api_keys` is right.
    pub fn new<'a>(key: CompareKey, api_keys: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let hash = |api_key: &[u8]| blake3::keyed_hash(&key, api_key);
        let hashes = api_keys.into_iter().map(hash).collect();
        Self { key, hashes }
    }

    /// Checks the query of a request's URL: what stands behind its first question mark. A plus
    /// sign is a plus sign, not a space.
    pub fn check(&self, query: Option<&str>) -> Verdict {
        let mut keys = query.unwrap_or_default().split('&').filter_map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (name == NAME).then_some(value)
        });
        let presented = keys.next().ok_or(AuthFault::Missing)?;
        if keys.next().is_some() {
            return Err(AuthFault::Malformed);
        }
        let presented: Vec<u8> = percent_decode_str(presented).collect();
        let presented = blake3::keyed_hash(&self.key, &presented);
        if is_among(&self.hashes, presented) { Ok(()) } else { Err(AuthFault::Wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_right_key_suffices_and_nothing_else_does() {
        let keys = ApiKeys::new([1; 32], [b"old+/=&% \xc3\xa4".as_slice(), b"new"]);
        for (query, wanted) in [
            (Some("code=new"), Ok(())),
            (Some("code=%6e%65%77"), Ok(())),
            (Some("a=b&code=new&c"), Ok(())),
            (Some("code=old+/=%26%25%20%C3%A4"), Ok(())),
            (Some("code=old%2B%2F%3D%26%25%20%c3%a4"), Ok(())),
            (Some("code=old%20/=%26%25%20%C3%A4"), Err(AuthFault::Wrong)),
            (None, Err(AuthFault::Missing)),
            (Some(""), Err(AuthFault::Missing)),
            (Some("Code=new"), Err(AuthFault::Missing)),
            (Some("xcode=new"), Err(AuthFault::Missing)),
            (Some("code"), Err(AuthFault::Wrong)),
            (Some("code="), Err(AuthFault::Wrong)),
            (Some("code=new%"), Err(AuthFault::Wrong)),
            (Some("code=New"), Err(AuthFault::Wrong)),
            (Some("code=new%00"), Err(AuthFault::Wrong)),
            (Some("code=new;a=b"), Err(AuthFault::Wrong)),
            (Some("code=new&code=new"), Err(AuthFault::Malformed)),
            (Some("code=wrong&code=new"), Err(AuthFault::Malformed)),
        ] {
            assert_eq!(keys.check(query), wanted, "{query:?}");
        }
        assert_eq!(ApiKeys::new([1; 32], []).check(Some("code=")), Err(AuthFault::Wrong));
    }
}
