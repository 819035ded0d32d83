//! The store that replicas share: what is asked of it, and what it costs at most. The rules are
//! those of [`crate::domain::claiming`] and [`crate::domain::settling`].
//!
//! The store never gates an answer. It is skipped while it is known to be away, and given up
//! after its time; what could not be written is tried again behind the answer.

mod operations;
mod owners;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::Semaphore};

use self::owners::Owners;
use crate::{
    budget::Share,
    clock,
    domain::{
        budget::Part,
        call_id::CallId,
        claiming::{Claimed, Claiming, Pauses, Step},
        deadline::Deadline,
        outcome::Outcome,
        protocol::Answer,
        record::Round,
        seal::SealKeys,
        settling::{End, Settling},
        shared::{CLAIM_MARGIN, Delivery, Owner, Revision, SharedPhase, SharedRecord, UnixMicros},
    },
    memory::{Lead, Lease, Leases, Led},
    metrics::{Metrics, StoreOperation, StoreResult},
    random::Random,
    secrets::Live,
    wire::{OPERATION_TIME_MAX, Store, StoreFault, Written},
};

/// The most time that the store costs a call. A call with little time left gives it a quarter.
const CALL_TIME_MAX: Duration = Duration::from_millis(250);

/// The pause before what could not be written is tried again: at first, and at most.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(300);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(1_200);

/// How long the end of the program waits for writes that go on behind answers.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// The most writes that wait behind answers, and the most that are at work at once: when the store
/// comes back, those that wait must not keep it down.
const BACKLOG_MAX: u32 = 4_096;
const BACKLOG_AT_WORK_MAX: usize = 32;

/// What a write takes while it waits, besides the answer in it.
const WRITE_BYTES: usize = 1024;

/// What counts once the end of a call is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counts {
    /// The end that was to be written.
    This,
    /// A decision that another replica brought first; or the same one, brought before.
    First(Answer),
    /// The call has moved on to another round: the end counts for those who got it, and for
    /// nobody else.
    Overtaken,
}

impl Counts {
    /// The answer that counts, where `this` was to be written.
    pub fn answer(self, this: &Answer) -> Answer {
        match self {
            Counts::This | Counts::Overtaken => this.clone(),
            Counts::First(first) => first,
        }
    }
}

/// What the store has said when a call was to be leased.
pub struct Asked {
    /// What is to be done.
    pub claimed: Claimed,
    /// What is left of the time that the store may cost the call.
    pub time_left: Duration,
    /// When the store was asked: no later than the lease was written.
    pub at: Instant,
}

/// The calls of all replicas.
pub struct SharedCalls<S>(Arc<Inner<S>>);

struct Inner<S> {
    store: Arc<S>,
    owner: Owner,
    leases: Arc<Leases>,
    owners: Owners,
    window: Duration,
    keys: Arc<Live<SealKeys>>,
    random: Random,
    metrics: Metrics,
    backlog: Arc<Semaphore>,
    at_work: Semaphore,
    /// The memory for what waits.
    room: Arc<Share>,
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
            leases: Arc::default(),
            owners: Owners::default(),
            window,
            keys,
            random,
            metrics,
            backlog: Arc::new(Semaphore::new(BACKLOG_MAX as usize)),
            at_work: Semaphore::new(BACKLOG_AT_WORK_MAX),
            room: Share::unbounded(Part::Behind),
            runtime: Handle::current(),
        }))
    }

    /// Keeps what waits behind answers within `room`. Call it before there is a clone.
    pub fn within(mut self, room: Arc<Share>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.room = room;
        }
        self
    }

    /// Whether the store is worth asking.
    pub fn is_available(&self) -> bool {
        self.0.store.is_available()
    }

    /// The instant of this process that `wall` is.
    pub fn instant(&self, wall: UnixMicros) -> Instant {
        clock::now() + wall.since(self.0.store.wall())
    }

    /// A lease of this process, `asked` for then. Without a revision it is not known whether the
    /// store has taken it.
    pub fn lease(&self, revision: Revision, asked: Instant) -> Lease {
        let (lease, is_first) = self.0.leases.add(asked, revision != Revision::NONE);
        if is_first {
            self.0.runtime.spawn(Arc::clone(&self.0).beat());
        }
        lease
    }

    /// Leases a call that `lead` leads here, which came at `arrived` and has `limit`; or looks at
    /// it again, where it was leased and that may be over. Waits for another replica that has it,
    /// however long that takes.
    pub async fn claim(
        &self,
        call: CallId,
        lead: &Lead,
        arrived: Instant,
        limit: Duration,
    ) -> Asked {
        let (inner, mut now) = (&self.0, clock::now());
        let deadline = Deadline::of(arrived, limit);
        let (mut claiming, mut step) = Claiming::start(inner.claimant(lead, arrived, limit, now));
        let time = |now| deadline.left(now).div_f64(4.0).min(CALL_TIME_MAX);
        let mut end = now + time(now);
        let operation = StoreOperation::Claim;
        // With a connection that has just returned the store takes a moment to be found. Another
        // may have the call by now, so that moment is waited for.
        if lead.leased_as().is_some() && !self.is_available() {
            clock::until(end, inner.store.available()).await;
            now = clock::now();
        }
        if !self.is_available() {
            inner.metrics.store_operation(operation, StoreResult::Unavailable);
            return Asked { claimed: claiming.give_up(), time_left: Duration::ZERO, at: now };
        }
        let mut at = now;
        loop {
            step = match step {
                Step::Done(claimed) => {
                    return Asked { claimed, time_left: end.saturating_duration_since(now), at };
                }
                Step::Write(revision, record) => {
                    at = now;
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
                    clock::sleep_until((now + pause).min(end)).await;
                    Step::Read
                }
                Step::Join { pause, owner } => {
                    clock::sleep_until(now + pause).await;
                    if let Some(owner) = owner {
                        claiming.looked_at(inner.watch(owner).await, clock::now());
                    }
                    // Waiting for another replica is not the store's time.
                    end = clock::now() + time(clock::now());
                    Step::Read
                }
            };
            now = clock::now();
            if now >= end && !matches!(step, Step::Done(_) | Step::Join { .. }) {
                break;
            }
        }
        Asked { claimed: claiming.give_up(), time_left: Duration::ZERO, at: clock::now() }
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

    /// The request that led a call has broken off: another replica need not wait.
    pub fn release(&self, led: Led) {
        // Of a lease, the last message is not counted.
        let led = Led { unanswered: led.unanswered.saturating_sub(1), ..led };
        let settling = self.settling(led, End::Released, clock::now() + self.0.window);
        self.settle_behind(led.call, settling, |_| {});
    }

    fn settling(&self, led: Led, end: End, ends: Instant) -> Settling {
        let Inner { store, owner, .. } = &*self.0;
        let ends = store.wall().plus(ends.saturating_duration_since(clock::now()));
        let Led { round, unanswered, claim, .. } = led;
        let revision = claim.map_or(Revision::NONE, |claim| claim.revision);
        let claim = (*owner, claim.map_or(UnixMicros(0), |claim| claim.until));
        Settling { claim, revision, round, unanswered, end, ends }
    }

    /// Writes the end of a call before it is answered, until `end` at the longest. Returns what
    /// counts, as far as is known by then; `then` hears of it where it is known only later.
    pub async fn settle_first(
        &self,
        call: CallId,
        settling: Settling,
        end: Instant,
        then: impl FnOnce(Counts) + Send + 'static,
    ) -> Option<Counts> {
        if self.is_available()
            && clock::now() < end
            && let Ok(counts) = self.0.settle(call, &settling, end).await
        {
            return Some(counts);
        }
        self.settle_behind(call, settling, then);
        None
    }

    /// Writes the end of a call while it is answered, and tries until it counts no more. `then`
    /// hears what counts.
    pub fn settle_behind(
        &self,
        call: CallId,
        settling: Settling,
        then: impl FnOnce(Counts) + Send + 'static,
    ) {
        let inner = Arc::clone(&self.0);
        // Until it is written, others are to know that its owner lives.
        let lease = self.lease(settling.revision, clock::now());
        let bytes = WRITE_BYTES + settling.end.bytes();
        self.behind(StoreOperation::Record, bytes, async move {
            let _lease = lease;
            let settled = async {
                let mut pause = RETRY_PAUSE_MIN;
                loop {
                    let settled = inner.work(async |end| inner.settle(call, &settling, end).await);
                    if let Ok(counts) = settled.await {
                        return counts;
                    }
                    clock::sleep_until(clock::now() + pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            };
            let left = settling.ends.since(inner.store.wall());
            if let Some(counts) = clock::until(clock::now() + left, settled).await {
                then(counts);
            }
        });
    }

    /// The same for a decision that came late, where nobody waits for it any more.
    pub fn settle_late(
        &self,
        call: CallId,
        settling: Settling,
        then: impl FnOnce(Counts) + Send + 'static,
        now: impl FnOnce(Option<Counts>) + Send + 'static,
    ) {
        let (shared, end) = (self.clone(), clock::now() + CALL_TIME_MAX);
        self.0.runtime.spawn(async move {
            now(shared.settle_first(call, settling, end, then).await);
        });
    }

    /// The answer decided in `round` was delivered, or was not.
    pub fn mark(&self, call: CallId, round: Round, delivery: Delivery) {
        let inner = Arc::clone(&self.0);
        self.behind(StoreOperation::Deliver, WRITE_BYTES, async move {
            let marked = async {
                let mut pauses = Pauses::default();
                loop {
                    let marked =
                        inner.work(async |end| inner.mark(call, round, delivery, end).await);
                    if marked.await {
                        return;
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
    fn behind(
        &self,
        operation: StoreOperation,
        bytes: usize,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let place = Arc::clone(&self.0.backlog).try_acquire_owned().ok();
        let Some(place) = place.and_then(|place| Some((place, self.0.room.try_hold(bytes)?)))
        else {
            self.0.metrics.store_operation(operation, StoreResult::Dropped);
            return;
        };
        self.0.runtime.spawn(async move {
            work.await;
            drop(place);
        });
    }
}
