//! Who is at the other end of a connection: its address and, with TLS, its certificate.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use rustls_pki_types::CertificateDer;

use crate::{
    domain::credentials::{AuthFault, Verdict, certificate::Certificate, forwarded},
    secrets::Live,
    tls::ClientAuthorities,
};

/// Which certificates of callers count.
pub struct CertificateRules {
    /// Certificates must come from one of these, where callers are asked for any.
    pub authorities: Option<Arc<Live<ClientAuthorities>>>,
    /// Who may pass on the certificate of another. It is believed to have checked it.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which it does.
    pub header: HeaderName,
}

/// A certificate, and behind it those up to the authority.
pub type Chain = Vec<CertificateDer<'static>>;

/// Who is at the other end.
pub struct Peer {
    address: IpAddr,
    /// The chain of a certificate, whose key it has proved to hold.
    chain: Chain,
    /// The authorities that have judged the chain to be theirs.
    judged_by: Mutex<Option<Arc<ClientAuthorities>>>,
}

impl Peer {
    /// At `address`, with the certificates that it has shown.
    pub fn new(address: IpAddr, chain: Chain) -> Self {
        Self { address: address.to_canonical(), chain, judged_by: Mutex::default() }
    }

    /// The certificate of whoever sent a request with these headers: the one that a trusted proxy
    /// passes on, else the own one of the connection.
    ///
    /// What anyone else writes in that header is not looked at.
    pub fn certificate(
        &self,
        rules: &CertificateRules,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Option<Certificate>, AuthFault> {
        if rules.trusted_proxies.iter().any(|network| network.contains(&self.address)) {
            let lines = headers.get_all(&rules.header).iter().map(HeaderValue::as_bytes);
            if let Some(forwarded) = forwarded::read(lines)? {
                return Ok(Some(forwarded));
            }
        }
        let Some(own) = self.chain.first() else { return Ok(None) };
        let certificate = Certificate::from_der(own).ok_or(AuthFault::Malformed)?;
        let authorities = rules.authorities.as_ref().ok_or(AuthFault::Wrong)?.get();
        self.judge(authorities, now)?;
        Ok(Some(certificate))
    }

    /// Once for each set of authorities; the certificate's own dates are looked at every time.
    fn judge(&self, authorities: Arc<ClientAuthorities>, now: SystemTime) -> Verdict {
        let mut judged_by = self.judged_by.lock().unwrap_or_else(PoisonError::into_inner);
        if judged_by.as_ref().is_some_and(|before| Arc::ptr_eq(before, &authorities)) {
            return Ok(());
        }
        authorities.judge(&self.chain, now)?;
        *judged_by = Some(authorities);
        Ok(())
    }
}
