//! One sign-up that is played: a caller as it is documented, or one that behaves as callers do when
//! something goes wrong, against the real public port.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use serde::Deserialize;
use tokio::time::{Sleep, sleep_until};

use crate::{
    caller::{Caller, HttpAnswer},
    clock,
    journal::{Journal, Notes},
};

/// In how many pieces a slow network brings a body.
const PIECES: u32 = 10;

/// The longest time that can be asked for, in milliseconds: more than any caller waits.
const MS_MAX: u64 = 30_000;

/// How soon a person presses the button again: sooner than anybody can, but not before the bridge
/// knows that its answer was delivered.
const PRESSES_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// How the caller behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Manner {
    /// As documented: it waits its time, and tries once more where nothing came.
    Normal,
    /// It closes the connection after a while, and that was it.
    GiveUp,
    /// The first answer gets lost: it closes after a while, whatever came, and tries once more.
    Retry,
    /// The person sends the form again after the answer.
    Resubmit,
    /// The body comes piece by piece.
    Slow,
}

/// What the page asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Which connector.
    pub(super) connector: String,
    /// The body, as it is to be sent.
    pub(super) claims: String,
    pub(super) manner: Manner,
    /// After how many milliseconds the caller gives up, or the whole body is there.
    pub(super) ms: u64,
    pub(super) credentials: Credentials,
}

impl Wanted {
    fn time(&self) -> Duration {
        Duration::from_millis(self.ms.min(MS_MAX))
    }
}

/// What the caller shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Credentials {
    /// What is configured.
    Right,
    /// Another password.
    Wrong,
    /// Nothing.
    None,
}

/// One request of a play.
#[derive(Clone)]
pub(super) struct Try {
    /// When the caller began to connect.
    pub(super) began: Instant,
    /// What the bridge noted of it.
    pub(super) notes: Notes,
    /// When the caller had its answer or gave up, and what it got.
    pub(super) heard: Option<(Instant, Result<HttpAnswer, String>)>,
}

/// A sign-up that is played.
pub(super) struct Play {
    pub(super) wanted: Wanted,
    pub(super) caller: Caller,
    pub(super) began: Instant,
    so_far: Mutex<(Vec<Try>, Progress)>,
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Over,
}

impl Play {
    pub(super) fn new(wanted: Wanted, caller: Caller) -> Self {
        let so_far = Mutex::new((Vec::new(), Progress::Running));
        Self { wanted, caller, began: clock::now(), so_far }
    }

    /// Its requests so far, and whether there will be more.
    pub(super) fn so_far(&self) -> (Vec<Try>, Progress) {
        self.lock().clone()
    }

    /// Plays it to its end.
    pub(super) async fn run(&self, journal: &Journal) {
        let waits = self.caller.protocol.caller_waits;
        let time = self.wanted.time();
        match self.wanted.manner {
            Manner::Normal | Manner::Slow => self.as_documented(journal).await,
            Manner::GiveUp => {
                self.request(journal, time.min(waits)).await;
            }
            Manner::Retry => {
                self.lose(journal, time.min(waits)).await;
                self.request(journal, waits).await;
            }
            Manner::Resubmit => {
                self.as_documented(journal).await;
                clock::sleep_until(clock::now() + PRESSES_AGAIN_AFTER).await;
                self.as_documented(journal).await;
            }
        }
        self.lock().1 = Progress::Over;
    }

    /// What is kept of its bodies is forgotten.
    pub(super) fn forget(&self) {
        self.lock().0.drain(..).for_each(|request| request.notes.forget_bodies());
    }

    async fn as_documented(&self, journal: &Journal) {
        let waits = self.caller.protocol.caller_waits;
        if self.request(journal, waits).await == Came::Nothing {
            self.request(journal, waits).await;
        }
    }

    /// One request, whose answer is waited for so long.
    async fn request(&self, journal: &Journal, patience: Duration) -> Came {
        let (at, until) = self.begin(patience);
        let waited = || Err(format!("no answer within {} s", patience.as_secs_f64()));
        let heard = clock::until(until, self.exchange(at, journal)).await;
        let heard = heard.unwrap_or_else(waited);
        let came = if heard.is_ok() { Came::Answer } else { Came::Nothing };
        self.end(at, heard);
        came
    }

    /// One request, whose answer does not reach the caller: after a while it closes.
    async fn lose(&self, journal: &Journal, after: Duration) {
        let (at, until) = self.begin(after);
        let exchange = async {
            drop(self.exchange(at, journal).await);
            std::future::pending::<()>().await;
        };
        clock::until(until, exchange).await;
        let why = format!("the answer was lost; closed after {} s", after.as_secs_f64());
        self.end(at, Err(why));
    }

    async fn exchange(&self, at: usize, journal: &Journal) -> Result<HttpAnswer, String> {
        let connection = self.caller.connect().await?;
        let announced = journal.announce(connection.local());
        if let Some(request) = self.lock().0.get_mut(at) {
            request.notes = announced.notes.clone();
        }
        let over = match self.wanted.manner {
            Manner::Slow => self.wanted.time(),
            Manner::Normal | Manner::GiveUp | Manner::Retry | Manner::Resubmit => Duration::ZERO,
        };
        let body = Pieces::new(Bytes::copy_from_slice(self.wanted.claims.as_bytes()), over);
        self.caller.exchange_over(connection, body).await
    }

    fn begin(&self, patience: Duration) -> (usize, Instant) {
        let began = clock::now();
        let mut so_far = self.lock();
        so_far.0.push(Try { began, notes: Notes::default(), heard: None });
        (so_far.0.len() - 1, began + patience)
    }

    fn end(&self, at: usize, heard: Result<HttpAnswer, String>) {
        if let Some(request) = self.lock().0.get_mut(at) {
            request.heard = Some((clock::now(), heard));
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<Try>, Progress)> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of one request, to the caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Answer,
    Nothing,
}

/// A body that comes in equal pieces over some time.
struct Pieces {
    left: Bytes,
    piece: usize,
    pause: Duration,
    /// When the next piece is due.
    due: Instant,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Pieces {
    /// The first piece at once and the last after `over`; in one piece where that is no time.
    fn new(body: Bytes, over: Duration) -> Self {
        let pieces = if over.is_zero() { 1 } else { PIECES as usize };
        let piece = body.len().div_ceil(pieces).max(1);
        let pauses = u32::try_from(body.len().div_ceil(piece)).unwrap_or(PIECES);
        let pause = over / pauses.saturating_sub(1).max(1);
        Self { left: body, piece, pause, due: clock::now(), wait: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(context));
        }
        let length = self.piece.min(self.left.len());
        let piece = self.left.split_to(length);
        let due = self.due + self.pause;
        self.due = due;
        self.wait = Some(Box::pin(sleep_until(due.into())));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_comes_whole_in_pieces_and_in_its_time() {
        for (bytes, pieces) in [(0, 0), (1, 1), (7, 7), (100, 10), (101, 10)] {
            let over = Duration::from_secs(2);
            let body = Bytes::from(vec![b'x'; bytes]);
            let (start, mut slow) = (clock::now(), Pieces::new(body.clone(), over));
            assert_eq!(slow.size_hint().exact(), Some(bytes as u64));
            let (mut got, mut count) = (Vec::new(), 0);
            while let Some(frame) = slow.frame().await {
                got.extend_from_slice(&frame.unwrap().into_data().unwrap());
                count += 1;
            }
            assert_eq!((got, count), (body.to_vec(), pieces), "{bytes}");
            let taken = clock::now() - start;
            let wanted = if pieces > 1 { over } else { Duration::ZERO };
            assert!(taken.abs_diff(wanted) < Duration::from_millis(20), "{bytes}: {taken:?}");
        }
    }
}
