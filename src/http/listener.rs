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
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::{
    connection::{Progress, Tracked, WRITE_TIMEOUT},
    head::HeadFault,
    peer::{Chain, Peer},
    refusal::Refusal,
};
use crate::{
    budget::{Crowd, Guest, Share},
    domain::budget::Part,
    lifecycle::{Phase, Stopping},
    metrics::{Metrics, Rejection},
    secrets::Live,
    tls::ServerTls,
};

/// The largest head. The HTTP library bounds its lines too, at 100: set explicitly, that bound would
/// cost each request a list that is written line by line.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The pause after the system refused a new connection, for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much of a refused request is still read.
const REST_BYTES_MAX: u64 = 256 * 1024;

/// How long the rest of a refused request is waited for: a round trip of the slowest client.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection on which nothing came yet is kept after the listener was closed.
const FIRST_BYTE_PAUSE: Duration = Duration::from_millis(250);

/// How a listener takes connections.
#[derive(Clone)]
pub struct Terms {
    /// How long a head may take, and a connection may keep silent.
    pub read_timeout: Duration,
    /// The most connections at once, over all threads.
    pub max_connections: usize,
    /// The connections that there are.
    pub connections: Arc<AtomicUsize>,
    /// The memory that they hold.
    pub crowd: Arc<Crowd>,
    /// What is shown to clients, where they have to speak TLS.
    pub tls: Option<Arc<Live<ServerTls>>>,
}

impl Terms {
    /// Without TLS, for a listener that shares its connections with no other.
    pub fn plain(read_timeout: Duration, max_connections: usize) -> Self {
        let (connections, crowd) =
            (Arc::default(), Crowd::new(Share::unbounded(Part::Connections)));
        Self { read_timeout, max_connections, connections, crowd, tls: None }
    }
}

/// What a connection takes that has sent something, measured: its task, the buffers of the HTTP
/// library, and what the kernel has of it.
const CONNECTION_BYTES: usize = 32 * 1024;
const TLS_CONNECTION_BYTES: usize = 40 * 1024;

/// What an unfinished handshake may take besides: up to 64 KiB of it are kept.
const HANDSHAKE_BYTES: usize = 40 * 1024;

/// What a connection takes, with or without TLS.
pub fn connection_bytes(has_tls: bool) -> usize {
    if has_tls { TLS_CONNECTION_BYTES } else { CONNECTION_BYTES }
}

/// What the kernel keeps of a connection's bytes that nobody has read; it takes twice of it, for what
/// it notes of them. Control groups count that too, and nobody else does. A body of 64 KiB then takes
/// three round trips instead of two.
const RECEIVE_BYTES: u32 = 32 * 1024;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// Binds a listener that several threads can accept from. Within a runtime.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Accepted sockets have it from the listener.
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Answers connections until told to close, and then those that are open.
pub async fn serve<S, F, B>(
    listener: std::net::TcpListener,
    terms: Terms,
    metrics: Metrics,
    stopping: Stopping,
    service: S,
) -> io::Result<()>
where
    S: Fn(Request<Incoming>, Arc<Progress>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::from_std(listener)?;
    let mut tasks = tokio::task::JoinSet::new();
    let take = |tasks: &mut tokio::task::JoinSet<()>, stream, address: SocketAddr| {
        let Some((place, guest)) = admit(&terms) else {
            metrics.rejected(Rejection::Connections);
            return;
        };
        let guest = Arc::new(guest);
        let (terms, metrics, stopping) = (terms.clone(), metrics.clone(), stopping.clone());
        let service = service.clone();
        tasks.spawn(async move {
            // Without this, the second segment of an answer would wait for the first to be
            // acknowledged.
            drop(TcpStream::set_nodelay(&stream, true));
            let metrics_of_it = metrics.clone();
            let served = async {
                let metrics = metrics_of_it;
                match &terms.tls {
                    None => {
                        let peer = Arc::new(Peer::new(address, Vec::new()));
                        connection(stream, peer, &guest, &terms, metrics, stopping, service).await;
                    }
                    Some(tls) => match shake_hands(stream, tls, &guest, &terms, &stopping).await {
                        Some(Ok((stream, chain))) => {
                            let peer = Arc::new(Peer::new(address, chain));
                            connection(stream, peer, &guest, &terms, metrics, stopping, service)
                                .await;
                        }
                        Some(Err(_)) => metrics.rejected(Rejection::TlsHandshake),
                        None => {}
                    },
                }
            };
            tokio::select! {
                biased;
                () = served => {}
                () = guest.dismissed() => {}
            }
            if guest.has_to_leave() {
                metrics.rejected(Rejection::Connections);
            }
            drop(place);
        });
    };
    let mut closed = pin!(stopping.until(Phase::Closed));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            () = &mut closed => break,
        };
        match accepted {
            Ok((stream, address)) => take(&mut tasks, stream, address),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    // For those who connected and were not accepted yet, closing would be a reset.
    let listener = listener.into_std()?;
    while let Ok((stream, address)) = listener.accept() {
        stream.set_nonblocking(true)?;
        take(&mut tasks, TcpStream::from_std(stream)?, address);
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Nothing where the client went without a word: that is how some look whether anybody listens.
async fn shake_hands(
    stream: TcpStream,
    tls: &Live<ServerTls>,
    guest: &Guest,
    terms: &Terms,
    stopping: &Stopping,
) -> Option<io::Result<(impl AsyncRead + AsyncWrite + Send + Unpin + 'static, Chain)>> {
    let shaken = async {
        if stream.peek(&mut [0]).await.unwrap_or(0) == 0 {
            return None;
        }
        if !guest.grow_by(HANDSHAKE_BYTES) {
            return Some(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let shaken = tls.get().accept(stream).await;
        guest.resize(TLS_CONNECTION_BYTES);
        Some(shaken)
    };
    let closed = async {
        stopping.until(Phase::Closed).await;
        tokio::time::sleep(FIRST_BYTE_PAUSE).await;
    };
    tokio::select! {
        shaken = shaken => shaken,
        () = closed => None,
        () = tokio::time::sleep(terms.read_timeout) => Some(Err(io::ErrorKind::TimedOut.into())),
    }
}

async fn connection<C, S, F, B>(
    stream: C,
    peer: Arc<Peer>,
    guest: &Arc<Guest>,
    terms: &Terms,
    metrics: Metrics,
    stopping: Stopping,
    service: S,
) where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Fn(Request<Incoming>, Arc<Progress>, Arc<Peer>) -> F + Send + Sync,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let progress = Arc::new(Progress::of(Arc::clone(guest)));
    let tracked = TokioIo::new(Tracked::new(stream, Arc::clone(&progress)));
    let service = service_fn(|request| {
        let response = service(request, Arc::clone(&progress), Arc::clone(&peer));
        let (stopping, progress) = (&stopping, &progress);
        async move {
            let mut response = response.await;
            if stopping.phase() != Phase::Running || progress.is_lost() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(terms.read_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(tracked, service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = until_closed(&stopping, &progress) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let fault = progress.fault();
    match (&ended, fault) {
        (_, Some((fault, _))) => metrics.rejected(rejection_of(fault)),
        (Ok(()), None) => {}
        (Err(error), None) => count(error, &progress, &metrics),
    }
    let mut stream = connection.into_parts().io.into_inner().into_stream();
    match fault {
        Some((fault, true)) => refuse(&mut stream, fault).await,
        // The answers to earlier requests are lost: nobody could tell which this one is for.
        Some((_, false)) => {}
        // Inside of TLS, an end without a word looks like an attack to the other side.
        None if ended.is_err_and(|error| error.is_timeout()) => {
            drop(tokio::time::timeout(REST_TIMEOUT, stream.shutdown()).await);
        }
        None if progress.is_inside_a_request() => read_rest(&mut stream).await,
        None => {}
    }
}

/// The request of a connection that was accepted at the last moment may still be on its way.
async fn until_closed(stopping: &Stopping, progress: &Progress) {
    stopping.until(Phase::Closed).await;
    if progress.is_new() {
        tokio::time::sleep(FIRST_BYTE_PAUSE).await;
    }
}

fn count(error: &hyper::Error, progress: &Progress, metrics: &Metrics) {
    if error.is_parse_too_large() {
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
async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), fault: HeadFault) {
    let (status, refusal) = match fault {
        HeadFault::TwoLengths => ("400 Bad Request", Refusal::TwoLengths),
        HeadFault::LineTooLong => ("414 URI Too Long", Refusal::TargetTooLong),
    };
    let body = refusal.body();
    let media_type =
        if refusal.has_body() { "content-type: application/problem+json\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\ncache-control: no-store\r\n{media_type}connection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let answer = [head.as_bytes(), &body].concat();
    let write = async {
        stream.write_all(&answer).await?;
        stream.flush().await?;
        stream.shutdown().await
    };
    if let Ok(Ok(())) = tokio::time::timeout(WRITE_TIMEOUT, write).await {
        read_rest(stream).await;
    }
}

/// Reads what is still on its way, so that the answer is not lost to a reset (RFC 9112, section
/// 9.6).
async fn read_rest(stream: &mut (impl AsyncRead + Unpin)) {
    let (mut rest, mut nowhere) = (stream.take(REST_BYTES_MAX), tokio::io::sink());
    let read = tokio::io::copy(&mut rest, &mut nowhere);
    drop(tokio::time::timeout(REST_TIMEOUT, read).await);
}

/// A place for one more connection, and the memory that it holds. Where all are taken, the oldest of
/// those who have not shown that they may call has to leave.
fn admit(terms: &Terms) -> Option<(Place, Guest)> {
    let place = match Place::take(terms) {
        Some(place) => place,
        None if terms.crowd.dismiss_oldest() => Place::add(terms),
        None => return None,
    };
    let guest = terms.crowd.enter(connection_bytes(terms.tls.is_some()))?;
    Some((place, guest))
}

/// A place among the open connections; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(terms: &Terms) -> Option<Self> {
        let taken = |taken: usize| (taken < terms.max_connections).then_some(taken + 1);
        terms.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).ok()?;
        Some(Self(Arc::clone(&terms.connections)))
    }

    /// One more than there are, until who was dismissed has gone.
    fn add(terms: &Terms) -> Self {
        terms.connections.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&terms.connections))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
