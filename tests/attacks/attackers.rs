//! Attackers: many tasks on a thread of their own that stands back behind all others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::Builder,
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::limits::stand_back;

/// From one attacker to the next, at the beginning: a listener's queue has room for some hundred that
/// were not accepted yet, and whoever does not fit waits for seconds.
const RAMP: Duration = Duration::from_micros(500);

/// What they did and what became of it, by a word for it.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

impl Tally {
    pub(crate) fn count(&self, what: &str) {
        let mut counts = self.0.lock().unwrap();
        match counts.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(counts.insert(what.to_owned(), 1)),
        }
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap().clone()
    }
}

/// So many attackers, until stopped.
pub(crate) struct Attackers {
    pub(crate) tally: Tally,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Attackers {
    /// Each does what `act` says, again and again; it gets its number.
    pub(crate) fn start<F>(
        count: usize,
        act: impl Fn(usize, Tally) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tally = Tally::default();
        let (stop, stopped) = oneshot::channel();
        let shared = tally.clone();
        let thread = thread::spawn(move || {
            stand_back();
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for number in 0..count {
                    let (act, tally) = (act.clone(), shared.clone());
                    tokio::spawn(async move {
                        sleep(RAMP * u32::try_from(number).unwrap()).await;
                        loop {
                            act(number, tally.clone()).await;
                            // However it went: others have their turn.
                            tokio::task::yield_now().await;
                        }
                    });
                }
                drop(stopped.await);
            });
            runtime.shutdown_background();
        });
        Self { tally, stop, thread }
    }

    /// Closes all connections; returns what they did.
    pub(crate) fn stop(self) -> BTreeMap<String, u64> {
        self.stop.send(()).unwrap_or(());
        self.thread.join().unwrap();
        self.tally.counts()
    }
}

/// Connects from another address than good callers, the same one for the same number. Waits a moment
/// where nobody takes the connection.
pub(crate) async fn connect(number: usize, port: u16, tally: &Tally) -> Option<TcpStream> {
    connect_by(TcpSocket::new_v4().ok()?, number, port, tally).await
}

/// Connects, with next to no room for what is not read.
pub(crate) async fn connect_small(number: usize, port: u16, tally: &Tally) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_recv_buffer_size(4_096).ok()?;
    connect_by(socket, number, port, tally).await
}

async fn connect_by(
    socket: TcpSocket,
    number: usize,
    port: u16,
    tally: &Tally,
) -> Option<TcpStream> {
    let address = [127, 0, 0, 2 + u8::try_from(number % 8).unwrap()];
    let connected = async {
        socket.bind((address, 0).into())?;
        socket.connect(([127, 0, 0, 1], port).into()).await
    };
    match timeout(Duration::from_secs(5), connected).await {
        Ok(Ok(stream)) => {
            tally.count("connections");
            drop(stream.set_nodelay(true));
            Some(stream)
        }
        _ => {
            tally.count("not connected");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Connects, sends these bytes and nothing more, and reads until the bridge closes the connection.
/// Waits a moment where it did so at once.
pub(crate) async fn send_and_wait(number: usize, port: u16, bytes: &[u8], tally: &Tally) {
    let Some(mut stream) = connect(number, port, tally).await else { return };
    if stream.write_all(bytes).await.is_ok() {
        tally.count("sent");
    }
    let answered = until_closed(&mut stream).await;
    tally.count(&answered);
    sleep(Duration::from_millis(20)).await;
}

/// What was read before the end: nothing, or the status of an answer.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> String {
    let mut first = [0; 12];
    let mut length = 0;
    let mut bytes = [0; 4_096];
    loop {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                let more = read.min(first.len() - length);
                first[length..length + more].copy_from_slice(&bytes[..more]);
                length += more;
            }
        }
    }
    match first[..length].strip_prefix(b"HTTP/1.1 ") {
        Some(status) => format!("answered {}", String::from_utf8_lossy(status)),
        None => "closed".to_owned(),
    }
}
