//! What is remembered of one call, and what a request for it gets.

use std::time::{Duration, Instant};

use super::{decision::Action, protocol::Answer};

/// One round of deciding a call. A decision that belongs to an earlier round is not recorded in a
/// later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(pub u64);

/// What a request for a call gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Ask a worker. `unanswered` messages of this call may have reached a worker already without
    /// their decision having come back.
    Lead {
        /// Messages whose decision was not received.
        unanswered: u32,
    },
    /// Another request is asking; wait for what it gets.
    Join,
    /// The recorded answer.
    Replay(Answer),
}

/// What is remembered of one call.
#[derive(Debug)]
pub struct Record {
    round: Round,
    phase: Phase,
    /// When what is remembered ends; meaningless while in flight.
    ends: Instant,
}

#[derive(Debug)]
enum Phase {
    InFlight {
        /// When the request that leads came.
        arrived: Instant,
    },
    /// Answered with a fallback; a late decision is still welcome.
    Undecided { unanswered: u32 },
    /// Decided. A ValidationError is replayed once, where it was not delivered.
    Decided { answer: Answer, delivered: bool, replayed: bool },
}

impl Record {
    /// The record of a call that is led now for the first time.
    pub fn lead(round: Round, now: Instant) -> Self {
        Self { round, phase: Phase::InFlight { arrived: now }, ends: now }
    }

    /// The round that decides, or has decided.
    pub fn round(&self) -> Round {
        self.round
    }

    /// When it may be forgotten; `None` while in flight.
    pub fn ends(&self) -> Option<Instant> {
        match self.phase {
            Phase::InFlight { .. } => None,
            Phase::Undecided { .. } | Phase::Decided { .. } => Some(self.ends),
        }
    }

    /// The answer decided in `round`, if there is one.
    pub fn decided(&self, round: Round) -> Option<&Answer> {
        match &self.phase {
            Phase::Decided { answer, .. } if self.round == round => Some(answer),
            Phase::Decided { .. } | Phase::InFlight { .. } | Phase::Undecided { .. } => None,
        }
    }

    /// A request for the call. `new_round` is used where it has to be decided anew.
    pub fn ask(&mut self, new_round: Round, now: Instant) -> Begin {
        let is_over = self.ends().is_some_and(|ends| now >= ends);
        let begin = match &mut self.phase {
            Phase::InFlight { .. } => return Begin::Join,
            Phase::Undecided { .. } | Phase::Decided { .. } if is_over => {
                Begin::Lead { unanswered: 0 }
            }
            // The round goes on: the first decision of either message counts.
            Phase::Undecided { unanswered } => {
                let unanswered = *unanswered;
                self.phase = Phase::InFlight { arrived: now };
                return Begin::Lead { unanswered };
            }
            Phase::Decided { answer, delivered, replayed } => {
                let is_form = answer.action == Some(Action::ValidationError);
                if is_form && (*delivered || *replayed) {
                    Begin::Lead { unanswered: 0 }
                } else {
                    *replayed = true;
                    return Begin::Replay(answer.clone());
                }
            }
        };
        *self = Self::lead(new_round, now);
        begin
    }

    /// A worker's decision for `round` is here. `false` where it comes too late to count.
    pub fn decide(&mut self, round: Round, answer: Answer, now: Instant, window: Duration) -> bool {
        let is_open = match self.phase {
            Phase::InFlight { .. } => true,
            Phase::Undecided { .. } => now < self.ends,
            Phase::Decided { .. } => false,
        };
        if self.round != round || !is_open {
            return false;
        }
        self.phase = Phase::Decided { answer, delivered: false, replayed: false };
        self.ends = now + window;
        true
    }

    /// The request that led `round` got a fallback: for `window` after it arrived, a late decision
    /// still counts.
    pub fn fall_back(&mut self, round: Round, unanswered: u32, window: Duration) {
        if let Phase::InFlight { arrived } = self.phase
            && self.round == round
        {
            self.phase = Phase::Undecided { unanswered };
            self.ends = arrived + window;
        }
    }

    /// The recorded answer of `round` was written to a caller that was still there.
    pub fn deliver(&mut self, round: Round) {
        if let Phase::Decided { delivered, .. } = &mut self.phase
            && self.round == round
        {
            *delivered = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{ms, start};

    const WINDOW: Duration = Duration::from_secs(45);

    fn answer(action: Action) -> Answer {
        Answer { status: 200, body: "{}".into(), action: Some(action) }
    }

    fn decided(action: Action, now: Instant) -> Record {
        let mut record = Record::lead(Round(1), now);
        assert!(record.decide(Round(1), answer(action), now, WINDOW));
        record
    }

    #[test]
    fn a_decided_call_is_replayed_for_the_window_and_then_decided_anew() {
        for action in [Action::Continue, Action::ShowBlockPage] {
            let now = start();
            let mut record = decided(action, now);
            record.deliver(Round(1));
            for after in [0, 1_000, 44_999] {
                let begin = record.ask(Round(2), now + ms(after));
                assert_eq!(begin, Begin::Replay(answer(action)), "{action:?} after {after} ms");
            }
            let begin = record.ask(Round(2), now + WINDOW);
            assert_eq!(begin, Begin::Lead { unanswered: 0 });
            assert_eq!(record.round(), Round(2));
        }
    }

    #[test]
    fn a_validation_error_is_replayed_only_undelivered_and_once() {
        let now = start();
        let replay = Begin::Replay(answer(Action::ValidationError));
        let anew = Begin::Lead { unanswered: 0 };

        let mut delivered = decided(Action::ValidationError, now);
        delivered.deliver(Round(1));
        assert_eq!(delivered.ask(Round(2), now + ms(1)), anew);

        let mut undelivered = decided(Action::ValidationError, now);
        assert_eq!(undelivered.ask(Round(2), now + ms(1)), replay);
        assert_eq!(undelivered.ask(Round(2), now + ms(2)), anew);

        let mut other_round = decided(Action::ValidationError, now);
        other_round.deliver(Round(7));
        assert_eq!(other_round.ask(Round(2), now + ms(1)), replay);
    }

    #[test]
    fn a_call_in_flight_is_joined_however_long_it_takes() {
        let now = start();
        let mut record = Record::lead(Round(1), now);
        assert_eq!(record.ask(Round(2), now + WINDOW * 2), Begin::Join);
        assert_eq!(record.ends(), None);
    }

    #[test]
    fn after_a_fallback_the_next_request_leads_on_in_the_same_round() {
        let now = start();
        let mut record = Record::lead(Round(1), now);
        record.fall_back(Round(1), 1, WINDOW);
        assert_eq!(record.ask(Round(2), now + ms(20_000)), Begin::Lead { unanswered: 1 });
        assert_eq!(record.round(), Round(1));
        assert_eq!(record.ask(Round(2), now + ms(20_000)), Begin::Join);
        // The first message's reply decides the second request.
        assert!(record.decide(Round(1), answer(Action::Continue), now + ms(21_000), WINDOW));
        assert!(!record.decide(Round(1), answer(Action::ShowBlockPage), now + ms(22_000), WINDOW));
        record.fall_back(Round(1), 2, WINDOW);
        let begin = record.ask(Round(2), now + ms(23_000));
        assert_eq!(begin, Begin::Replay(answer(Action::Continue)), "a fallback overwrites nothing");
    }

    #[test]
    fn a_late_decision_counts_until_the_window_after_arrival_and_only_in_its_round() {
        let now = start();
        let late = |after: Duration, round| {
            let mut record = Record::lead(Round(1), now);
            record.fall_back(Round(1), 1, WINDOW);
            record.decide(round, answer(Action::Continue), now + after, WINDOW)
        };
        assert!(late(ms(44_999), Round(1)));
        assert!(!late(WINDOW, Round(1)));
        assert!(!late(ms(1), Round(0)));
    }

    #[test]
    fn a_call_repeated_after_the_window_of_its_fallback_starts_anew() {
        let now = start();
        let mut record = Record::lead(Round(1), now);
        record.fall_back(Round(1), 3, WINDOW);
        assert_eq!(record.ask(Round(2), now + WINDOW), Begin::Lead { unanswered: 0 });
        assert_eq!(record.round(), Round(2));
    }
}
