//! Who is told of alerts: a web server that keeps every notification.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::expected::Expected;

/// Whether an alert goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Firing,
    Resolved,
}

/// One alert of one notification.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Notice {
    pub(crate) status: State,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// When it came.
    #[serde(skip, default = "Instant::now")]
    pub(crate) at: Instant,
    /// To whom: the path of its URL.
    #[serde(skip)]
    pub(crate) to: String,
}

#[derive(Deserialize)]
struct Notification {
    alerts: Vec<Notice>,
}

impl Notice {
    fn is(&self, expected: &Expected) -> bool {
        let has = |name: &str, value: &str| self.labels.get(name).is_some_and(|is| is == value);
        has("alertname", &format!("ConnectorBridge{}", expected.name))
            && has("severity", expected.severity)
            && expected.labels.iter().all(|(name, value)| has(name, value))
    }
}

/// The path and the body of the next request of a connection.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.ok()?));
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
    });
    let mut body = vec![0; length?];
    stream.read_exact(&mut body).await.ok()?;
    Some((head.split(' ').nth(1)?.to_owned(), body))
}

/// All notifications so far.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl Receiver {
    /// Listens on a port of its own.
    pub(crate) async fn start() -> (Self, u16) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self::default();
        let accepting = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = accepting.clone();
                tokio::spawn(async move { receiver.serve(stream).await });
            }
        });
        (receiver, port)
    }

    /// One connection, request after request.
    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let (to, body) = read_request(&mut stream).await?;
            let notification: Notification = serde_json::from_slice(&body).unwrap();
            let notices = notification.alerts.into_iter();
            let notices = notices.map(|notice| Notice { to: to.clone(), ..notice });
            self.notices.lock().unwrap().extend(notices);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.ok()?;
        }
    }

    /// What came to this path from then on.
    pub(crate) fn since(&self, then: Instant, to: &str) -> Vec<Notice> {
        let notices = self.notices.lock().unwrap();
        notices.iter().filter(|notice| notice.at >= then && notice.to == to).cloned().collect()
    }

    /// The first such notice from then on.
    fn first(&self, then: Instant, expected: &Expected, state: State) -> Option<Notice> {
        let notices = self.since(then, ALL);
        notices.into_iter().find(|notice| notice.is(expected) && notice.status == state)
    }

    /// Waits for each of these to be told of, from then on. Returns how long each took.
    pub(crate) async fn until(
        &self,
        then: Instant,
        expected: &[Expected],
        state: State,
        within: Duration,
    ) -> Vec<Duration> {
        loop {
            let found: Vec<_> =
                expected.iter().map(|expected| self.first(then, expected, state)).collect();
            if found.iter().all(Option::is_some) {
                return found.into_iter().flatten().map(|notice| notice.at - then).collect();
            }
            let missing: Vec<_> =
                expected.iter().zip(&found).filter(|(_, found)| found.is_none()).collect();
            assert!(
                then.elapsed() < within,
                "not {state:?} within {within:?}: {:?}\nwhat came: {:#?}",
                missing.iter().map(|(expected, _)| expected).collect::<Vec<_>>(),
                self.since(then, ALL).iter().map(|n| (n.status, &n.labels)).collect::<Vec<_>>(),
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The path to which all alerts come, none muted.
pub(crate) const ALL: &str = "/all";

/// The path to which pages come, as the example routes them.
pub(crate) const PAGE: &str = "/page";
