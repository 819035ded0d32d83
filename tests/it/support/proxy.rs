//! A TCP proxy on loopback that does what networks do at their worst.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How bytes move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// As they come.
    Free,
    /// Each piece of up to 64 KiB so much later.
    Delayed(Duration),
    /// So many at a time, one hundred times a second.
    Trickling(usize),
    /// Not at all, and nobody is told. What waits moves on afterwards.
    Stalled,
    /// New connections are closed at once; open ones go on.
    Refused,
}

#[derive(Clone, Copy)]
enum End {
    Closed,
    Reset,
}

#[derive(Clone, Copy)]
struct State {
    flow: Flow,
    /// Connections that were open before this changed have ended.
    generation: u64,
    end: End,
}

/// A line to one port that can be disturbed.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: watch::Sender<State>,
}

impl Proxy {
    /// To a port on loopback.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (sender, state) =
            watch::channel(State { flow: Flow::Free, generation: 0, end: End::Closed });
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    // The proxy was dropped.
                    () = closed(state.clone()) => return,
                };
                if state.borrow().flow != Flow::Refused {
                    let Ok((near, _)) = accepted else { continue };
                    tokio::spawn(carry(near, port, state.clone()));
                }
            }
        });
        Self { port: own, state: sender }
    }

    pub(crate) fn set(&self, flow: Flow) {
        self.state.send_modify(|state| state.flow = flow);
    }

    /// Closes what is open; what was on the way is lost.
    pub(crate) fn cut(&self) {
        self.end(End::Closed);
    }

    /// The same with RST.
    pub(crate) fn reset(&self) {
        self.end(End::Reset);
    }

    fn end(&self, end: End) {
        self.state.send_modify(|state| {
            state.generation += 1;
            state.end = end;
        });
    }
}

async fn closed(mut state: watch::Receiver<State>) {
    while state.changed().await.is_ok() {}
}

/// Carries one connection until both sides have ended or the proxy ends it.
async fn carry(mut near: TcpStream, port: u16, mut state: watch::Receiver<State>) {
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let generation = state.borrow().generation;
    {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let there = pump(near_read, far_write, state.clone());
        let back = pump(far_read, near_write, state.clone());
        let ended = async { drop(state.wait_for(|state| state.generation != generation).await) };
        tokio::select! {
            // First: what waits must not move on when the flow is set free after a cut.
            biased;
            () = ended => {}
            _ = async { tokio::join!(there, back) } => return,
        }
    }
    if let End::Reset = state.borrow().end {
        drop((near.set_zero_linger(), far.set_zero_linger()));
    }
}

/// Moves bytes one way until their end, and hands the end on.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) -> Option<()> {
    const TICK: Duration = Duration::from_millis(10);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let flow = state.borrow().flow;
        let most = if let Flow::Trickling(most) = flow { most } else { buffer.len() };
        let length = from.read(buffer.get_mut(..most)?).await.unwrap_or(0);
        let flow = state.wait_for(|state| state.flow != Flow::Stalled).await.ok()?.flow;
        match flow {
            Flow::Delayed(pause) => tokio::time::sleep(pause).await,
            Flow::Trickling(_) => tokio::time::sleep(TICK).await,
            Flow::Free | Flow::Stalled | Flow::Refused => {}
        }
        if length == 0 {
            return to.shutdown().await.ok();
        }
        to.write_all(buffer.get(..length)?).await.ok()?;
    }
}
