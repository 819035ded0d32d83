//! The account of the memory that callers and workers can make this process hold, in bytes. What does
//! not fit is refused or forgotten early, and counted.

mod crowd;
mod limit;
mod source;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;

pub use self::{
    crowd::{Crowd, Guest, Order},
    limit::of_this_process,
    source::Source,
};
use crate::domain::budget::{Caches, Part, share};

/// The memory of one process, shared out.
#[derive(Clone)]
pub struct Budget {
    limit: usize,
    shares: [Arc<Share>; Part::ALL.len()],
}

impl Budget {
    /// Where the process may take `limit` bytes.
    pub fn new(limit: usize, caches: Caches) -> Self {
        let shares = Part::ALL.map(|part| Share::new(part, share(part, limit, caches)));
        Self { limit, shares }
    }

    /// What the process may take as a whole.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The share of `part`.
    pub fn share(&self, part: Part) -> Arc<Share> {
        let share = self.shares.iter().find(|share| share.part == part);
        share.map_or_else(|| Share::unbounded(part), Arc::clone)
    }

    /// All shares.
    pub fn shares(&self) -> impl Iterator<Item = &Share> {
        self.shares.iter().map(|share| &**share)
    }
}

/// The account of one part.
pub struct Share {
    part: Part,
    limit: usize,
    held: AtomicUsize,
    refused: AtomicU64,
}

impl Share {
    /// So many bytes for `part`.
    pub fn new(part: Part, limit: usize) -> Arc<Self> {
        let (held, refused) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { part, limit, held, refused })
    }

    /// One that is never full.
    pub fn unbounded(part: Part) -> Arc<Self> {
        Self::new(part, usize::MAX)
    }

    /// Whose share it is.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The most bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The bytes that are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// How often something was refused or forgotten early.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Holds `bytes` until the hold is dropped; counts where there is no room for them.
    pub fn try_hold(self: &Arc<Self>, bytes: usize) -> Option<Hold> {
        let hold = self.try_hold_up_to(bytes, self.limit);
        if hold.is_none() {
            self.refuse();
        }
        hold
    }

    /// Holds `bytes` if no more than `most` are held then. Counts nothing: there may be another way.
    pub fn try_hold_up_to(self: &Arc<Self>, bytes: usize, most: usize) -> Option<Hold> {
        let more = |held: usize| held.checked_add(bytes).filter(|held| *held <= most);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Hold { share: Arc::clone(self), bytes })
    }

    /// Holds `bytes` even if there is no room for them: others will find none before.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Hold {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Hold { share: Arc::clone(self), bytes }
    }

    /// Something was refused, or forgotten before its time.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What is held, where its holder keeps the account.
    pub fn set_held(&self, bytes: usize) {
        self.held.store(bytes, Ordering::Relaxed);
    }
}

/// Bytes of a share; given back when dropped.
pub struct Hold {
    share: Arc<Share>,
    bytes: usize,
}

impl Hold {
    /// `data` with this hold, which ends with its last copy: wherever it is kept, it is counted.
    pub fn bind(self, data: Bytes) -> Bytes {
        Bytes::from_owner(Bound { data, _hold: self })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.share.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hold({} bytes)", self.bytes)
    }
}

struct Bound {
    data: Bytes,
    _hold: Hold,
}

impl AsRef<[u8]> for Bound {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_held_until_it_is_dropped_and_what_does_not_is_counted() {
        let share = Share::new(Part::Calls, 100);
        let first = share.try_hold(60).expect("room");
        assert!(share.try_hold(41).is_none());
        assert_eq!((share.held(), share.refusals()), (60, 1));
        let second = share.try_hold(40).expect("room");
        drop(first);
        assert_eq!(share.held(), 40);
        drop(second);
        assert_eq!((share.held(), share.refusals()), (0, 1));
    }

    #[test]
    fn what_must_be_held_is_and_nothing_else_fits_before_it_is_gone() {
        let share = Share::new(Part::Calls, 100);
        let answer = share.hold(150);
        assert!(share.try_hold(1).is_none());
        drop(answer);
        assert!(share.try_hold(100).is_some());
    }

    #[test]
    fn a_body_is_counted_until_its_last_copy_is_gone() {
        let share = Share::new(Part::Calls, 100);
        let body = share.try_hold(5).unwrap().bind(Bytes::from_static(b"12345"));
        let (copy, slice) = (body.clone(), body.slice(1..3));
        drop(body);
        drop(copy);
        assert_eq!((&*slice, share.held()), (b"23".as_slice(), 5));
        drop(slice);
        assert_eq!(share.held(), 0);
    }

    #[test]
    fn a_share_that_is_unbounded_takes_everything_but_what_cannot_be_counted() {
        let share = Share::unbounded(Part::Calls);
        let _much = share.try_hold(usize::MAX / 2).expect("room");
        assert!(share.try_hold(usize::MAX).is_none());
    }
}
