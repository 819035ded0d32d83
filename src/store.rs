//! The store that replicas share: what is asked of it, and what it costs at most. The rules are
//! those of [`crate::domain::claiming`] and [`crate::domain::settling`].
//!
//! The store never gates an answer. It is skipped while it is known to be away, and given up
//! after its time; what could not be written is tried again behind the answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::Semaphore};

use crate::{
    clock,
    domain::{
        call_id::CallId,
        claiming::{Claimant, Claimed, Claiming, Pauses, Step},
        deadline::Deadline,
        outcome::Outcome,
        protocol::Answer,
        record::Round,
        seal::SealKeys,
        settling::{self, End, Mark, Settle, Settling},
        shared::{
            CLAIM_MARGIN, Delivery, Owner, Revision, Seen, SharedPhase, SharedRecord, UnixMs,
        },
    },
    memory::{Lead, Led},
    metrics::{Metrics, StoreOperation, StoreResult},
    random::Random,
    secrets::Live,
    wire::{OPERATION_TIME_MAX, Store, StoreFault, Written},
};

/// The most time that the store costs a call. A call with little time left gives it a quarter.
const CALL_TIME_MAX: Duration = Duration::from_millis(250);

/// The pause before what could not be written is tried again: at first, and at most.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(300);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long the end of the program waits for writes that go on behind answers.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// The most writes that go on behind answers.
const BACKLOG_MAX: u32 = 4_096;

/// The calls of all replicas.
pub struct SharedCalls<S>(Arc<Inner<S>>);

struct Inner<S> {
    store: Arc<S>,
    owner: Owner,
    window: Duration,
    keys: Arc<Live<SealKeys>>,
    random: Random,
    metrics: Metrics,
    backlog: Arc<Semaphore>,
    /// Writes behind answers outlive the thread that served the call.
    runtime: Handle,
}

impl<S> Clone for SharedCalls<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> SharedCalls<S> {
    /// Remembers each call for `window`, sealed with `keys`. Writes behind answers run on this
    /// thread's runtime.
    pub fn new(
        store: Arc<S>,
        window: Duration,
        keys: Arc<Live<SealKeys>>,
        metrics: Metrics,
    ) -> Self {
        let random = Random::default();
        Self(Arc::new(Inner {
            store,
            owner: Owner(random.next()),
            window,
            keys,
            random,
            metrics,
            backlog: Arc::new(Semaphore::new(BACKLOG_MAX as usize)),
            runtime: Handle::current(),
        }))
    }

    /// Whether the store is worth asking.
    pub fn is_available(&self) -> bool {
        self.0.store.is_available()
    }

    /// The instant of this process that `wall` is.
    pub fn instant(&self, wall: UnixMs) -> Instant {
        clock::now() + wall.since(self.0.store.wall())
    }

    /// Claims a call that `lead` leads here, which came at `arrived` and has `limit`. Waits for
    /// another replica that has claimed it, however long that takes. Returns also what is left of
    /// the time that the store may cost.
    pub async fn claim(
        &self,
        call: CallId,
        lead: &Lead,
        arrived: Instant,
        limit: Duration,
    ) -> (Claimed, Duration) {
        let inner = &self.0;
        let (now, wall) = (clock::now(), inner.store.wall());
        let deadline = Deadline::of(arrived, limit);
        let claimant = Claimant {
            owner: inner.owner,
            round: lead.round(),
            new_round: lead.new_round(),
            unanswered: lead.unanswered(),
            over: lead.over(),
            until: wall.plus((arrived + limit + CLAIM_MARGIN).saturating_duration_since(now)),
            ends: wall.plus((arrived + inner.window).saturating_duration_since(now)),
        };
        let (mut claiming, mut step) = Claiming::start(claimant);
        let time = |now| deadline.left(now).div_f64(4.0).min(CALL_TIME_MAX);
        let mut end = now + time(now);
        let operation = StoreOperation::Claim;
        if !self.is_available() {
            inner.metrics.store_operation(operation, StoreResult::Unavailable);
            return (claiming.give_up(), Duration::ZERO);
        }
        loop {
            step = match step {
                Step::Done(claimed) => {
                    return (claimed, end.saturating_duration_since(clock::now()));
                }
                Step::Write(revision, record) => {
                    match inner.write(operation, call, revision, &record, end).await {
                        Ok(Written::As(revision)) => claiming.wrote(revision),
                        Ok(Written::Conflict) => claiming.lost(),
                        Err(StoreFault::Timeout) => claiming.unsure(),
                        Err(_) => break,
                    }
                }
                Step::Read => match inner.read(StoreOperation::Look, call, end).await {
                    Ok(seen) => claiming.read(seen, inner.store.wall()),
                    Err(StoreFault::Timeout) => Step::Read,
                    Err(_) => break,
                },
                Step::Pause(pause) => {
                    clock::sleep_until((clock::now() + pause).min(end)).await;
                    Step::Read
                }
                Step::Join(pause) => {
                    clock::sleep_until(clock::now() + pause).await;
                    // Waiting for another replica is not the store's time.
                    end = clock::now() + time(clock::now());
                    Step::Read
                }
            };
            if clock::now() >= end && !matches!(step, Step::Done(_) | Step::Join(_)) {
                break;
            }
        }
        (claiming.give_up(), Duration::ZERO)
    }

    /// A decision about a call that is led here, as it is to be written. One that is late was
    /// not delivered to anyone.
    pub fn decided(&self, led: Led, answer: Answer, is_late: bool) -> Settling {
        let delivery = if is_late { Delivery::No } else { Delivery::Presumed };
        self.settling(led, End::Decided(answer, delivery), clock::now() + self.0.window)
    }

    /// The fallback of a call that came at `arrived`, as it is to be written: at least until those
    /// who joined have seen it.
    pub fn fell_back(&self, led: Led, outcome: Outcome, arrived: Instant) -> Settling {
        let ends = (arrived + self.0.window).max(clock::now() + CLAIM_MARGIN);
        self.settling(led, End::FellBack(outcome), ends)
    }

    fn settling(&self, led: Led, end: End, ends: Instant) -> Settling {
        let Inner { store, owner, .. } = &*self.0;
        let ends = store.wall().plus(ends.saturating_duration_since(clock::now()));
        let Led { round, unanswered, claim, .. } = led;
        let revision = claim.map_or(Revision::NONE, |claim| claim.revision);
        let claim = (*owner, claim.map_or(UnixMs(0), |claim| claim.until));
        Settling { claim, revision, round, unanswered, end, ends }
    }

    /// Writes the end of a call before it is answered, until `end` at the longest. Returns the
    /// decision that counts: another replica may have brought one first.
    pub async fn settle_first(
        &self,
        call: CallId,
        settling: Settling,
        end: Instant,
    ) -> Option<Answer> {
        if self.is_available()
            && clock::now() < end
            && let Ok(counts) = self.0.settle(call, &settling, end).await
        {
            return counts;
        }
        self.settle_behind(call, settling);
        None
    }

    /// Writes a decision that came late; then says which one counts, as [`Self::settle_first`].
    pub fn settle_late(
        &self,
        call: CallId,
        settling: Settling,
        then: impl FnOnce(Option<Answer>) + Send + 'static,
    ) {
        let (shared, end) = (self.clone(), clock::now() + CALL_TIME_MAX);
        self.0.runtime.spawn(async move { then(shared.settle_first(call, settling, end).await) });
    }

    /// Writes the end of a call while it is answered, and tries until it counts no more.
    pub fn settle_behind(&self, call: CallId, settling: Settling) {
        let inner = Arc::clone(&self.0);
        self.behind(StoreOperation::Record, async move {
            let settled = async {
                let mut pause = RETRY_PAUSE_MIN;
                loop {
                    inner.store.available().await;
                    let end = clock::now() + OPERATION_TIME_MAX * 2;
                    if inner.settle(call, &settling, end).await.is_ok() {
                        return;
                    }
                    clock::sleep_until(clock::now() + pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            };
            let left = settling.ends.since(inner.store.wall());
            clock::until(clock::now() + left, settled).await;
        });
    }

    /// The answer decided in `round` was delivered, or was not.
    pub fn mark(&self, call: CallId, round: Round, delivery: Delivery) {
        let inner = Arc::clone(&self.0);
        self.behind(StoreOperation::Deliver, async move {
            let marked = async {
                let mut pauses = Pauses::default();
                loop {
                    inner.store.available().await;
                    let end = clock::now() + OPERATION_TIME_MAX * 2;
                    let seen = inner.read(StoreOperation::Look, call, end).await;
                    let wall = inner.store.wall();
                    match seen.map(|seen| settling::mark(seen, round, delivery, wall)) {
                        Ok(Mark::Leave) => return,
                        Ok(Mark::Write(revision, record)) => {
                            let operation = StoreOperation::Deliver;
                            let write = inner.write(operation, call, revision, &record, end);
                            if let Ok(Written::As(_)) = write.await {
                                return;
                            }
                        }
                        Ok(Mark::Wait) | Err(_) => {}
                    }
                    clock::sleep_until(clock::now() + pauses.longer()).await;
                }
            };
            clock::until(clock::now() + inner.window, marked).await;
        });
    }

    /// Waits for the decision that another replica brings in `round`.
    pub async fn decided_elsewhere(&self, call: CallId, round: Round) -> Answer {
        let inner = &self.0;
        let mut pauses = Pauses::default();
        loop {
            clock::sleep_until(clock::now() + pauses.longer()).await;
            inner.store.available().await;
            let end = clock::now() + OPERATION_TIME_MAX;
            let Ok(seen) = inner.read(StoreOperation::Look, call, end).await else { continue };
            let record = seen.live(inner.store.wall()).filter(|record| record.round == round);
            if let Some(SharedRecord { phase: SharedPhase::Decided(decided), .. }) = record {
                return decided.answer;
            }
        }
    }

    /// Waits a little for what goes on behind answers.
    pub async fn flush(&self) {
        let end = clock::now() + FLUSH_TIME_MAX;
        if self.is_available() {
            clock::until(end, self.0.backlog.acquire_many(BACKLOG_MAX)).await;
        }
    }

    /// Does something behind an answer. Where too much of it is going on, it is not done.
    fn behind(&self, operation: StoreOperation, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(place) = Arc::clone(&self.0.backlog).try_acquire_owned() else {
            self.0.metrics.store_operation(operation, StoreResult::Dropped);
            return;
        };
        self.0.runtime.spawn(async move {
            work.await;
            drop(place);
        });
    }
}

impl<S: Store> Inner<S> {
    /// Writes an end. Returns the decision that was first, where there is one; no end where the
    /// store failed.
    async fn settle(
        &self,
        call: CallId,
        settling: &Settling,
        end: Instant,
    ) -> Result<Option<Answer>, StoreFault> {
        let mut settle = Settle::Write(settling.revision, settling.record());
        loop {
            settle = match settle {
                Settle::Leave => return Ok(None),
                Settle::Decided(answer) => return Ok(Some(answer)),
                Settle::Write(revision, record) => {
                    let write = self.write(StoreOperation::Record, call, revision, &record, end);
                    match write.await {
                        Ok(Written::As(_)) => return Ok(None),
                        // It may have been taken, or not be seen yet.
                        Ok(Written::Conflict) | Err(StoreFault::Timeout) => {
                            let seen = self.read(StoreOperation::Look, call, end).await?;
                            settling.read(seen, self.store.wall())
                        }
                        Err(fault) => return Err(fault),
                    }
                }
            };
            if clock::now() >= end {
                return Err(StoreFault::Timeout);
            }
        }
    }

    async fn read(
        &self,
        operation: StoreOperation,
        call: CallId,
        end: Instant,
    ) -> Result<Seen, StoreFault> {
        let end = end.min(clock::now() + OPERATION_TIME_MAX);
        let read = self.store.read(call, end).await;
        let seen = read.map(|(revision, sealed)| {
            let is_there = sealed.is_some();
            let record = sealed
                .and_then(|sealed| self.keys.get().open(&call.to_string(), &sealed))
                .and_then(|record| SharedRecord::decode(&record))
                .map(|record| record.believed(self.store.wall(), self.window));
            (is_there && record.is_none(), Seen { revision, record })
        });
        let result = match &seen {
            Ok((false, _)) => StoreResult::Ok,
            Ok((true, _)) => StoreResult::Unreadable,
            Err(fault) => fault.result(),
        };
        self.metrics.store_operation(operation, result);
        seen.map(|(_, seen)| seen)
    }

    async fn write(
        &self,
        operation: StoreOperation,
        call: CallId,
        revision: Revision,
        record: &SharedRecord,
        end: Instant,
    ) -> Result<Written, StoreFault> {
        let end = end.min(clock::now() + OPERATION_TIME_MAX);
        let life_seconds = record.life_seconds(self.store.wall());
        let seal = |nonce| self.keys.get().seal(&call.to_string(), nonce, &record.encode());
        let sealed = self.random.nonce().and_then(seal);
        let written = match sealed {
            Some(sealed) => self.store.write(call, revision, life_seconds, sealed, end).await,
            None => Err(StoreFault::Error),
        };
        let result = match written {
            Ok(Written::As(_)) => StoreResult::Ok,
            Ok(Written::Conflict) => StoreResult::Conflict,
            Err(fault) => fault.result(),
        };
        self.metrics.store_operation(operation, result);
        written
    }
}
