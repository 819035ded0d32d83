//! The fallback cache of one connector: earlier decisions, for when none comes in time.

use std::time::{Duration, Instant};

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
/// from "never seen".
const HELD_AFTER_EXPIRY: Duration = Duration::from_secs(60);

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
    entries: Cache<CacheKey, KeptDecision>,
}

impl DecisionCache {
    /// An empty cache.
    pub fn new(rules: CachedRules) -> Self {
        let entries = Cache::builder()
            .max_capacity(rules.max_entries)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(rules.max_age.saturating_add(HELD_AFTER_EXPIRY))
            .build();
        Self { rules, entries }
    }

    /// A worker has decided. `tell` hears of every key that this changes.
    pub fn keep(
        &self,
        keys: CacheKeys,
        decision: &Decision,
        control: CacheControl,
        now: Instant,
        tell: impl Fn(CacheKey, &Keep),
    ) {
        let (same_call, same_values) = keep(&self.rules, decision, control, now);
        tell(keys.same_call, &same_call);
        self.apply(keys.same_call, same_call);
        if let Some(key) = keys.same_values {
            tell(key, &same_values);
            self.apply(key, same_values);
        }
    }

    /// The answer that an earlier decision gives at `connector`.
    pub fn look_up(&self, keys: CacheKeys, connector: &Connector, now: Instant) -> Lookup {
        let same_call = self.entries.get(&keys.same_call);
        if let Some(kept) = same_call.as_ref().filter(|kept| kept.is_fresh(now)) {
            return Lookup::Hit(kept.for_same_call(connector));
        }
        let same_values = keys.same_values.and_then(|key| self.entries.get(&key));
        match (same_call, same_values) {
            (_, Some(kept)) if kept.is_fresh(now) => Lookup::Hit(kept.for_same_values(connector)),
            (None, None) => Lookup::Miss,
            (_, _) => Lookup::Expired,
        }
    }

    /// How many entries are held.
    pub fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another replica has changed a key, by what was decided at `at`. What was decided later
    /// counts.
    pub fn take_over(&self, key: CacheKey, keep: Keep, at: Instant) {
        if self.entries.get(&key).is_some_and(|kept| kept.is_later_than(at)) {
            return;
        }
        self.apply(
            key,
            match keep {
                Keep::Replace(kept) => Keep::Replace(kept.at_most(self.rules.max_age)),
                Keep::Drop | Keep::Leave => keep,
            },
        );
    }

    fn apply(&self, key: CacheKey, keep: Keep) {
        match keep {
            Keep::Replace(kept) => self.entries.insert(key, kept),
            Keep::Drop => self.entries.invalidate(&key),
            Keep::Leave => {}
        }
    }
}
