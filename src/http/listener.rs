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
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    arriving::{Arriving, REST_BYTES_MAX, read_at_once},
    connection::{Progress, Tracked, WRITE_TIMEOUT},
    crowd::{Crowd, Seat},
    handshakes::Handshakes,
    peer::Peer,
    refusal::Refusal,
};
use crate::{
    clock,
    lifecycle::{Phase, Stopping},
    metrics::{Metrics, Rejection},
    secrets::Live,
    stalls::Pulse,
    tls::{ClientAuthorities, ServerTls, Unshaken},
};

/// The largest head. The HTTP library bounds its lines too, at 100: set explicitly, that bound would
/// cost each request a list that is written line by line.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The pause after the system refused a new connection, for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    /// How hands are shaken with clients, where they have to speak TLS.
    pub tls: Option<Arc<Tls>>,
    /// Tells of stalls of the thread that serves, where that is its work.
    pub pulse: Option<Arc<Pulse>>,
    /// Where a connection gives way to the next one rather than being refused.
    pub crowd: Option<Arc<Crowd>>,
}

/// How hands are shaken.
pub struct Tls {
    /// What is shown to clients.
    pub shown: Arc<Live<ServerTls>>,
    /// Who judges the certificates that they show.
    pub authorities: Option<Arc<Live<ClientAuthorities>>>,
    /// Where that is done.
    pub handshakes: Handshakes,
}

impl Terms {
    /// Without TLS, for a listener that shares its connections with no other.
    pub fn plain(read_timeout: Duration, max_connections: usize) -> Self {
        Self {
            read_timeout,
            max_connections,
            connections: Arc::default(),
            tls: None,
            pulse: None,
            crowd: None,
        }
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
    terms: Terms,
    metrics: Metrics,
    stopping: Stopping,
    service: S,
) -> io::Result<()>
where
    S: Fn(Request<Arriving>, Arc<Progress>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::from_std(listener)?;
    let (mut tasks, mut beating) = (JoinSet::new(), JoinSet::new());
    if let Some(pulse) = terms.pulse.clone() {
        beating.spawn(pulse.beat(metrics.clone()));
    }
    let take = |tasks: &mut JoinSet<()>, stream, address: SocketAddr| {
        let Some(place) = Place::take(&terms) else {
            metrics.rejected(Rejection::Connections);
            return;
        };
        let seat = terms.crowd.as_ref().map(|crowd| {
            let (seat, gone) = crowd.enter();
            (0..gone).for_each(|_| metrics.rejected(Rejection::GaveWay));
            seat
        });
        let (terms, metrics, stopping) = (terms.clone(), metrics.clone(), stopping.clone());
        let service = service.clone();
        tasks.spawn(async move {
            // Without this, the second segment of an answer would wait for the first to be
            // acknowledged.
            drop(TcpStream::set_nodelay(&stream, true));
            match &terms.tls {
                None => {
                    let peer = Arc::new(Peer::new(address, Vec::new()));
                    connection(stream, peer, &terms, metrics, stopping, seat, service).await;
                }
                Some(tls) => match shake_hands(stream, address, tls, &terms, &stopping).await {
                    Some(Ok((stream, peer))) => {
                        let peer = Arc::new(peer);
                        connection(stream, peer, &terms, metrics, stopping, seat, service).await;
                    }
                    Some(Err(rejection)) => metrics.rejected(rejection),
                    None => {}
                },
            }
            drop(place);
        });
    };
    let mut closed = pin!(stopping.until(Phase::Closed));
    let mut is_refused = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            () = &mut closed => break,
        };
        match accepted {
            Ok((stream, address)) => {
                is_refused = false;
                take(&mut tasks, stream, address);
            }
            // A connection that has ended before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                metrics.rejected(Rejection::Accept);
                if !std::mem::replace(&mut is_refused, true) {
                    tracing::warn!(%error, "the system refuses new connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
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

/// Nothing where the client went without a word.
async fn shake_hands(
    stream: TcpStream,
    address: SocketAddr,
    tls: &Tls,
    terms: &Terms,
    stopping: &Stopping,
) -> Option<Result<(impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Peer), Rejection>> {
    let shaken = async {
        // Who keeps silent takes no turn.
        stream.readable().await.ok()?;
        let (shown, authorities) = (tls.shown.get(), tls.authorities.clone());
        let work = async move {
            let (stream, chain) = shown.accept(stream).await?;
            let peer = Peer::new(address, chain);
            if let Some(authorities) = authorities {
                peer.judge_ahead(authorities.get(), clock::wall());
            }
            Ok((stream, peer))
        };
        match tls.handshakes.run(address.ip(), work).await {
            Some(Ok(shaken)) => Some(Ok(shaken)),
            Some(Err(Unshaken::Left)) => None,
            Some(Err(Unshaken::Failed)) => Some(Err(Rejection::TlsHandshake)),
            None => Some(Err(Rejection::TlsBusy)),
        }
    };
    let closed = async {
        stopping.until(Phase::Closed).await;
        tokio::time::sleep(FIRST_BYTE_PAUSE).await;
    };
    tokio::select! {
        shaken = shaken => shaken,
        () = closed => None,
        () = tokio::time::sleep(terms.read_timeout) => Some(Err(Rejection::TlsHandshake)),
    }
}

async fn connection<C, S, F, B>(
    stream: C,
    peer: Arc<Peer>,
    terms: &Terms,
    metrics: Metrics,
    stopping: Stopping,
    seat: Option<Seat>,
    service: S,
) where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Fn(Request<Arriving>, Arc<Progress>, Arc<Peer>) -> F + Send + Sync,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let progress = Arc::new(Progress::new(terms.pulse.clone()));
    let tracked = TokioIo::new(Tracked::new(stream, Arc::clone(&progress)));
    let service = service_fn(|request: Request<Incoming>| {
        seat.iter().for_each(Seat::is_used);
        let version = request.version();
        let request = Arriving::watch(request, &progress);
        let response = service(request, Arc::clone(&progress), Arc::clone(&peer));
        let (stopping, progress) = (&stopping, &progress);
        async move {
            let mut response = response.await;
            let is_last = is_last(progress, stopping).await;
            if is_last || response.headers().contains_key(CONNECTION) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                // Otherwise the library tells a client of HTTP/1.0 both: close and keep.
                *response.version_mut() = version;
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
        () = gives_way(seat.as_ref()) => return,
    };
    let fault = progress.fault();
    match (&ended, fault) {
        (_, Some((fault, _))) => {
            Refusal::from(fault).rejection().into_iter().for_each(|why| metrics.rejected(why));
        }
        (Ok(()), None) => {}
        (Err(error), None) => count(error, &progress, &metrics),
    }
    let mut stream = connection.into_parts().io.into_inner().into_stream();
    match fault {
        Some((fault, true)) => refuse(&mut stream, fault.into()).await,
        // The answers to earlier requests are lost: nobody could tell which this one is for.
        Some((_, false)) => {}
        // The library leaves it out after a timeout, and where a request has asked for another
        // protocol. Inside of TLS, an end without a word looks like an attack to the other side.
        None => {
            drop(tokio::time::timeout(REST_TIMEOUT, stream.shutdown()).await);
            if !ended.is_err_and(|error| error.is_timeout()) && progress.is_inside_a_request() {
                read_rest(&mut stream).await;
            }
        }
    }
}

/// Whether an answer is the last one of its connection.
async fn is_last(progress: &Progress, stopping: &Stopping) -> bool {
    let is_read = match progress.take_rest() {
        None => true,
        Some(rest) => read_at_once(rest).await,
    };
    !is_read || progress.is_lost() || stopping.phase() != Phase::Running
}

async fn gives_way(seat: Option<&Seat>) {
    match seat {
        Some(seat) => seat.gives_way().await,
        None => std::future::pending().await,
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

/// The library has not seen the request, so that this is the only answer to it.
async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), refusal: Refusal) {
    let status = refusal.status();
    let body = refusal.body();
    let media_type =
        if refusal.has_body() { "content-type: application/problem+json\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {} {}\r\ncache-control: no-store\r\n{media_type}connection: close\r\n\
         content-length: {}\r\n\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
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
    let (mut rest, mut nowhere) = (stream.take(REST_BYTES_MAX as u64), tokio::io::sink());
    let read = tokio::io::copy(&mut rest, &mut nowhere);
    drop(tokio::time::timeout(REST_TIMEOUT, read).await);
}

/// A place among the open connections; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(terms: &Terms) -> Option<Self> {
        let taken = |taken: usize| (taken < terms.max_connections).then_some(taken + 1);
        terms.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).ok()?;
        Some(Self(Arc::clone(&terms.connections)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
