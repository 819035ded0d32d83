//! TLS (rustls): what the bridge shows as a server, whom it believes as a client, and how the
//! certificates of callers are judged.
//!
//! TLS 1.2 and 1.3 only, with the suites of rustls: the four ECDHE suites with AES-GCM that the
//! callers ask for are among them (Azure AD B2C, "TLS and cipher suite requirements").

mod authorities;
#[cfg(test)]
mod gate;
mod limited;
mod own;

use std::{env, ffi::OsString, fmt, io, sync::Arc, time::SystemTime};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub use self::{authorities::ClientAuthorities, limited::Limited};
use crate::domain::credentials::certificate::{Certificate, is_version_3};

/// What is spoken inside of TLS.
const HTTP_1_1: &[u8] = b"http/1.1";

/// The longest chain of certificates that a caller may show, and its size. Real ones have two or
/// three certificates of 1 to 2 KiB.
const CHAIN_MAX: usize = 5;
const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// The most that is read of a client before the handshake is over: the longest chain, and as much
/// again as hellos and signatures need. The library would keep 64 KiB of a hello that does not end.
const HANDSHAKE_BYTES_MAX: usize = CHAIN_BYTES_MAX + 8 * 1024;

/// A part of what TLS takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificates of authorities.
    Authorities,
    /// The own certificate, with its chain.
    Chain,
    /// The own private key.
    Key,
}

/// Why the contents of some files cannot be used for TLS.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Which part.
    pub part: Part,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What callers are asked for in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// They may show a certificate.
    ForCertificates,
    /// They cannot.
    ForNothing,
}

/// What the bridge shows to callers.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    own: CertificateDer<'static>,
    /// When the first certificate of the chain ends that does.
    pub ends: SystemTime,
}

impl ServerTls {
    /// From a chain of certificates, the own one first, and its private key.
    pub fn from_pem(chain: &[u8], key: &[u8], asks: Asks) -> Result<Self, Unusable> {
        let (chain, ends) = certificates(chain, Part::Chain)?;
        let own = chain.first().cloned().ok_or(NO_CHAIN)?;
        let key = private_key(key)?;
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| unusable(&error))?;
        let builder = match asks {
            Asks::ForCertificates => {
                builder.with_client_cert_verifier(Arc::new(AnyHolder(algorithms)))
            }
            Asks::ForNothing => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self { config: Arc::new(config), own, ends })
    }

    /// Shakes hands with a client. Returns the chain of its certificate too, if it shows one,
    /// whose key it then has proved to hold.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<(server::TlsStream<Limited<S>>, Vec<CertificateDer<'static>>), Unshaken> {
        let limited = Limited::new(stream, HANDSHAKE_BYTES_MAX);
        let accepted = TlsAcceptor::from(Arc::clone(&self.config)).accept(limited);
        let mut stream = match accepted.into_fallible().await {
            Ok(stream) => stream,
            Err((_, limited)) if limited.is_unread() => return Err(Unshaken::Left),
            Err((_, _)) => return Err(Unshaken::Failed),
        };
        stream.get_mut().0.lift();
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        Ok((stream, chain))
    }
}

/// Why there is no TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unshaken {
    /// The client went without a word: that is how some look whether anybody listens.
    Left,
    /// What came is no handshake that leads anywhere.
    Failed,
}

/// Whom a client believes, and what it shows.
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// When the first of the certificate authorities ends, where there are own ones.
    pub authorities_end: Option<SystemTime>,
    /// When the first certificate of the own chain ends that does, where there is one.
    pub own_ends: Option<SystemTime>,
}

impl ClientTls {
    /// Believes servers whose certificate is of one of `authorities`; where there are none, of one
    /// that the system trusts, and on a system that has none, as in an image with nothing but this
    /// program, of one that Mozilla trusts. Shows `own`, a chain of certificates and its private key.
    pub fn from_pem(
        authorities: Option<&[u8]>,
        own: Option<(&[u8], &[u8])>,
    ) -> Result<Self, Unusable> {
        let (roots, authorities_end) = match authorities {
            Some(pem) => {
                let (certificates, ends) = certificates(pem, Part::Authorities)?;
                (roots(&certificates)?, Some(ends))
            }
            None => {
                let found = rustls_native_certs::load_native_certs().certs;
                (trusted(found, ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(env::var_os)), None)
            }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| unusable(&error))?
            .with_root_certificates(roots);
        let Some((chain, key)) = own else {
            let config = Arc::new(builder.with_no_client_auth());
            return Ok(Self { config, authorities_end, own_ends: None });
        };
        let (chain, ends) = certificates(chain, Part::Chain)?;
        let config = builder
            .with_client_auth_cert(chain, private_key(key)?)
            .map_err(|error| unusable(&error))?;
        Ok(Self { config: Arc::new(config), authorities_end, own_ends: Some(ends) })
    }

    /// For libraries that shake hands themselves.
    pub fn config(&self) -> ClientConfig {
        ClientConfig::clone(&self.config)
    }

    /// Shakes hands with the server that is called `host`.
    pub async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }
}

/// Asks callers for a certificate, and has them prove that they hold its key. Whose it is, and
/// whether it is let in, is judged with every request ([`ClientAuthorities`]): so a caller whose
/// certificate is refused gets an answer that says so and is counted, and a certificate that
/// expires, or whose authority is removed, counts no longer on open connections and resumed
/// sessions either.
///
/// Judging takes time, and strangers can have it done: so long chains are refused right here.
struct AnyHolder(WebPkiSupportedAlgorithms);

impl fmt::Debug for AnyHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyHolder")
    }
}

impl ClientCertVerifier for AnyHolder {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a client that is told which authorities count may decide to show nothing.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = between.iter().fold(own.len(), |bytes, certificate| bytes + certificate.len());
        match between.len() < CHAIN_MAX && bytes <= CHAIN_BYTES_MAX {
            true => Ok(ClientCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// All certificates, and when the first of them ends.
fn certificates(
    pem: &[u8],
    part: Part,
) -> Result<(Vec<CertificateDer<'static>>, SystemTime), Unusable> {
    let fault = |what| Unusable { part, what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| fault("is not PEM"))?;
    let mut ends = Vec::with_capacity(chain.len());
    for certificate in &chain {
        let read = Certificate::from_der(certificate).and_then(|read| read.validity);
        ends.push(read.ok_or(fault("holds something that is no certificate"))?.1);
    }
    let ends = ends.into_iter().min().ok_or(fault("holds no certificate"))?;
    if part == Part::Chain && !chain.first().is_some_and(|own| is_version_3(own)) {
        return Err(fault("begins with a certificate that is not of X.509 version 3"));
    }
    Ok((chain, ends))
}

/// What the system trusts, by what was found and where it was told to look. A system with nothing that
/// was told nothing trusts what Mozilla does.
fn trusted(found: Vec<CertificateDer<'static>>, told: [Option<OsString>; 2]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if found.is_empty() && told.iter().all(Option::is_none) {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots.add_parsable_certificates(found);
    roots
}

fn roots<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|_| NO_AUTHORITY)?;
    }
    Ok(roots)
}

const NO_CHAIN: Unusable = Unusable { part: Part::Chain, what: "holds no certificate" };

const NO_AUTHORITY: Unusable =
    Unusable { part: Part::Authorities, what: "holds a certificate that cannot be used" };

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Unusable> {
    let none = Unusable { part: Part::Key, what: "holds no private key" };
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| none)
}

fn unusable(error: &Error) -> Unusable {
    let (part, what) = if let Error::InconsistentKeys(_) = error {
        (Part::Key, "is not the key of the certificate")
    } else if let Error::InvalidCertificate(_) = error {
        (Part::Chain, "holds no certificate of use")
    } else {
        (Part::Key, "is no private key of use")
    };
    Unusable { part, what }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn key() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    fn self_signed(key: &KeyPair) -> String {
        CertificateParams::default().self_signed(key).unwrap().pem()
    }

    #[test]
    fn mozillas_authorities_count_only_where_there_are_none_and_none_were_named() {
        let own = CertificateDer::from_pem_slice(self_signed(&key()).as_bytes()).unwrap();
        let somewhere = || [None, Some(OsString::from("/nowhere"))];
        assert!(trusted(Vec::new(), [None, None]).len() > 100);
        assert_eq!(trusted(Vec::new(), somewhere()).len(), 0);
        assert_eq!(trusted(vec![own.clone()], [None, None]).len(), 1);
        assert_eq!(trusted(vec![own], somewhere()).len(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_told_by_part_without_showing_it() {
        let (own, other) = (key(), key());
        let (chain, key) = (self_signed(&own), own.serialize_pem());
        let broken = chain.replacen("MII", "MIJ", 1);
        let both = format!("{key}{chain}");
        let fault = |part, what| Some(Unusable { part, what });
        for (chain, key, wanted) in [
            (&*chain, &*key, None),
            (&both, &both, None),
            (&chain, &other.serialize_pem(), fault(Part::Key, "is not the key of the certificate")),
            (&chain, &chain, fault(Part::Key, "holds no private key")),
            (&chain, "", fault(Part::Key, "holds no private key")),
            (&key, &key, fault(Part::Chain, "holds no certificate")),
            ("s3cret", &key, fault(Part::Chain, "holds no certificate")),
            (&broken, &key, fault(Part::Chain, "holds something that is no certificate")),
            (&chain[..200], &key, fault(Part::Chain, "is not PEM")),
        ] {
            for asks in [Asks::ForCertificates, Asks::ForNothing] {
                let (chain, key) = (chain.as_bytes(), key.as_bytes());
                let server = ServerTls::from_pem(chain, key, asks).err();
                assert_eq!(server, wanted, "{chain:?}");
                let client = ClientTls::from_pem(None, Some((chain, key))).err();
                assert_eq!(client, wanted, "{chain:?}");
            }
        }
        for (authorities, wanted) in [
            (&*chain, None),
            ("", fault(Part::Authorities, "holds no certificate")),
            (&broken, fault(Part::Authorities, "holds something that is no certificate")),
        ] {
            let judges = ClientAuthorities::from_pem(authorities.as_bytes()).err();
            assert_eq!(judges, wanted);
            let client = ClientTls::from_pem(Some(authorities.as_bytes()), None).err();
            assert_eq!(client, wanted);
        }
    }
}
