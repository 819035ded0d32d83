//! How the end of a call is written to the store: a decision, in time or late, or a fallback. The
//! first decision of a round counts, whoever brings it; nothing overwrites a decision.

use super::{
    outcome::Outcome,
    protocol::Answer,
    record::{Recorded, Round},
    shared::{Owner, Revision, Seen, SharedPhase, SharedRecord, UnixMs},
};

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A worker has decided.
    Decided(Answer),
    /// No decision came in time.
    FellBack(Outcome),
}

/// The end of a call that is to be written.
#[derive(Clone, Debug)]
pub struct Settling {
    /// The claim under which it was made: whose, and until when it holds.
    pub claim: (Owner, UnixMs),
    /// What that was written as.
    pub revision: Revision,
    /// The round that ended.
    pub round: Round,
    /// Messages that may have reached a worker without their decision having come back.
    pub unanswered: u32,
    /// How it ended.
    pub end: End,
    /// Until when that counts.
    pub ends: UnixMs,
}

/// What to do about what is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Write, in place of that revision.
    Write(Revision, SharedRecord),
    /// This decision was first, and counts.
    Decided(Answer),
    /// The call has moved on: there is nothing to write.
    Leave,
}

impl Settling {
    /// What is written where nothing else has been since the claim.
    pub fn record(&self) -> SharedRecord {
        let Self { round, unanswered, ends, .. } = *self;
        let phase = match &self.end {
            End::Decided(answer) => SharedPhase::Decided(Recorded::new(answer.clone())),
            End::FellBack(outcome) => SharedPhase::FellBack(outcome.clone()),
        };
        SharedRecord { round, unanswered, ends, phase }
    }

    /// What to do about what was read at `now`.
    pub fn read(&self, seen: Seen, now: UnixMs) -> Settle {
        let revision = seen.revision;
        let Some(found) = seen.live(now) else { return Settle::Write(revision, self.record()) };
        if found.round != self.round {
            return Settle::Leave;
        }
        match (found.phase, &self.end) {
            (SharedPhase::Decided(decided), _) => Settle::Decided(decided.answer),
            // Whoever has the claim now learns of the decision from the store.
            (SharedPhase::Claimed { .. } | SharedPhase::FellBack(_), End::Decided(_)) => {
                Settle::Write(revision, self.record())
            }
            (SharedPhase::Claimed { owner, until }, End::FellBack(_))
                if (owner, until) == self.claim =>
            {
                Settle::Write(revision, self.record())
            }
            (SharedPhase::Claimed { .. } | SharedPhase::FellBack(_), End::FellBack(_)) => {
                Settle::Leave
            }
        }
    }
}

/// What is written once the answer decided in `round` was delivered; `None` where there is nothing
/// to write.
pub fn delivered(seen: Seen, round: Round, now: UnixMs) -> Option<(Revision, SharedRecord)> {
    let revision = seen.revision;
    let mut record = seen.live(now).filter(|record| record.round == round)?;
    match &mut record.phase {
        SharedPhase::Decided(decided) if !decided.delivered => decided.delivered = true,
        SharedPhase::Decided(_) | SharedPhase::Claimed { .. } | SharedPhase::FellBack(_) => {
            return None;
        }
    }
    Some((revision, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{decision::Action, outcome::Source};

    const NOW: UnixMs = UnixMs(1_800_000_000_000);
    const ENDS: UnixMs = UnixMs(NOW.0 + 45_000);
    const REVISION: Revision = Revision(9);
    const ME: Owner = Owner(1);
    const OTHER: Owner = Owner(2);

    fn answer(body: &'static str) -> Answer {
        Answer { status: 200, body: body.into(), action: Some(Action::Continue) }
    }

    fn fallback() -> Outcome {
        Outcome { answer: Answer::no_decision(), source: Source::Default, reason: None }
    }

    fn settling(end: End) -> Settling {
        Settling {
            claim: (ME, ENDS),
            revision: REVISION,
            round: Round(1),
            unanswered: 1,
            end,
            ends: ENDS,
        }
    }

    fn seen(round: u64, phase: SharedPhase) -> Seen {
        let record = SharedRecord { round: Round(round), unanswered: 0, ends: ENDS, phase };
        Seen { revision: REVISION, record: Some(record) }
    }

    fn claimed_by(owner: Owner) -> SharedPhase {
        SharedPhase::Claimed { owner, until: ENDS }
    }

    #[test]
    fn the_first_decision_of_a_round_counts_whoever_has_the_claim() {
        let settling = settling(End::Decided(answer("mine")));
        let write = Settle::Write(REVISION, settling.record());
        for phase in [claimed_by(ME), claimed_by(OTHER), SharedPhase::FellBack(fallback())] {
            assert_eq!(settling.read(seen(1, phase), NOW), write);
        }
        let decided = SharedPhase::Decided(Recorded::new(answer("theirs")));
        assert_eq!(settling.read(seen(1, decided), NOW), Settle::Decided(answer("theirs")));
    }

    #[test]
    fn a_fallback_is_written_under_its_own_claim_only() {
        let settling = settling(End::FellBack(fallback()));
        let write = Settle::Write(REVISION, settling.record());
        assert_eq!(settling.read(seen(1, claimed_by(ME)), NOW), write);
        let newer = SharedPhase::Claimed { owner: ME, until: UnixMs(ENDS.0 + 1) };
        for phase in [claimed_by(OTHER), newer, SharedPhase::FellBack(fallback())] {
            assert_eq!(settling.read(seen(1, phase), NOW), Settle::Leave);
        }
        let decided = SharedPhase::Decided(Recorded::new(answer("theirs")));
        assert_eq!(settling.read(seen(1, decided), NOW), Settle::Decided(answer("theirs")));
    }

    #[test]
    fn another_round_is_left_alone_and_what_is_gone_or_over_is_replaced() {
        for end in [End::Decided(answer("mine")), End::FellBack(fallback())] {
            let settling = settling(end);
            assert_eq!(settling.read(seen(2, claimed_by(ME)), NOW), Settle::Leave);
            assert_eq!(
                settling.read(seen(2, claimed_by(OTHER)), ENDS),
                Settle::Write(REVISION, settling.record())
            );
            let gone = Seen { revision: Revision::NONE, record: None };
            let write = Settle::Write(Revision::NONE, settling.record());
            assert_eq!(settling.read(gone, NOW), write);
        }
    }

    #[test]
    fn a_delivery_is_written_once_and_in_its_round_only() {
        let decided = Recorded::new(answer("mine"));
        let (revision, record) =
            delivered(seen(1, SharedPhase::Decided(decided.clone())), Round(1), NOW).unwrap();
        assert_eq!(revision, REVISION);
        let Seen { record: Some(expected), .. } =
            seen(1, SharedPhase::Decided(Recorded { delivered: true, ..decided.clone() }))
        else {
            panic!("there is a record")
        };
        assert_eq!(record, expected);
        let again = Seen { revision, record: Some(record) };
        assert_eq!(delivered(again, Round(1), NOW), None);
        assert_eq!(delivered(seen(2, SharedPhase::Decided(decided)), Round(1), NOW), None);
        assert_eq!(delivered(seen(1, claimed_by(ME)), Round(1), NOW), None);
    }
}
