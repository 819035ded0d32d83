//! The retry memory of this process: joins requests for the same call, replays decisions, takes
//! late ones. The rules are those of [`Record`]; here are the map, its bounds and who waits.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    domain::{
        call_id::CallId,
        outcome::{Outcome, Source},
        protocol::Answer,
        record::{Begin, Record, Round},
    },
    room::give_back,
};

/// What is remembered of calls, at most `entries_max` besides those in flight.
pub struct Memory {
    state: Mutex<State>,
    window: Duration,
    entries_max: usize,
}

#[derive(Default)]
struct State {
    calls: HashMap<CallId, Entry>,
    /// Which calls may end when. An entry is stale where its record has a later end by now.
    ends: BTreeMap<Instant, Vec<CallId>>,
    rounds: u64,
}

struct Entry {
    record: Record,
    joined: Vec<oneshot::Sender<Outcome>>,
}

/// What a request for a call gets.
pub enum Begun {
    /// It leads: ask a worker.
    Lead(Round, Lead),
    /// It waits for what the leading request gets. Nothing comes where that one panicked.
    Join(Round, oneshot::Receiver<Outcome>),
    /// The recorded answer.
    Replay(Round, Answer),
}

impl Memory {
    /// Remembers each call for `window`, and at most `entries_max` of them besides those in flight.
    pub fn new(window: Duration, entries_max: usize) -> Self {
        Self { state: Mutex::default(), window, entries_max }
    }

    /// How long a call is remembered.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// A request for `call`.
    pub fn begin(self: &Arc<Self>, call: CallId, now: Instant) -> Begun {
        let mut state = self.lock();
        state.rounds += 1;
        let new_round = Round(state.rounds);
        let mut begin = Begin::Lead { unanswered: 0 };
        let entry = state
            .calls
            .entry(call)
            .and_modify(|entry| begin = entry.record.ask(new_round, now))
            .or_insert_with(|| Entry { record: Record::lead(new_round, now), joined: Vec::new() });
        let round = entry.record.round();
        match begin {
            Begin::Replay(answer) => Begun::Replay(round, answer),
            Begin::Join => Begun::Join(round, entry.join()),
            Begin::Lead { unanswered } => {
                let remembered = Some((Arc::clone(self), call, round));
                state.bound(self.entries_max);
                drop(state);
                Begun::Lead(round, Lead { remembered, unanswered })
            }
        }
    }

    /// A worker's decision, in time or late. Returns whether it counts: only the first decision of
    /// a round does, and only until its window ends.
    pub fn decide(&self, call: CallId, round: Round, answer: &Answer, now: Instant) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.calls.get_mut(&call) else { return false };
        if !entry.record.decide(round, answer.clone(), now, self.window) {
            return false;
        }
        let outcome = decided(answer.clone());
        entry.tell(&outcome);
        state.remember_until(call, now + self.window);
        true
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
            Some(outcome) => entry.tell(outcome),
            None => entry.joined.clear(),
        }
        if let Some(end) = entry.record.ends() {
            state.remember_until(call, end);
        }
    }

    fn recorded(&self, call: CallId, round: Round) -> Option<Answer> {
        let state = self.lock();
        let record = &state.calls.get(&call)?.record;
        record.decided(round).cloned()
    }

    /// What says that the answer recorded in `round` was delivered.
    pub fn receipt(self: &Arc<Self>, call: CallId, round: Round) -> Receipt {
        Receipt { memory: Arc::clone(self), call, round }
    }

    fn deliver(&self, call: CallId, round: Round) {
        if let Some(entry) = self.lock().calls.get_mut(&call) {
            entry.record.deliver(round);
        }
    }

    /// Forgets what is over.
    pub fn forget(&self, now: Instant) {
        let mut state = self.lock();
        while let Some(ends) = state.ends.first_entry().filter(|ends| *ends.key() <= now) {
            let (end, calls) = ends.remove_entry();
            for call in calls {
                state.forget(call, end);
            }
        }
        give_back(&mut state.calls);
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
    fn join(&mut self) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        self.joined.push(sender);
        receiver
    }

    /// Whoever has stopped waiting is not missed.
    fn tell(&mut self, outcome: &Outcome) {
        self.joined.drain(..).for_each(|joined| drop(joined.send(outcome.clone())));
    }
}

impl State {
    fn remember_until(&mut self, call: CallId, end: Instant) {
        self.ends.entry(end).or_default().push(call);
    }

    /// Forgets `call` if it still ends at `end`.
    fn forget(&mut self, call: CallId, end: Instant) {
        if self.calls.get(&call).is_some_and(|entry| entry.record.ends() == Some(end)) {
            self.calls.remove(&call);
        }
    }

    /// Forgets those that end first until no more than `entries_max` are left.
    fn bound(&mut self, entries_max: usize) {
        while self.calls.len() > entries_max {
            let Some(mut first) = self.ends.first_entry() else { return };
            let end = *first.key();
            match first.get_mut().pop() {
                Some(call) => self.forget(call, end),
                None => drop(first.remove()),
            }
        }
    }
}

/// The right and the duty to have a call decided. Dropped without an end, as after a panic, it
/// counts as a fallback, and those who joined get nothing.
pub struct Lead {
    remembered: Option<(Arc<Memory>, CallId, Round)>,
    unanswered: u32,
}

impl Lead {
    /// A call that nobody joins and nothing remembers.
    pub fn alone() -> Self {
        Self { remembered: None, unanswered: 0 }
    }

    /// Which call and round this is, where it is remembered and not decided yet.
    pub fn round(&self) -> Option<(CallId, Round)> {
        self.remembered.as_ref().map(|(_, call, round)| (*call, *round))
    }

    /// The number of the message that is sent next.
    pub fn attempt(&self) -> u32 {
        self.unanswered + 1
    }

    /// A message went out; it may have reached a worker.
    pub fn sent(&mut self) {
        self.unanswered += 1;
    }

    /// The last message certainly reached nobody.
    pub fn reached_nobody(&mut self) {
        self.unanswered -= 1;
    }

    /// The decision that an earlier message has brought in the meantime.
    pub fn decided(&self) -> Option<Outcome> {
        let (memory, call, round) = self.remembered.as_ref().filter(|_| self.unanswered > 0)?;
        memory.recorded(*call, *round).map(decided)
    }

    /// Whether an earlier message than the last may still bring the decision; then what comes.
    pub fn decided_by_another(&self) -> Option<oneshot::Receiver<Outcome>> {
        let (memory, call, round) = self.remembered.as_ref().filter(|_| self.unanswered > 1)?;
        let mut state = memory.lock();
        let entry = state.calls.get_mut(call).filter(|entry| entry.record.round() == *round)?;
        let receiver = entry.join();
        if let Some(answer) = entry.record.decided(*round) {
            let outcome = decided(answer.clone());
            entry.tell(&outcome);
        }
        Some(receiver)
    }

    /// A worker's decision. Returns the answer that counts, and whether it is this one: an earlier
    /// message may have brought another first.
    pub fn decide(&mut self, answer: Answer, now: Instant) -> (Answer, bool) {
        let Some((memory, call, round)) = self.remembered.take() else { return (answer, true) };
        match memory.decide(call, round, &answer, now) {
            true => (answer, true),
            false => (memory.recorded(call, round).unwrap_or(answer), false),
        }
    }

    /// No decision came: everyone who joined gets `outcome`. Returns what counts: a decision may
    /// have come at the last moment.
    pub fn fall_back(&mut self, outcome: Outcome) -> Outcome {
        let Some((memory, call, round)) = self.remembered.take() else { return outcome };
        memory.fall_back(call, round, self.unanswered, Some(&outcome));
        memory.recorded(call, round).map_or(outcome, decided)
    }
}

/// Says that an answer was written to a caller that was still there. Dropped, it says nothing.
pub struct Receipt {
    memory: Arc<Memory>,
    call: CallId,
    round: Round,
}

impl Receipt {
    /// The last byte of the answer went to the socket while the connection was open.
    pub fn delivered(self) {
        self.memory.deliver(self.call, self.round);
    }
}

fn decided(answer: Answer) -> Outcome {
    Outcome { answer, source: Source::Worker, reason: None }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some((memory, call, round)) = self.remembered.take() {
            memory.fall_back(call, round, self.unanswered, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::SPARE_MAX;
    use crate::{
        clock,
        domain::{call_id::HashKey, json::Object},
    };

    #[test]
    fn the_room_of_a_rush_that_is_over_is_given_back() {
        let window = Duration::from_secs(45);
        let memory = Arc::new(Memory::new(window, 100_000));
        let (key, now) = (HashKey::public(), clock::now());
        for person in 0..10_000 {
            let claims = format!(r#"{{"email":"{person}@example.com"}}"#);
            let call = CallId::of(&key, "c", &Object::parse(claims.as_bytes()).unwrap());
            drop(memory.begin(call, now));
        }
        assert!(memory.lock().calls.capacity() >= 10_000);
        memory.forget(now + window);
        assert!(memory.is_empty());
        assert!(memory.lock().calls.capacity() <= SPARE_MAX);
    }
}
