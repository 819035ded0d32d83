//! `connector-bridge send`

use std::path::{Path, PathBuf};

use lexopt::{Arg, ValueExt};

use super::{Failure, both, file, print, runtime};
use crate::{
    caller::{Caller, Heard, Seen},
    domain::{json::Object, outcome::Source, protocol::Protocol},
    secrets,
    tls::{ClientTls, Part, Unusable},
};

const ANSWER_SOURCE: &str = "connector-answer-source";
const CALL_ID: &str = "connector-call-id";

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<(), Failure> {
    let (mut url, mut protocol, mut step) = (None, "entra".to_owned(), "before-create".to_owned());
    let (mut claims, mut user, mut password_file, mut api_key_file) = (None, None, None, None);
    let (mut cert, mut key, mut ca) = (None, None, None);
    let mut wanted = Wanted::Answer;
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
            Arg::Long("decided") => wanted = Wanted::Decision,
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
        None => step.sample.as_bytes().to_vec(),
        Some(file) => read(&file)?,
    };
    if let Err(fault) = Object::parse(&claims) {
        return Err(Failure::Usage(format!("the claims are {fault}")));
    }
    let caller = Caller { url, protocol, step, basic, api_key, tls };
    let heard = runtime()?.block_on(caller.call(&claims));
    report(&caller, &heard, wanted)
}

/// What has to come back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Any answer that is valid in the caller's contract.
    Answer,
    /// One that a worker decided, now or for an earlier request of the call: no fallback.
    Decision,
}

impl Wanted {
    /// Whether an answer from this source, as its header names it, will do.
    fn takes(self, source: Option<&str>) -> bool {
        let decided = [Source::Worker, Source::Replay].map(Source::label);
        match self {
            Wanted::Answer => true,
            Wanted::Decision => source.is_some_and(|source| decided.contains(&source)),
        }
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

/// As the bridge reads it.
fn read_secret(file: &Path) -> Result<Vec<u8>, Failure> {
    let secret = secrets::read(file).map_err(|fault| Failure::Usage(fault.to_string()))?;
    Ok(secret.to_vec())
}

fn report(caller: &Caller, heard: &Heard, wanted: Wanted) -> Result<(), Failure> {
    let seen = caller.seen(&heard.answer);
    print(&format!("The person sees: {seen}\n"));
    print(&format!(
        "{} request{}, {} ms\n",
        heard.requests,
        if heard.requests == 1 { "" } else { "s" },
        heard.waited.as_millis()
    ));
    let header = |name| heard.answer.as_ref().ok()?.headers.get(name)?.to_str().ok();
    if let Ok(answer) = &heard.answer {
        print(&format!("HTTP {}", answer.status));
        for name in [ANSWER_SOURCE, CALL_ID] {
            print(&format!("{}", Labelled(name, header(name))));
        }
        print("\n");
    }
    match seen {
        Seen::Contract(_) if wanted.takes(header(ANSWER_SOURCE)) => Ok(()),
        Seen::Contract(_) => {
            print("No worker decided this.\n");
            Err(Failure::Found)
        }
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
