//! Those who hold memory while they are unfinished: connections of strangers, bodies on their way.
//! Where there is no room for one more, the oldest has to leave: whoever means well is finished
//! soon, so that the oldest is the one to suspect. On a port of which every client is used now and
//! then, it is the one that was used longest ago. It is the oldest of those who come from one place,
//! where most come from: a flood from one machine is its own rival, and nobody else's.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
};

use foldhash::HashMap;
use futures_util::task::AtomicWaker;

use super::{Share, Source};

/// Who is the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Whoever came first.
    Arrival,
    /// Whoever was used longest ago.
    Use,
}

/// All who hold memory of one share while they are unfinished.
pub struct Crowd {
    share: Arc<Share>,
    order: Order,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last number that was given.
    number: u64,
    held: usize,
    /// How many have to leave and are still there.
    leaving: usize,
    /// Who may be asked to leave, the oldest first, by where they come from.
    unfinished: HashMap<Source, BTreeMap<u64, Arc<Seat>>>,
    /// How many come from where.
    sizes: BTreeSet<(usize, Source)>,
}

struct Seat {
    source: Source,
    /// Changed, as the next, only while the state is locked.
    number: AtomicU64,
    bytes: Mutex<usize>,
    has_to_leave: AtomicBool,
    is_finished: AtomicBool,
    leave: AtomicWaker,
}

/// One of them; gives back what it holds when dropped.
pub struct Guest {
    crowd: Arc<Crowd>,
    seat: Arc<Seat>,
}

impl Crowd {
    /// Within `share`, which is theirs alone.
    pub fn new(share: Arc<Share>, order: Order) -> Arc<Self> {
        Arc::new(Self { share, order, state: Mutex::default() })
    }

    /// One more, who holds `bytes`. The oldest make room for it; nothing where they cannot.
    pub fn enter(self: &Arc<Self>, bytes: usize, source: Source) -> Option<Guest> {
        let mut state = self.lock();
        if !self.make_room(&mut state, bytes, None) {
            return None;
        }
        let number = state.next();
        let seat = Arc::new(Seat {
            source,
            number: AtomicU64::new(number),
            bytes: Mutex::new(bytes),
            has_to_leave: AtomicBool::new(false),
            is_finished: AtomicBool::new(false),
            leave: AtomicWaker::new(),
        });
        self.set_held(&mut state, |held| held + bytes);
        state.insert(number, Arc::clone(&seat));
        Some(Guest { crowd: Arc::clone(self), seat })
    }

    /// The oldest has to leave. Returns whether there was one.
    pub fn dismiss_oldest(&self) -> bool {
        let mut state = self.lock();
        self.dismiss(&mut state).is_some()
    }

    /// How many have to leave and are still there, with the memory that they hold: it counts as given
    /// back and is not yet.
    pub fn leaving(&self) -> usize {
        self.lock().leaving
    }

    /// Dismisses until there is room for `bytes` more. Not beyond `who` wants them.
    fn make_room(&self, state: &mut State, bytes: usize, who: Option<u64>) -> bool {
        if bytes > self.share.limit() {
            self.share.refuse();
            return false;
        }
        while state.held.saturating_add(bytes) > self.share.limit() {
            self.share.refuse();
            match self.dismiss(state) {
                None => return false,
                dismissed if dismissed == who => return false,
                Some(_) => {}
            }
        }
        true
    }

    /// What it holds counts as given back: it will be, as soon as its task runs.
    fn dismiss(&self, state: &mut State) -> Option<u64> {
        let (number, seat) = state.pop_oldest()?;
        let bytes = *seat.bytes();
        self.set_held(state, |held| held.saturating_sub(bytes));
        state.leaving += 1;
        seat.has_to_leave.store(true, Ordering::Release);
        seat.leave.wake();
        Some(number)
    }

    fn set_held(&self, state: &mut State, change: impl Fn(usize) -> usize) {
        state.held = change(state.held);
        self.share.set_held(state.held);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, number: u64, seat: Arc<Seat>) {
        let source = seat.source;
        let seats = self.unfinished.entry(source).or_default();
        self.sizes.remove(&(seats.len(), source));
        seats.insert(number, seat);
        self.sizes.insert((seats.len(), source));
    }

    fn remove(&mut self, seat: &Seat) -> Option<Arc<Seat>> {
        let seats = self.unfinished.get_mut(&seat.source)?;
        let before = seats.len();
        let removed = seats.remove(&seat.number())?;
        let left = seats.len();
        self.sizes.remove(&(before, seat.source));
        if left == 0 {
            self.unfinished.remove(&seat.source);
        } else {
            self.sizes.insert((left, seat.source));
        }
        Some(removed)
    }

    /// The oldest of the place where most come from.
    fn pop_oldest(&mut self) -> Option<(u64, Arc<Seat>)> {
        let (_, source) = self.sizes.last()?;
        let (number, seat) = self.unfinished.get(source)?.first_key_value()?;
        let (number, seat) = (*number, Arc::clone(seat));
        self.remove(&seat);
        Some((number, seat))
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Seat {
    fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Holds `bytes` from now on. Returns whether it may stay: otherwise there is no room, or it had
    /// to leave before.
    pub fn resize(&self, bytes: usize) -> bool {
        let mut state = self.crowd.lock();
        let before = *self.seat.bytes();
        let more = bytes.saturating_sub(before);
        // Who is finished is no stranger, and is counted rather than refused.
        let is_stranger = !self.seat.is_finished.load(Ordering::Relaxed);
        if self.has_to_leave()
            || (more > 0
                && is_stranger
                && !self.crowd.make_room(&mut state, more, Some(self.seat.number())))
        {
            return false;
        }
        *self.seat.bytes() = bytes;
        self.crowd.set_held(&mut state, |held| (held + bytes).saturating_sub(before));
        true
    }

    /// Holds so many bytes more. Returns whether it may stay.
    pub fn grow_by(&self, bytes: usize) -> bool {
        let held = *self.seat.bytes();
        self.resize(held + bytes)
    }

    /// It was used. Where that counts, all others leave before it.
    pub fn is_used(&self) {
        if self.crowd.order == Order::Arrival {
            return;
        }
        let mut state = self.crowd.lock();
        // One that has to leave gets no place back.
        if let Some(seat) = state.remove(&self.seat) {
            let number = state.next();
            seat.number.store(number, Ordering::Relaxed);
            state.insert(number, seat);
        }
    }

    /// It is finished, and does not make room for others any more: not even if it had to already, as
    /// long as it is there.
    pub fn finish(&self) {
        let is_finished = &self.seat.is_finished;
        if is_finished.load(Ordering::Relaxed) || is_finished.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut state = self.crowd.lock();
        state.remove(&self.seat);
        if self.seat.has_to_leave.swap(false, Ordering::AcqRel) {
            state.leaving = state.leaving.saturating_sub(1);
            let bytes = *self.seat.bytes();
            self.crowd.set_held(&mut state, |held| held + bytes);
        }
    }

    /// Whether it has to make room for another.
    pub fn has_to_leave(&self) -> bool {
        self.seat.has_to_leave.load(Ordering::Acquire)
    }

    /// Waits until it has to make room for another. One task at a time may wait.
    pub async fn dismissed(&self) {
        poll_fn(|context| {
            // Who is finished is not told any more, and costs nothing here.
            if !self.seat.is_finished.load(Ordering::Relaxed) {
                self.seat.leave.register(context.waker());
            }
            if self.has_to_leave() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.crowd.lock();
        state.remove(&self.seat);
        if self.has_to_leave() {
            // What it held was given back when it was told.
            state.leaving = state.leaving.saturating_sub(1);
            return;
        }
        let bytes = *self.seat.bytes();
        self.crowd.set_held(&mut state, |held| held.saturating_sub(bytes));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::domain::budget::Part;

    fn source(last: u8) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
    }

    fn crowd(limit: usize) -> (Arc<Crowd>, Arc<Share>) {
        let share = Share::new(Part::Connections, limit);
        (Crowd::new(Arc::clone(&share), Order::Arrival), share)
    }

    #[test]
    fn the_oldest_makes_room_for_one_more_and_is_told() {
        let (crowd, share) = crowd(30);
        let guests: Vec<_> =
            (0..4).map(|_| crowd.enter(10, source(1)).expect("room is made")).collect();
        let leave: Vec<_> = guests.iter().map(Guest::has_to_leave).collect();
        assert_eq!(leave, [true, false, false, false]);
        assert!(guests[0].dismissed().now_or_never().is_some());
        assert!(guests[1].dismissed().now_or_never().is_none());
        assert_eq!((share.held(), share.refusals(), crowd.leaving()), (30, 1, 1));
        drop(guests);
        assert_eq!((share.held(), crowd.leaving()), (0, 0), "nothing is given back twice");
    }

    #[test]
    fn where_use_counts_the_one_that_was_used_longest_ago_leaves() {
        let crowd = Crowd::new(Share::new(Part::Connections, 30), Order::Use);
        let [a, b, c] = [(); 3].map(|()| crowd.enter(10, source(1)).unwrap());
        a.is_used();
        let d = crowd.enter(10, source(1)).unwrap();
        assert_eq!([&a, &b, &c, &d].map(Guest::has_to_leave), [false, true, false, false]);
        // Too late: it has to go all the same.
        b.is_used();
        let e = crowd.enter(10, source(1)).unwrap();
        assert_eq!([&a, &c, &d, &e].map(Guest::has_to_leave), [false, true, false, false]);
    }

    #[test]
    fn where_arrival_counts_use_changes_nothing() {
        let (crowd, _) = crowd(20);
        let [a, b] = [(); 2].map(|()| crowd.enter(10, source(1)).unwrap());
        a.is_used();
        let _c = crowd.enter(10, source(1)).unwrap();
        assert!(a.has_to_leave() && !b.has_to_leave());
    }

    #[test]
    fn who_is_finished_makes_no_room_and_then_there_is_none() {
        let (crowd, share) = crowd(30);
        let guests: Vec<_> = (0..3).map(|_| crowd.enter(10, source(1)).unwrap()).collect();
        guests.iter().for_each(Guest::finish);
        assert!(crowd.enter(10, source(1)).is_none());
        assert!(!crowd.dismiss_oldest());
        assert!(guests.iter().all(|guest| !guest.has_to_leave()));
        drop(guests);
        assert!(crowd.enter(10, source(1)).is_some());
        assert_eq!((share.held(), share.refusals()), (0, 1));
    }

    #[test]
    fn who_grows_takes_room_from_the_oldest_and_leaves_where_it_is_the_oldest_itself() {
        let (crowd, share) = crowd(30);
        let [oldest, middle, newest] = [(); 3].map(|()| crowd.enter(10, source(1)).unwrap());
        assert!(newest.resize(20));
        assert!(oldest.has_to_leave() && !middle.has_to_leave());
        assert!(!oldest.resize(20), "who has to leave does not grow");
        assert!(!middle.resize(20), "it is the oldest now");
        assert!(middle.has_to_leave());
        assert_eq!(share.held(), 20);
        assert!(newest.grow_by(5) && newest.resize(5));
        assert_eq!(share.held(), 5);
    }

    #[test]
    fn the_oldest_of_where_most_come_from_leaves() {
        let (crowd, _) = crowd(40);
        let alone = crowd.enter(10, source(1)).unwrap();
        let flood = [(); 3].map(|()| crowd.enter(10, source(2)).unwrap());
        let more = [(); 2].map(|()| crowd.enter(10, source(2)).unwrap());
        assert_eq!(flood.each_ref().map(Guest::has_to_leave), [true, true, false]);
        let late = crowd.enter(10, source(3)).unwrap();
        assert!(flood[2].has_to_leave());
        assert!([&alone, &more[0], &more[1], &late].iter().all(|guest| !guest.has_to_leave()));
    }

    #[test]
    fn who_turns_out_to_be_no_stranger_stays_although_it_had_to_leave() {
        let (crowd, share) = crowd(20);
        let [first, second, third] = [(); 3].map(|()| crowd.enter(10, source(1)).unwrap());
        assert!(first.has_to_leave());
        first.finish();
        assert!(!first.has_to_leave() && first.dismissed().now_or_never().is_none());
        assert_eq!((share.held(), crowd.leaving()), (30, 0));
        assert!(first.resize(15), "it is counted rather than refused");
        drop((first, second, third));
        assert_eq!((share.held(), crowd.leaving()), (0, 0));
    }

    #[test]
    fn nobody_has_to_leave_for_what_would_never_fit() {
        let (crowd, _) = crowd(30);
        let guest = crowd.enter(10, source(1)).unwrap();
        assert!(crowd.enter(31, source(1)).is_none());
        assert!(!guest.has_to_leave());
    }
}
