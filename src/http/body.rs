//! Bodies: read within bounds of time, size and memory, and counted as long as anybody has them.

use std::{future::pending, sync::Arc};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use super::{connection::AnswerBody, refusal::Refusal};
use crate::{
    budget::{Budget, Crowd, Guest, Share},
    domain::budget::Part,
};

/// What a call takes besides its body while it is decided: its futures, its message and the wait for
/// the reply.
const CALL_BYTES: usize = 6 * 1024;

/// Up to this size a body is copied out of the connection's buffer, which is larger.
const SMALL_BYTES: usize = 4 * 1024;

/// A larger one that came in one piece keeps that buffer.
const BUFFER_BYTES: usize = 16 * 1024;

/// What bodies may take while they come, and calls while they are decided.
#[derive(Clone)]
pub struct Room {
    /// Bodies that have not come as a whole.
    pub unfinished: Arc<Crowd>,
    /// Calls with their bodies, and answers on their way.
    pub calls: Arc<Share>,
}

impl Room {
    /// Within the shares of `budget`.
    pub fn of(budget: &Budget) -> Self {
        let unfinished = Crowd::new(budget.share(Part::Bodies));
        Self { unfinished, calls: budget.share(Part::Calls) }
    }

    /// A body that is counted until its last copy is gone, and whether it is: where there is no
    /// room it is only for a look at it.
    pub(super) fn keep(&self, body: Bytes) -> (Bytes, bool) {
        let pinned =
            if body.len() > SMALL_BYTES { body.len().max(BUFFER_BYTES) } else { body.len() };
        match self.calls.try_hold(CALL_BYTES + pinned) {
            None => (body, false),
            Some(hold) if body.len() <= SMALL_BYTES => {
                (hold.bind(Bytes::copy_from_slice(&body)), true)
            }
            Some(hold) => (hold.bind(body), true),
        }
    }

    /// An answer of so many bytes is given whether or not there is room. Calls that come meanwhile
    /// find less.
    pub(super) fn count(&self, body: AnswerBody, bytes: usize) -> AnswerBody {
        match bytes {
            0..=SMALL_BYTES => body,
            _ => body.counted(self.calls.hold(bytes)),
        }
    }
}

/// The whole body, of at most `max` bytes. One that came in one piece is not copied; one that comes
/// in several holds memory for what has come, until it is whole.
pub(super) async fn read<B>(
    mut body: B,
    announced: Option<usize>,
    max: usize,
    unfinished: &Arc<Crowd>,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Some(first) = next(&mut body, None).await? else { return Ok(Bytes::new()) };
    if first.len() > max {
        return Err(Refusal::TooLarge);
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let guest = unfinished.enter(first.len()).ok_or(Refusal::NoRoom)?;
    let mut all = BytesMut::from(first);
    while let Some(data) = next(&mut body, Some(&guest)).await? {
        let bytes = all.len() + data.len();
        if bytes > max {
            return Err(Refusal::TooLarge);
        }
        if bytes > all.capacity() {
            let most = announced.unwrap_or(max).max(bytes);
            let room = (bytes * 2).min(most);
            if !guest.resize(room) {
                return Err(Refusal::NoRoom);
            }
            all.reserve(room - all.len());
        }
        all.extend_from_slice(&data);
    }
    // What is kept while the call is decided has no more room than it takes.
    let spare = all.capacity() - all.len();
    Ok(if spare > all.len() / 4 { Bytes::copy_from_slice(&all) } else { all.freeze() })
}

/// The next piece; nothing at the end.
async fn next<B>(body: &mut B, guest: Option<&Guest>) -> Result<Option<Bytes>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let dismissed = async {
        match guest {
            Some(guest) => guest.dismissed().await,
            None => pending().await,
        }
    };
    let frames = async {
        while let Some(frame) = body.frame().await {
            // What came is not HTTP, or the connection broke and nobody hears this.
            let frame = frame.map_err(|_| Refusal::BrokenBody)?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    };
    tokio::select! {
        biased;
        next = frames => next,
        () = dismissed => Err(Refusal::NoRoom),
    }
}
