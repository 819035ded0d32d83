//! The section `nats`.

use std::path::PathBuf;

use super::{ClientTlsSettings, section::Section, units};

/// The message bus.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// `nats://host:port` or `tls://host:port`, at least one, without credentials.
    pub servers: Vec<String>,
    /// How the bridge shows who it is.
    pub auth: NatsAuth,
    /// The first tokens of the subjects that replies come to.
    pub inbox_prefix: String,
    /// TLS with own certificates; where it stands, no connection is made without TLS.
    pub tls: Option<ClientTlsSettings>,
}

/// How the bridge shows a NATS server who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NatsAuth {
    None,
    CredentialsFile(PathBuf),
    NkeyFile(PathBuf),
    UserAndPassword { user: String, password_file: PathBuf },
    TokenFile(PathBuf),
}

pub(super) fn read(root: &Section<'_>) -> NatsSettings {
    let mut nats = NatsSettings {
        servers: vec!["nats://127.0.0.1:4222".to_owned()],
        auth: NatsAuth::None,
        inbox_prefix: "_INBOX_connector_bridge".to_owned(),
        tls: None,
    };
    let Some(section) = root.sub("nats") else { return nats };
    section.refuse_empty_list("servers", "must name at least one server");
    if let Some(servers) = section.list("servers", units::nats_url) {
        nats.servers = servers;
    }
    nats.inbox_prefix = section.or("inbox_prefix", nats.inbox_prefix, units::subject_prefix);
    nats.auth = auth(&section);
    nats.tls = section.sub("tls").map(tls);
    section.finish();
    nats
}

fn auth(section: &Section<'_>) -> NatsAuth {
    let credentials = section.value("credentials_file", units::path);
    let nkey = section.value("nkey_file", units::path);
    let user = section.both("user", units::text, "password_file", units::path);
    let token = section.value("token_file", units::path);
    let ways: Vec<NatsAuth> = [
        credentials.map(NatsAuth::CredentialsFile),
        nkey.map(NatsAuth::NkeyFile),
        user.map(|(user, password_file)| NatsAuth::UserAndPassword { user, password_file }),
        token.map(NatsAuth::TokenFile),
    ]
    .into_iter()
    .flatten()
    .collect();
    if ways.len() > 1 {
        section.fault(
            "",
            "has more than one of credentials_file, nkey_file, user with password_file, token_file",
        );
    }
    ways.into_iter().next().unwrap_or(NatsAuth::None)
}

fn tls(section: Section<'_>) -> ClientTlsSettings {
    let ca_file = section.value("ca_file", units::path);
    let own = section.both("cert_file", units::path, "key_file", units::path);
    section.finish();
    ClientTlsSettings { ca_file, own }
}
