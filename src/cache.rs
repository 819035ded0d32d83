//! The fallback cache of one connector: earlier decisions, for when none comes in time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use moka::{policy::EvictionPolicy, sync::Cache};

use crate::domain::{
    call_id::CacheKey,
    connector::Connector,
    decision::Decision,
    fallback::CachedRules,
    kept::{Keep, KeptDecision, keep},
    protocol::Answer,
    reply::CacheControl,
};

/// How much longer than its greatest age a decision is held, so that a lookup can tell "too old"
/// from "never seen". From its last move on: one that gets an entry of its own begins anew.
const HELD_AFTER_EXPIRY: Duration = Duration::from_secs(60);

/// What an entry takes besides its decision: the key, places in the library's map and list, and what
/// the allocator adds.
const ENTRY_BYTES: usize = 320;

/// The library drops what does not fit only with every 64th change. With decisions this large it is
/// told to at once.
const LARGE_BYTES: usize = 8 * 1024;

/// Under what one call's decision is kept and looked up.
#[derive(Clone, Copy, Debug)]
pub struct CacheKeys {
    /// The very same call.
    pub same_call: CacheKey,
    /// The same values of the configured claims, where all of them are filled.
    pub same_values: Option<CacheKey>,
}

/// How a lookup ended.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A decision that may be used, as an answer.
    Hit(Answer),
    /// There is none.
    Miss,
    /// There is one, but it is too old.
    Expired,
}

/// Earlier decisions, the least recently used dropped first.
pub struct DecisionCache {
    rules: CachedRules,
    entries: Cache<CacheKey, Entry, RandomState>,
    /// Held while one decision changes several entries.
    changing: Mutex<()>,
}

/// A decision under a key. Under values, one entry can stand for two: for those values, and for the
/// very call that it was decided for.
#[derive(Clone)]
struct Entry {
    kept: KeptDecision,
    /// The call that has no entry of its own.
    call: Option<CacheKey>,
}

impl Entry {
    fn new(kept: KeptDecision) -> Self {
        Self { kept, call: None }
    }

    fn weight(&self) -> u32 {
        u32::try_from(self.kept.bytes() + ENTRY_BYTES).unwrap_or(u32::MAX)
    }
}

impl DecisionCache {
    /// An empty cache, for at most `bytes` of decisions.
    pub fn new(rules: CachedRules, bytes: usize) -> Self {
        // One bound for both: an entry weighs its bytes, but at least its part of the most entries.
        let least = u32::try_from(bytes as u64 / rules.max_entries.max(1)).unwrap_or(u32::MAX);
        let capacity = match least {
            0 => bytes as u64,
            least => u64::from(least) * rules.max_entries,
        };
        let entries = Cache::builder()
            .max_capacity(capacity)
            .weigher(move |_, entry: &Entry| entry.weight().max(least))
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(rules.max_age.saturating_add(HELD_AFTER_EXPIRY))
            .build_with_hasher(RandomState::default());
        Self { rules, entries, changing: Mutex::default() }
    }

    /// A worker has decided. `tell` hears of every key that this changes.
    pub fn keep(
        &self,
        keys: CacheKeys,
        decision: Decision,
        control: CacheControl,
        now: Instant,
        tell: impl Fn(CacheKey, &Keep),
    ) {
        let (same_call, same_values) = keep(&self.rules, decision, control, now);
        tell(keys.same_call, &same_call);
        if let Some(key) = keys.same_values {
            tell(key, &same_values);
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_large = same_call.bytes().max(same_values.bytes()) > LARGE_BYTES;
        match (same_call, same_values, keys.same_values) {
            // Other replicas change each key by itself; without them one entry does for both.
            (Keep::Replace(kept), Keep::Replace(_), Some(values)) if !self.rules.shared => {
                self.make_way(keys.same_call, values, now);
                self.entries.insert(values, Entry { kept, call: Some(keys.same_call) });
                self.entries.invalidate(&keys.same_call);
            }
            (same_call, same_values, values) => {
                if let Some(values) = values {
                    self.part(keys.same_call, values, now);
                    self.apply(values, same_values);
                }
                self.apply(keys.same_call, same_call);
            }
        }
        if is_large {
            self.entries.run_pending_tasks();
        }
    }

    /// The answer that an earlier decision gives at `connector`.
    pub fn look_up(&self, keys: CacheKeys, connector: &Connector, now: Instant) -> Lookup {
        let same_values = keys.same_values.and_then(|key| self.entries.get(&key));
        let of_call = same_values.as_ref().filter(|entry| entry.call == Some(keys.same_call));
        let same_call = of_call.cloned().or_else(|| self.entries.get(&keys.same_call));
        if let Some(entry) = same_call.as_ref().filter(|entry| entry.kept.is_fresh(now)) {
            return Lookup::Hit(entry.kept.for_same_call(connector));
        }
        match (same_call, same_values) {
            (_, Some(Entry { kept, .. })) if kept.is_fresh(now) => {
                Lookup::Hit(kept.for_same_values(connector))
            }
            (None, None) => Lookup::Miss,
            (_, _) => Lookup::Expired,
        }
    }

    /// How many entries are held.
    pub fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    /// How many bytes they count for: an entry at least for its part of the most entries.
    pub fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another replica has changed a key, by what was decided at `at`. What was decided later
    /// counts.
    pub fn take_over(&self, key: CacheKey, keep: Keep, at: Instant) {
        if self.entries.get(&key).is_some_and(|entry| entry.kept.is_later_than(at)) {
            return;
        }
        let is_large = keep.bytes() > LARGE_BYTES;
        self.apply(
            key,
            match keep {
                Keep::Replace(kept) => Keep::Replace(kept.at_most(self.rules.max_age)),
                Keep::Drop | Keep::Leave => keep,
            },
        );
        if is_large {
            self.entries.run_pending_tasks();
        }
    }

    /// The entry under `values` is about to be replaced by a decision for `call`. Another call that
    /// it stands for gets an entry of its own.
    fn make_way(&self, call: CacheKey, values: CacheKey, now: Instant) {
        // For a new person, who is the usual one, this is all. Unlike `get` it counts as no use.
        if !self.entries.contains_key(&values) {
            return;
        }
        if let Some(Entry { kept, call: Some(other) }) = self.entries.get(&values)
            && other != call
            && kept.is_fresh(now)
        {
            self.entries.insert(other, Entry::new(kept));
        }
    }

    /// From now on the entry under `values` stands for no call, and `call` has no entry through it.
    fn part(&self, call: CacheKey, values: CacheKey, now: Instant) {
        self.make_way(call, values, now);
        if let Some(Entry { kept, call: Some(_) }) = self.entries.get(&values) {
            self.entries.insert(values, Entry::new(kept));
        }
    }

    fn apply(&self, key: CacheKey, keep: Keep) {
        match keep {
            Keep::Replace(kept) => self.entries.insert(key, Entry::new(kept)),
            Keep::Drop => self.entries.invalidate(&key),
            Keep::Leave => {}
        }
    }
}
