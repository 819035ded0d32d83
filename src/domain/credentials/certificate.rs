//! Client certificates: what is looked at in one, and which of them are let in.

use std::{
    fmt::{self, Write},
    time::SystemTime,
};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use x509_cert::{
    Certificate as X509, Version,
    der::{Decode, oid::db::rfc5280::ID_KP_CLIENT_AUTH},
    ext::pkix::{BasicConstraints, ExtendedKeyUsage},
    name::RdnSequence,
};

use super::{AuthFault, Verdict};

/// The SHA-256 hash of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// From 64 hexadecimal digits; case and colons do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let hex: String = text.chars().filter(|c| *c != ':').collect();
        let bytes = HEXLOWER.decode(hex.to_ascii_lowercase().as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Of a certificate.
    pub fn of(der: &[u8]) -> Self {
        let hash = digest(&SHA256, der);
        Self(std::array::from_fn(|at| hash.as_ref().get(at).copied().unwrap_or_default()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What may stand behind a backslash in a name, besides two hexadecimal digits (RFC 4514).
const ESCAPED: &str = " \"#+,;<=>\\";

/// The whole name of a certificate's subject, as RFC 4514 writes it: the most specific part first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectName(Box<str>);

impl SubjectName {
    /// From text. White space behind a comma, the case of attribute types, and how a character is
    /// escaped do not count. `None` where it is not such a name, or an empty one.
    ///
    /// The library takes some escaped commas for the end of a part, and an escape that is cut
    /// short for a whole one. So it gets every escape as two hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut name = String::with_capacity(text.len());
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            name.push(c);
            if c == ',' {
                while characters.next_if_eq(&' ').is_some() {}
            } else if c == '\\' {
                let escaped = characters.next()?;
                if escaped.is_ascii_hexdigit() {
                    name.extend([escaped, characters.next_if(char::is_ascii_hexdigit)?]);
                } else if ESCAPED.contains(escaped) {
                    write!(name, "{:02x}", u32::from(escaped)).ok()?;
                } else {
                    return None;
                }
            }
        }
        Self::of(&name.parse().ok()?)
    }

    fn of(name: &RdnSequence) -> Option<Self> {
        let is_whole = !name.is_empty() && name.iter().all(|part| !part.is_empty());
        is_whole.then(|| Self(name.to_string().into()))
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// This one.
    Fingerprint(Fingerprint),
    /// Any with this subject, of a certificate authority that is trusted.
    Subject(SubjectName),
}

/// Whether a certificate is of X.509 version 3. TLS libraries take no older ones of servers and
/// clients, which `openssl x509 -req` still makes where it is given no extensions.
pub fn is_version_3(der: &[u8]) -> bool {
    X509::from_der(der)
        .is_ok_and(|certificate| certificate.tbs_certificate().version() == Version::V3)
}

/// What is looked at in a certificate. A proxy that passes one on may tell only part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What it is, for certain.
    pub fingerprint: Option<Fingerprint>,
    /// Whom it names.
    pub subject: Option<SubjectName>,
    /// From when to when it is valid.
    pub validity: Option<(SystemTime, SystemTime)>,
    /// Whether it may be shown by a client, or does not say what it is for.
    pub is_for_clients: bool,
    /// Whether it may sign others.
    pub is_authority: bool,
}

impl Certificate {
    /// Reads a certificate. Its signature is not looked at.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let certificate = X509::from_der(der).ok()?;
        let certificate = certificate.tbs_certificate();
        let validity = certificate.validity();
        let purposes = certificate.get_extension::<ExtendedKeyUsage>().ok()?;
        let constraints = certificate.get_extension::<BasicConstraints>().ok()?;
        Some(Self {
            fingerprint: Some(Fingerprint::of(der)),
            subject: SubjectName::of(certificate.subject().as_ref()),
            validity: Some((
                validity.not_before.to_system_time(),
                validity.not_after.to_system_time(),
            )),
            is_for_clients: purposes.is_none_or(|(_, ExtendedKeyUsage(purposes))| {
                purposes.contains(&ID_KP_CLIENT_AUTH)
            }),
            is_authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
        })
    }

    /// As far as somebody else tells.
    pub fn told(fingerprint: Option<Fingerprint>, subject: Option<SubjectName>) -> Self {
        let (is_for_clients, is_authority) = (true, false);
        Self { fingerprint, subject, validity: None, is_for_clients, is_authority }
    }

    /// Whether it is valid at `now`, meant for clients, and one of `listed`.
    pub fn check(&self, listed: &[Listed], now: SystemTime) -> Verdict {
        if self.validity.is_some_and(|(from, until)| now < from || until < now) {
            return Err(AuthFault::Expired);
        }
        if !self.is_for_clients {
            return Err(AuthFault::Wrong);
        }
        let is_listed = listed.iter().any(|listed| match listed {
            Listed::Fingerprint(fingerprint) => self.fingerprint == Some(*fingerprint),
            Listed::Subject(subject) => self.subject.as_ref() == Some(subject),
        });
        if is_listed { Ok(()) } else { Err(AuthFault::NotListed) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn der(parts: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const FROM: u64 = 1_767_225_600;
    const UNTIL: u64 = 1_798_761_600;

    #[test]
    fn a_certificate_is_let_in_by_its_fingerprint_or_its_whole_subject_while_it_is_valid() {
        let der = der(&[
            (DnType::OrganizationName, "Contoso, Ltd."),
            (DnType::CommonName, "sign-up.contoso.onmicrosoft.com"),
        ]);
        let certificate = Certificate::from_der(&der).unwrap();
        let hex = Fingerprint::of(&der).to_string();
        let colons: Vec<String> = hex
            .as_bytes()
            .chunks(2)
            .map(|two| String::from_utf8_lossy(two).to_uppercase())
            .collect();
        let fingerprint = |text: &str| Listed::Fingerprint(Fingerprint::parse(text).unwrap());
        let subject = |text: &str| Listed::Subject(SubjectName::parse(text).unwrap());
        let own = fingerprint(&hex);
        let other = fingerprint(&"00".repeat(32));
        for (listed, wanted) in [
            (vec![own.clone()], Ok(())),
            (vec![fingerprint(&colons.join(":"))], Ok(())),
            (vec![other.clone(), own.clone()], Ok(())),
            (vec![other.clone()], Err(AuthFault::NotListed)),
            (vec![], Err(AuthFault::NotListed)),
            (vec![subject(r"CN=sign-up.contoso.onmicrosoft.com,O=Contoso\, Ltd.")], Ok(())),
            (vec![subject(r"cn=sign-up.contoso.onmicrosoft.com,  o=Contoso\2c Ltd.")], Ok(())),
            (
                vec![subject(r"O=Contoso\, Ltd.,CN=sign-up.contoso.onmicrosoft.com")],
                Err(AuthFault::NotListed),
            ),
            (vec![subject("CN=sign-up.contoso.onmicrosoft.com")], Err(AuthFault::NotListed)),
            (
                vec![subject(r"CN=sign-up.contoso.onmicrosoft.com,O=Contoso\, Ltd")],
                Err(AuthFault::NotListed),
            ),
        ] {
            assert_eq!(certificate.check(&listed, at(FROM)), wanted, "{listed:?}");
        }
        for (now, wanted) in [
            (FROM - 1, Err(AuthFault::Expired)),
            (FROM, Ok(())),
            (UNTIL, Ok(())),
            (UNTIL + 1, Err(AuthFault::Expired)),
        ] {
            assert_eq!(certificate.check(std::slice::from_ref(&own), at(now)), wanted, "{now}");
        }
    }

    #[test]
    fn a_certificate_without_a_subject_is_let_in_by_its_fingerprint_only() {
        let der = der(&[]);
        let certificate = Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.subject, None);
        let listed = [Listed::Fingerprint(Fingerprint::of(&der))];
        assert_eq!(certificate.check(&listed, at(FROM)), Ok(()));
    }

    #[test]
    fn only_commas_that_are_not_escaped_end_a_part_of_a_name() {
        for (one, other, same) in [
            ("CN=a,   O=b", "CN=a,O=b", true),
            (r"CN=a\\,  O=b", r"CN=a\5c,O=b", true),
            (r"CN=a\\\,  O=b", r"CN=a\5c\2c  O\3db", true),
            (r"CN=a\,  O=b", r"CN=a\2C  O=b", true),
            (r"CN=a\\\+O=b", r"CN=a\5c\2bO=b", true),
            (r"CN=a\\+O=b", r"O=b+CN=a\5C", true),
            (r"CN=\#\ \ ", r"CN=\23\20\20", true),
            (r"CN=a\\\,O=b", r"CN=a\\,O=b", false),
            (r"CN=a\,  b", r"CN=a\,b", false),
            ("CN=a  b", "CN=a b", false),
        ] {
            let [one, other] = [one, other].map(|text| SubjectName::parse(text).unwrap());
            assert_eq!(one == other, same, "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_certificate_fingerprint_or_name_is_not_taken_for_one() {
        let good = der(&[(DnType::CommonName, "a")]);
        assert!(Certificate::from_der(&good).is_some());
        for bad in [&good[1..], &good[..good.len() - 1], &[good.as_slice(), b"\0"].concat(), b""] {
            assert_eq!(Certificate::from_der(bad), None);
        }
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
        for bad in ["", " ", "a", "=a", "CN", "CN=a,", ",CN=a", "XX=a", "CN=a,,O=b"] {
            let parsed = SubjectName::parse(bad);
            assert!(parsed.is_none(), "{bad}: {parsed:?}");
        }
        for bad in [r"CN=a\", r"CN=a\4", r"CN=a\4,O=b", r"CN=\x", r"CN=\é", r"CN=#\23", "CN=#0c"] {
            let parsed = SubjectName::parse(bad);
            assert!(parsed.is_none(), "{bad}: {parsed:?}");
        }
    }
}
