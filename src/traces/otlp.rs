//! OTLP over HTTP, on the thread that exports: no other thread ever runs this.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::{Builder, Runtime};

use crate::{client, clock, secrets::Live, tls::ClientTls};

/// The largest answer of a collector that is read; that of the library's own clients.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why the last batch did not arrive. The library has one text for all causes.
#[derive(Clone, Default)]
pub(super) struct Cause(Arc<Mutex<String>>);

impl Cause {
    /// In a few words, without anything that is secret.
    pub(super) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, cause: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}

/// Posts batches of spans, each over a connection of its own: there is one every few seconds.
pub(super) struct HttpTransport {
    /// Made by the thread that exports: no other may drop it.
    runtime: OnceLock<Option<Runtime>>,
    tls: Option<Arc<Live<ClientTls>>>,
    timeout: Duration,
    cause: Cause,
}

impl HttpTransport {
    /// A batch may take `timeout`; why one did not arrive is put into `cause`.
    pub(super) fn new(tls: Option<Arc<Live<ClientTls>>>, timeout: Duration, cause: Cause) -> Self {
        Self { runtime: OnceLock::new(), tls, timeout, cause }
    }

    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let end = clock::now() + self.timeout;
        let tls = self.tls.as_ref().map(|tls| tls.get());
        let exchanged = client::exchange(request, tls.as_deref(), ANSWER_BYTES_MAX);
        match clock::until(end, exchanged).await {
            Some(Ok(answer)) => {
                self.cause.set(format!("the collector says HTTP {}", answer.status().as_u16()));
                Ok(answer)
            }
            Some(Err(error)) => {
                self.cause.set(error.to_string());
                Err(error.into())
            }
            None => {
                self.cause.set("the collector did not answer in time".to_owned());
                Err(io::Error::from(io::ErrorKind::TimedOut).into())
            }
        }
    }

    fn runtime(&self) -> Option<&Runtime> {
        let new = || Builder::new_current_thread().enable_all().build().ok();
        self.runtime.get_or_init(new).as_ref()
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpTransport")
    }
}

/// The trait's macro, written out.
type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for HttpTransport {
    fn send_bytes<'client, 'sending>(&'client self, request: Request<Bytes>) -> Sending<'sending>
    where
        'client: 'sending,
        Self: 'sending,
    {
        Box::pin(async move {
            let runtime = self.runtime().ok_or("there is no runtime to export in")?;
            runtime.block_on(self.post(request))
        })
    }
}
