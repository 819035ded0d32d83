//! A client certificate that a proxy passes on in a header, in the ways that proxies write it:
//!
//! - Envoy's `X-Forwarded-Client-Cert`: `Hash=…;Subject="…";Cert="…"`, where any may be missing;
//! - ingress-nginx's `ssl-client-cert` and others: PEM, percent-encoded;
//! - Azure App Service's `X-ARR-ClientCert` and others: the base64 of the DER.
//!
//! Which one it is, is seen from the value. Only one certificate is taken: a header that several
//! proxies wrote to says nothing for certain of who is at the beginning.

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{
    AuthFault,
    certificate::{Certificate, Fingerprint, SubjectName},
};

const PEM: &str = "-----BEGIN";

/// A certificate as a proxy passes it on.
#[derive(Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// What is known of it.
    pub certificate: Certificate,
    /// The certificate itself, and those behind it that came with it; nothing where the proxy tells
    /// only a part.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Reads the values of all lines of the header. A certificate that is not there is no fault: the
/// proxy had none to pass on.
pub fn read<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Result<Option<Forwarded>, AuthFault> {
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(AuthFault::Malformed);
    }
    let value = std::str::from_utf8(line).map_err(|_| AuthFault::Malformed)?.trim_matches(' ');
    if value.is_empty() {
        return Ok(None);
    }
    parse(value).map(Some).ok_or(AuthFault::Malformed)
}

fn parse(value: &str) -> Option<Forwarded> {
    if value.starts_with(PEM) {
        return whole(certificates(value)?);
    }
    match BASE64.decode(value.as_bytes()) {
        Ok(der) => whole(vec![der.into()]),
        Err(_) => from_element(value),
    }
}

/// The first certificate is the client's own.
fn whole(chain: Vec<CertificateDer<'static>>) -> Option<Forwarded> {
    Some(Forwarded { certificate: Certificate::from_der(chain.first()?)?, chain })
}

fn certificates(encoded: &str) -> Option<Vec<CertificateDer<'static>>> {
    let pem: Vec<u8> = percent_decode_str(encoded).collect();
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().ok()
}

/// One element as Envoy writes it. With a certificate in it, that says what it is.
///
/// What stands behind a URI or a DNS name is not looked at: these come from the certificate, and
/// are written as they are, so that whoever had it issued could go on in them.
fn from_element(element: &str) -> Option<Forwarded> {
    let (mut fingerprint, mut subject, mut own, mut chain) = (None, None, None, None);
    let mut may_be_forged = false;
    for (key, value) in pairs(element)? {
        let slot = match key.to_ascii_lowercase().as_str() {
            "hash" => &mut fingerprint,
            "subject" => &mut subject,
            "cert" => &mut own,
            "chain" => &mut chain,
            "uri" | "dns" => {
                may_be_forged = true;
                continue;
            }
            _ => continue,
        };
        if may_be_forged || slot.replace(value).is_some() {
            return None;
        }
    }
    let fingerprint = match fingerprint {
        Some(text) => Some(Fingerprint::parse(&text)?),
        None => None,
    };
    let subject = match subject.filter(|text| !text.is_empty()) {
        Some(text) => Some(SubjectName::parse(&text)?),
        None => None,
    };
    let Some(own) = own else {
        let is_told = fingerprint.is_some() || subject.is_some();
        let certificate = Certificate::told(fingerprint, subject);
        return is_told.then_some(Forwarded { certificate, chain: Vec::new() });
    };
    let mut all = certificates(&own)?;
    all.truncate(1);
    // The whole chain, the own certificate included.
    for more in certificates(&chain.unwrap_or_default())? {
        if !all.contains(&more) {
            all.push(more);
        }
    }
    let forwarded = whole(all)?;
    let is_of_it = fingerprint.is_none() || fingerprint == forwarded.certificate.fingerprint;
    is_of_it.then_some(forwarded)
}

/// `key=value;key="quoted value"`, a backslash before a quote inside of quotes. `None` where it is
/// not written so, or where there are several elements, which commas separate.
fn pairs(element: &str) -> Option<Vec<(&str, String)>> {
    let mut pairs = Vec::new();
    let mut rest = element;
    loop {
        let (key, behind) = rest.split_once('=')?;
        let is_key = !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric());
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = behind.find([';', ',', '"']).unwrap_or(behind.len());
                let (value, behind) = behind.split_at_checked(end)?;
                (value.to_owned(), behind)
            }
        };
        if !is_key {
            return None;
        }
        pairs.push((key, value));
        if behind.is_empty() {
            return Some(pairs);
        }
        rest = behind.strip_prefix(';')?;
    }
}

/// What stands before the closing quote, and what behind it. Only quotes are escaped: the other
/// backslashes are those of the name itself.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, quoted.get(at + 1..)?)),
            (_, '\\') if characters.next_if(|(_, c)| *c == '"').is_some() => value.push('"'),
            (_, c) => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    struct Sample {
        certificate: Certificate,
        pem: String,
        base64: String,
        hash: String,
    }

    fn sample(name: &str) -> Sample {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Sample {
            certificate: Certificate::from_der(made.der()).unwrap(),
            pem: utf8_percent_encode(&made.pem(), NON_ALPHANUMERIC).to_string(),
            base64: BASE64.encode(made.der()),
            hash: Certificate::from_der(made.der()).unwrap().fingerprint.unwrap().to_string(),
        }
    }

    fn read_one(value: &str) -> Result<Option<Certificate>, AuthFault> {
        let read = read([value.as_bytes()].into_iter())?;
        Ok(read.map(|forwarded| {
            let chain = forwarded.chain.first().map(|own| Certificate::from_der(own).unwrap());
            let certificate = forwarded.certificate;
            assert!(chain.is_none_or(|own| own == certificate), "the own one is the first");
            certificate
        }))
    }

    #[test]
    fn a_certificate_is_read_in_every_way_that_proxies_write_it() {
        let Sample { certificate, pem, base64, hash } = sample("a");
        let nginx = pem.replace("%2D", "-");
        for value in [
            nginx.clone(),
            nginx.replace("%20", " "),
            base64.clone(),
            format!(" {base64} "),
            format!("Cert={pem}"),
            format!(
                "By=spiffe://a;Hash={hash};Cert=\"{pem}\";Subject=\"CN=whoever\";URI=spiffe://b"
            ),
            format!("hash={};CERT=\"{pem}\";Chain=\"{pem}\"", hash.to_uppercase()),
        ] {
            assert_eq!(read_one(&value), Ok(Some(certificate.clone())), "{value}");
        }
    }

    #[test]
    fn a_proxy_may_tell_only_a_part() {
        let part = |fingerprint: Option<&str>, subject: Option<&str>| {
            Certificate::told(
                fingerprint.map(|text| Fingerprint::parse(text).unwrap()),
                subject.map(|text| SubjectName::parse(text).unwrap()),
            )
        };
        let hash = HEXLOWER.encode(&[7; 32]);
        for (value, wanted) in [
            (format!("Hash={hash}"), part(Some(&hash), None)),
            (
                format!("Hash={hash};Subject=\"\";URI=spiffe://a;URI=spiffe://b"),
                part(Some(&hash), None),
            ),
            (r#"Subject="CN=a;b,O=\"c\"""#.to_owned(), part(None, Some(r#"CN=a\;b,O=\"c\""#))),
            (r#"Subject="CN=a,O=\\"c\\"";By=d"#.to_owned(), part(None, Some(r#"CN=a,O=\"c\""#))),
            (r#"Subject="CN=a,O=b\, c""#.to_owned(), part(None, Some(r"CN=a,O=b\, c"))),
            ("Subject=CN=a".to_owned(), part(None, Some("CN=a"))),
        ] {
            assert_eq!(read_one(&value), Ok(Some(wanted)), "{value}");
        }
    }

    #[test]
    fn no_certificate_is_no_fault_and_anything_doubtful_is_one() {
        assert_eq!(read([].into_iter()), Ok(None));
        assert_eq!(read_one(""), Ok(None));
        assert_eq!(read_one("  "), Ok(None));
        let Sample { pem, base64, hash, .. } = sample("a");
        let other = sample("b");
        let one = format!("Hash={hash}");
        for value in [
            format!("{one},{one}"),
            format!("{one},Hash={}", other.hash),
            format!("{one};{one}"),
            format!("{one};Cert={};", other.pem),
            format!("Hash={};Cert={pem}", other.hash),
            format!("Cert={pem};Cert={pem}"),
            format!("{one};"),
            format!("{one};Subject=\"\";Subject=CN=a"),
            "Subject=CN=a;Subject=\"\"".to_owned(),
            format!("URI=spiffe://x;{one}"),
            format!("{one};URI=spiffe://x;Subject=CN=a"),
            format!("{one};DNS=x;Cert={pem}"),
            format!("{one};Cert={pem};Chain={pem};Chain={pem}"),
            format!(";{one}"),
            format!("Hash=\"{hash}"),
            format!("Hash=\"{hash}\"x"),
            "By=spiffe://a;URI=spiffe://b".to_owned(),
            "Hash=1234".to_owned(),
            "Subject=nobody".to_owned(),
            "Cert=nothing".to_owned(),
            "no certificate".to_owned(),
            base64[..base64.len() - 4].to_owned(),
            pem.replace("%2D", "-")[..200].to_owned(),
            "AAAA".to_owned(),
        ] {
            assert_eq!(read_one(&value), Err(AuthFault::Malformed), "{value}");
        }
        let lines = [one.as_bytes(), one.as_bytes()];
        assert_eq!(read(lines.into_iter()), Err(AuthFault::Malformed));
        assert_eq!(read([b"\xff".as_slice()].into_iter()), Err(AuthFault::Malformed));
    }
}
