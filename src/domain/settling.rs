//! How the end of a call is written to the store: a decision, in time or late, or a fallback. The
//! first decision of a round counts, whoever brings it; nothing overwrites a decision.

use super::{
    outcome::Outcome,
    protocol::Answer,
    record::Round,
    shared::{
        Delivery, Owner, Revision, Seen, SharedDecision, SharedPhase, SharedRecord, UnixMicros,
    },
};

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A worker has decided, in time or late.
    Decided(Answer, Delivery),
    /// No decision came in time.
    FellBack(Outcome),
    /// The request that had the lease broke off: whoever waits is to go on.
    Released,
}

impl End {
    /// The bytes of the answer in it.
    pub fn bytes(&self) -> usize {
        match self {
            End::Decided(answer, _) | End::FellBack(Outcome { answer, .. }) => answer.body.len(),
            End::Released => 0,
        }
    }
}

/// The end of a call that is to be written.
#[derive(Clone, Debug)]
pub struct Settling {
    /// The claim under which it was made: whose, and until when it holds.
    pub claim: (Owner, UnixMicros),
    /// What that was written as.
    pub revision: Revision,
    /// The round that ended.
    pub round: Round,
    /// Messages that may have reached a worker without their decision having come back.
    pub unanswered: u32,
    /// How it ended.
    pub end: End,
    /// Until when that counts.
    pub ends: UnixMicros,
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
            End::Decided(answer, delivery) => SharedPhase::Decided(SharedDecision {
                answer: answer.clone(),
                since: None,
                delivery: *delivery,
                replayed_by: None,
            }),
            End::FellBack(outcome) => SharedPhase::FellBack(outcome.clone()),
            // A lease that is over.
            End::Released => {
                let (owner, _) = self.claim;
                SharedPhase::Claimed { owner, until: UnixMicros(0), beats: true }
            }
        };
        SharedRecord { round, unanswered, ends, phase }
    }

    /// What to do about what was read at `now`.
    pub fn read(&self, seen: Seen, now: UnixMicros) -> Settle {
        let revision = seen.revision;
        let Some(found) = seen.live(now) else { return Settle::Write(revision, self.record()) };
        if found.round != self.round {
            return Settle::Leave;
        }
        match (found.phase, &self.end) {
            (SharedPhase::Decided(decided), _) => Settle::Decided(decided.answer),
            // Whoever has the claim now learns of the decision from the store.
            (SharedPhase::Claimed { .. } | SharedPhase::FellBack(_), End::Decided(..)) => {
                Settle::Write(revision, self.record())
            }
            (SharedPhase::Claimed { owner, until, .. }, End::FellBack(_) | End::Released)
                if (owner, until) == self.claim =>
            {
                Settle::Write(revision, self.record())
            }
            (
                SharedPhase::Claimed { .. } | SharedPhase::FellBack(_),
                End::FellBack(_) | End::Released,
            ) => Settle::Leave,
        }
    }
}

/// What to do about a delivery that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Write, in place of that revision.
    Write(Revision, SharedRecord),
    /// The decision is not written yet: look again.
    Wait,
    /// There is nothing to write.
    Leave,
}

/// The answer decided in `round` was delivered, or was not. What to do about what was read.
pub fn mark(seen: Seen, round: Round, delivery: Delivery, now: UnixMicros) -> Mark {
    let (revision, written) = (seen.revision, seen.written);
    let Some(record) = seen.live(now) else { return Mark::Wait };
    if record.round != round {
        return Mark::Leave;
    }
    let decision = match record.phase {
        SharedPhase::Claimed { .. } | SharedPhase::FellBack(_) => return Mark::Wait,
        SharedPhase::Decided(decision) => decision,
    };
    match (decision.delivery, delivery) {
        (Delivery::Presumed, _) | (Delivery::No, Delivery::Yes) => {
            let decision = SharedDecision { delivery, ..decision.written_before(written) };
            let phase = SharedPhase::Decided(decision);
            Mark::Write(revision, SharedRecord { phase, ..record })
        }
        (Delivery::No | Delivery::Yes, _) => Mark::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{decision::Action, outcome::Source};

    const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);
    const ENDS: UnixMicros = UnixMicros(NOW.0 + 45_000_000);
    const REVISION: Revision = Revision(9);
    const ME: Owner = Owner(1);
    const OTHER: Owner = Owner(2);

    fn answer(body: &'static str) -> Answer {
        Answer { status: 200, body: body.into(), action: Some(Action::Continue) }
    }

    fn decided(body: &'static str, delivery: Delivery) -> SharedPhase {
        let (answer, replayed_by) = (answer(body), None);
        SharedPhase::Decided(SharedDecision { answer, since: None, delivery, replayed_by })
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
        Seen { revision: REVISION, written: NOW, record: Some(record) }
    }

    fn claimed_by(owner: Owner) -> SharedPhase {
        SharedPhase::Claimed { owner, until: ENDS, beats: true }
    }

    #[test]
    fn the_first_decision_of_a_round_counts_whoever_has_the_claim() {
        let settling = settling(End::Decided(answer("mine"), Delivery::Presumed));
        let write = Settle::Write(REVISION, settling.record());
        for phase in [claimed_by(ME), claimed_by(OTHER), SharedPhase::FellBack(fallback())] {
            assert_eq!(settling.read(seen(1, phase), NOW), write);
        }
        let decided = decided("theirs", Delivery::No);
        assert_eq!(settling.read(seen(1, decided), NOW), Settle::Decided(answer("theirs")));
    }

    #[test]
    fn a_lease_is_given_back_where_it_is_the_own_one_only() {
        let settling = settling(End::Released);
        let Settle::Write(REVISION, given_back) = settling.read(seen(1, claimed_by(ME)), NOW)
        else {
            panic!("it is not given back")
        };
        let over = SharedPhase::Claimed { owner: ME, until: UnixMicros(0), beats: true };
        assert_eq!(given_back.phase, over);
        for phase in [claimed_by(OTHER), SharedPhase::FellBack(fallback())] {
            assert_eq!(settling.read(seen(1, phase), NOW), Settle::Leave);
        }
    }

    #[test]
    fn a_fallback_is_written_under_its_own_claim_only() {
        let settling = settling(End::FellBack(fallback()));
        let write = Settle::Write(REVISION, settling.record());
        assert_eq!(settling.read(seen(1, claimed_by(ME)), NOW), write);
        let newer = SharedPhase::Claimed { owner: ME, until: UnixMicros(ENDS.0 + 1), beats: true };
        for phase in [claimed_by(OTHER), newer, SharedPhase::FellBack(fallback())] {
            assert_eq!(settling.read(seen(1, phase), NOW), Settle::Leave);
        }
        let decided = decided("theirs", Delivery::No);
        assert_eq!(settling.read(seen(1, decided), NOW), Settle::Decided(answer("theirs")));
    }

    #[test]
    fn another_round_is_left_alone_and_what_is_gone_or_over_is_replaced() {
        for end in [End::Decided(answer("mine"), Delivery::Presumed), End::FellBack(fallback())] {
            let settling = settling(end);
            assert_eq!(settling.read(seen(2, claimed_by(ME)), NOW), Settle::Leave);
            assert_eq!(
                settling.read(seen(2, claimed_by(OTHER)), ENDS),
                Settle::Write(REVISION, settling.record())
            );
            let gone = Seen { revision: Revision::NONE, written: NOW, record: None };
            let write = Settle::Write(Revision::NONE, settling.record());
            assert_eq!(settling.read(gone, NOW), write);
        }
    }

    #[test]
    fn a_delivery_is_written_in_its_round_only_and_one_delivery_is_enough() {
        use Delivery::{No, Presumed, Yes};
        let rows = [
            (Presumed, Yes, Some(Yes)),
            (Presumed, No, Some(No)),
            (No, Yes, Some(Yes)),
            (No, No, None),
            (Yes, No, None),
            (Yes, Yes, None),
        ];
        for (before, news, after) in rows {
            let step = mark(seen(1, decided("mine", before)), Round(1), news, NOW);
            let SharedPhase::Decided(decision) = decided("mine", after.unwrap_or(before)) else {
                panic!("a decision")
            };
            let after_it = SharedPhase::Decided(decision.written_before(NOW));
            let Seen { record, .. } = seen(1, after_it);
            match after {
                Some(_) => assert_eq!(step, Mark::Write(REVISION, record.unwrap())),
                None => assert_eq!(step, Mark::Leave, "{before:?} {news:?}"),
            }
        }
        assert_eq!(mark(seen(2, decided("mine", Presumed)), Round(1), No, NOW), Mark::Leave);
    }

    #[test]
    fn a_delivery_waits_for_its_decision_to_be_written() {
        let gone = Seen { revision: Revision::NONE, written: NOW, record: None };
        for seen in [gone, seen(1, claimed_by(ME)), seen(1, SharedPhase::FellBack(fallback()))] {
            assert_eq!(mark(seen, Round(1), Delivery::Yes, NOW), Mark::Wait);
        }
    }
}
