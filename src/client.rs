//! One HTTP request over a connection of its own.

use bytes::Bytes;
use http::{
    Request, Response, Uri,
    header::{CONTENT_LENGTH, HOST, HeaderValue},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, Full, Limited};
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
    let url = request.uri().clone();
    let is_https = url.scheme_str() == Some("https");
    let host = url.host().ok_or(NoAnswer::NoHost)?.trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(NoAnswer::Connection)?;
    if !is_https {
        return over(stream, request, answer_bytes_max).await;
    }
    let tls = tls.ok_or(NoAnswer::NoTls)?;
    let stream = tls.connect(host, stream).await.map_err(NoAnswer::Tls)?;
    over(stream, request, answer_bytes_max).await
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Bytes>,
    answer_bytes_max: usize,
) -> Result<Response<Bytes>, NoAnswer> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this exchange, however that ends: a time-out leaves no connection behind.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let answer = sender.send_request(in_origin_form(request)).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, answer_bytes_max).collect().await.map_err(NoAnswer::BrokenOff)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// As it goes to a server: only the path in its first line, and the host in a header.
fn in_origin_form(request: Request<Bytes>) -> Request<Full<Bytes>> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.host().unwrap_or_default();
    let host = match head.uri.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    if let Ok(host) = HeaderValue::from_str(&host) {
        head.headers.insert(HOST, host);
    }
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let path = head.uri.path_and_query().cloned();
    head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Request::from_parts(head, Full::new(body))
}
