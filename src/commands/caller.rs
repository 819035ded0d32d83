//! Plays a caller as it is documented: it posts claims, waits as long as its protocol says, tries
//! once more where nothing came, and shows the person what the answer says.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{
    HeaderMap, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::{
    client, clock,
    domain::{
        decision::Decision,
        json::Object,
        protocol::{Protocol, Step},
    },
    tls::ClientTls,
};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A caller and what it calls.
pub(super) struct Caller {
    pub(super) url: Uri,
    pub(super) protocol: &'static Protocol,
    pub(super) step: &'static Step,
    /// User name and password.
    pub(super) basic: Option<(String, Vec<u8>)>,
    /// Goes into the URL.
    pub(super) api_key: Option<Vec<u8>>,
    /// For https.
    pub(super) tls: Option<ClientTls>,
}

/// An answer, or why there is none.
pub(super) struct Heard {
    /// How many requests it took: 1 or 2.
    pub(super) requests: u32,
    /// How long the person waited.
    pub(super) waited: Duration,
    pub(super) answer: Result<HttpAnswer, String>,
}

pub(super) struct HttpAnswer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What the person who signs up sees.
pub(super) enum Seen {
    /// What the contract says.
    Contract(Decision),
    /// The caller's own error page, and what is wrong.
    Error(String),
}

impl Caller {
    /// Posts `claims`, and once more where no answer came.
    pub(super) async fn call(&self, claims: &[u8]) -> Heard {
        let started = clock::now();
        let mut answer = self.post(claims).await;
        let mut requests = 1;
        if answer.is_err() {
            answer = self.post(claims).await;
            requests = 2;
        }
        Heard { requests, waited: clock::now() - started, answer }
    }

    /// What the person sees for `answer`.
    pub(super) fn seen(&self, answer: &Result<HttpAnswer, String>) -> Seen {
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => return Seen::Error(why.clone()),
        };
        match self.protocol.read(self.step, answer.status, &answer.body) {
            Ok(decision) => Seen::Contract(decision),
            Err(why) => Seen::Error(format!("HTTP {}: {why}", answer.status)),
        }
    }

    async fn post(&self, claims: &[u8]) -> Result<HttpAnswer, String> {
        let until: Instant = clock::now() + self.protocol.caller_waits;
        let waited = || format!("no answer within {} s", self.protocol.caller_waits.as_secs());
        clock::until(until, self.exchange(claims)).await.unwrap_or_else(|| Err(waited()))
    }

    async fn exchange(&self, claims: &[u8]) -> Result<HttpAnswer, String> {
        let request = self.request(claims)?;
        let answer = client::exchange(request, self.tls.as_ref(), ANSWER_BYTES_MAX).await;
        let (head, body) = answer.map_err(|why| why.to_string())?.into_parts();
        Ok(HttpAnswer { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn request(&self, claims: &[u8]) -> Result<Request<Bytes>, String> {
        let mut url = self.url.to_string();
        if let Some(key) = &self.api_key {
            url.push(if self.url.query().is_some() { '&' } else { '?' });
            url.push_str("code=");
            url.extend(percent_encode(key, NON_ALPHANUMERIC));
        }
        let mut request = Request::post(url).header(CONTENT_TYPE, "application/json");
        if let Some((user, password)) = &self.basic {
            let credentials = [user.as_bytes(), b":", password].concat();
            request =
                request.header(AUTHORIZATION, format!("Basic {}", BASE64.encode(&credentials)));
        }
        request.body(Bytes::copy_from_slice(claims)).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Contract(Decision::Continue(claims)) if claims.members().is_empty() => {
                f.write_str("goes on")
            }
            Seen::Contract(Decision::Continue(claims)) => {
                let text = format!("{{{}}}", claims.members());
                f.write_str("goes on, with")?;
                let claims = Object::parse(text.as_bytes());
                for (name, value) in claims.iter().flat_map(Object::members) {
                    write!(f, " {name} = {}", value.text())?;
                }
                Ok(())
            }
            Seen::Contract(Decision::ShowBlockPage(message)) => {
                write!(f, "block page: {}", message.as_str())
            }
            Seen::Contract(Decision::ValidationError(message)) => {
                write!(f, "message at the form: {}", message.as_str())
            }
            Seen::Error(why) => write!(f, "the caller's own error page ({why})"),
        }
    }
}
