//! A connector at work: its rules with its breaker, its limit, its cache and its metrics.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::mpsc;

use crate::{
    budget::{Budget, Hold, Share},
    cache::{CacheKeys, DecisionCache, Lookup},
    clock,
    domain::{
        breaker::{Breaker, Heard, Pass},
        budget::Part,
        call_id::CacheKey,
        connector::{Connector, ConnectorName},
        decision::Decision,
        kept::Keep,
        protocol::Answer,
        reply::CacheControl,
    },
    metrics::{ConnectorMetrics, Metrics, StoreOperation, StoreResult},
};

/// A change of a lane's cache that other replicas are to hear of.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose cache.
    pub connector: ConnectorName,
    /// Which key.
    pub key: CacheKey,
    /// What becomes of it.
    pub keep: Keep,
    /// When that was decided.
    pub at: Instant,
    /// The memory that it takes until it is written.
    pub hold: Arc<Hold>,
}

/// Where changes go that other replicas are to hear of.
#[derive(Clone)]
pub struct Sharing {
    /// With room for as many as may wait.
    pub changes: mpsc::Sender<Change>,
    /// The memory for what waits.
    pub room: Arc<Share>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Sharing {
    /// Where too many are waiting, the others do not hear of it.
    fn tell(&self, connector: &ConnectorName, key: CacheKey, keep: &Keep) {
        if *keep == Keep::Leave {
            return;
        }
        let (connector, keep, at) = (connector.clone(), keep.clone(), clock::now());
        let hold = self.room.try_hold(CHANGE_BYTES + keep.bytes()).map(Arc::new);
        let change = hold.map(|hold| Change { connector, key, keep, at, hold });
        if change.is_none_or(|change| self.changes.try_send(change).is_err()) {
            self.metrics.store_operation(StoreOperation::Share, StoreResult::Dropped);
        }
    }
}

/// What a change takes besides the decision in it, sealed and waiting for its acknowledgement.
const CHANGE_BYTES: usize = 1024;

/// A connector at work.
pub struct Lane {
    /// Its rules.
    pub connector: Connector,
    /// What is counted of it.
    pub metrics: ConnectorMetrics,
    breaker: Mutex<Breaker>,
    in_flight: AtomicUsize,
    cache: Option<DecisionCache>,
    sharing: Option<Sharing>,
}

impl Lane {
    /// A connector that starts to work, with room for so many bytes of cached decisions, and shares
    /// them where it is to.
    pub fn new(
        connector: Connector,
        metrics: &Metrics,
        cache_bytes: usize,
        sharing: Option<&Sharing>,
    ) -> Self {
        let cached = connector.fallback.cached.clone();
        let is_shared = cached.as_ref().is_some_and(|rules| rules.shared);
        Self {
            metrics: metrics.connector(&connector),
            breaker: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            cache: cached.map(|rules| DecisionCache::new(rules, cache_bytes)),
            sharing: sharing.filter(|_| is_shared).cloned(),
            connector,
        }
    }

    /// A place among the calls that are with the workers, unless all are taken.
    pub fn take_place(self: &Arc<Self>) -> Option<Place> {
        let limit = self.connector.max_in_flight;
        let taken = |taken: usize| (taken < limit).then_some(taken + 1);
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).ok()?;
        Some(Place(Arc::clone(self)))
    }

    /// Leave to ask a worker, unless the breaker is open.
    pub fn pass_breaker(self: &Arc<Self>, now: Instant) -> Option<Passage> {
        let pass = self.breaker().let_pass(now)?;
        Some(Passage { lane: Arc::clone(self), pass: Some(pass) })
    }

    /// Whether the breaker is open.
    pub fn breaker_is_open(&self) -> bool {
        self.breaker().is_open()
    }

    /// Calls that are with the workers.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// A worker has decided: keeps that for a fallback, where that is configured.
    pub fn keep(&self, keys: Option<CacheKeys>, decision: Decision, control: CacheControl) {
        if let (Some(cache), Some(keys)) = (&self.cache, keys) {
            cache.keep(keys, decision, control, clock::now(), |key, keep| {
                if let Some(sharing) = &self.sharing {
                    sharing.tell(&self.connector.name, key, keep);
                }
            });
        }
    }

    /// Whether its cached decisions are shared with other replicas.
    pub fn shares(&self) -> bool {
        self.sharing.is_some()
    }

    /// Another replica has changed a key of its cache, by what was decided at `at`.
    pub fn take_over(&self, key: CacheKey, keep: Keep, at: Instant) {
        if let Some(cache) = &self.cache {
            cache.take_over(key, keep, at);
        }
    }

    /// The answer of an earlier decision, where that is configured and there is one.
    pub fn cached(&self, keys: Option<CacheKeys>, now: Instant) -> Option<Answer> {
        let lookup = self.cache.as_ref()?.look_up(keys?, &self.connector, now);
        self.metrics.cache_lookup(&lookup);
        match lookup {
            Lookup::Hit(answer) => Some(answer),
            Lookup::Miss | Lookup::Expired => None,
        }
    }

    /// How many decisions its cache holds, where it has one.
    pub fn cached_decisions(&self) -> Option<u64> {
        self.cache.as_ref().map(DecisionCache::len)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings the gauges of all `lanes` up to date, and those of the memory that is held.
pub fn refresh_gauges(lanes: &[Arc<Lane>], budget: &Budget, metrics: &Metrics) {
    let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let (mut cache_entries, mut cache_bytes) = (0, 0);
    for lane in lanes {
        lane.metrics.in_flight.set(gauge(lane.in_flight() as u64));
        lane.metrics.breaker_open.set(i64::from(lane.breaker_is_open()));
        cache_entries += lane.cache.as_ref().map_or(0, DecisionCache::len);
        cache_bytes += lane.cache.as_ref().map_or(0, DecisionCache::bytes);
    }
    metrics.cache_entries.set(gauge(cache_entries));
    budget.share(Part::Cached).set_held(usize::try_from(cache_bytes).unwrap_or(usize::MAX));
    metrics.memory(budget);
}

/// A place among the calls that are with the workers; given back when dropped.
pub struct Place(Arc<Lane>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Leave to ask a worker. Dropped without a word, as after a panic, the breaker has heard nothing.
pub struct Passage {
    lane: Arc<Lane>,
    pass: Option<Pass>,
}

impl Passage {
    /// Tells the breaker how it went.
    pub fn settle(mut self, heard: Heard) {
        self.give_back(heard);
    }

    fn give_back(&mut self, heard: Heard) {
        if let Some(pass) = self.pass.take() {
            let rules = self.lane.connector.breaker;
            self.lane.breaker().settle(pass, heard, rules, clock::now());
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.give_back(Heard::Nothing);
    }
}
