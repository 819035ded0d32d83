//! One connection: when a request's first byte came, and when an answer's last byte was written.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    arriving::Rest,
    head::{HeadFault, HeadScan},
};
use crate::{
    budget::{Guest, Hold},
    clock,
    memory::Receipt,
    stalls::Pulse,
};

/// How far the current exchange of a connection has come.
#[derive(Default)]
pub struct Progress {
    exchange: Mutex<Exchange>,
    /// Of the thread that reads, where stalls count.
    pulse: Option<Arc<Pulse>>,
    /// What the connection holds of the memory for connections, where that is counted.
    guest: Option<Arc<Guest>>,
}

#[derive(Default)]
struct Exchange {
    /// When the first byte of the current request came.
    arrived: Option<Instant>,
    /// When the first byte of a request behind it came.
    next_arrived: Option<Instant>,
    head: HeadScan,
    fault: Option<HeadFault>,
    /// The whole answer was handed to the HTTP library and waits to be written.
    is_handed_over: bool,
    /// What nobody has read of the current request's body.
    rest: Option<Rest>,
    receipt: Option<Receipt>,
    answers: u64,
    /// How much there is of a head that has not ended.
    head_bytes: usize,
    /// Whether more room was taken for one.
    has_grown: bool,
}

/// A head up to this size fits into what every connection holds. For a longer one the HTTP library
/// takes more room, and keeps it.
const SHORT_HEAD_BYTES: usize = 6 * 1024;
const LONG_HEAD_BYTES: usize = 12 * 1024;

impl Progress {
    /// That of a connection that holds memory as `guest`, on a thread with that pulse.
    pub(super) fn new(pulse: Option<Arc<Pulse>>, guest: Arc<Guest>) -> Self {
        Self { exchange: Mutex::default(), pulse, guest: Some(guest) }
    }

    /// A whole request came, with right credentials: whoever is at the other end is no stranger, and
    /// need not make room for others.
    pub(super) fn is_from_a_caller(&self) {
        if let Some(guest) = &self.guest {
            guest.finish();
        }
    }

    /// When the first byte of the current request came.
    pub fn arrived(&self) -> Instant {
        self.lock().arrived.unwrap_or_else(clock::now)
    }

    /// Whether a request has begun that is not answered yet, or none ever has.
    pub(super) fn is_unfinished(&self) -> bool {
        let exchange = self.lock();
        let requests = exchange.head.requests();
        requests == 0 || requests > exchange.answers
    }

    /// Whether no request has begun yet.
    pub(super) fn is_new(&self) -> bool {
        self.lock().head.requests() == 0
    }

    /// Whether part of a request has not been read.
    pub(super) fn is_inside_a_request(&self) -> bool {
        !self.lock().head.is_between_requests()
    }

    /// Whether a request that comes next could not be looked at.
    pub(super) fn is_lost(&self) -> bool {
        self.lock().head.is_lost()
    }

    /// The reader of the current request's body has gone.
    pub(super) fn leave(&self, rest: Rest) {
        self.lock().rest = Some(rest);
    }

    /// What it has left; nothing where it came to the end.
    pub(super) fn take_rest(&self) -> Option<Rest> {
        self.lock().rest.take()
    }

    /// What is wrong with a head, and whether its request is the one that waits for an answer.
    pub(super) fn fault(&self) -> Option<(HeadFault, bool)> {
        let exchange = self.lock();
        Some((exchange.fault?, exchange.head.requests() == exchange.answers + 1))
    }

    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When that came which is read now.
    fn now(&self) -> Instant {
        let now = clock::now();
        self.pulse.as_ref().map_or(now, |pulse| pulse.arrival(now))
    }

    /// Fails where what came is no head that may be read on, or there is no room for it.
    fn read(&self, bytes: &[u8]) -> io::Result<()> {
        let mut exchange = self.lock();
        if exchange.fault.is_none() {
            exchange.fault = exchange.head.look_at(bytes).err();
        }
        let (requests, answers) = (exchange.head.requests(), exchange.answers);
        if requests > answers {
            exchange.arrived.get_or_insert_with(|| self.now());
        }
        if requests > answers + 1 {
            exchange.next_arrived.get_or_insert_with(|| self.now());
        }
        let head = if exchange.head.is_in_head() { exchange.head_bytes + bytes.len() } else { 0 };
        exchange.head_bytes = head;
        if exchange.fault.is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if head <= SHORT_HEAD_BYTES || std::mem::replace(&mut exchange.has_grown, true) {
            return Ok(());
        }
        drop(exchange);
        match &self.guest {
            Some(guest) if !guest.grow_by(LONG_HEAD_BYTES) => {
                Err(io::ErrorKind::OutOfMemory.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn hand_over(&self, receipt: Option<Receipt>) {
        let mut exchange = self.lock();
        exchange.is_handed_over = true;
        exchange.receipt = receipt;
    }

    /// Everything handed over so far is with the socket.
    pub fn written(&self) {
        let mut exchange = self.lock();
        if !exchange.is_handed_over {
            return;
        }
        exchange.is_handed_over = false;
        exchange.answers += 1;
        exchange.arrived = exchange.next_arrived;
        if exchange.head.requests() <= exchange.answers + 1 {
            exchange.next_arrived = None;
        }
        let receipt = exchange.receipt.take();
        drop(exchange);
        if let Some(receipt) = receipt {
            receipt.delivered();
        }
    }
}

/// An answer's body. The one that takes its only piece is told that the answer is whole.
pub struct AnswerBody {
    bytes: Option<Bytes>,
    receipt: Option<Receipt>,
    progress: Option<Arc<Progress>>,
}

impl AnswerBody {
    pub(super) fn new(bytes: Bytes, receipt: Option<Receipt>, progress: &Arc<Progress>) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self { bytes, receipt, progress: Some(Arc::clone(progress)) }
    }

    /// Counted by `hold` until the last byte is with the socket.
    pub(super) fn counted(mut self, hold: Hold) -> Self {
        self.bytes = self.bytes.take().map(|bytes| hold.bind(bytes));
        self
    }
}

impl AnswerBody {
    fn hand_over(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.hand_over(self.receipt.take());
        }
    }
}

/// An answer without a body, as to HEAD, is whole without a piece being taken.
impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.receipt = None;
        self.hand_over();
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        self.hand_over();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// How long the socket may take no byte of an answer before the client is given up. Inside of TLS,
/// how long it may take for the last of what waits to be sent, which is less than 64 KiB.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the socket may take for an answer altogether. Longer than any caller waits for one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A stream that keeps [`Progress`] up to date, and gives up a client that does not read.
pub(super) struct Tracked<S> {
    stream: S,
    progress: Arc<Progress>,
    stalled: Option<Pin<Box<Sleep>>>,
    /// When an answer had to wait for its client, and is not written since.
    behind: Option<Instant>,
}

impl<S> Tracked<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress, stalled: None, behind: None }
    }

    /// Ends with an error what has waited too long for the client to read.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let stalled = self.stalled.get_or_insert_with(|| {
            let now = clock::now();
            let end = *self.behind.get_or_insert(now) + ANSWER_TIMEOUT;
            Box::pin(sleep(WRITE_TIMEOUT.min(end.saturating_duration_since(now))))
        });
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        match buffer.filled().get(before..) {
            Some(new) if !new.is_empty() => Poll::Ready(self.progress.read(new)),
            Some(_) | None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The HTTP library flushes only when nothing is left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.watch(context, flushed))?;
        self.behind = None;
        self.progress.written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A request that the library has not seen is answered after it has ended.
        if self.progress.fault().is_some() {
            return Poll::Ready(Ok(()));
        }
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::Instant,
    };

    use super::*;

    /// Writes to a client that takes a piece, then waits, and so on.
    async fn written_to(pause: Duration, pieces: usize) -> (io::Result<()>, Duration) {
        let (here, mut there) = tokio::io::duplex(10);
        let client = async move {
            let mut piece = [0; 10];
            for _ in 0..pieces {
                tokio::time::sleep(pause).await;
                there.read_exact(&mut piece).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let mut tracked = Tracked::new(here, Arc::default());
        let start = Instant::now();
        let write = async {
            tracked.write_all(&[0; 200]).await?;
            tracked.flush().await
        };
        tokio::select! {
            wrote = write => (wrote, start.elapsed()),
            () = client => unreachable!("it waits for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_when_nothing_is_taken_for_5_s_or_not_all_within_30_s() {
        let seconds = Duration::from_secs;
        let (wrote, took) = written_to(seconds(1), 19).await;
        assert!(wrote.is_ok(), "{took:?}");
        let (wrote, took) = written_to(seconds(1), 10).await;
        assert_eq!(wrote.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(took.as_secs(), 15);
        let (wrote, took) = written_to(seconds(4), 19).await;
        assert_eq!(wrote.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(took.as_secs(), 30);
    }
}
