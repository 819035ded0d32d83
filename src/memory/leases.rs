//! The leases of this process at the store: how many it has, and whether they still hold.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::domain::lease::{Beats, LEASE_TIME_OWN};

/// The leases of this process.
#[derive(Default)]
pub struct Leases {
    count: AtomicUsize,
    is_beating: AtomicBool,
    beats: Mutex<Beats>,
}

/// One of them: as long as it is there, the process beats.
pub struct Lease {
    leases: Arc<Leases>,
    /// When the write was sent that leases the call, or the store was last asked about it.
    asked: Instant,
    /// Whether that was acknowledged. Otherwise it is not known whether the call is leased.
    is_sure: bool,
}

impl Leases {
    /// One more, `asked` for then. Where `is_first`, somebody has to beat from now on.
    pub fn add(self: &Arc<Self>, asked: Instant, is_sure: bool) -> (Lease, bool) {
        self.count.fetch_add(1, Ordering::SeqCst);
        let is_first = !self.is_beating.swap(true, Ordering::SeqCst);
        (Lease { leases: Arc::clone(self), asked, is_sure }, is_first)
    }

    /// Whether whoever beats has to go on.
    pub fn go_on(&self) -> bool {
        if self.count.load(Ordering::SeqCst) > 0 {
            return true;
        }
        self.is_beating.store(false, Ordering::SeqCst);
        // One that was added in between has found somebody who beats.
        self.count.load(Ordering::SeqCst) > 0 && !self.is_beating.swap(true, Ordering::SeqCst)
    }

    /// A beat that was `sent` then is acknowledged.
    pub fn acknowledged(&self, sent: Instant, now: Instant) {
        self.beats().acknowledged(sent, now);
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Whether nobody else can have the call by now. Where it is not known whether it is leased:
    /// whether the store was asked about it a moment ago.
    pub fn holds(&self, now: Instant) -> bool {
        // Most calls are decided by then, without a lock.
        now < self.asked + LEASE_TIME_OWN
            || self.is_sure && self.leases.beats().hold(self.asked, now)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, domain::lease::BEAT_EVERY};

    #[test]
    fn one_beats_as_long_as_there_are_leases() {
        let (leases, now) = (Arc::new(Leases::default()), clock::now());
        let (first, begins) = leases.add(now, true);
        let (second, again) = leases.add(now, false);
        assert!(begins && !again);
        drop(first);
        assert!(leases.go_on());
        drop(second);
        assert!(!leases.go_on());
        let (_third, begins) = leases.add(now, true);
        assert!(begins && leases.go_on());
    }

    #[test]
    fn beats_keep_only_what_is_known_to_be_leased() {
        let (leases, now) = (Arc::new(Leases::default()), clock::now());
        let ((sure, _), (unsure, _)) = (leases.add(now, true), leases.add(now, false));
        let later = now + LEASE_TIME_OWN;
        assert!(unsure.holds(now) && !sure.holds(later));
        leases.acknowledged(now + BEAT_EVERY, now + BEAT_EVERY);
        assert!(sure.holds(later) && !unsure.holds(later));
    }
}
