//! How the certificates of callers are judged.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, Error,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{NO_AUTHORITY, Part, Unusable, certificates, provider, roots};
use crate::domain::credentials::{AuthFault, Verdict, certificate::Certificate};

/// What callers' certificates must come from: authorities, and single certificates that were
/// signed by nobody else. The latter vouch for themselves and for no other.
pub struct ClientAuthorities {
    /// Where there is an authority.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    certificates: Vec<CertificateDer<'static>>,
    /// When the first of them ends.
    pub ends: SystemTime,
}

impl ClientAuthorities {
    /// From certificates.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Unusable> {
        let (certificates, ends) = certificates(pem, Part::Authorities)?;
        let is_authority = |certificate: &&CertificateDer<'_>| {
            Certificate::from_der(certificate).is_some_and(|read| read.is_authority)
        };
        let roots = roots(certificates.iter().filter(is_authority))?;
        let verifier = match roots.is_empty() {
            true => None,
            false => {
                let builder =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                Some(builder.build().map_err(|_| NO_AUTHORITY)?)
            }
        };
        Ok(Self { verifier, certificates, ends })
    }

    /// Judges a chain of certificates, the caller's own one first: signatures, dates, and that it
    /// is for clients.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Verdict {
        let (own, between) = chain.split_first().ok_or(AuthFault::Missing)?;
        if self.certificates.contains(own) {
            return Ok(());
        }
        let verifier = self.verifier.as_ref().ok_or(AuthFault::Wrong)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        match verifier.verify_client_cert(own, between, UnixTime::since_unix_epoch(now)) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )) => Err(AuthFault::Expired),
            Err(Error::InvalidCertificate(CertificateError::BadEncoding)) => {
                Err(AuthFault::Malformed)
            }
            Err(_) => Err(AuthFault::Wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
        KeyUsagePurpose,
    };

    use super::*;

    fn key() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    /// A certificate authority of its own, or one below another.
    fn authority(
        above: Option<&CertifiedIssuer<'_, KeyPair>>,
    ) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        match above {
            None => CertifiedIssuer::self_signed(params, key()).unwrap(),
            Some(above) => CertifiedIssuer::signed_by(params, key(), above).unwrap(),
        }
    }

    #[test]
    fn a_chain_is_judged_by_its_signatures_up_to_an_authority() {
        let root = authority(None);
        let between = authority(Some(&root));
        let own = CertificateParams::default().signed_by(&key(), &between).unwrap();
        let judges = ClientAuthorities::from_pem(root.pem().as_bytes()).unwrap();
        let (own, between) = (own.der().clone(), between.der().clone());
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (chain, wanted) in [
            (vec![own.clone(), between.clone()], Ok(())),
            (vec![own.clone(), between.clone(), root.der().clone()], Ok(())),
            (vec![own.clone()], Err(AuthFault::Wrong)),
            (vec![own.clone(), own.clone()], Err(AuthFault::Wrong)),
            (vec![root.der().clone()], Ok(())),
            (vec![between.clone(), root.der().clone()], Err(AuthFault::Wrong)),
            (vec![], Err(AuthFault::Missing)),
            (vec![vec![0; 300].into()], Err(AuthFault::Malformed)),
        ] {
            assert_eq!(judges.judge(&chain, now), wanted, "{} certificates", chain.len());
        }
        // Signed by nobody: one bit of the signature is another.
        let mut forged = own.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert!(judges.judge(&[forged.into(), between], now).is_err());
    }

    #[test]
    fn a_certificate_that_is_no_authority_vouches_for_itself_and_for_no_other() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "one caller");
        let one = CertifiedIssuer::self_signed(params, key()).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "another caller");
        let forged = params.signed_by(&key(), &one).unwrap();
        let root = authority(None);
        let below = CertificateParams::default().signed_by(&key(), &root).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (pem, of_root) in
            [(one.pem(), Err(AuthFault::Wrong)), (one.pem() + &root.pem(), Ok(()))]
        {
            let judges = ClientAuthorities::from_pem(pem.as_bytes()).unwrap();
            assert_eq!(judges.judge(&[one.der().clone()], now), Ok(()));
            let chain = [forged.der().clone(), one.der().clone()];
            assert_eq!(judges.judge(&chain[..1], now), Err(AuthFault::Wrong));
            assert_eq!(judges.judge(&chain, now), Err(AuthFault::Wrong));
            assert_eq!(judges.judge(&[below.der().clone()], now), of_root);
        }
    }
}
