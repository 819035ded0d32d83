//! The accept loop: bounded connections, each on hyper with timers.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONNECTION};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

pub use super::terms::{Terms, Tls, connection_bytes};
use super::{
    arriving::{Arriving, REST_BYTES_MAX, read_at_once},
    connection::{Progress, Tracked, WRITE_TIMEOUT},
    peer::Peer,
    refusal::Refusal,
    terms::{HANDSHAKE_BYTES, TLS_CONNECTION_BYTES, admit},
};
use crate::{
    budget::Guest,
    clock,
    lifecycle::{Phase, Stopping},
    metrics::{Metrics, Rejection},
    tls::Unshaken,
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

/// What the kernel keeps of a connection's bytes that nobody has read; it takes twice of it, for what
/// it notes of them. Control groups count that too, and nobody else does. A body of 64 KiB then takes
/// three round trips instead of two.
const RECEIVE_BYTES: u32 = 32 * 1024;

/// What the kernel keeps of an answer that is not taken. An answer is shorter, nearly always.
const SEND_BYTES: u32 = 64 * 1024;

/// While more connections than this have to leave and are still there, no new one is accepted.
const LEAVING_MAX: usize = 16;

/// How long they are given to go before it is looked again.
const LEAVING_PAUSE: Duration = Duration::from_millis(1);

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// Binds a listener that several threads can accept from. Within a runtime.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Accepted sockets have it from the listener.
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    socket.set_send_buffer_size(SEND_BYTES)?;
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
        let Some((place, guest)) = admit(&terms, address) else {
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
            let counts = metrics.clone();
            let served = serve_one(stream, address, &guest, &terms, metrics, stopping, service);
            tokio::select! {
                biased;
                () = served => {}
                () = guest.dismissed() => {}
            }
            if guest.has_to_leave() {
                counts.rejected(Rejection::GaveWay);
            }
            drop(place);
        });
    };
    let mut closed = pin!(stopping.until(Phase::Closed));
    let mut is_refused = false;
    loop {
        // Accepting takes less time than leaving. Without this, a flood would be there twice.
        let may_accept = terms.crowd.leaving() <= LEAVING_MAX;
        let accepted = tokio::select! {
            accepted = listener.accept(), if may_accept => accepted,
            Some(_) = tasks.join_next() => continue,
            () = tokio::time::sleep(LEAVING_PAUSE), if !may_accept => continue,
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

/// Everything on one connection, from the handshake to the end.
async fn serve_one<S, F, B>(
    stream: TcpStream,
    address: SocketAddr,
    guest: &Arc<Guest>,
    terms: &Terms,
    metrics: Metrics,
    stopping: Stopping,
    service: S,
) where
    S: Fn(Request<Arriving>, Arc<Progress>, Arc<Peer>) -> F + Send + Sync,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(tls) = &terms.tls else {
        let peer = Arc::new(Peer::new(address, Vec::new()));
        return connection(stream, peer, guest, terms, metrics, stopping, service).await;
    };
    match shake_hands(stream, address, guest, tls, terms, &stopping).await {
        Some(Ok((stream, peer))) => {
            connection(stream, Arc::new(peer), guest, terms, metrics, stopping, service).await;
        }
        Some(Err(rejection)) => metrics.rejected(rejection),
        None => {}
    }
}

/// Nothing where the client went without a word.
async fn shake_hands(
    stream: TcpStream,
    address: SocketAddr,
    guest: &Arc<Guest>,
    tls: &Tls,
    terms: &Terms,
    stopping: &Stopping,
) -> Option<Result<(impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Peer), Rejection>> {
    let shaken = async {
        // Who keeps silent takes no turn.
        stream.readable().await.ok()?;
        let (shown, authorities) = (tls.shown.get(), tls.authorities.clone());
        let guest = Arc::clone(guest);
        let work = async move {
            // Only now: until its turn comes, nothing of it is read.
            if !guest.grow_by(HANDSHAKE_BYTES) {
                return Err(Unshaken::Left);
            }
            let (stream, chain) = shown.accept(stream).await?;
            guest.resize(TLS_CONNECTION_BYTES);
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
    guest: &Arc<Guest>,
    terms: &Terms,
    metrics: Metrics,
    stopping: Stopping,
    service: S,
) where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Fn(Request<Arriving>, Arc<Progress>, Arc<Peer>) -> F + Send + Sync,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let progress = Arc::new(Progress::new(terms.pulse.clone(), Arc::clone(guest)));
    let tracked = TokioIo::new(Tracked::new(stream, Arc::clone(&progress)));
    let service = service_fn(|request: Request<Incoming>| {
        guest.is_used();
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
