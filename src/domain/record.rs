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
        /// The ValidationError that this process knows of an earlier round.
        form: Option<(Round, Recorded)>,
    },
    /// Another request is asking; wait for what it gets.
    Join,
    /// The recorded answer.
    Replay(Answer),
}

/// What a worker has decided about a call, and what has become of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The answer that the decision is.
    pub answer: Answer,
    /// Whether it was written to a caller that was still there.
    pub delivered: bool,
    /// Whether a repeated call got it already.
    pub replayed: bool,
}

impl Recorded {
    /// A decision that has just come.
    pub fn new(answer: Answer) -> Self {
        Self { answer, delivered: false, replayed: false }
    }

    /// Whether it speaks of one form, which the person may post again unchanged.
    pub fn is_about_form(&self) -> bool {
        self.answer.action == Some(Action::ValidationError)
    }

    /// Whether a repeated call has to be decided anew.
    pub fn is_over(&self) -> bool {
        self.is_about_form() && (self.delivered || self.replayed)
    }
}

/// What is remembered of one call in this process. What all replicas see is a
/// [`super::shared::SharedRecord`].
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
    /// A ValidationError is replayed once, where it was not delivered.
    Decided(Recorded),
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
            Phase::Undecided { .. } | Phase::Decided(_) => Some(self.ends),
        }
    }

    /// The answer decided in `round`, if there is one.
    pub fn decided(&self, round: Round) -> Option<&Answer> {
        match &self.phase {
            Phase::Decided(decided) if self.round == round => Some(&decided.answer),
            Phase::Decided(_) | Phase::InFlight { .. } | Phase::Undecided { .. } => None,
        }
    }

    /// The bytes of the answer that it holds.
    pub fn answer_bytes(&self) -> usize {
        match &self.phase {
            Phase::Decided(decided) => decided.answer.body.len(),
            Phase::InFlight { .. } | Phase::Undecided { .. } => 0,
        }
    }

    /// A request for the call. `new_round` is used where it has to be decided anew. Where the call
    /// is shared with other replicas, only they all know whether a ValidationError was delivered
    /// or replayed: the request leads, and asks the store.
    pub fn ask(&mut self, new_round: Round, is_shared: bool, now: Instant) -> Begin {
        let is_over = self.ends().is_some_and(|ends| now >= ends);
        let form = match &mut self.phase {
            Phase::InFlight { .. } => return Begin::Join,
            Phase::Undecided { .. } | Phase::Decided(_) if is_over => None,
            // The round goes on: the first decision of either message counts.
            Phase::Undecided { unanswered } => {
                let unanswered = *unanswered;
                self.phase = Phase::InFlight { arrived: now };
                return Begin::Lead { unanswered, form: None };
            }
            Phase::Decided(recorded)
                if recorded.is_over() || (is_shared && recorded.is_about_form()) =>
            {
                Some((self.round, recorded.clone()))
            }
            Phase::Decided(recorded) => {
                recorded.replayed = true;
                return Begin::Replay(recorded.answer.clone());
            }
        };
        *self = Self::lead(new_round, now);
        Begin::Lead { unanswered: 0, form }
    }

    /// The store says which round this request goes on with.
    pub fn go_on_in(&mut self, round: Round) {
        self.round = round;
    }

    /// The store says what was decided in `round`, and until when that is remembered.
    pub fn learn(&mut self, round: Round, decided: Recorded, ends: Instant) {
        *self = Self { round, phase: Phase::Decided(decided), ends };
    }

    /// A worker's decision for `round` is here. `false` where it comes too late to count.
    pub fn decide(&mut self, round: Round, answer: Answer, now: Instant, window: Duration) -> bool {
        let is_open = match self.phase {
            Phase::InFlight { .. } => true,
            Phase::Undecided { .. } => now < self.ends,
            Phase::Decided(_) => false,
        };
        if self.round != round || !is_open {
            return false;
        }
        self.phase = Phase::Decided(Recorded::new(answer));
        self.ends = now + window;
        true
    }

    /// Another replica's decision in `round` was first.
    pub fn correct(&mut self, round: Round, first: Answer) {
        if let Phase::Decided(recorded) = &mut self.phase
            && self.round == round
            && recorded.answer != first
        {
            *recorded = Recorded::new(first);
        }
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
        if let Phase::Decided(recorded) = &mut self.phase
            && self.round == round
        {
            recorded.delivered = true;
        }
    }

    /// The ValidationError recorded in `round`, if that is what it is.
    pub fn form(&self, round: Round) -> Option<&Recorded> {
        match &self.phase {
            Phase::Decided(recorded) if self.round == round && recorded.is_about_form() => {
                Some(recorded)
            }
            Phase::Decided(_) | Phase::InFlight { .. } | Phase::Undecided { .. } => None,
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
                let begin = record.ask(Round(2), false, now + ms(after));
                assert_eq!(begin, Begin::Replay(answer(action)), "{action:?} after {after} ms");
            }
            let begin = record.ask(Round(2), false, now + WINDOW);
            assert_eq!(begin, Begin::Lead { unanswered: 0, form: None });
            assert_eq!(record.round(), Round(2));
        }
    }

    #[test]
    fn a_validation_error_is_replayed_only_undelivered_and_once() {
        let now = start();
        let replay = Begin::Replay(answer(Action::ValidationError));
        let anew = |delivered, replayed| {
            let answer = answer(Action::ValidationError);
            let form = Some((Round(1), Recorded { answer, delivered, replayed }));
            Begin::Lead { unanswered: 0, form }
        };

        let mut delivered = decided(Action::ValidationError, now);
        delivered.deliver(Round(1));
        assert_eq!(delivered.ask(Round(2), false, now + ms(1)), anew(true, false));

        let mut undelivered = decided(Action::ValidationError, now);
        assert_eq!(undelivered.ask(Round(2), false, now + ms(1)), replay);
        assert_eq!(undelivered.ask(Round(2), false, now + ms(2)), anew(false, true));

        let mut other_round = decided(Action::ValidationError, now);
        other_round.deliver(Round(7));
        assert_eq!(other_round.ask(Round(2), false, now + ms(1)), replay);
    }

    #[test]
    fn where_the_call_is_shared_the_store_is_asked_about_a_validation_error_and_nothing_else() {
        let now = start();
        for delivered in [false, true] {
            let mut record = decided(Action::ValidationError, now);
            if delivered {
                record.deliver(Round(1));
            }
            let answer = answer(Action::ValidationError);
            let form = Some((Round(1), Recorded { answer, delivered, replayed: false }));
            let begin = record.ask(Round(2), true, now + ms(1));
            assert_eq!(begin, Begin::Lead { unanswered: 0, form });
        }
        let mut blocked = decided(Action::ShowBlockPage, now);
        let begin = blocked.ask(Round(2), true, now + ms(1));
        assert_eq!(begin, Begin::Replay(answer(Action::ShowBlockPage)));
    }

    #[test]
    fn what_the_store_says_takes_the_place_of_what_was_known_here() {
        let now = start();
        let mut record = Record::lead(Round(1), now);
        record.go_on_in(Round(7));
        assert!(!record.decide(Round(1), answer(Action::Continue), now, WINDOW));
        record.learn(Round(7), Recorded::new(answer(Action::Continue)), now + ms(10));
        assert_eq!(record.decided(Round(7)), Some(&answer(Action::Continue)));
        assert_eq!(record.ends(), Some(now + ms(10)));
    }

    #[test]
    fn a_decision_that_was_not_the_first_is_corrected_in_its_round_only() {
        let now = start();
        let mut record = decided(Action::Continue, now);
        record.correct(Round(2), answer(Action::ShowBlockPage));
        assert_eq!(record.decided(Round(1)), Some(&answer(Action::Continue)));
        record.correct(Round(1), answer(Action::ShowBlockPage));
        assert_eq!(record.decided(Round(1)), Some(&answer(Action::ShowBlockPage)));
        assert_eq!(record.ends(), Some(now + WINDOW));
    }

    #[test]
    fn a_call_in_flight_is_joined_however_long_it_takes() {
        let now = start();
        let mut record = Record::lead(Round(1), now);
        assert_eq!(record.ask(Round(2), false, now + WINDOW * 2), Begin::Join);
        assert_eq!(record.ends(), None);
    }

    #[test]
    fn after_a_fallback_the_next_request_leads_on_in_the_same_round() {
        let now = start();
        let mut record = Record::lead(Round(1), now);
        record.fall_back(Round(1), 1, WINDOW);
        assert_eq!(
            record.ask(Round(2), false, now + ms(20_000)),
            Begin::Lead { unanswered: 1, form: None }
        );
        assert_eq!(record.round(), Round(1));
        assert_eq!(record.ask(Round(2), false, now + ms(20_000)), Begin::Join);
        // The first message's reply decides the second request.
        assert!(record.decide(Round(1), answer(Action::Continue), now + ms(21_000), WINDOW));
        assert!(!record.decide(Round(1), answer(Action::ShowBlockPage), now + ms(22_000), WINDOW));
        record.fall_back(Round(1), 2, WINDOW);
        let begin = record.ask(Round(2), false, now + ms(23_000));
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
        assert_eq!(
            record.ask(Round(2), false, now + WINDOW),
            Begin::Lead { unanswered: 0, form: None }
        );
        assert_eq!(record.round(), Round(2));
    }
}
