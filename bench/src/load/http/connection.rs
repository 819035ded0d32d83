//! One connection, its requests, and as much of HTTP as their answers need.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Failure, claims::Claims, options::Http};

/// Servers close connections that keep silent for some seconds. Before this nobody does.
const SURELY_OPEN: Duration = Duration::from_secs(1);

/// Connections that begin with other connectors go on with other ones.
pub(super) struct Connection {
    stream: TcpStream,
    address: String,
    /// One request for each connector, written once; only digits in the claims change.
    requests: Vec<Request>,
    /// Which one is next.
    turn: usize,
    /// What came, and has been taken as an answer up to `Answer::bytes`.
    received: Vec<u8>,
    used: Instant,
}

struct Request {
    bytes: Vec<u8>,
    /// Where the claims begin.
    body: usize,
}

/// An answer that has come in whole.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

impl Connection {
    /// The `who`-th one; they are spread over addresses.
    pub(super) async fn open(target: &Http, claims: &Claims, who: usize) -> Result<Self, Failure> {
        let at = who.checked_rem(target.addresses.len()).ok_or("no address")?;
        let address = target.addresses.get(at).ok_or("no address")?.clone();
        let requests = (0..target.connectors).map(|number| request(target, claims, number));
        Ok(Self {
            stream: connected(&address).await?,
            requests: requests.collect(),
            turn: who % target.connectors,
            received: Vec::with_capacity(4_096),
            used: Instant::now(),
            address,
        })
    }

    /// Makes a new call.
    pub(super) async fn call(&mut self, claims: &Claims) -> Result<Answer<'_>, Failure> {
        if self.used.elapsed() > SURELY_OPEN && is_closed(&self.stream) {
            self.stream = connected(&self.address).await?;
        }
        self.turn = (self.turn + 1) % self.requests.len();
        let request = self.requests.get_mut(self.turn).ok_or("no request")?;
        let body = request.bytes.get_mut(request.body..).ok_or("no body")?;
        claims.number(body, claims.next());
        self.stream.write_all(&request.bytes).await?;
        self.received.clear();
        let head = loop {
            if let Some(head) = Head::read(&self.received)? {
                break head;
            }
            self.receive().await?;
        };
        while self.received.len() < head.bytes + head.body_bytes {
            self.receive().await?;
        }
        self.used = Instant::now();
        let body = self.received.get(head.bytes..head.bytes + head.body_bytes);
        Ok(Answer { status: head.status, body: body.unwrap_or_default() })
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err("the connection was closed before the answer was whole".into()),
            _ => Ok(()),
        }
    }
}

async fn connected(address: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn is_closed(stream: &TcpStream) -> bool {
    !stream.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn request(target: &Http, claims: &Claims, number: usize) -> Request {
    let path = match target.connectors {
        1 => "bench".to_owned(),
        _ => format!("bench-{number}"),
    };
    let authorization = target.authorization.as_ref();
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n"));
    let mut bytes = format!(
        "POST /connectors/{path} HTTP/1.1\r\nHost: bench.example\r\nContent-Type: application/json\r\n\
         {}Content-Length: {}\r\n\r\n",
        authorization.unwrap_or_default(),
        claims.body().len()
    )
    .into_bytes();
    let body = bytes.len();
    bytes.extend_from_slice(claims.body());
    Request { bytes, body }
}

/// What is needed of the head of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Its own length, with the empty line.
    bytes: usize,
    body_bytes: usize,
}

impl Head {
    /// None where it is not whole yet.
    fn read(received: &[u8]) -> Result<Option<Self>, Failure> {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(head) = end.and_then(|end| received.get(..end)) else { return Ok(None) };
        let text = std::str::from_utf8(head)?;
        let status = text.get(9..12).ok_or("no status")?.parse()?;
        let length = text.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then_some(value.trim())
        });
        let body_bytes = length.ok_or("an answer without Content-Length")?.parse()?;
        Ok(Some(Self { status, bytes: text.len() + 4, body_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let answer = b"HTTP/1.1 502 Bad Gateway\r\ncontent-LENGTH: 12\r\nDate: now\r\n\r\n{\"a\"";
        assert_eq!(Head::read(&answer[..50]).unwrap(), None);
        let head = Head { status: 502, bytes: answer.len() - 4, body_bytes: 12 };
        assert_eq!(Head::read(answer).unwrap(), Some(head));
        assert!(Head::read(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
