//! How the bridge shows a NATS server who it is.

use std::sync::Arc;

use nkeys::KeyPair;
use zeroize::Zeroizing;

use super::Live;

/// How the bridge shows itself, with the secrets in force.
#[derive(Clone)]
pub enum NatsIdentity {
    /// It does not.
    None,
    /// It signs what the server asks it to sign.
    Nkey(Arc<Live<Signer>>),
    /// A user name and a password.
    UserAndPassword(String, Arc<Live<Zeroizing<String>>>),
    /// A token.
    Token(Arc<Live<Zeroizing<String>>>),
}

/// A private key, and the token that says what its owner may do, where there is one.
pub struct Signer {
    /// A JWT, from a credentials file.
    pub jwt: Option<String>,
    key: KeyPair,
}

impl Signer {
    /// From the contents of an nkey file: a seed.
    pub(super) fn from_seed(seed: &str) -> Result<Self, String> {
        let key = KeyPair::from_seed(seed.trim()).map_err(|_| "is not the seed of an nkey")?;
        Ok(Self { jwt: None, key })
    }

    /// From the contents of a credentials file: a JWT and a seed, each between two lines of dashes.
    pub(super) fn from_credentials(text: &str) -> Result<Self, String> {
        let block = |title: &str| {
            let begin = format!("-----BEGIN {title}-----");
            let block = text.lines().map(str::trim).skip_while(|line| *line != begin).skip(1);
            block.take_while(|line| !line.starts_with("---")).find(|line| !line.is_empty())
        };
        let jwt = block("NATS USER JWT").ok_or("holds no NATS USER JWT")?;
        let seed = block("USER NKEY SEED").ok_or("holds no USER NKEY SEED")?;
        Ok(Self { jwt: Some(jwt.to_owned()), ..Self::from_seed(seed)? })
    }

    /// The name of the key.
    pub fn public_key(&self) -> String {
        self.key.public_key()
    }

    /// The signature of what the server asks for; `None` where the key cannot sign.
    pub fn sign(&self, nonce: &[u8]) -> Option<Vec<u8>> {
        self.key.sign(nonce).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credentials_file_is_read_and_a_broken_one_is_told_without_its_content() {
        let seed = KeyPair::new_user().seed().unwrap();
        let file = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.x.y\n------END NATS USER JWT------\n\n\
             ***** IMPORTANT *****\n\n-----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\n"
        );
        let signer = Signer::from_credentials(&file).unwrap();
        assert_eq!(signer.jwt.as_deref(), Some("eyJ0.x.y"));
        let same = Signer::from_seed(&format!("{seed}\n")).unwrap();
        assert_eq!(signer.public_key(), same.public_key());
        assert_eq!(signer.sign(b"nonce"), same.sign(b"nonce"));
        for broken in ["", "s3cret", &file.replace(&seed, "s3cret"), &file.replace("JWT", "X")] {
            let fault = Signer::from_credentials(broken).err().unwrap();
            assert!(!fault.contains("s3cret"), "{fault}");
        }
    }
}
