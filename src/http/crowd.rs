//! Places for connections, of which the one that was used longest ago gives way to the next one.
//!
//! For ports that few clients use, and one of them must always find a place: who asks whether the
//! process is alive. Whatever holds the places, and however it does, a new connection gets one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

/// The places of one port.
pub struct Crowd {
    most: usize,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    /// Who has one, by when it was used last.
    taken: BTreeMap<u64, Arc<Notify>>,
    uses: u64,
}

/// One connection's place, given back when dropped.
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    used: AtomicU64,
    leaves: Arc<Notify>,
}

impl Crowd {
    /// So many places.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, places: Mutex::default() })
    }

    /// A place, and how many others had to give way for it.
    pub(super) fn enter(self: &Arc<Self>) -> (Seat, usize) {
        let leaves = Arc::new(Notify::new());
        let mut places = self.lock();
        let mut gone = 0;
        while places.taken.len() >= self.most {
            let Some((_, oldest)) = places.taken.pop_first() else { break };
            oldest.notify_one();
            gone += 1;
        }
        let used = AtomicU64::new(places.take(Arc::clone(&leaves)));
        (Seat { crowd: Arc::clone(self), used, leaves }, gone)
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn take(&mut self, leaves: Arc<Notify>) -> u64 {
        self.uses += 1;
        self.taken.insert(self.uses, leaves);
        self.uses
    }
}

impl Seat {
    /// Its connection has brought a whole head.
    pub(super) fn is_used(&self) {
        let mut places = self.crowd.lock();
        // One that was asked to leave gets no place back.
        if let Some(leaves) = places.taken.remove(&self.used.load(Ordering::Relaxed)) {
            self.used.store(places.take(leaves), Ordering::Relaxed);
        }
    }

    /// Waits until another connection needs the place.
    pub(super) async fn gives_way(&self) {
        self.leaves.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.lock().taken.remove(&self.used.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_to_leave(seat: &Seat) -> bool {
        seat.gives_way().now_or_never().is_some()
    }

    #[test]
    fn the_place_that_was_used_longest_ago_is_given_to_who_comes_next() {
        let crowd = Crowd::new(3);
        let seats: Vec<(Seat, usize)> = (0..3).map(|_| crowd.enter()).collect();
        let [a, b, c] = [0, 1, 2].map(|n| &seats[n].0);
        assert!(seats.iter().all(|(seat, gone)| *gone == 0 && !is_to_leave(seat)));
        a.is_used();
        let (d, gone) = crowd.enter();
        assert_eq!(gone, 1);
        assert_eq!([a, b, c, &d].map(is_to_leave), [false, true, false, false]);
        // Too late: it has to go all the same.
        b.is_used();
        let (e, _) = crowd.enter();
        assert_eq!([a, c, &d, &e].map(is_to_leave), [false, true, false, false]);
    }

    #[test]
    fn a_place_that_is_given_back_costs_nobody_theirs() {
        let crowd = Crowd::new(2);
        let (a, _) = crowd.enter();
        for _ in 0..5 {
            let (b, gone) = crowd.enter();
            b.is_used();
            assert_eq!(gone, 0);
        }
        assert!(!is_to_leave(&a));
        drop(a);
        assert!(crowd.lock().taken.is_empty());
    }
}
