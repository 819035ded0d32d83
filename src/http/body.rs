//! Bodies: read within bounds of time, size and memory, and counted as long as anybody has them.

use std::{future::pending, sync::Arc};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

use super::{connection::AnswerBody, refusal::Refusal};
use crate::{
    budget::{Budget, Crowd, Guest, Order, Share, Source},
    domain::budget::Part,
};

/// What a call takes besides its body while it is decided: its futures, its message and the wait for
/// the reply.
const CALL_BYTES: usize = 6 * 1024;

/// One part of so many is kept for connectors whose calls others would leave no room.
const RESERVED: usize = 4;

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
    /// What of that is kept for each connector alone.
    reserve: usize,
}

impl Room {
    /// Within the shares of `budget`, for so many connectors.
    pub fn of(budget: &Budget, connectors: usize) -> Self {
        let unfinished = Crowd::new(budget.share(Part::Bodies), Order::Arrival);
        Self::new(unfinished, budget.share(Part::Calls), connectors)
    }

    fn new(unfinished: Arc<Crowd>, calls: Arc<Share>, connectors: usize) -> Self {
        let reserve = calls.limit() / RESERVED / connectors.max(1);
        Self { unfinished, calls, reserve }
    }

    /// What is kept for the calls of one connector: whoever calls another one cannot take it.
    pub fn reserve(&self) -> Arc<Share> {
        Share::new(Part::Calls, self.reserve)
    }

    /// A body that is counted until its last copy is gone, and whether it is: where there is no
    /// room it is only for a look at it.
    pub(super) fn keep(&self, body: Bytes, reserve: &Arc<Share>) -> (Bytes, bool) {
        let pinned =
            if body.len() > SMALL_BYTES { body.len().max(BUFFER_BYTES) } else { body.len() };
        let bytes = CALL_BYTES + pinned;
        let body = if body.len() <= SMALL_BYTES { Bytes::copy_from_slice(&body) } else { body };
        // All connectors have three quarters together; each has its part of the last one.
        let common = self.calls.limit() - self.calls.limit() / RESERVED;
        if let Some(hold) = self.calls.try_hold_up_to(bytes, common) {
            return (hold.bind(body), true);
        }
        match reserve.try_hold(bytes) {
            Some(own) => (self.calls.hold(bytes).bind(own.bind(body)), true),
            None => {
                self.calls.refuse();
                (body, false)
            }
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
    source: Source,
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
    let guest = unfinished.enter(first.len(), source).ok_or(Refusal::NoRoom)?;
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt, StreamExt};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    const MAX: usize = 100_000;

    fn here() -> Source {
        Source::of(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    }

    fn crowd(bytes: usize) -> (Arc<Crowd>, Arc<Share>) {
        let share = Share::new(Part::Bodies, bytes);
        (Crowd::new(Arc::clone(&share), Order::Arrival), share)
    }

    /// A body that comes as it is sent, and ends when the sender is dropped.
    fn body() -> (mpsc::UnboundedSender<usize>, impl Body<Data = Bytes, Error = Infallible> + Unpin)
    {
        let (sender, receiver) = mpsc::unbounded_channel();
        let pieces = futures_util::stream::unfold(receiver, async |mut receiver| {
            let bytes: usize = receiver.recv().await?;
            Some((Ok(Frame::data(Bytes::from(vec![b' '; bytes]))), receiver))
        });
        (sender, StreamBody::new(pieces.boxed()))
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_neither_copied_nor_counted_as_unfinished() {
        let (crowd, share) = crowd(0);
        let piece = Bytes::from_static(b"{}");
        let whole = read(Full::new(piece.clone()), Some(2), MAX, &crowd, here()).await.unwrap();
        assert_eq!(whole.as_ptr(), piece.as_ptr());
        assert_eq!(share.refusals(), 0);
    }

    #[tokio::test]
    async fn what_has_come_of_a_body_is_held_until_it_is_whole_and_never_more_than_announced() {
        let (crowd, share) = crowd(MAX);
        let (sender, body) = body();
        let mut whole = Box::pin(read(body, Some(30_000), MAX, &crowd, here()));
        for (piece, held) in [(1_000, 1_000), (1_000, 4_000), (9_000, 22_000), (18_000, 30_000)] {
            sender.send(piece).unwrap();
            assert!((&mut whole).now_or_never().is_none());
            assert_eq!(share.held(), held, "after {piece} more");
        }
        sender.send(1_000).unwrap();
        drop(sender);
        assert_eq!(whole.await.unwrap().len(), 30_000);
        assert_eq!(share.held(), 0);
    }

    #[tokio::test]
    async fn the_oldest_unfinished_body_makes_room_for_another() {
        let (crowd, share) = crowd(10_000);
        let ((first, of_first), (second, of_second)) = (body(), body());
        let mut oldest = Box::pin(read(of_first, None, MAX, &crowd, here()));
        let mut newest = Box::pin(read(of_second, None, MAX, &crowd, here()));
        for (sender, whole) in [(&first, &mut oldest), (&second, &mut newest)] {
            sender.send(6_000).unwrap();
            assert!(whole.now_or_never().is_none());
        }
        assert_eq!(oldest.now_or_never(), Some(Err(Refusal::NoRoom)));
        drop(second);
        assert_eq!(newest.await.unwrap().len(), 6_000);
        assert_eq!((share.held(), share.refusals()), (0, 1));
    }

    #[tokio::test]
    async fn a_body_of_too_many_bytes_is_refused_as_soon_as_they_are_there() {
        let (crowd, share) = crowd(MAX * 3);
        for pieces in [vec![MAX + 1], vec![MAX, 1], vec![1, MAX]] {
            let (sender, body) = body();
            pieces.iter().for_each(|piece| sender.send(*piece).unwrap());
            assert_eq!(
                read(body, None, MAX, &crowd, here()).await,
                Err(Refusal::TooLarge),
                "{pieces:?}"
            );
        }
        assert_eq!(share.held(), 0);
    }

    #[test]
    fn a_body_is_kept_as_long_as_there_is_room_and_counted_with_the_buffer_that_it_keeps() {
        let (crowd, _) = crowd(0);
        let calls = Share::new(Part::Calls, 60_000);
        let room = Room::new(crowd, Arc::clone(&calls), 1);
        let reserve = room.reserve();
        for (bytes, held) in [
            (100, CALL_BYTES + 100),
            (SMALL_BYTES + 1, CALL_BYTES + BUFFER_BYTES),
            (20_000, CALL_BYTES + 20_000),
        ] {
            let (body, is_kept) = room.keep(Bytes::from(vec![b' '; bytes]), &reserve);
            assert_eq!((body.len(), is_kept, calls.held()), (bytes, true, held));
        }
        let (body, is_kept) = room.keep(Bytes::from(vec![b' '; 60_000]), &reserve);
        assert_eq!((body.len(), is_kept, calls.held()), (60_000, false, 0));
    }

    #[test]
    fn whoever_calls_one_connector_leaves_room_for_the_calls_of_another() {
        let (crowd, _) = crowd(0);
        let calls = Share::new(Part::Calls, 8 * 64 * 1024);
        let room = Room::new(crowd, Arc::clone(&calls), 2);
        let (greedy, other) = (room.reserve(), room.reserve());
        let mut held = Vec::new();
        for bytes in [50_000, 20_000, 5_000, 100, 1] {
            loop {
                let (body, is_kept) = room.keep(Bytes::from(vec![b' '; bytes]), &greedy);
                if !is_kept {
                    break;
                }
                held.push(body);
            }
        }
        let (body, is_kept) = room.keep(Bytes::from(vec![b' '; 50_000]), &other);
        assert!(is_kept && calls.held() <= calls.limit());
        drop((held, body));
        assert_eq!((calls.held(), greedy.held(), other.held()), (0, 0, 0));
    }
}
