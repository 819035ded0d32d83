//! Records of decisions on their way out: a queue with bounds, and a count of what becomes of each.
//! Nobody who answers a call ever waits for it.
//!
//! A record is tried for a while and then given up; nothing is kept on disk. It may be published
//! twice, under one id.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    budget::{Hold, Share},
    call::Finished,
    clock,
    domain::{
        budget::Part,
        event::{Event, EventRules, Record},
        json::Object,
        record::Round,
    },
    metrics::{EventResult, Metrics},
    random::Random,
    wire::{EventStream, Kept, NotKept},
};

/// The most records that are on their way at once.
pub const RECORDS_MAX: u32 = 4_096;

/// The most bytes of them.
pub const BYTES_MAX: u32 = 4 * 1024 * 1024;

/// The most acknowledgements that are waited for at once.
const AT_WORK_MAX: usize = 256;

/// How long a record is tried: a stream without a leader has one again after 4 to 7 s.
const RECORD_TIME_MAX: Duration = Duration::from_secs(10);

/// How long one acknowledgement may take.
const ACKNOWLEDGEMENT_TIME_MAX: Duration = Duration::from_secs(2);

/// The pause before a record is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How long nothing may have been lost before that is said.
const CALM: Duration = Duration::from_secs(10);

/// How long the end of the program waits for records that are on their way.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// Has records of decisions kept.
pub struct Events<S>(Arc<Inner<S>>);

struct Inner<S> {
    stream: Arc<S>,
    rules: EventRules,
    instance: String,
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    at_work: Semaphore,
    room: Arc<Share>,
    numbers: Random,
    losses: Mutex<Losses>,
    metrics: Metrics,
    /// Records outlive the thread that answered the call.
    runtime: Handle,
}

/// A place in the queue, given back when dropped: one for the record, and some for its bytes, also of
/// the memory for all that waits behind answers.
type Place = ([OwnedSemaphorePermit; 2], Hold);

/// What became of a record, with JetStream's code where that refused it.
#[derive(Clone, Copy)]
struct Ending {
    result: EventResult,
    code: Option<u64>,
}

/// What was said of records that are lost.
struct Losses {
    said: Vec<EventResult>,
    /// When nothing has been lost for a while.
    calm_from: Instant,
}

impl<S> Clone for Events<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: EventStream> Events<S> {
    /// Published over `stream` by this thread's runtime; `instance` names this replica in them.
    pub fn new(stream: Arc<S>, rules: EventRules, instance: String, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            stream,
            rules,
            instance,
            records: Arc::new(Semaphore::new(RECORDS_MAX as usize)),
            bytes: Arc::new(Semaphore::new(BYTES_MAX as usize)),
            at_work: Semaphore::new(AT_WORK_MAX),
            room: Share::unbounded(Part::Behind),
            numbers: Random::default(),
            losses: Mutex::new(Losses { said: Vec::new(), calm_from: clock::now() }),
            metrics,
            runtime: Handle::current(),
        }))
    }

    /// Keeps records on their way within `room`. Call it before there is a clone.
    pub fn within(mut self, room: Arc<Share>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.room = room;
        }
        self
    }

    /// A call was answered. Where too many records are on their way, this one is lost.
    pub fn tell(&self, finished: &Finished<'_>) {
        let Some(record) = self.0.record(finished) else { return };
        let Some(place) = self.0.place(&record) else {
            return self.0.ended(Ending::of(EventResult::QueueFull));
        };
        let inner = Arc::clone(&self.0);
        self.0.runtime.spawn(async move {
            let ending = inner.keep(record).await;
            inner.ended(ending);
            drop(place);
        });
    }

    /// Waits a little for the records that are on their way, but not beyond `end`.
    pub async fn flush(&self, end: Instant) {
        let end = end.min(clock::now() + FLUSH_TIME_MAX);
        if clock::until(end, self.0.records.acquire_many(RECORDS_MAX)).await.is_none() {
            let records = (RECORDS_MAX as usize).saturating_sub(self.0.records.available_permits());
            tracing::warn!(records, "records of decisions were left when the bridge stopped");
        }
    }
}

impl<S: EventStream> Inner<S> {
    fn record(&self, finished: &Finished<'_>) -> Option<Record> {
        let Finished { call, outcome, round, taken, at } = finished;
        // A call's body was read when it became one.
        let body = if self.rules.claims.is_empty() { None } else { call.body() };
        let claims = body.as_ref().and_then(|body| Object::parse(body).ok());
        let event = Event {
            connector: &call.lane.connector,
            call: call.id,
            round: round.unwrap_or_else(|| Round(self.numbers.next())),
            outcome,
            attempt: call.attempt(),
            answered: *at,
            taken: *taken,
            span: call.span.place(),
            claims: claims.as_ref(),
            instance: &self.instance,
        };
        event.record(&self.rules)
    }

    fn place(&self, record: &Record) -> Option<Place> {
        let size = u32::try_from(record.json.len() + record.id.len()).ok()?;
        let one = Arc::clone(&self.records).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(size).ok()?;
        Some(([one, bytes], self.room.try_hold(size as usize)?))
    }

    /// Tries until a stream has the record, or its time is over. Returns what became of it.
    async fn keep(&self, Record { id, json }: Record) -> Ending {
        let (json, end) = (Bytes::from(json), clock::now() + RECORD_TIME_MAX);
        let mut last = None;
        loop {
            // Nothing is given to a connection that is not there.
            if clock::until(end, self.stream.connected()).await.is_none() {
                return last.unwrap_or(Ending::of(EventResult::Disconnected));
            }
            let Some(at_work) = clock::until(end, self.at_work.acquire()).await else {
                return last.unwrap_or(Ending::of(EventResult::QueueFull));
            };
            let until = end.min(clock::now() + ACKNOWLEDGEMENT_TIME_MAX);
            let kept = self.stream.keep(&self.rules.subject, &id, json.clone(), until).await;
            drop(at_work);
            let ending = match kept {
                Ok(Kept::Now) => return Ending::of(EventResult::Published),
                // The acknowledgement of an earlier try was lost, or this is a retry's record.
                Ok(Kept::Before) if last.is_some() => return Ending::of(EventResult::Published),
                Ok(Kept::Before) => return Ending::of(EventResult::Duplicate),
                Err(fault) => Ending::by(fault),
            };
            let next = clock::now() + RETRY_PAUSE;
            if next >= end {
                return ending;
            }
            last = Some(ending);
            clock::sleep_until(next).await;
        }
    }

    /// Counts the end of a record. Says when records begin to be lost, for each cause once, and when
    /// that is over.
    fn ended(&self, Ending { result, code }: Ending) {
        self.metrics.event(result);
        let (now, advice) = (clock::now(), advice(result));
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        match advice {
            None if losses.said.is_empty() || now < losses.calm_from => {}
            None => {
                losses.said.clear();
                drop(losses);
                tracing::info!("records of decisions are kept again");
            }
            Some(advice) => {
                losses.calm_from = now + CALM;
                if losses.said.contains(&result) {
                    return;
                }
                losses.said.push(result);
                drop(losses);
                let (result, subject) = (result.label(), self.rules.subject.as_str());
                tracing::warn!(result, code, subject, "records of decisions are lost: {advice}");
            }
        }
    }
}

impl Ending {
    fn of(result: EventResult) -> Self {
        Self { result, code: None }
    }

    fn by(fault: NotKept) -> Self {
        let code = match fault {
            NotKept::Refused(code) => code,
            NotKept::Disconnected | NotKept::NoStream | NotKept::Unacknowledged => None,
        };
        Self { result: fault.result(), code }
    }
}

/// What to do where records end so; nothing where they are kept.
fn advice(result: EventResult) -> Option<&'static str> {
    Some(match result {
        EventResult::Published | EventResult::Duplicate => return None,
        EventResult::QueueFull => "too many wait to be published",
        EventResult::Disconnected => "there is no connection to NATS",
        EventResult::NoStream => "no JetStream stream listens on the subject; make one",
        EventResult::Unacknowledged => {
            "nothing acknowledges them: the user may not publish there, or JetStream hangs"
        }
        EventResult::Refused => "the stream refuses them, or what listens there is no stream",
    })
}
