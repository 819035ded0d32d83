//! The retry memory of this process: joins requests for the same call, replays decisions, takes
//! late ones. The rules are those of [`Record`]; here are the map, its bounds and who waits.

mod lead;
mod leases;
mod receipt;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::HashMap;
use tokio::sync::oneshot;

pub use self::{
    lead::{Lead, Led, Standing},
    leases::{Lease, Leases},
    receipt::Receipt,
};
use crate::{
    budget::Share,
    clock,
    domain::{
        budget::Part,
        call_id::CallId,
        outcome::{Outcome, Source},
        protocol::Answer,
        record::{Begin, Record, Recorded, Round},
        shared::Delivery,
        trace_context::SpanRef,
    },
    ends::Ends,
    random::Random,
    room::give_back,
};

/// What a call takes besides its answer: its entry with a span and a record, its places in the map
/// and among the ends, and what the allocator adds.
const CALL_BYTES: usize = 320;

/// What is remembered of calls, at most `entries_max` besides those in flight, and at most so many
/// bytes as there is a share for.
pub struct Memory {
    state: Mutex<State>,
    rounds: Random,
    window: Duration,
    entries_max: usize,
    share: Arc<Share>,
    on_form: OnForm,
    on_lost: OnLost,
}

/// Is told whether a ValidationError was delivered.
type OnForm = Box<dyn Fn(CallId, Round, Delivery) + Send + Sync>;

/// Is told of a request that led a call and broke off.
type OnLost = Box<dyn Fn(Led) + Send + Sync>;

struct State {
    /// In boxes: a map that grows moves what it holds.
    calls: HashMap<CallId, Box<Entry>>,
    /// Which calls may end when, each once: where its record has a later end by then, it is put in
    /// again.
    ends: Ends<CallId>,
    /// Of all calls together.
    bytes: usize,
}

struct Entry {
    record: Record,
    /// The request that leads, or has led, for traces.
    led_by: SpanRef,
    joined: Vec<oneshot::Sender<Ended>>,
    /// What it counts for.
    bytes: usize,
    /// Whether it stands among the ends.
    has_end: bool,
}

/// The end of a round, for all who asked in it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which round.
    pub round: Round,
    /// What everyone gets.
    pub outcome: Outcome,
}

/// What a request for a call gets.
pub enum Begun {
    /// It leads: ask a worker.
    Lead(Lead),
    /// It waits for what the leading request gets. Nothing comes where that one panicked.
    Join(oneshot::Receiver<Ended>),
    /// It gets the recorded answer.
    Replay(Ended),
}

impl Memory {
    /// Remembers each call for `window`, and at most `entries_max` of them besides those in flight.
    pub fn new(window: Duration, entries_max: usize) -> Self {
        Self {
            state: Mutex::new(State::new()),
            rounds: Random::default(),
            window,
            entries_max,
            share: Share::unbounded(Part::Remembered),
            on_form: Box::new(|_, _, _| {}),
            on_lost: Box::new(|_| {}),
        }
    }

    /// Remembers within `share`, of which it keeps the account.
    pub fn within(self, share: Arc<Share>) -> Self {
        Self { share, ..self }
    }

    /// Tells of every ValidationError whether it was delivered, and of requests that broke off.
    pub fn telling(
        self,
        on_form: impl Fn(CallId, Round, Delivery) + Send + Sync + 'static,
        on_lost: impl Fn(Led) + Send + Sync + 'static,
    ) -> Self {
        Self { on_form: Box::new(on_form), on_lost: Box::new(on_lost), ..self }
    }

    /// How long a call is remembered.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// A request for `call`; `is_shared` where other replicas may know more of it. Returns also the
    /// request that leads, or has led last, if this one is not the first.
    pub fn begin(
        self: &Arc<Self>,
        call: CallId,
        request: SpanRef,
        is_shared: bool,
        now: Instant,
    ) -> (Begun, Option<SpanRef>) {
        let new_round = Round(self.rounds.next());
        let mut state = self.lock();
        let (mut begin, mut earlier) = (Begin::Lead { unanswered: 0, form: None }, None);
        let entry = state
            .calls
            .entry(call)
            .and_modify(|entry| {
                begin = entry.record.ask(new_round, is_shared, now);
                earlier = Some(entry.led_by);
            })
            .or_insert_with(|| {
                let record = Record::lead(new_round, now);
                let (joined, bytes, has_end) = (Vec::new(), 0, false);
                Box::new(Entry { record, led_by: request, joined, bytes, has_end })
            });
        let round = entry.record.round();
        let begun = match begin {
            Begin::Replay(answer) => {
                let outcome = Outcome { answer, source: Source::Replay, reason: None };
                Begun::Replay(Ended { round, outcome })
            }
            Begin::Join => Begun::Join(entry.join()),
            Begin::Lead { unanswered, form } => {
                entry.led_by = request;
                state.weigh(call);
                self.bound(&mut state);
                drop(state);
                let memory = Some((Arc::clone(self), call));
                // Should others end that one while it is claimed here, the next has another number.
                let new_round = Round(self.rounds.next());
                Begun::Lead(Lead { memory, round, new_round, unanswered, form, standing: None })
            }
        };
        (begun, earlier)
    }

    /// A worker's decision, in time or late. Returns whether it counts: only the first decision of
    /// a round does, and only until its window ends.
    pub fn decide(&self, call: CallId, round: Round, answer: &Answer, now: Instant) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.calls.get_mut(&call) else { return false };
        if !entry.record.decide(round, answer.clone(), now, self.window) {
            return false;
        }
        entry.tell(&Ended { round, outcome: decided(answer.clone()) });
        state.remember_until(call, now + self.window);
        self.bound(&mut state);
        true
    }

    /// The store has another decision in `round` than the one that was recorded here.
    pub fn correct(&self, call: CallId, round: Round, first: Answer) {
        let mut state = self.lock();
        if let Some(entry) = state.calls.get_mut(&call) {
            entry.record.correct(round, first);
            state.weigh(call);
            self.bound(&mut state);
        }
    }

    /// The call has moved on to another round elsewhere: what was decided in `round` is forgotten.
    pub fn leave(&self, call: CallId, round: Round) {
        let mut state = self.lock();
        if state.calls.get(&call).is_some_and(|entry| entry.record.decided(round).is_some()) {
            state.remove(call);
            self.share.set_held(state.bytes);
        }
    }

    /// What the store knows of `call` takes the place of what was known here.
    fn learn(&self, call: CallId, learned: Recorded, ends: Instant, ended: &Ended) {
        let mut state = self.lock();
        let Some(entry) = state.calls.get_mut(&call) else { return };
        entry.record.learn(ended.round, learned, ends);
        entry.tell(ended);
        state.remember_until(call, ends);
        self.bound(&mut state);
    }

    fn go_on_in(&self, call: CallId, from: Round, to: Round) {
        let mut state = self.lock();
        let entry = state.calls.get_mut(&call).filter(|entry| entry.record.round() == from);
        if let Some(entry) = entry {
            entry.record.go_on_in(to);
        }
    }

    /// The leading request of `round` ends without a decision, for all who joined it.
    fn fall_back(&self, call: CallId, round: Round, unanswered: u32, outcome: Option<&Outcome>) {
        let mut state = self.lock();
        let Some(entry) = state.calls.get_mut(&call) else { return };
        if entry.record.round() != round {
            return; // those who joined wait for another
        }
        entry.record.fall_back(round, unanswered, self.window);
        match outcome {
            Some(outcome) => entry.tell(&Ended { round, outcome: outcome.clone() }),
            None => entry.joined.clear(),
        }
        if let Some(end) = entry.record.ends() {
            state.remember_until(call, end);
            self.bound(&mut state);
        }
    }

    fn recorded(&self, call: CallId, round: Round) -> Option<Answer> {
        let state = self.lock();
        let record = &state.calls.get(&call)?.record;
        record.decided(round).cloned()
    }

    /// What says whether the answer recorded in `round` was delivered.
    pub fn receipt(self: &Arc<Self>, call: CallId, round: Round) -> Receipt {
        Receipt { memory: Arc::clone(self), call, round, delivery: Delivery::No }
    }

    fn end_of_answer(&self, call: CallId, round: Round, delivery: Delivery) {
        let mut state = self.lock();
        let Some(entry) = state.calls.get_mut(&call) else { return };
        let was_delivered = entry.record.form(round).is_some_and(|form| form.delivered);
        if delivery == Delivery::Yes {
            entry.record.deliver(round);
        }
        let is_form = entry.record.form(round).is_some();
        drop(state);
        if is_form && !was_delivered {
            (self.on_form)(call, round, delivery);
        }
    }

    /// Forgets what is over.
    pub fn forget(&self, now: Instant) {
        let mut state = self.lock();
        // What ends later was put in again behind this tick.
        while let Some((_, call)) = state.ends.pop_passed(now) {
            state.forget(call, Some(now));
        }
        give_back(&mut state.calls);
        self.share.set_held(state.bytes);
    }

    /// Forgets those that end first until no more than `entries_max` are left, and until they fit
    /// into their share.
    fn bound(&self, state: &mut State) {
        while state.calls.len() > self.entries_max || state.bytes > self.share.limit() {
            let Some((_, call)) = state.ends.pop_first() else { break };
            if state.forget(call, None) {
                self.share.refuse();
            }
        }
        self.share.set_held(state.bytes);
    }

    /// How many calls are remembered, those in flight included.
    pub fn len(&self) -> usize {
        self.lock().calls.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn join(&mut self) -> oneshot::Receiver<Ended> {
        // Before the list grows, those who went leave it: their number is nobody's to choose.
        if self.joined.len() == self.joined.capacity() {
            self.joined.retain(|joined| !joined.is_closed());
        }
        let (sender, receiver) = oneshot::channel();
        self.joined.push(sender);
        receiver
    }

    /// Whoever has stopped waiting is not missed.
    fn tell(&mut self, ended: &Ended) {
        let joined = std::mem::take(&mut self.joined);
        joined.into_iter().for_each(|joined| drop(joined.send(ended.clone())));
    }
}

impl State {
    fn new() -> Self {
        Self { calls: HashMap::default(), ends: Ends::new(clock::now()), bytes: 0 }
    }

    fn remember_until(&mut self, call: CallId, end: Instant) {
        self.weigh(call);
        if let Some(entry) = self.calls.get_mut(&call)
            && !std::mem::replace(&mut entry.has_end, true)
        {
            self.ends.push(end, call);
        }
    }

    /// Brings up to date what `call` counts for.
    fn weigh(&mut self, call: CallId) {
        let Some(entry) = self.calls.get_mut(&call) else { return };
        let bytes = CALL_BYTES + entry.record.answer_bytes();
        self.bytes = (self.bytes + bytes).saturating_sub(entry.bytes);
        entry.bytes = bytes;
    }

    fn remove(&mut self, call: CallId) {
        if let Some(entry) = self.calls.remove(&call) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    /// Forgets `call`, which was taken from the ends, unless it is in flight. One that ends later
    /// than `now` is put in again; without a `now` it is forgotten before its time. Returns whether
    /// it is forgotten.
    fn forget(&mut self, call: CallId, now: Option<Instant>) -> bool {
        let Some(entry) = self.calls.get_mut(&call) else { return false };
        entry.has_end = false;
        let Some(end) = entry.record.ends() else { return false };
        let first = self.ends.first();
        let is_over = match now {
            Some(now) => self.ends.tick(end) < self.ends.tick(now),
            // Others end before it.
            None => first.is_none_or(|first| self.ends.tick(end) <= first),
        };
        match is_over {
            true => self.remove(call),
            false => {
                entry.has_end = true;
                self.ends.push(end, call);
            }
        }
        is_over
    }
}

fn decided(answer: Answer) -> Outcome {
    Outcome { answer, source: Source::Worker, reason: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{call_id::HashKey, json::Object},
        ends::TICK,
        room::SPARE_MAX,
    };

    #[test]
    fn the_room_of_a_rush_that_is_over_is_given_back() {
        let window = Duration::from_secs(45);
        let memory = Arc::new(Memory::new(window, 100_000));
        let (key, now) = (HashKey::public(), clock::now());
        for person in 0..10_000 {
            let claims = format!(r#"{{"email":"{person}@example.com"}}"#);
            let call = CallId::of(&key, "c", &Object::parse(claims.as_bytes()).unwrap());
            let request = SpanRef { trace_id: 1, span_id: 1, flags: 0 };
            drop(memory.begin(call, request, false, now));
        }
        assert!(memory.lock().calls.capacity() >= 10_000);
        memory.forget(now + window + TICK);
        assert!(memory.is_empty());
        assert!(memory.lock().calls.capacity() <= SPARE_MAX);
    }

    #[test]
    fn those_who_joined_and_went_are_not_kept_until_the_call_ends() {
        let memory = Arc::new(Memory::new(Duration::from_secs(45), 100_000));
        let call = CallId::of(&HashKey::public(), "c", &Object::parse(b"{}").unwrap());
        let request = SpanRef { trace_id: 1, span_id: 1, flags: 0 };
        let begin = || memory.begin(call, request, false, clock::now()).0;
        let Begun::Lead(lead) = begin() else { panic!("the first one leads") };
        let waits = begin();
        for _ in 0..10_000 {
            assert!(matches!(begin(), Begun::Join(_)));
        }
        assert!(memory.lock().calls[&call].joined.capacity() <= 8);
        drop(lead);
        let Begun::Join(mut ended) = waits else { panic!("it joined") };
        assert!(ended.try_recv().is_err());
    }

    #[test]
    fn a_call_is_forgotten_when_it_ends_however_its_end_has_moved() {
        let (window, start) = (Duration::from_secs(45), clock::now());
        let memory = Arc::new(Memory::new(window, 100_000));
        let call = CallId::of(&HashKey::public(), "c", &Object::parse(b"{}").unwrap());
        let request = SpanRef { trace_id: 1, span_id: 1, flags: 0 };
        for seconds in 0..100 {
            let now = start + Duration::from_secs(seconds);
            let (Begun::Lead(lead), _) = memory.begin(call, request, false, now) else {
                panic!("nothing is decided");
            };
            drop(lead);
            memory.forget(now);
            assert_eq!(memory.len(), 1, "at {seconds} s");
            let mut state = memory.lock();
            let ends: Vec<_> = std::iter::from_fn(|| state.ends.pop_first()).collect();
            assert_eq!(ends.len(), 1, "it stands among the ends once");
            state.ends.push(start + Duration::from_secs(seconds) + window, call);
        }
        let last = start + Duration::from_secs(99);
        memory.forget(last + window);
        assert_eq!(memory.len(), 1);
        memory.forget(last + window + TICK);
        assert!(memory.is_empty());
        assert_eq!(memory.lock().bytes, 0);
    }
}
