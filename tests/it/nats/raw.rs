//! A NATS client that speaks the protocol by itself, so that each refusal is heard where it comes.

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::support::real::{NatsServer, SOON};

pub(super) struct Raw(BufReader<TcpStream>);

impl Raw {
    /// With members of `CONNECT`: `"user":"a","pass":"b"`. Else what the server says to it.
    pub(super) async fn connect(server: &NatsServer, who: &str) -> Result<Self, Vec<String>> {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        let mut raw = Self(BufReader::new(stream));
        assert!(raw.line().await.unwrap().starts_with("INFO {"));
        let more = if who.is_empty() { "" } else { "," };
        let connect = format!(
            r#"CONNECT {{"verbose":false,"protocol":1,"headers":true,"no_responders":true{more}{who}}}"#
        );
        let said = raw.say(&format!("{connect}\r\n")).await;
        if said.is_empty() { Ok(raw) } else { Err(said) }
    }

    /// Says lines of the protocol. Returns what the server says until it has seen all of them, or
    /// has hung up.
    pub(super) async fn say(&mut self, lines: &str) -> Vec<String> {
        self.0.write_all(format!("{lines}PING\r\n").as_bytes()).await.unwrap();
        let mut said = Vec::new();
        while let Some(line) = self.line().await.filter(|line| line != "PONG") {
            // News about the cluster, and whether this side is still there.
            if !line.starts_with("INFO {") && line != "PING" {
                said.push(line);
            }
        }
        said
    }

    /// Waits for a message with headers. Returns its reply subject.
    pub(super) async fn next_reply_subject(&mut self) -> String {
        loop {
            let line = self.line().await.unwrap();
            if let Some(head) = line.strip_prefix("HMSG ") {
                let [_, _, reply, _, length] = head.split(' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}");
                };
                let mut message = vec![0; length.parse::<usize>().unwrap() + 2];
                timeout(SOON, self.0.read_exact(&mut message)).await.unwrap().unwrap();
                return reply.to_owned();
            }
        }
    }

    /// `None` where the server has hung up.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        // Whoever is refused may find the connection reset.
        let read = timeout(SOON, self.0.read_line(&mut line)).await.unwrap().unwrap_or(0);
        (read > 0).then(|| line.trim_end().to_owned())
    }
}

/// A line that publishes this, for [`Raw::say`].
pub(super) fn publish(subject: &str, reply: &str, payload: &str) -> String {
    format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len())
}
