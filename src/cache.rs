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
/// from "never seen".
const HELD_AFTER_EXPIRY: Duration = Duration::from_secs(60);

/// Of how many earlier calls with the same values the decision is kept, besides the latest: a person
/// who corrects a form posts it a few times.
const EARLIER_CALLS_MAX: usize = 4;

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
    /// Held while an entry is changed.
    changing: Mutex<()>,
}

/// What is kept under one key: the values of a person, or a call without values.
#[derive(Clone, Default)]
struct Entry {
    /// What was decided last.
    newest: Option<KeptDecision>,
    /// The call that this was decided for, where it may be used for that.
    call: Option<CacheKey>,
    /// What was decided for other calls with the same values.
    earlier: Vec<(CacheKey, KeptDecision)>,
}

impl Entry {
    fn of_call(&self, call: CacheKey) -> Option<&KeptDecision> {
        let newest = self.newest.as_ref().filter(|_| self.call == Some(call));
        let mut earlier = self.earlier.iter();
        newest.or_else(|| earlier.find(|(of, _)| *of == call).map(|(_, kept)| kept))
    }

    fn is_empty(&self) -> bool {
        self.newest.is_none() && self.earlier.is_empty()
    }

    /// A worker has decided `call`.
    fn change(&mut self, call: CacheKey, same_call: Keep, same_values: Keep, now: Instant) {
        let of_call = match same_call {
            Keep::Replace(kept) => Some(kept),
            Keep::Drop => None,
            Keep::Leave => self.of_call(call).cloned(),
        };
        if let (Some(of), Some(kept)) = (self.call.take(), &self.newest) {
            self.earlier.push((of, kept.clone()));
        }
        self.earlier.retain(|(of, kept)| *of != call && kept.is_fresh(now));
        match same_values {
            Keep::Replace(kept) => self.newest = Some(kept),
            Keep::Drop => self.newest = None,
            Keep::Leave => {}
        }
        if of_call.is_some() && of_call == self.newest {
            self.call = Some(call);
        } else if let Some(kept) = of_call {
            self.earlier.push((call, kept));
        }
        let too_many = self.earlier.len().saturating_sub(EARLIER_CALLS_MAX);
        self.earlier.drain(..too_many);
    }
}

impl DecisionCache {
    /// An empty cache.
    pub fn new(rules: CachedRules) -> Self {
        let entries = Cache::builder()
            .max_capacity(rules.max_entries)
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
        match keys.same_values {
            Some(key) if !self.rules.shared => {
                let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
                // Most people are new; to see that, this is cheaper than `get`.
                let known = self.entries.contains_key(&key).then(|| self.entries.get(&key));
                let mut entry = known.flatten().unwrap_or_default();
                entry.change(keys.same_call, same_call, same_values, now);
                match entry.is_empty() {
                    false => self.entries.insert(key, entry),
                    true => self.entries.invalidate(&key),
                }
            }
            // Other replicas change each key by itself.
            values => {
                if let Some(key) = values {
                    self.apply(key, same_values);
                }
                self.apply(keys.same_call, same_call);
            }
        }
    }

    /// The answer that an earlier decision gives at `connector`.
    pub fn look_up(&self, keys: CacheKeys, connector: &Connector, now: Instant) -> Lookup {
        let same_values = keys.same_values.and_then(|key| self.entries.get(&key));
        let of_call = same_values.as_ref().and_then(|entry| entry.of_call(keys.same_call).cloned());
        let same_call = of_call.or_else(|| self.entries.get(&keys.same_call)?.newest);
        let same_values = same_values.and_then(|entry| entry.newest);
        match (same_call, same_values) {
            (Some(kept), _) if kept.is_fresh(now) => Lookup::Hit(kept.for_same_call(connector)),
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
        let kept = self.entries.get(&key).and_then(|entry| entry.newest);
        if kept.is_some_and(|kept| kept.is_later_than(at)) {
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
            Keep::Replace(kept) => {
                self.entries.insert(key, Entry { newest: Some(kept), ..Entry::default() });
            }
            Keep::Drop => self.entries.invalidate(&key),
            Keep::Leave => {}
        }
    }
}
