//! Records in a shared store are sealed, since they hold personal data: AES-256-GCM.
//!
//! Each place in the store has a key of its own, derived from the secret. So no key ever seals
//! more than the few records of one place, and a record that is moved elsewhere does not open.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// What the first byte of a record says: whether it is sealed.
const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// The secrets that records are sealed with. Without any they are written as they are.
#[derive(Default)]
pub struct SealKeys(Vec<[u8; 32]>);

impl SealKeys {
    /// From secrets of any length: the first one seals, all of them open.
    pub fn from_secrets<'a>(secrets: impl Iterator<Item = &'a [u8]>) -> Self {
        let derive = |secret| blake3::derive_key("connector-bridge 2026-11 record key", secret);
        Self(secrets.map(derive).collect())
    }

    /// Seals `record`, which is to lie at `place`. `nonce` must not repeat for one place.
    /// `None` where the library refuses, which no input makes it do.
    pub fn seal(&self, place: &str, nonce: [u8; NONCE_LEN], record: &[u8]) -> Option<Vec<u8>> {
        let Some(secret) = self.0.first() else {
            return Some([&[PLAIN], record].concat());
        };
        let mut sealed = record.to_vec();
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        key(secret, place)?.seal_in_place_append_tag(nonce_of, Aad::empty(), &mut sealed).ok()?;
        Some([&[SEALED], &nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for `place`. `None` where it was not, or by another secret. With a
    /// secret, a record that is not sealed does not count: anyone could have written it.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        match sealed.split_first()? {
            (&PLAIN, record) if self.0.is_empty() => Some(record.to_vec()),
            (&SEALED, sealed) => {
                let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
                self.0.iter().find_map(|secret| {
                    let mut record = sealed.to_vec();
                    let nonce = Nonce::assume_unique_for_key(*nonce);
                    let opened =
                        key(secret, place)?.open_in_place(nonce, Aad::empty(), &mut record);
                    opened.ok().map(|record| record.to_vec())
                })
            }
            (_, _) => None,
        }
    }
}

fn key(secret: &[u8; 32], place: &str) -> Option<LessSafeKey> {
    let key = blake3::keyed_hash(secret, place.as_bytes());
    UnboundKey::new(&AES_256_GCM, key.as_bytes()).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];

    fn keys(secrets: &[&str]) -> SealKeys {
        SealKeys::from_secrets(secrets.iter().map(|secret| secret.as_bytes()))
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_with_its_secret_only() {
        let sealed = keys(&["a"]).seal("calls.1", NONCE, b"claims").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"claims"));
        assert_eq!(keys(&["a"]).open("calls.1", &sealed).unwrap(), b"claims");
        assert_eq!(keys(&["a"]).open("calls.2", &sealed), None);
        for other in [&["b"][..], &[]] {
            assert_eq!(keys(other).open("calls.1", &sealed), None, "{other:?}");
        }
    }

    #[test]
    fn while_secrets_change_the_first_seals_and_all_open() {
        let old = keys(&["old"]).seal("p", NONCE, b"x").unwrap();
        let both = keys(&["new", "old"]);
        assert_eq!(both.open("p", &old).unwrap(), b"x");
        let new = both.seal("p", NONCE, b"y").unwrap();
        assert_eq!(keys(&["new"]).open("p", &new).unwrap(), b"y");
        assert_eq!(keys(&["old"]).open("p", &new), None);
    }

    #[test]
    fn without_a_secret_records_lie_open_and_with_one_such_records_do_not_count() {
        let open = keys(&[]).seal("p", NONCE, b"x").unwrap();
        assert_eq!(keys(&[]).open("p", &open).unwrap(), b"x");
        assert_eq!(keys(&["a"]).open("p", &open), None);
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let keys = keys(&["a"]);
        let sealed = keys.seal("p", NONCE, b"claims").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(keys.open("p", &changed), None, "byte {at}");
            assert_eq!(keys.open("p", &sealed[..at]), None, "cut at {at}");
        }
    }
}
