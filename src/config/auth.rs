//! The key `auth` of a connector.

use std::path::PathBuf;

use super::{
    section::Section,
    units::{self, Parsed},
};
use crate::domain::credentials::certificate::{Fingerprint, Listed, SubjectName};

/// Who may call a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthSettings {
    /// Anyone. Has to be written out.
    None,
    /// Whoever shows one of these.
    Credentials(CredentialSettings),
}

/// What callers may show: a user name with its password or a certificate, and in addition an API
/// key where there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSettings {
    /// User names with their passwords.
    pub basic: Vec<BasicSettings>,
    /// The files that hold API keys.
    pub api_key_files: Vec<PathBuf>,
    /// Certificates.
    pub client_certificates: Vec<Listed>,
}

/// One user name and where its password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicSettings {
    /// The user name.
    pub username: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
}

/// Whether callers can show certificates at all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Certificates {
    /// To the bridge, or by way of a proxy.
    Come,
    /// Nobody would look at them.
    DoNotCome,
}

pub(super) fn read(section: &Section<'_>, certificates_come: Certificates) -> Option<AuthSettings> {
    if !section.has("auth") {
        section.fault("auth", "must be written; \"auth: none\" lets everyone call");
        return None;
    }
    if let Some(word) = section.word("auth") {
        if word != "none" {
            section.fault("auth", format!("{word:?} is neither none nor a mapping"));
        }
        return Some(AuthSettings::None);
    }
    let auth = section.sub("auth")?;
    let (basic, certificates) = (auth.sections("basic"), auth.sections("client_certificates"));
    let is_empty = |entries: &Option<Vec<_>>| entries.as_ref().is_none_or(Vec::is_empty);
    if is_empty(&basic) && is_empty(&certificates) {
        let what = "there must be at least one user name with a password_file, or an entry in \
                    client_certificates";
        auth.fault("basic", what);
    }
    if !is_empty(&certificates) && certificates_come == Certificates::DoNotCome {
        let what = "callers cannot show certificates: that takes tls.client_ca_file, or \
                    trusted_proxies that pass them on";
        auth.fault("client_certificates", what);
    }
    let settings = CredentialSettings {
        basic: basic.unwrap_or_default().into_iter().filter_map(self::basic).collect(),
        api_key_files: auth.list("api_key_files", units::path).unwrap_or_default(),
        client_certificates: certificates
            .unwrap_or_default()
            .into_iter()
            .filter_map(certificate)
            .collect(),
    };
    auth.finish();
    Some(AuthSettings::Credentials(settings))
}

fn basic(entry: Section<'_>) -> Option<BasicSettings> {
    let username = entry.required("username", |text| match text.contains(':') {
        true => Err("a user name cannot hold a colon (RFC 7617)".to_owned()),
        false => units::text(text),
    });
    let password_file = entry.required("password_file", units::path);
    entry.finish();
    Some(BasicSettings { username: username?, password_file: password_file? })
}

fn certificate(entry: Section<'_>) -> Option<Listed> {
    let sha256 = entry.value("sha256", fingerprint);
    let subject = entry.value("subject", subject);
    if entry.has("sha256") == entry.has("subject") {
        entry.fault("", "must have one of sha256 and subject");
    }
    entry.finish();
    sha256.map(Listed::Fingerprint).or(subject.map(Listed::Subject))
}

fn fingerprint(text: &str) -> Parsed<Fingerprint> {
    let fault = || format!("{text:?} is not a SHA-256 hash: 64 hexadecimal digits");
    Fingerprint::parse(text).ok_or_else(fault)
}

fn subject(text: &str) -> Parsed<SubjectName> {
    let fault = || {
        format!(
            "{text:?} is not the name of a subject as RFC 4514 writes it, like \
             CN=a.example,O=Example; openssl x509 -noout -subject -nameopt RFC2253 does"
        )
    };
    SubjectName::parse(text).ok_or_else(fault)
}
