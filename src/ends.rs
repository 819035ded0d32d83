//! What ends when. Ends are told apart by tenths of a second only: thousands of calls a second then
//! share an entry.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// The time between two ends that are told apart.
pub const TICK: Duration = Duration::from_millis(100);

/// An end, in ticks. It has passed once all of its tick has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u128);

/// Keys in the order of their ends. A key may stand at several.
pub struct Ends<K> {
    start: Instant,
    keys: BTreeMap<Tick, VecDeque<K>>,
}

impl<K> Ends<K> {
    /// Nothing, from `start` on. What ends before that ends with the first tick.
    pub fn new(start: Instant) -> Self {
        Self { start, keys: BTreeMap::new() }
    }

    /// Where something that ends at `end` stands.
    pub fn tick(&self, end: Instant) -> Tick {
        Tick(end.saturating_duration_since(self.start).as_nanos() / TICK.as_nanos())
    }

    /// `key` ends at `end`.
    pub fn push(&mut self, end: Instant, key: K) {
        self.keys.entry(self.tick(end)).or_default().push_back(key);
    }

    /// The end that comes first.
    pub fn first(&self) -> Option<Tick> {
        self.keys.first_key_value().map(|(tick, _)| *tick)
    }

    /// Takes out the key that ends first. Of one tick, that which was pushed first.
    pub fn pop_first(&mut self) -> Option<(Tick, K)> {
        let mut first = self.keys.first_entry()?;
        let tick = *first.key();
        let key = first.get_mut().pop_front();
        if first.get().is_empty() {
            first.remove();
        }
        key.map(|key| (tick, key))
    }

    /// The same, where its end has passed at `now`.
    pub fn pop_passed(&mut self, now: Instant) -> Option<(Tick, K)> {
        let (first, now) = (*self.keys.first_key_value()?.0, self.tick(now));
        (first < now).then(|| self.pop_first()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_their_ends_and_never_too_early() {
        let start = crate::clock::now();
        let mut ends = Ends::new(start);
        for (ms, key) in [(250, 'c'), (0, 'a'), (299, 'd'), (199, 'b'), (300, 'e')] {
            ends.push(start + Duration::from_millis(ms), key);
        }
        let mut passed = |ms| {
            let now = start + Duration::from_millis(ms);
            std::iter::from_fn(|| ends.pop_passed(now)).map(|(_, key)| key).collect::<String>()
        };
        assert_eq!([99, 100, 199, 200, 299, 300].map(&mut passed), ["", "a", "", "b", "", "cd"]);
        assert_eq!(ends.pop_first().map(|(_, key)| key), Some('e'));
        assert!(ends.pop_first().is_none());
    }

    #[test]
    fn a_passed_tick_leaves_no_room_behind() {
        let start = crate::clock::now();
        let mut ends = Ends::new(start);
        (0..1_000).for_each(|key| ends.push(start, key));
        while ends.pop_passed(start + TICK).is_some() {}
        assert!(ends.keys.is_empty());
    }
}
