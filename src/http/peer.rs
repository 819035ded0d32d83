//! Who is at the other end of a connection: its address and, with TLS, its certificate.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use rustls_pki_types::CertificateDer;

use crate::{
    domain::credentials::{
        AuthFault, Verdict,
        certificate::Certificate,
        forwarded::{self, Forwarded},
    },
    secrets::Live,
    tls::ClientAuthorities,
};

/// Which certificates of callers count.
pub struct CertificateRules {
    /// Certificates must come from one of these, where callers are asked for any.
    pub authorities: Option<Arc<Live<ClientAuthorities>>>,
    /// Who may pass on the certificate of another.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which it does.
    pub header: HeaderName,
}

/// A certificate, and behind it those up to the authority.
pub type Chain = Vec<CertificateDer<'static>>;

/// Who is at the other end.
pub struct Peer {
    /// Its end of the connection.
    pub socket: SocketAddr,
    /// The chain of a certificate, whose key it has proved to hold.
    chain: Chain,
    /// What the authorities in force have said of the chain.
    judged: Mutex<Option<(Arc<ClientAuthorities>, Verdict)>>,
}

impl Peer {
    /// At `socket`, with the certificates that it has shown.
    pub fn new(socket: SocketAddr, chain: Chain) -> Self {
        let socket = SocketAddr::new(socket.ip().to_canonical(), socket.port());
        Self { socket, chain, judged: Mutex::default() }
    }

    /// The certificate of whoever sent a request with these headers: the one that a trusted proxy
    /// passes on, else the own one of the connection. The own one of a proxy is never taken for
    /// that of its client.
    ///
    /// What anyone else writes in that header is not looked at.
    pub fn certificate(
        &self,
        rules: &CertificateRules,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Option<Certificate>, AuthFault> {
        let authorities = rules.authorities.as_ref().map(|authorities| authorities.get());
        if rules.trusted_proxies.iter().any(|network| network.contains(&self.socket.ip())) {
            let lines = headers.get_all(&rules.header).iter().map(HeaderValue::as_bytes);
            let Some(Forwarded { certificate, chain }) = forwarded::read(lines)? else {
                return Ok(None);
            };
            if let Some(authorities) = authorities.filter(|_| !chain.is_empty()) {
                authorities.judge(&chain, now)?;
            }
            return Ok(Some(certificate));
        }
        let Some(own) = self.chain.first() else { return Ok(None) };
        let certificate = Certificate::from_der(own).ok_or(AuthFault::Malformed)?;
        self.judge(authorities.ok_or(AuthFault::Wrong)?, now)?;
        Ok(Some(certificate))
    }

    /// Has the own chain judged before there is a request, where that holds up nobody.
    pub(super) fn judge_ahead(&self, authorities: Arc<ClientAuthorities>, now: SystemTime) {
        if !self.chain.is_empty() {
            let _: Verdict = self.judge(authorities, now);
        }
    }

    /// Once for each set of authorities: it takes time, and strangers can ask for it. The
    /// certificate's own dates are looked at every time.
    fn judge(&self, authorities: Arc<ClientAuthorities>, now: SystemTime) -> Verdict {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        match &*judged {
            Some((before, verdict)) if Arc::ptr_eq(before, &authorities) => *verdict,
            Some(_) | None => {
                let verdict = authorities.judge(&self.chain, now);
                *judged = Some((authorities, verdict));
                verdict
            }
        }
    }
}
