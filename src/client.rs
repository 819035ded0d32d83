//! One HTTP request over a connection of its own.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{
    Request, Response, Uri,
    header::{CONTENT_LENGTH, HOST, HeaderValue},
    uri::PathAndQuery,
};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

use crate::tls::ClientTls;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The URL does not say whom to ask.
    #[error("the URL has no host")]
    NoHost,
    /// There is no TLS to ask with.
    #[error("there is no TLS for https")]
    NoTls,
    /// Nobody takes the connection.
    #[error("no connection: {0}")]
    Connection(std::io::Error),
    /// The handshake failed.
    #[error("no TLS connection: {0}")]
    Tls(std::io::Error),
    /// It ended before there was an answer.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It ended inside the answer, or the answer is too large.
    #[error("the answer broke off: {0}")]
    BrokenOff(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends `request` to the host in its URL, over `tls` where that says `https`, and reads an answer
/// of `answer_bytes_max` at most. Takes as long as it takes.
pub async fn exchange(
    request: Request<Bytes>,
    tls: Option<&ClientTls>,
    answer_bytes_max: usize,
) -> Result<Response<Bytes>, NoAnswer> {
    let connection = Connection::open(request.uri(), tls).await?;
    connection.exchange(request.map(Full::new), answer_bytes_max).await
}

/// Either end of a connection, whatever it goes over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection for one exchange.
pub struct Connection {
    local: SocketAddr,
    stream: Box<dyn Stream>,
}

impl Connection {
    /// To the host in `url`, over `tls` where that says `https`. Takes as long as it takes.
    pub async fn open(url: &Uri, tls: Option<&ClientTls>) -> Result<Self, NoAnswer> {
        let is_https = url.scheme_str() == Some("https");
        let host = url.host().ok_or(NoAnswer::NoHost)?.trim_matches(['[', ']']);
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(NoAnswer::Connection)?;
        let local = stream.local_addr().map_err(NoAnswer::Connection)?;
        if !is_https {
            return Ok(Self { local, stream: Box::new(stream) });
        }
        let tls = tls.ok_or(NoAnswer::NoTls)?;
        let stream = tls.connect(host, stream).await.map_err(NoAnswer::Tls)?;
        Ok(Self { local, stream: Box::new(stream) })
    }

    /// The own end of it.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends `request`, whose body has a known length, and reads an answer of `answer_bytes_max`
    /// at most. The connection ends with this exchange, however that ends.
    pub async fn exchange<B>(
        self,
        request: Request<B>,
        answer_bytes_max: usize,
    ) -> Result<Response<Bytes>, NoAnswer>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        self.carry(request.map(BodyExt::boxed_unsync), answer_bytes_max).await
    }

    /// The same, whatever the body is: what speaks HTTP is large, and stands in the program once.
    async fn carry(
        self,
        request: Request<UnsyncBoxBody<Bytes, Infallible>>,
        answer_bytes_max: usize,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.stream)).await?;
        // Ends with this exchange: a time-out leaves no connection behind.
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let mut request = in_origin_form(request);
        if let Some(length) = request.body().size_hint().exact() {
            request.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body =
            Limited::new(body, answer_bytes_max).collect().await.map_err(NoAnswer::BrokenOff)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// As it goes to a server: only the path in its first line, and the host in a header.
pub fn in_origin_form<B>(request: Request<B>) -> Request<B> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.host().unwrap_or_default();
    let host = match head.uri.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    if let Ok(host) = HeaderValue::from_str(&host) {
        head.headers.insert(HOST, host);
    }
    let path = head.uri.path_and_query().cloned();
    head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Request::from_parts(head, body)
}
