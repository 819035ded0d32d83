//! The accept loop: bounded connections, each on hyper with timers.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONNECTION};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    connection::{Progress, Tracked, WRITE_TIMEOUT},
    head::HeadFault,
};
use crate::{
    lifecycle::{Phase, Stopping},
    metrics::{Metrics, Rejection},
};

/// The largest head, and the most lines in it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_LINES_MAX: usize = 100;

/// The pause after the system refused a new connection, for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much of a refused request is still read.
const REST_BYTES_MAX: u64 = 64 * 1024;

/// What a listener is told.
#[derive(Clone)]
pub struct Limits {
    /// How long a head may take, and a connection may keep silent.
    pub read_timeout: Duration,
    /// The most connections at once, over all threads.
    pub max_connections: usize,
    /// The connections that there are.
    pub connections: Arc<AtomicUsize>,
}

impl Limits {
    /// Limits for a listener that shares its connections with no other.
    pub fn new(read_timeout: Duration, max_connections: usize) -> Self {
        Self { read_timeout, max_connections, connections: Arc::default() }
    }
}

/// Binds a listener that several threads can accept from.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers connections until told to close, and then those that are open.
pub async fn serve<S, F, B>(
    listener: std::net::TcpListener,
    limits: Limits,
    metrics: Metrics,
    stopping: Stopping,
    service: S,
) -> io::Result<()>
where
    S: Fn(Request<Incoming>, Arc<Progress>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::from_std(listener)?;
    let mut tasks = tokio::task::JoinSet::new();
    let mut closed = pin!(stopping.until(Phase::Closed));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            () = &mut closed => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = Place::take(&limits) else {
            metrics.rejected(Rejection::Connections);
            continue;
        };
        let (limits, metrics, stopping) = (limits.clone(), metrics.clone(), stopping.clone());
        let service = service.clone();
        tasks.spawn(async move {
            connection(stream, limits, metrics, stopping, service).await;
            drop(place);
        });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn connection<S, F, B>(
    stream: TcpStream,
    limits: Limits,
    metrics: Metrics,
    stopping: Stopping,
    service: S,
) where
    S: Fn(Request<Incoming>, Arc<Progress>) -> F + Send + Sync,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Without this, the second segment of an answer would wait for the first to be acknowledged.
    drop(stream.set_nodelay(true));
    let progress = Arc::new(Progress::default());
    let tracked = TokioIo::new(Tracked::new(stream, Arc::clone(&progress)));
    let service = service_fn(|request| {
        let response = service(request, Arc::clone(&progress));
        let stopping = &stopping;
        async move {
            let mut response = response.await;
            if stopping.phase() != Phase::Running {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout)
        .max_headers(HEAD_LINES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(tracked, service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopping.until(Phase::Closed) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let Err(error) = ended else { return };
    if let Some(fault) = progress.fault() {
        metrics.rejected(rejection_of(fault));
        let mut stream = connection.into_parts().io.into_inner().into_stream();
        refuse(&mut stream, fault).await;
    } else if error.is_parse_too_large() {
        metrics.rejected(Rejection::HeadTooLarge);
    } else if error.is_parse() {
        metrics.rejected(Rejection::Malformed);
    } else if error.is_timeout() && progress.is_unfinished() {
        metrics.rejected(Rejection::Timeout);
    }
}

fn rejection_of(fault: HeadFault) -> Rejection {
    match fault {
        HeadFault::TwoLengths => Rejection::Malformed,
        HeadFault::LineTooLong => Rejection::HeadTooLarge,
    }
}

/// The library has not seen the request, so that this is the only answer to it.
async fn refuse(stream: &mut TcpStream, fault: HeadFault) {
    let status = match fault {
        HeadFault::TwoLengths => "400 Bad Request",
        HeadFault::LineTooLong => "414 URI Too Long",
    };
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let write = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What is still on its way is read, so that the answer is not lost to a reset.
        tokio::io::copy(&mut stream.take(REST_BYTES_MAX), &mut tokio::io::sink()).await
    };
    drop(tokio::time::timeout(WRITE_TIMEOUT, write).await);
}

/// A place among the open connections; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(limits: &Limits) -> Option<Self> {
        let taken = |taken: usize| (taken < limits.max_connections).then_some(taken + 1);
        limits.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).ok()?;
        Some(Self(Arc::clone(&limits.connections)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
