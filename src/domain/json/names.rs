//! The order of names, and whether one stands twice.
//!
//! Names are compared by eight bytes at a time, all of an object's names in one round. A beginning
//! that many names have in common is so looked at once for each name, and not once for each
//! comparison: the time grows with their bytes, and with the number of names times its logarithm.

use super::JsonFault;

/// The bytes of a name that one round looks at.
const CHUNK: usize = 8;

/// Eight bytes of a name as a number, how many of them are the name's, or one more where the name
/// goes on, and the name's place: the first number decides, then the second. Where both are equal,
/// the names are either equal or go on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u128);

impl Key {
    fn new(name: &[u8], from: usize, place: u32) -> Self {
        let rest = name.get(from..).unwrap_or_default();
        let chunk = match rest.first_chunk::<CHUNK>() {
            Some(chunk) => u64::from_be_bytes(*chunk),
            None => rest.iter().rfold(0, |chunk, byte| chunk >> 8 | u64::from(*byte) << 56),
        };
        let length = rest.len().min(CHUNK + 1) as u128;
        Self(u128::from(chunk) << 64 | length << 32 | u128::from(place))
    }

    pub(super) fn place(self) -> usize {
        self.0 as u32 as usize
    }

    fn without_place(self) -> u128 {
        self.0 >> 32
    }

    fn goes_on(self) -> bool {
        (self.0 >> 32) as u32 as usize > CHUNK
    }
}

/// Fills `order` with the places of the first `count` names as they follow each other.
pub(super) fn sort<'n>(
    order: &mut Vec<Key>,
    count: usize,
    name: impl Fn(usize) -> &'n [u8],
) -> Result<(), JsonFault> {
    order.clear();
    order.extend((0..count).map(|place| Key::new(name(place), 0, place as u32)));
    order.sort_unstable();
    let mut equal = Vec::new();
    find_equal(order, 0, 0, &mut equal)?;
    while let Some(Equal { first, count, from }) = equal.pop() {
        let Some(names) = order.get_mut(first..first + count) else { continue };
        let from = from + CHUNK;
        for key in &mut *names {
            *key = Key::new(name(key.place()), from, key.place() as u32);
        }
        names.sort_unstable();
        find_equal(names, first, from, &mut equal)?;
    }
    Ok(())
}

/// Names that are equal up to and with the chunk that begins at `from`.
struct Equal {
    first: usize,
    count: usize,
    from: usize,
}

/// Adds to `equal` which of `names`, the first of which is the one at `first`, need another round.
fn find_equal(
    names: &[Key],
    first: usize,
    from: usize,
    equal: &mut Vec<Equal>,
) -> Result<(), JsonFault> {
    let mut at = first;
    for run in names.chunk_by(|one, other| one.without_place() == other.without_place()) {
        if let [key, _, ..] = run {
            if !key.goes_on() {
                return Err(JsonFault::KeyTwice);
            }
            equal.push(Equal { first: at, count: run.len(), from });
        }
        at += run.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection, prelude::*};

    use super::*;

    /// The names as they are sorted here.
    fn sorted(names: &[Vec<u8>]) -> Result<Vec<&[u8]>, JsonFault> {
        let mut order = Vec::new();
        sort(&mut order, names.len(), |place| &names[place])?;
        Ok(order.into_iter().map(|key| &*names[key.place()]).collect())
    }

    proptest! {
        #[test]
        fn names_are_sorted_by_their_bytes_and_none_stands_twice(
            names in collection::vec("(\0|a|b|é){0,3}(aaaaaaaa){0,3}(\0|a|b|\u{10ffff}){0,3}", 0..40)
        ) {
            let mut names: Vec<_> = names.into_iter().map(String::into_bytes).collect();
            let wanted: BTreeSet<Vec<u8>> = names.iter().cloned().collect();
            if wanted.len() < names.len() {
                prop_assert_eq!(sorted(&names), Err(JsonFault::KeyTwice));
            }
            let mut seen = BTreeSet::new();
            names.retain(|name| seen.insert(name.clone()));
            let wanted: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(sorted(&names), Ok(wanted));
        }
    }
}
