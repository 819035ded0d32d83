//! Numbers that nobody guesses, for names that must not collide or be forged.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use ring::rand::{SecureRandom, SystemRandom};

/// A keyed hash over a counter. The key comes from the operating system, by way of the standard
/// library; without it the numbers cannot be foreseen.
#[derive(Default)]
pub struct Random {
    key: RandomState,
    count: AtomicU64,
}

impl Random {
    /// The next number.
    pub fn next(&self) -> u64 {
        self.key.hash_one(self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// Twelve bytes from the operating system; none where it has none, which it always has.
    pub fn nonce(&self) -> Option<[u8; 12]> {
        let mut nonce = [0; 12];
        SystemRandom::new().fill(&mut nonce).ok()?;
        Some(nonce)
    }
}
