//! Certificate authorities and certificates, made on the spot, and a TLS client.

use std::{sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its private key.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) key_pem: String,
    pub(crate) der: CertificateDer<'static>,
    /// What is shown behind it.
    pub(crate) behind: Vec<CertificateDer<'static>>,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Server,
    Client,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// For `127.0.0.1` and `localhost`.
    pub(crate) fn server(&self) -> Issued {
        self.issue("localhost", Use::Server, 0, 30)
    }

    /// The same with a key of any kind, as PEM.
    #[allow(dead_code, reason = "tests/attacks needs it")]
    pub(crate) fn server_with(&self, key_pem: &str) -> Issued {
        let key = KeyPair::from_pem(key_pem).unwrap();
        self.issue_for(key, "localhost", Use::Server, 0, 30)
    }

    /// For a client of this name, valid now.
    pub(crate) fn client(&self, name: &str) -> Issued {
        self.issue(name, Use::Client, 0, 30)
    }

    /// Valid from and until so many days from now.
    pub(crate) fn issue(&self, name: &str, usage: Use, from: i64, until: i64) -> Issued {
        self.issue_for(KeyPair::generate().unwrap(), name, usage, from, until)
    }

    fn issue_for(&self, key: KeyPair, name: &str, usage: Use, from: i64, until: i64) -> Issued {
        let mut params = named(name);
        params.extended_key_usages = vec![match usage {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if usage == Use::Server {
            let names = ["127.0.0.1", "localhost"].map(str::to_owned);
            params.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
        }
        // Machines' clocks differ, and the test's own takes time.
        let minute = Duration::from_secs(60);
        let now = std::time::SystemTime::now();
        let day = |days: i64| {
            let span = Duration::from_secs(86_400 * days.unsigned_abs());
            if days < 0 { now - span } else { now + span }
        };
        params.not_before = (day(from) - minute).into();
        params.not_after = (day(until) - minute).into();
        let issued = params.signed_by(&key, &self.0).unwrap();
        let (pem, key_pem) = (issued.pem(), key.serialize_pem());
        Issued { pem, key_pem, der: issued.into(), behind: Vec::new() }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A client that believes `authority` and shows `own`.
pub(crate) fn client_config(authority: &Authority, own: Option<&Issued>) -> ClientConfig {
    client_config_with(ring::default_provider(), &[&TLS13, &TLS12], authority, own)
}

/// The same, with other suites or versions.
pub(crate) fn client_config_with(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    authority: &Authority,
    own: Option<&Issued>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap();
            let chain = [std::slice::from_ref(&own.der), &own.behind].concat();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// Shakes hands with whoever listens on `port` of this machine.
pub(crate) async fn connect(
    config: ClientConfig,
    port: u16,
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_from([127, 0, 0, 1], config, port).await
}

/// The same, from another address of this machine.
pub(crate) async fn connect_from(
    address: [u8; 4],
    config: ClientConfig,
    port: u16,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((address, 0).into())?;
    let stream = socket.connect(([127, 0, 0, 1], port).into()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
