//! OTLP over HTTP, on the thread that exports: no other thread ever runs this.

use std::{fmt, io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::{Builder, Runtime};

use crate::{client, clock, secrets::Live, tls::ClientTls};

/// The largest answer of a collector that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Posts batches of spans, each over a connection of its own: there is one every few seconds.
pub(super) struct HttpTransport {
    runtime: Runtime,
    tls: Option<Arc<Live<ClientTls>>>,
    timeout: Duration,
}

impl HttpTransport {
    /// A batch may take `timeout`.
    pub(super) fn new(tls: Option<Arc<Live<ClientTls>>>, timeout: Duration) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, tls, timeout })
    }

    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let end = clock::now() + self.timeout;
        let tls = self.tls.as_ref().map(|tls| tls.get());
        let exchanged = client::exchange(request, tls.as_deref(), ANSWER_BYTES_MAX);
        match clock::until(end, exchanged).await {
            Some(answer) => Ok(answer?),
            None => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
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
        Box::pin(async move { self.runtime.block_on(self.post(request)) })
    }
}
