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

/// Reads the values of all lines of the header. A certificate that is not there is no fault: the
/// proxy had none to pass on.
pub fn read<'a>(
    mut lines: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<Certificate>, AuthFault> {
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

fn parse(value: &str) -> Option<Certificate> {
    if value.starts_with(PEM) {
        return from_pem(value);
    }
    match BASE64.decode(value.as_bytes()) {
        Ok(der) => Certificate::from_der(&der),
        Err(_) => from_element(value),
    }
}

/// The first certificate, which is the client's own where the chain follows.
fn from_pem(encoded: &str) -> Option<Certificate> {
    let pem: Vec<u8> = percent_decode_str(encoded).collect();
    Certificate::from_der(&CertificateDer::from_pem_slice(&pem).ok()?)
}

/// One element as Envoy writes it. With a certificate in it, that says what it is.
fn from_element(element: &str) -> Option<Certificate> {
    let (mut fingerprint, mut subject, mut certificate) = (None, None, None);
    for (key, value) in pairs(element)? {
        let is_first = match key.to_ascii_lowercase().as_str() {
            "hash" => fingerprint.replace(Fingerprint::parse(&value)?).is_none(),
            "subject" if value.is_empty() => true,
            "subject" => subject.replace(SubjectName::parse(&value)?).is_none(),
            "cert" => certificate.replace(from_pem(&value)?).is_none(),
            // By, Chain, URI, DNS: of no use here.
            _ => true,
        };
        if !is_first {
            return None;
        }
    }
    match certificate {
        Some(certificate) => {
            let is_of_it = fingerprint.is_none() || fingerprint == certificate.fingerprint;
            is_of_it.then_some(certificate)
        }
        None if fingerprint.is_none() && subject.is_none() => None,
        None => Some(Certificate { fingerprint, subject, validity: None }),
    }
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
        read([value.as_bytes()].into_iter())
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
        let part = |fingerprint: Option<&str>, subject: Option<&str>| Certificate {
            fingerprint: fingerprint.map(|text| Fingerprint::parse(text).unwrap()),
            subject: subject.map(|text| SubjectName::parse(text).unwrap()),
            validity: None,
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
