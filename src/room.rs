//! Maps that grow in a rush give their room back when it is over.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
};

/// Room for so many entries is kept even when it is not used.
pub const SPARE_MAX: usize = 1_024;

/// Returns room of which less than an eighth is used.
pub fn give_back<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() > SPARE_MAX && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}
