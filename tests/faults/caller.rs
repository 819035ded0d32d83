//! A caller: posts claims, reads exactly one answer, and tries once more elsewhere.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    history::{Answer, Asked, End, History, Life, Request},
    support::real::post_head,
};

/// Where requests can go, as a load balancer knows it.
#[derive(Default)]
pub(crate) struct Endpoints {
    all: Mutex<Vec<(Life, u16)>>,
    next: AtomicUsize,
}

impl Endpoints {
    pub(crate) fn add(&self, life: Life, port: u16) {
        self.all.lock().unwrap().push((life, port));
    }

    pub(crate) fn remove(&self, life: Life) {
        self.all.lock().unwrap().retain(|(other, _)| *other != life);
    }

    /// The one with this number.
    pub(crate) fn at(&self, number: usize) -> (Life, u16) {
        self.all.lock().unwrap()[number]
    }

    /// In turn; another than `but` where there is one.
    pub(crate) fn pick(&self, but: Option<Life>) -> Option<(Life, u16)> {
        let all = self.all.lock().unwrap();
        let others: Vec<_> = all.iter().filter(|(life, _)| Some(*life) != but).collect();
        let others = if others.is_empty() { all.iter().collect() } else { others };
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        others.get(at % others.len().max(1)).map(|endpoint| **endpoint)
    }
}

/// Claims of a person whom nobody else has, and what the worker is to do about them.
pub(crate) fn claims(person: usize, plan: &str) -> Bytes {
    let claims = format!(
        r#"{{"email":"p{person}@example.com","displayName":"Person {person}","plan":"{plan}"}}"#
    );
    claims.into()
}

/// How a request went wrong.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nobody took the connection: a load balancer goes on to the next.
    Refused,
    /// A kept connection was closed before anything came back: a client sends it once more.
    Stale,
    Broken(String),
}

/// A caller with a connection that it may keep.
#[derive(Default)]
pub(crate) struct Caller {
    kept: Option<(u16, TcpStream)>,
}

impl Caller {
    /// Posts on a new connection, closed afterwards, or on one that is `kept`.
    pub(crate) async fn post(
        &mut self,
        port: u16,
        asked: &Asked,
        keep: bool,
        waits: Duration,
    ) -> Result<Answer, Fault> {
        let reused = self.kept.take().filter(|(kept, _)| *kept == port && keep);
        let is_reused = reused.is_some();
        let exchange = async {
            let mut stream = match reused {
                Some((_, stream)) => stream,
                None => {
                    TcpStream::connect(("127.0.0.1", port)).await.map_err(|_| Fault::Refused)?
                }
            };
            let answer = exchange(&mut stream, asked, keep).await;
            Ok((stream, answer))
        };
        let (stream, answer) =
            timeout(waits, exchange).await.map_err(|_| Fault::Broken("no answer".into()))??;
        match answer {
            Ok((answer, stays_open)) => {
                self.kept = (keep && stays_open).then_some((port, stream));
                Ok(answer)
            }
            Err((error, 0)) if is_reused => {
                drop(error);
                Err(Fault::Stale)
            }
            Err((error, length)) => Err(Fault::Broken(format!("{error} after {length} bytes"))),
        }
    }

    /// Posts as a caller does, and notes it. Whether there was an answer.
    pub(crate) async fn ask(
        &mut self,
        history: &History,
        to: (Life, u16),
        asked: &Asked,
        how: (u32, bool),
    ) -> Result<Option<Answer>, Fault> {
        let (attempt, keep) = how;
        let sent = history.now();
        // Longer than every caller waits.
        let waits = Duration::from_secs(20);
        let mut result = self.post(to.1, asked, keep, waits).await;
        if let Err(Fault::Stale) = result {
            result = self.post(to.1, asked, keep, waits).await;
        }
        let end = match result {
            // The body did not come in time: the line to the bridge is disturbed.
            Ok(Answer { status: 408, .. }) => End::Unanswered("408".into()),
            Ok(answer) => End::Answered(answer),
            Err(Fault::Refused) => return Err(Fault::Refused),
            Err(Fault::Stale) => End::Unanswered("closed".into()),
            Err(Fault::Broken(why)) => End::Unanswered(why),
        };
        let answer = match &end {
            End::Answered(answer) => Some(answer.clone()),
            End::Unanswered(_) | End::Left => None,
        };
        let (done, asked) = (history.now(), asked.clone());
        history.asked(Request { asked, life: to.0, attempt, sent, done, end });
        Ok(answer)
    }

    /// Has a call answered: one request, and one more elsewhere where there was no answer.
    /// Connections that nobody takes do not count.
    pub(crate) async fn call(
        &mut self,
        history: &History,
        endpoints: &Endpoints,
        asked: &Asked,
        keep: bool,
    ) -> Option<Answer> {
        let mut last = None;
        for attempt in [1, 2] {
            // For as long as a restart may take on a busy machine.
            for _ in 0..500 {
                let Some(to) = endpoints.pick(last) else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                last = Some(to.0);
                match self.ask(history, to, asked, (attempt, keep)).await {
                    Ok(Some(answer)) => return Some(answer),
                    Ok(None) => break,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        }
        None
    }
}

/// What was sent of a call, as bytes.
pub(crate) fn request(asked: &Asked, keep: bool) -> Vec<u8> {
    let head = post_head(asked.connector, asked.claims.len());
    let close = if keep { "" } else { "Connection: close\r\n" };
    [head.as_bytes(), close.as_bytes(), b"\r\n", &asked.claims].concat()
}

/// The answer, and whether the connection stays open; or why not, after how many bytes.
async fn exchange(
    stream: &mut TcpStream,
    asked: &Asked,
    keep: bool,
) -> Result<(Answer, bool), (io::Error, usize)> {
    let sent = stream.write_all(&request(asked, keep)).await;
    let read = read_answer(stream, keep).await;
    match (sent, read) {
        // Whoever refuses a body may answer before it is there.
        (_, Ok(answer)) => Ok(answer),
        (Err(error), Err((_, length))) => Err((error, length)),
        (Ok(()), Err(error)) => Err(error),
    }
}

pub(crate) async fn read_answer(
    stream: &mut TcpStream,
    keep: bool,
) -> Result<(Answer, bool), (io::Error, usize)> {
    let mut bytes = Vec::with_capacity(1_024);
    let broken = |length| (io::Error::from(io::ErrorKind::UnexpectedEof), length);
    let (head_end, length, head) = loop {
        if let Some(found) = head_of(&bytes) {
            break found;
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return Err(broken(bytes.len())),
            Ok(_) => {}
            Err(error) => return Err((error, bytes.len())),
        }
    };
    let end = head_end + length;
    let stays_open = keep && !head.contains("\r\nconnection: close\r\n");
    while bytes.len() < end || !stays_open {
        match stream.read_buf(&mut bytes).await {
            Ok(0) if bytes.len() < end => return Err(broken(bytes.len())),
            Ok(0) => break,
            Ok(_) => {}
            // A reset behind the whole answer takes nothing away.
            Err(_) if bytes.len() >= end => break,
            Err(error) => return Err((error, bytes.len())),
        }
    }
    let header = |name: &str| {
        let lines = head.lines().find_map(|line| line.strip_prefix(name));
        lines.unwrap_or_default().trim().to_owned()
    };
    let answer = Answer {
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
        surplus: bytes.len() - end,
        body: Bytes::copy_from_slice(&bytes[head_end..end]),
        source: header("connector-answer-source:"),
        call_id: header("connector-call-id:"),
    };
    Ok((answer, stays_open))
}

/// Where the head ends, how long the body is, and the head, once it is whole.
fn head_of(bytes: &[u8]) -> Option<(usize, usize, String)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let head = head.split_once("\r\n").map(|(first, rest)| {
        // Names in any case; values as they are.
        let lines = rest.lines().map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{}:{value}", name.to_ascii_lowercase()),
            None => line.to_owned(),
        });
        format!("{first}\r\n{}\r\n", lines.collect::<Vec<_>>().join("\r\n"))
    })?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    Some((end, length.trim().parse().ok()?, head))
}
