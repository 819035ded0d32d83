//! A queue in which those who come often wait for each other and hold up nobody else.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use crate::budget::Source;

/// Items by where they come from. Sources take turns; those of one source come out as they went in.
pub(super) struct Fair<T> {
    items: HashMap<Source, VecDeque<T>>,
    turns: VecDeque<Source>,
    len: usize,
    most: usize,
}

impl<T> Fair<T> {
    /// Holds so many items at most.
    pub(super) fn new(most: usize) -> Self {
        Self { items: HashMap::new(), turns: VecDeque::new(), len: 0, most }
    }

    /// Returns the item that has to go, where this is one too many: the oldest of the source that
    /// has the most. Of all items that one has waited longest for whom least is left to wait.
    pub(super) fn push(&mut self, source: Source, item: T) -> Option<T> {
        let too_many = if self.len < self.most { None } else { self.pop_of_the_busiest() };
        match self.items.entry(source) {
            Entry::Occupied(mut queue) => queue.get_mut().push_back(item),
            Entry::Vacant(place) => {
                place.insert(VecDeque::from([item]));
                self.turns.push_back(source);
            }
        }
        self.len += 1;
        too_many
    }

    /// The next one, of the source whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let source = self.turns.pop_front()?;
        let item = self.pop_of(source);
        if self.items.contains_key(&source) {
            self.turns.push_back(source);
        }
        item
    }

    fn pop_of_the_busiest(&mut self) -> Option<T> {
        let busiest = self.items.iter().max_by_key(|(_, queue)| queue.len());
        let source = busiest.map(|(source, _)| *source)?;
        let item = self.pop_of(source);
        if !self.items.contains_key(&source) {
            self.turns.retain(|other| *other != source);
        }
        item
    }

    /// A source without items is forgotten.
    fn pop_of(&mut self, source: Source) -> Option<T> {
        let Entry::Occupied(mut queue) = self.items.entry(source) else { return None };
        let item = queue.get_mut().pop_front();
        if queue.get().is_empty() {
            queue.remove();
        }
        self.len -= usize::from(item.is_some());
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn a_machine_is_one_source_whichever_of_its_addresses_it_takes() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:2"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        for (one, other) in
            [("2001:db8::1", "2001:db8:0:1::1"), ("192.0.2.1", "192.0.2.2"), ("::1", "192.0.2.1")]
        {
            assert_ne!(source(one), source(other), "{one}");
        }
    }

    #[test]
    fn sources_take_turns_and_one_that_comes_often_waits_for_itself() {
        let (busy, quiet, other) = (source("192.0.2.1"), source("192.0.2.2"), source("192.0.2.3"));
        let mut queue = Fair::new(100);
        for number in 0..5 {
            assert_eq!(queue.push(busy, number), None);
        }
        queue.push(quiet, 10);
        queue.push(quiet, 11);
        queue.push(other, 20);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 10, 20, 1, 11, 2, 3, 4]);
        assert!(queue.items.is_empty() && queue.turns.is_empty() && queue.len == 0);
    }

    #[test]
    fn what_is_too_much_goes_at_the_cost_of_whoever_has_most() {
        let (busy, quiet) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut queue = Fair::new(3);
        assert_eq!(queue.push(quiet, 10), None);
        assert_eq!(queue.push(busy, 0), None);
        assert_eq!(queue.push(busy, 1), None);
        assert_eq!(queue.push(busy, 2), Some(0));
        assert_eq!(queue.push(quiet, 11), Some(1));
        // Those of the last one of a source too, and its turn.
        let mut queue = Fair::new(1);
        queue.push(busy, 0);
        assert_eq!(queue.push(quiet, 1), Some(0));
        assert_eq!((queue.pop(), queue.pop()), (Some(1), None));
    }
}
