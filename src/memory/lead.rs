//! Leading a call: the right to have it decided, and the duty to say how it ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Ended, Lease, Memory, decided};
use crate::domain::{
    call_id::CallId,
    claiming::Claim,
    outcome::{Outcome, Source},
    protocol::Answer,
    record::{Recorded, Round},
    shared::Revision,
};

/// Which call is led, and how far that is.
#[derive(Clone, Copy, Debug)]
pub struct Led {
    /// The call.
    pub call: CallId,
    /// The round in which it is decided.
    pub round: Round,
    /// Messages that may have reached a worker without their decision having come back.
    pub unanswered: u32,
    /// Its claim in the store.
    pub claim: Option<Claim>,
}

impl Led {
    /// Whether this process has, or had, the call for itself: then another one can only have
    /// taken it over, and the store knows.
    pub fn is_claimed(&self) -> bool {
        self.claim.is_some_and(|claim| claim.revision != Revision::NONE)
    }
}

/// What the store has said about a call that is led here.
pub struct Standing {
    /// What was written, or may have been.
    pub claim: Claim,
    /// How long that can be relied on.
    pub lease: Lease,
    /// What is left of the time that the store may cost the call.
    pub time_left: Duration,
}

/// The right and the duty to have a call decided. Dropped without an end, as after a panic, it
/// counts as a fallback, and those who joined get nothing.
pub struct Lead {
    pub(super) memory: Option<(Arc<Memory>, CallId)>,
    pub(super) round: Round,
    pub(super) new_round: Round,
    pub(super) unanswered: u32,
    pub(super) form: Option<(Round, Recorded)>,
    pub(super) standing: Option<Standing>,
}

impl Lead {
    /// A call that nobody joins and nothing remembers.
    pub fn alone() -> Self {
        Self {
            memory: None,
            round: Round(0),
            new_round: Round(0),
            unanswered: 0,
            form: None,
            standing: None,
        }
    }

    /// What is led, where it is remembered and not decided yet.
    pub fn led(&self) -> Option<Led> {
        let (_, call) = self.memory.as_ref()?;
        let Self { round, unanswered, .. } = *self;
        let claim = self.standing.as_ref().map(|standing| standing.claim);
        Some(Led { call: *call, round, unanswered, claim })
    }

    /// The round in which it is decided.
    pub fn round(&self) -> Round {
        self.round
    }

    /// Messages that may have reached a worker without their decision having come back.
    pub fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// The round to decide anew in, where the store says that the other is over.
    pub fn new_round(&self) -> Round {
        self.new_round
    }

    /// A round whose ValidationError is known to be delivered or replayed.
    pub fn over(&self) -> Option<Round> {
        self.form.as_ref().filter(|(_, form)| form.is_over()).map(|(round, _)| *round)
    }

    /// The store could not be asked about a ValidationError that is known here and was not
    /// delivered: it is replayed.
    pub fn replay_form(&mut self, ends: Instant) -> Option<Ended> {
        let (round, mut form) = self.form.take().filter(|(_, form)| !form.is_over())?;
        form.replayed = true;
        let outcome = Outcome { answer: form.answer.clone(), source: Source::Replay, reason: None };
        Some(self.learn(form, ends, Ended { round, outcome }))
    }

    /// What is left of the time that the store may cost this call.
    pub fn store_time_left(&self) -> Duration {
        self.standing.as_ref().map(|standing| standing.time_left).unwrap_or_default()
    }

    /// Whether no other replica can have the call by `now`, or the store was asked about it just
    /// now. Otherwise it has to be looked at again before a message is sent.
    pub fn is_leased(&self, now: Instant) -> bool {
        self.standing.as_ref().is_none_or(|standing| standing.lease.holds(now))
    }

    /// Whether the call was led before the store is asked, and what it was leased as, if it was.
    pub fn leased_as(&self) -> Option<Revision> {
        self.standing.as_ref().map(|standing| standing.claim.revision)
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

    /// Whether an earlier message than the last may still bring the decision.
    pub fn is_contested(&self) -> bool {
        self.unanswered > 1
    }

    /// The store says which round goes on, after how many messages, and how the call stands.
    pub fn go_on_in(&mut self, round: Round, unanswered: u32, standing: Option<Standing>) {
        if let Some((memory, call)) = &self.memory {
            memory.go_on_in(*call, self.round, round);
        }
        (self.round, self.unanswered) = (round, unanswered);
        self.standing = standing;
    }

    /// The store says what was decided, and until when that counts.
    pub fn learn(&mut self, learned: Recorded, ends: Instant, ended: Ended) -> Ended {
        self.round = ended.round;
        if let Some((memory, call)) = self.memory.take() {
            memory.learn(call, learned, ends, &ended);
        }
        ended
    }

    /// The decision that an earlier message has brought in the meantime.
    pub fn decided(&self) -> Option<Outcome> {
        let (memory, call) = self.memory.as_ref().filter(|_| self.unanswered > 0)?;
        memory.recorded(*call, self.round).map(decided)
    }

    /// What an earlier message than the last brings, where it may still bring the decision.
    pub fn decided_by_another(&self) -> Option<oneshot::Receiver<Ended>> {
        let (memory, call) = self.memory.as_ref().filter(|_| self.is_contested())?;
        let round = self.round;
        let mut state = memory.lock();
        let entry = state.calls.get_mut(call).filter(|entry| entry.record.round() == round)?;
        let receiver = entry.join();
        if let Some(answer) = entry.record.decided(round) {
            let outcome = decided(answer.clone());
            entry.tell(&Ended { round, outcome });
        }
        Some(receiver)
    }

    /// A worker's decision. Returns the answer that counts, and whether it is this one: an earlier
    /// message may have brought another first.
    pub fn decide(&mut self, answer: Answer, now: Instant) -> (Answer, bool) {
        let Some((memory, call)) = self.memory.take() else { return (answer, true) };
        match memory.decide(call, self.round, &answer, now) {
            true => (answer, true),
            false => (memory.recorded(call, self.round).unwrap_or(answer), false),
        }
    }

    /// No decision came: everyone who joined gets `outcome`. Returns what counts: a decision may
    /// have come at the last moment.
    pub fn fall_back(&mut self, outcome: Outcome) -> Outcome {
        let Some((memory, call)) = self.memory.take() else { return outcome };
        memory.fall_back(call, self.round, self.unanswered, Some(&outcome));
        memory.recorded(call, self.round).map_or(outcome, decided)
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let led = self.led();
        if let Some((memory, call)) = self.memory.take() {
            memory.fall_back(call, self.round, self.unanswered, None);
            if let Some(led) = led.filter(Led::is_claimed) {
                (memory.on_lost)(led);
            }
        }
    }
}
