//! Plays a caller as it is documented: it posts claims, waits as long as its protocol says, tries
//! once more where nothing came, and shows the person what the answer says.

use std::{
    convert::Infallible,
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{
    HeaderMap, HeaderValue, Request, Uri,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Body;
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::{
    client::{self, Connection},
    clock,
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
pub struct Caller {
    /// The connector's.
    pub url: Uri,
    /// How long it waits, and how it reads answers.
    pub protocol: &'static Protocol,
    /// Where in the sign-up it calls.
    pub step: &'static Step,
    /// User name and password.
    pub basic: Option<(String, Vec<u8>)>,
    /// Goes into the URL.
    pub api_key: Option<Vec<u8>>,
    /// For https.
    pub tls: Option<ClientTls>,
}

/// An answer, or why there is none.
pub struct Heard {
    /// How many requests it took: 1 or 2.
    pub requests: u32,
    /// How long the person waited.
    pub waited: Duration,
    /// What came, or why nothing did.
    pub answer: Result<HttpAnswer, String>,
}

/// An answer as it came.
#[derive(Clone)]
pub struct HttpAnswer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What the person who signs up sees.
pub enum Seen {
    /// What the contract says.
    Contract(Decision),
    /// The caller's own error page, and what is wrong.
    Error(String),
}

impl Caller {
    /// Posts `claims`, and once more where no answer came.
    pub async fn call(&self, claims: &[u8]) -> Heard {
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
    pub fn seen(&self, answer: &Result<HttpAnswer, String>) -> Seen {
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
        let connection = self.connect().await?;
        self.exchange_over(connection, Full::new(Bytes::copy_from_slice(claims))).await
    }

    /// A connection to what it calls.
    pub async fn connect(&self) -> Result<Connection, String> {
        Connection::open(&self.url, self.tls.as_ref()).await.map_err(|why| why.to_string())
    }

    /// Posts a body of known length and reads the answer. Takes as long as it takes.
    pub async fn exchange_over<B>(
        &self,
        connection: Connection,
        claims: B,
    ) -> Result<HttpAnswer, String>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let answer = connection.exchange(self.request(claims)?, ANSWER_BYTES_MAX).await;
        let (head, body) = answer.map_err(|why| why.to_string())?.into_parts();
        Ok(HttpAnswer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// The path that it posts to, to be looked at: without the key.
    pub fn shown_path(&self) -> String {
        let key = if self.api_key.is_some() { "?code=[not shown]" } else { "" };
        format!("{}{key}", self.url.path())
    }

    /// The headers that it sends with so many bytes, to be looked at: without the password.
    pub fn shown_headers(&self, length: usize) -> HeaderMap {
        let request = self.request(()).map(client::in_origin_form);
        let mut headers = request.map(|request| request.into_parts().0.headers).unwrap_or_default();
        headers.insert(CONTENT_LENGTH, length.into());
        if let Some(value) = headers.get_mut(AUTHORIZATION) {
            *value = HeaderValue::from_static("Basic [not shown]");
        }
        headers
    }

    fn request<B>(&self, claims: B) -> Result<Request<B>, String> {
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
        request.body(claims).map_err(|error| error.to_string())
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
