//! A collector of spans that takes them, until it is told to refuse them.

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::receiver::read_request;

/// What becomes of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    Refuses,
}

/// The collector.
pub(crate) struct Collector {
    pub(crate) port: u16,
    mood: watch::Sender<Mood>,
}

impl Collector {
    /// Listens on a port of its own, and takes spans.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, mood) = watch::channel(Mood::Takes);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, mood.clone()));
            }
        });
        Self { port, mood: sender }
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

async fn serve(mut stream: TcpStream, mood: watch::Receiver<Mood>) -> Option<()> {
    loop {
        drop(read_request(&mut stream).await?);
        let status = match *mood.borrow() {
            Mood::Takes => "200 OK",
            Mood::Refuses => "400 Bad Request",
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
