//! `connector-bridge send`

use std::path::{Path, PathBuf};

use lexopt::{Arg, ValueExt};

use super::{Failure, file, print, runtime};
use crate::{
    caller::{Caller, Heard, SAMPLE_CLAIMS, Seen},
    domain::{json::Object, protocol::Protocol},
    tls::{ClientTls, Part, Unusable},
};

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<(), Failure> {
    let (mut url, mut protocol, mut step) = (None, "entra".to_owned(), "before-create".to_owned());
    let (mut claims, mut user, mut password_file, mut api_key_file) = (None, None, None, None);
    let (mut cert, mut key, mut ca) = (None, None, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(value) if url.is_none() => url = Some(value.string()?),
            Arg::Long("protocol") => protocol = arguments.value()?.string()?,
            Arg::Long("step") => step = arguments.value()?.string()?,
            Arg::Long("claims") => claims = Some(file(&mut arguments)?),
            Arg::Long("user") => user = Some(arguments.value()?.string()?),
            Arg::Long("password-file") => password_file = Some(file(&mut arguments)?),
            Arg::Long("api-key-file") => api_key_file = Some(file(&mut arguments)?),
            Arg::Long("cert") => cert = Some(file(&mut arguments)?),
            Arg::Long("key") => key = Some(file(&mut arguments)?),
            Arg::Long("ca") => ca = Some(file(&mut arguments)?),
            other @ (Arg::Long(_) | Arg::Short(_) | Arg::Value(_)) => {
                return Err(other.unexpected().into());
            }
        }
    }
    let url = url.ok_or_else(|| Failure::Usage("the URL is missing".to_owned()))?;
    let url: http::Uri =
        url.parse().map_err(|_| Failure::Usage(format!("{url:?} is not a URL")))?;
    let is_secure = url.scheme_str() == Some("https");
    if !is_secure && url.scheme_str() != Some("http") || url.host().is_none() {
        return Err(Failure::Usage(format!("{url} is not a URL as https://host/connectors/name")));
    }
    if !is_secure && (cert.is_some() || key.is_some() || ca.is_some()) {
        return Err(Failure::Usage("--cert, --key and --ca go with https".to_owned()));
    }
    let protocol = Protocol::named(&protocol)
        .ok_or_else(|| Failure::Usage(format!("unknown protocol {protocol:?}")))?;
    let step = protocol
        .step(&step)
        .ok_or_else(|| Failure::Usage(format!("{step:?} is no step of {}", protocol.name)))?;
    let basic = match both("--user and --password-file", user, password_file)? {
        Some((user, file)) => Some((user, read_secret(&file)?)),
        None => None,
    };
    let api_key = api_key_file.as_deref().map(read_secret).transpose()?;
    let own = both("--cert and --key", cert, key)?;
    let tls = is_secure.then(|| tls(ca.as_deref(), own.as_ref())).transpose()?;
    let claims = match claims {
        None => SAMPLE_CLAIMS.as_bytes().to_vec(),
        Some(file) => read(&file)?,
    };
    if let Err(fault) = Object::parse(&claims) {
        return Err(Failure::Usage(format!("the claims are {fault}")));
    }
    let caller = Caller { url, protocol, step, basic, api_key, tls };
    let heard = runtime()?.block_on(caller.call(&claims));
    report(&caller, &heard)
}

/// Both values, or none.
fn both<T, U>(
    options: &str,
    first: Option<T>,
    second: Option<U>,
) -> Result<Option<(T, U)>, Failure> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (_, _) => Err(Failure::Usage(format!("{options} go together"))),
    }
}

fn tls(ca: Option<&Path>, own: Option<&(PathBuf, PathBuf)>) -> Result<ClientTls, Failure> {
    let authorities = ca.map(read).transpose()?;
    let contents = match own {
        Some((cert, key)) => Some((read(cert)?, read(key)?)),
        None => None,
    };
    let contents = contents.as_ref().map(|(cert, key)| (cert.as_slice(), key.as_slice()));
    let made = ClientTls::from_pem(authorities.as_deref(), contents);
    made.map_err(|Unusable { part, what }| {
        let file = match part {
            Part::Authorities => ca,
            Part::Chain => own.map(|(cert, _)| cert.as_path()),
            Part::Key => own.map(|(_, key)| key.as_path()),
        };
        Failure::Usage(format!("{}: {what}", file.unwrap_or(Path::new("")).display()))
    })
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        Failure::Usage(format!("{}: cannot be read: {}", file.display(), error.kind()))
    })
}

fn read_secret(file: &Path) -> Result<Vec<u8>, Failure> {
    let secret = read(file)?;
    let secret = secret.strip_suffix(b"\n").unwrap_or(&secret);
    Ok(secret.strip_suffix(b"\r").unwrap_or(secret).to_vec())
}

fn report(caller: &Caller, heard: &Heard) -> Result<(), Failure> {
    let seen = caller.seen(&heard.answer);
    print(&format!("The person sees: {seen}\n"));
    print(&format!(
        "{} request{}, {} ms\n",
        heard.requests,
        if heard.requests == 1 { "" } else { "s" },
        heard.waited.as_millis()
    ));
    if let Ok(answer) = &heard.answer {
        let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        print(&format!("HTTP {}", answer.status));
        for name in ["connector-answer-source", "connector-call-id"] {
            print(&format!("{}", Labelled(name, header(name))));
        }
        print("\n");
    }
    match seen {
        Seen::Contract(_) => Ok(()),
        Seen::Error(_) => Err(Failure::Found),
    }
}

/// A header of the answer, where it is there.
struct Labelled<'a>(&'a str, Option<&'a str>);

impl std::fmt::Display for Labelled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.1.map_or(Ok(()), |value| write!(f, ", {} {value}", self.0))
    }
}
