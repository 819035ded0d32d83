//! How a request claims its call for its replica: what to do next with the store.
//!
//! A write names the revision that it replaces, and fails where that is not the last. So of
//! several replicas one claims, and an owner that was paused overwrites nothing.

use std::time::Duration;

use super::{
    outcome::{Outcome, Source},
    record::{Recorded, Round},
    shared::{Owner, Revision, Seen, SharedPhase, SharedRecord, UnixMs},
};

/// The first and the longest pause between two looks at what another replica does.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(20);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(320);

/// The pause after a write lost against one that is not to be seen yet.
const UNSEEN_PAUSE: Duration = Duration::from_millis(5);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write, in place of that revision; then say how it went.
    Write(Revision, SharedRecord),
    /// Read; then say what was there.
    Read,
    /// Another write is under way: pause so long, then read.
    Pause(Duration),
    /// Another replica has claimed the call: wait for it so long, then read.
    Join(Duration),
    /// Over.
    Done(Claimed),
}

/// A claim in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it was written as; none where nobody knows whether it was taken.
    pub revision: Revision,
    /// How long it holds.
    pub until: UnixMs,
}

/// How an attempt to claim a call ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The store cannot be used: ask a worker without being sure to be the only one.
    Unsure {
        /// In this round.
        round: Round,
        /// Messages that may have reached a worker without their decision having come back.
        unanswered: u32,
        /// What may have been written.
        claim: Claim,
    },
    /// The call is claimed: ask a worker.
    Lead {
        /// In this round.
        round: Round,
        /// Messages that may have reached a worker without their decision having come back.
        unanswered: u32,
        /// What was written.
        claim: Claim,
        /// Whether another replica had claimed it and is taken for dead.
        taken_over: bool,
    },
    /// A recorded decision, and until when it counts.
    Replay(Round, Recorded, UnixMs),
    /// What another replica, which had claimed the call, answered in the meantime.
    Joined {
        /// In this round.
        round: Round,
        /// What it answered.
        outcome: Outcome,
        /// Messages whose decision was not received.
        unanswered: u32,
        /// Until when that is remembered.
        ends: UnixMs,
    },
}

/// Who claims, and what it knows already.
#[derive(Clone, Copy, Debug)]
pub struct Claimant {
    /// The process.
    pub owner: Owner,
    /// The round to decide in, where the store knows none.
    pub round: Round,
    /// Messages of this call that may have reached a worker.
    pub unanswered: u32,
    /// A round whose ValidationError is known to be delivered or replayed.
    pub over: Option<Round>,
    /// How long the claim holds.
    pub until: UnixMs,
    /// Until when the call is remembered if no decision comes.
    pub ends: UnixMs,
}

/// A claim in the making.
#[derive(Debug)]
pub struct Claiming {
    claimant: Claimant,
    /// What was written last, in place of which revision, and how the claim ends if it is taken.
    last: (Revision, SharedRecord, Claimed),
    /// Whether the last write lost.
    lost: bool,
    /// The round of another replica's claim that was waited for, and its messages without a
    /// decision.
    joined: Option<(Round, u32)>,
    pauses: Pauses,
}

impl Claiming {
    /// Nothing tried yet, and the first step: most calls are new.
    pub fn start(claimant: Claimant) -> (Self, Step) {
        let Claimant { round, unanswered, .. } = claimant;
        let last = claimant.claim(Revision::NONE, round, unanswered, false);
        let pauses = Pauses::default();
        let claiming = Self { claimant, last, lost: false, joined: None, pauses };
        let step = claiming.write();
        (claiming, step)
    }

    /// The write that [`Step::Write`] stood for: its revision, or `None` where another write came
    /// first or nobody knows whether it was taken.
    pub fn wrote(&mut self, written: Option<Revision>) -> Step {
        let Some(written) = written else {
            self.lost = true;
            return Step::Read;
        };
        let (_, _, claimed) = &mut self.last;
        if let Claimed::Lead { claim, .. } = claimed {
            claim.revision = written;
        }
        Step::Done(claimed.clone())
    }

    /// What was read.
    pub fn read(&mut self, seen: Seen, now: UnixMs) -> Step {
        let revision = seen.revision;
        if std::mem::take(&mut self.lost) && revision == self.last.0 {
            return Step::Pause(UNSEEN_PAUSE);
        }
        let Claimant { owner, round: new_round, unanswered: known, over, .. } = self.claimant;
        let Some(record) = seen.live(now) else {
            return self.lead(revision, new_round, known, false);
        };
        let SharedRecord { round, unanswered, ends, .. } = record;
        let has_joined = self.joined.is_some_and(|(joined, _)| joined == round);
        match record.phase {
            // The acknowledgement of the own write was lost.
            SharedPhase::Claimed { .. } if record == self.last.1 => self.wrote(Some(revision)),
            // An earlier claim of this process: it would not ask if that had not ended.
            SharedPhase::Claimed { owner: other, .. } if other == owner => {
                self.lead(revision, round, known.max(unanswered + 1), false)
            }
            SharedPhase::Claimed { until, .. } if now < until => {
                self.joined = Some((round, unanswered + 1));
                Step::Join(self.pauses.longer().min(until.since(now)))
            }
            SharedPhase::Claimed { .. } => {
                self.lead(revision, round, known.max(unanswered + 1), true)
            }
            SharedPhase::FellBack(outcome) if has_joined => {
                Step::Done(Claimed::Joined { round, outcome, unanswered, ends })
            }
            SharedPhase::FellBack(_) => self.lead(revision, round, known.max(unanswered), false),
            SharedPhase::Decided(Recorded { answer, .. }) if has_joined => {
                let outcome = Outcome { answer, source: Source::Worker, reason: None };
                Step::Done(Claimed::Joined { round, outcome, unanswered, ends })
            }
            SharedPhase::Decided(decided) if decided.is_over() || over == Some(round) => {
                self.lead(revision, new_round, 0, false)
            }
            SharedPhase::Decided(decided) if decided.is_about_form() => {
                let decided = Recorded { replayed: true, ..decided };
                let claimed = Claimed::Replay(round, decided.clone(), ends);
                let phase = SharedPhase::Decided(decided);
                self.last = (revision, SharedRecord { round, unanswered, ends, phase }, claimed);
                self.write()
            }
            SharedPhase::Decided(decided) => Step::Done(Claimed::Replay(round, decided, ends)),
        }
    }

    /// The store failed, or its time is over.
    pub fn give_up(self) -> Claimed {
        let Claimant { round, unanswered, until, .. } = self.claimant;
        let (round, unanswered) = self.joined.unwrap_or((round, unanswered));
        let claim = Claim { revision: Revision::NONE, until };
        Claimed::Unsure { round, unanswered, claim }
    }

    fn lead(&mut self, revision: Revision, round: Round, unanswered: u32, over: bool) -> Step {
        self.last = self.claimant.claim(revision, round, unanswered, over);
        self.write()
    }

    fn write(&self) -> Step {
        let (revision, record, _) = &self.last;
        Step::Write(*revision, record.clone())
    }
}

/// The pauses between looks at what another replica does: longer and longer.
#[derive(Debug)]
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(LOOK_PAUSE_MIN)
    }
}

impl Pauses {
    /// The next one, longer than the last.
    pub fn longer(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LOOK_PAUSE_MAX);
        pause
    }
}

impl Claimant {
    fn claim(
        &self,
        revision: Revision,
        round: Round,
        unanswered: u32,
        taken_over: bool,
    ) -> (Revision, SharedRecord, Claimed) {
        let Self { owner, until, ends, .. } = *self;
        let phase = SharedPhase::Claimed { owner, until };
        let record = SharedRecord { round, unanswered, ends: ends.max(until), phase };
        let claim = Claim { revision, until };
        (revision, record, Claimed::Lead { round, unanswered, claim, taken_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{decision::Action, protocol::Answer};

    const NOW: UnixMs = UnixMs(1_800_000_000_000);
    const ME: Owner = Owner(1);
    const OTHER: Owner = Owner(2);
    const REVISION: Revision = Revision(9);

    fn later(ms: u64) -> UnixMs {
        NOW.plus(Duration::from_millis(ms))
    }

    fn claimant() -> Claimant {
        let (until, ends) = (later(15_500), later(45_000));
        Claimant { owner: ME, round: Round(1), unanswered: 0, over: None, until, ends }
    }

    fn record(round: u64, unanswered: u32, phase: SharedPhase) -> SharedRecord {
        SharedRecord { round: Round(round), unanswered, ends: later(45_000), phase }
    }

    fn claimed_by(owner: Owner, unanswered: u32) -> SharedRecord {
        record(7, unanswered, SharedPhase::Claimed { owner, until: later(15_500) })
    }

    fn decided(action: Action, delivered: bool, replayed: bool) -> SharedRecord {
        let answer = Answer { status: 200, body: "{}".into(), action: Some(action) };
        record(7, 0, SharedPhase::Decided(Recorded { answer, delivered, replayed }))
    }

    fn fallback() -> Outcome {
        Outcome { answer: Answer::no_decision(), source: Source::Default, reason: None }
    }

    fn seen(record: SharedRecord) -> Seen {
        Seen { revision: REVISION, record: Some(record) }
    }

    const NOTHING: Seen = Seen { revision: Revision::NONE, record: None };

    /// What a claim whose first write lost does about what it then reads.
    fn after(claimant: Claimant, record: SharedRecord, now: UnixMs) -> Step {
        let (mut claiming, _) = Claiming::start(claimant);
        assert_eq!(claiming.wrote(None), Step::Read);
        claiming.read(seen(record), now)
    }

    fn leads_in(step: &Step) -> (u64, u32) {
        let Step::Write(REVISION, SharedRecord { round, unanswered, phase, .. }) = step else {
            panic!("{step:?}")
        };
        assert!(matches!(phase, SharedPhase::Claimed { owner: ME, .. }), "{phase:?}");
        (round.0, *unanswered)
    }

    #[test]
    fn a_call_that_is_new_is_claimed_with_one_write() {
        let (mut claiming, step) = Claiming::start(claimant());
        let Step::Write(Revision::NONE, record) = step else { panic!("{step:?}") };
        assert_eq!((record.round, record.unanswered), (Round(1), 0));
        let lead = Claimed::Lead {
            round: Round(1),
            unanswered: 0,
            claim: Claim { revision: Revision(3), until: later(15_500) },
            taken_over: false,
        };
        assert_eq!(claiming.wrote(Some(Revision(3))), Step::Done(lead));
    }

    #[test]
    fn a_lost_acknowledgement_of_the_own_claim_is_seen() {
        let (mut claiming, step) = Claiming::start(claimant());
        let Step::Write(_, record) = step else { panic!("{step:?}") };
        claiming.wrote(None);
        let Step::Done(Claimed::Lead { round, claim, .. }) = claiming.read(seen(record), NOW)
        else {
            panic!("not claimed")
        };
        assert_eq!((round, claim.revision), (Round(1), REVISION));
    }

    #[test]
    fn a_write_that_lost_to_one_not_yet_to_be_seen_is_tried_again_after_a_pause() {
        let (mut claiming, first) = Claiming::start(claimant());
        claiming.wrote(None);
        assert_eq!(claiming.read(NOTHING, NOW), Step::Pause(UNSEEN_PAUSE));
        assert_eq!(claiming.read(NOTHING, NOW), first);
    }

    #[test]
    fn a_call_that_another_replica_has_claimed_is_joined_and_looked_at_less_and_less_often() {
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.wrote(None);
        for pause in [20, 40, 80, 160, 320, 320] {
            let step = claiming.read(seen(claimed_by(OTHER, 0)), NOW);
            assert_eq!(step, Step::Join(Duration::from_millis(pause)));
        }
        let step = claiming.read(seen(claimed_by(OTHER, 0)), later(15_499));
        assert_eq!(step, Step::Join(Duration::from_millis(1)), "to the end of the claim");
    }

    #[test]
    fn without_the_store_a_call_is_asked_about_unclaimed_and_not_as_if_nobody_had_been_asked() {
        let (claiming, _) = Claiming::start(claimant());
        let claim = Claim { revision: Revision::NONE, until: later(15_500) };
        let unsure = |round, unanswered| Claimed::Unsure { round: Round(round), unanswered, claim };
        assert_eq!(claiming.give_up(), unsure(1, 0));
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.wrote(None);
        claiming.read(seen(claimed_by(OTHER, 1)), NOW);
        assert_eq!(claiming.give_up(), unsure(7, 2));
    }

    #[test]
    fn who_joined_gets_what_the_other_answered_whatever_that_is() {
        let ends = [
            (SharedPhase::FellBack(fallback()), fallback()),
            (
                decided(Action::ValidationError, true, false).phase,
                Outcome {
                    answer: Answer {
                        status: 200,
                        body: "{}".into(),
                        action: Some(Action::ValidationError),
                    },
                    source: Source::Worker,
                    reason: None,
                },
            ),
        ];
        for (phase, expected) in ends {
            let (mut claiming, _) = Claiming::start(claimant());
            claiming.wrote(None);
            claiming.read(seen(claimed_by(OTHER, 0)), NOW);
            let step = claiming.read(seen(record(7, 1, phase)), NOW);
            let Step::Done(Claimed::Joined { round, outcome, .. }) = step else {
                panic!("{step:?}")
            };
            assert_eq!((round, outcome), (Round(7), expected));
        }
    }

    #[test]
    fn a_claim_that_is_over_is_taken_over_as_the_next_attempt_of_the_same_round() {
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.wrote(None);
        let step = claiming.read(seen(claimed_by(OTHER, 2)), later(15_500));
        assert_eq!(leads_in(&step), (7, 3));
        let step = claiming.wrote(Some(Revision(10)));
        assert!(matches!(step, Step::Done(Claimed::Lead { taken_over: true, .. })), "{step:?}");
    }

    #[test]
    fn an_earlier_claim_of_this_process_is_not_waited_for() {
        assert_eq!(leads_in(&after(claimant(), claimed_by(ME, 0), NOW)), (7, 1));
        let known = Claimant { unanswered: 4, ..claimant() };
        assert_eq!(leads_in(&after(known, claimed_by(ME, 0), NOW)), (7, 4));
    }

    #[test]
    fn after_a_fallback_the_round_goes_on() {
        let fell_back = record(7, 1, SharedPhase::FellBack(fallback()));
        assert_eq!(leads_in(&after(claimant(), fell_back, NOW)), (7, 1));
    }

    #[test]
    fn what_counts_no_more_or_cannot_be_read_is_replaced() {
        let old = decided(Action::Continue, false, false);
        assert_eq!(leads_in(&after(claimant(), old, later(45_000))), (1, 0));
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.wrote(None);
        let step = claiming.read(Seen { revision: REVISION, record: None }, NOW);
        assert_eq!(leads_in(&step), (1, 0));
    }

    #[test]
    fn a_decision_is_replayed_and_a_validation_error_once() {
        for action in [Action::Continue, Action::ShowBlockPage] {
            let step = after(claimant(), decided(action, true, true), NOW);
            assert!(matches!(step, Step::Done(Claimed::Replay(Round(7), ..))), "{step:?}");
        }
        for (delivered, replayed) in [(true, false), (false, true)] {
            let step =
                after(claimant(), decided(Action::ValidationError, delivered, replayed), NOW);
            assert_eq!(leads_in(&step), (1, 0), "decided anew");
        }
        let step = after(claimant(), decided(Action::ValidationError, false, false), NOW);
        let replayed = decided(Action::ValidationError, false, true);
        assert_eq!(step, Step::Write(REVISION, replayed), "so that no other replica replays it");
        let known = Claimant { over: Some(Round(7)), ..claimant() };
        let step = after(known, decided(Action::ValidationError, false, false), NOW);
        assert_eq!(leads_in(&step), (1, 0), "this process knows that it was delivered");
    }
}
