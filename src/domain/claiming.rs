//! How a request leases its call for its replica: what to do next with the store.
//!
//! A write names the revision that it replaces, and fails where that is not the last. So of
//! several replicas one has the lease, and an owner that was paused overwrites nothing.

use std::time::{Duration, Instant};

use super::{
    lease::{LEASE_TIME, Quiet},
    outcome::{Outcome, Source},
    record::{Recorded, Round},
    shared::{
        Delivery, Owner, Revision, Seen, SharedDecision, SharedPhase, SharedRecord, UnixMicros,
    },
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
    /// Another replica has leased the call: wait for it so long, then read.
    Join {
        /// For so long.
        pause: Duration,
        /// Where that one beats: who it is. Look first whether it still does, and say so.
        owner: Option<Owner>,
    },
    /// Over.
    Done(Claimed),
}

/// A claim in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it was written as; none where nobody knows whether it was taken.
    pub revision: Revision,
    /// How long it holds.
    pub until: UnixMicros,
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
    Replay(Round, Recorded, UnixMicros),
    /// What another replica, which had claimed the call, answered in the meantime.
    Joined {
        /// In this round.
        round: Round,
        /// What it answered.
        outcome: Outcome,
        /// Messages whose decision was not received.
        unanswered: u32,
        /// Until when that is remembered.
        ends: UnixMicros,
    },
}

/// Who claims, and what it knows already.
#[derive(Clone, Copy, Debug)]
pub struct Claimant {
    /// The process.
    pub owner: Owner,
    /// The round that goes on here, or begins, where the store knows none.
    pub round: Round,
    /// The round to decide anew in, where the store's is over.
    pub new_round: Round,
    /// Messages of [`Self::round`] that may have reached a worker.
    pub unanswered: u32,
    /// A round whose ValidationError is known to be delivered or replayed.
    pub over: Option<Round>,
    /// The lease that the request has had, where it asks again because that may be over.
    pub leased: Option<Revision>,
    /// When the request came.
    pub arrived: UnixMicros,
    /// How long the claim holds.
    pub until: UnixMicros,
    /// Until when the call is remembered if no decision comes.
    pub ends: UnixMicros,
}

/// A claim in the making.
#[derive(Debug)]
pub struct Claiming {
    claimant: Claimant,
    /// What was written last, in place of which revision, and how the claim ends if it is taken.
    last: (Revision, SharedRecord, Claimed),
    /// Whether the last write lost, or may have.
    lost: bool,
    /// Whether somebody else has written, who has perhaps asked a worker.
    has_rival: bool,
    /// The round of another replica's claim that was waited for, and its messages without a
    /// decision.
    joined: Option<(Round, u32)>,
    /// The lease of another replica that is waited for.
    awaited: Awaited,
    pauses: Pauses,
}

/// A lease of another replica, and what is known of its owner since it was first seen.
#[derive(Clone, Copy, Debug, Default)]
struct Awaited {
    revision: Option<Revision>,
    since: Option<Instant>,
    quiet: Duration,
}

impl Claiming {
    /// Nothing tried yet, and the first step: most calls are new.
    pub fn start(claimant: Claimant) -> (Self, Step) {
        let Claimant { round, unanswered, leased, .. } = claimant;
        let last = claimant.claim(leased.unwrap_or(Revision::NONE), round, unanswered, false);
        let (joined, awaited, pauses) = (None, Awaited::default(), Pauses::default());
        let claiming =
            Self { claimant, last, lost: false, has_rival: false, joined, awaited, pauses };
        let step = claiming.write();
        (claiming, step)
    }

    /// The write that [`Step::Write`] stood for was not taken, because another came first.
    pub fn lost(&mut self) -> Step {
        self.has_rival = true;
        self.unsure()
    }

    /// Nobody knows whether the write that [`Step::Write`] stood for was taken.
    pub fn unsure(&mut self) -> Step {
        self.lost = true;
        Step::Read
    }

    /// The write that [`Step::Write`] stood for was taken as `written`.
    pub fn wrote(&mut self, written: Revision) -> Step {
        let (_, _, claimed) = &mut self.last;
        if let Claimed::Lead { claim, .. } = claimed {
            claim.revision = written;
        }
        Step::Done(claimed.clone())
    }

    /// What has been seen of the owner that [`Step::Join`] names, by `now`.
    pub fn looked_at(&mut self, quiet: Option<Quiet>, now: Instant) {
        let since = *self.awaited.since.get_or_insert(now);
        if let Some(quiet) = quiet {
            self.awaited.quiet = quiet.after(since);
        }
    }

    /// What was read.
    pub fn read(&mut self, seen: Seen, now: UnixMicros) -> Step {
        let (revision, written) = (seen.revision, seen.written);
        if std::mem::take(&mut self.lost) && revision == self.last.0 {
            return Step::Pause(UNSEEN_PAUSE);
        }
        let Claimant { owner, new_round, over, leased, unanswered: known, .. } = self.claimant;
        self.has_rival = false;
        let Some(record) = seen.live(now) else {
            return self.lead(revision, self.claimant.round, known, false);
        };
        let SharedRecord { round, unanswered, ends, .. } = record;
        let has_joined = self.joined.is_some_and(|(joined, _)| joined == round);
        match record.phase {
            // The acknowledgement of the own write was lost.
            _ if record == self.last.1 => self.wrote(revision),
            // Its ValidationError was delivered here, and is not written yet.
            SharedPhase::Claimed { owner: other, .. } if other == owner && over == Some(round) => {
                self.lead(revision, new_round, 0, false)
            }
            // Nobody has touched the lease that the request has had.
            SharedPhase::Claimed { owner: other, .. }
                if other == owner && leased == Some(revision) =>
            {
                self.lead(revision, round, known, false)
            }
            // An earlier claim of this process: it would not ask if that had not ended.
            SharedPhase::Claimed { owner: other, .. } if other == owner => {
                self.lead(revision, round, known.max(unanswered + 1), false)
            }
            SharedPhase::Claimed { owner, until, beats }
                if now < until && !(beats && self.is_silent(revision)) =>
            {
                self.joined = Some((round, unanswered + 1));
                let mut pause = self.pauses.longer().min(until.since(now));
                if beats {
                    let left = LEASE_TIME.saturating_sub(self.awaited.quiet);
                    pause = pause.min(left.max(LOOK_PAUSE_MIN));
                }
                Step::Join { pause, owner: beats.then_some(owner) }
            }
            SharedPhase::Claimed { .. } => {
                self.lead(revision, round, known.max(unanswered + 1), true)
            }
            SharedPhase::FellBack(outcome) if has_joined => {
                Step::Done(Claimed::Joined { round, outcome, unanswered, ends })
            }
            SharedPhase::FellBack(_) => self.lead(revision, round, known.max(unanswered), false),
            SharedPhase::Decided(decision)
                if has_joined
                    || decision.is_about_form()
                        && decision.delivery != Delivery::No
                        && self.claimant.arrived < decision.since.unwrap_or(written) =>
            {
                // A ValidationError is written before it is answered: who asked before that asked
                // while it was being decided, and joins without having seen that.
                let answer = decision.answer;
                let outcome = Outcome { answer, source: Source::Worker, reason: None };
                Step::Done(Claimed::Joined { round, outcome, unanswered, ends })
            }
            SharedPhase::Decided(decision)
                if decision.is_over() || (decision.is_about_form() && over == Some(round)) =>
            {
                self.lead(revision, new_round, 0, false)
            }
            SharedPhase::Decided(decision) if decision.is_about_form() => {
                let decision = decision.written_before(written);
                let decision = SharedDecision { replayed_by: Some(owner), ..decision };
                let claimed = Claimed::Replay(round, decision.recorded(), ends);
                let phase = SharedPhase::Decided(decision);
                self.last = (revision, SharedRecord { round, unanswered, ends, phase }, claimed);
                self.write()
            }
            SharedPhase::Decided(decision) => {
                Step::Done(Claimed::Replay(round, decision.recorded(), ends))
            }
        }
    }

    /// The store failed, or its time is over. What was read still counts.
    pub fn give_up(self) -> Claimed {
        let claim = Claim { revision: Revision::NONE, until: self.claimant.until };
        let (_, SharedRecord { round, unanswered, .. }, claimed) = self.last;
        match (self.joined, claimed) {
            (Some((round, unanswered)), _) => Claimed::Unsure { round, unanswered, claim },
            (None, replay @ Claimed::Replay(..)) => replay,
            (None, _) => {
                // Where the own lease may be over, another may have asked a worker too.
                let may_be_asked = self.has_rival || self.claimant.leased.is_some();
                let unanswered = unanswered.max(u32::from(may_be_asked));
                Claimed::Unsure { round, unanswered, claim }
            }
        }
    }

    /// Whether the owner of the lease that was read has been silent for as long as it is waited for.
    fn is_silent(&mut self, revision: Revision) -> bool {
        if self.awaited.revision != Some(revision) {
            self.awaited = Awaited { revision: Some(revision), ..Awaited::default() };
        }
        self.awaited.quiet >= LEASE_TIME
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
        let phase = SharedPhase::Claimed { owner, until, beats: true };
        let record = SharedRecord { round, unanswered, ends: ends.max(until), phase };
        let claim = Claim { revision, until };
        (revision, record, Claimed::Lead { round, unanswered, claim, taken_over })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::domain::{
        decision::Action,
        protocol::Answer,
        testing::{ms, start},
    };

    const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);
    const ME: Owner = Owner(1);
    const OTHER: Owner = Owner(2);
    const REVISION: Revision = Revision(9);

    fn later(ms: u64) -> UnixMicros {
        NOW.plus(Duration::from_millis(ms))
    }

    fn claimant() -> Claimant {
        let (until, ends) = (later(15_500), later(45_000));
        let (round, new_round) = (Round(1), Round(2));
        let arrived = NOW;
        Claimant {
            owner: ME,
            round,
            new_round,
            unanswered: 0,
            over: None,
            leased: None,
            arrived,
            until,
            ends,
        }
    }

    fn record(round: u64, unanswered: u32, phase: SharedPhase) -> SharedRecord {
        SharedRecord { round: Round(round), unanswered, ends: later(45_000), phase }
    }

    fn claimed_by(owner: Owner, unanswered: u32) -> SharedRecord {
        let until = later(15_500);
        record(7, unanswered, SharedPhase::Claimed { owner, until, beats: true })
    }

    /// As version 0.1.0 writes it.
    fn claimed_without_beats() -> SharedRecord {
        let (owner, until) = (OTHER, later(15_500));
        record(7, 0, SharedPhase::Claimed { owner, until, beats: false })
    }

    fn join(pause: u64) -> Step {
        Step::Join { pause: Duration::from_millis(pause), owner: Some(OTHER) }
    }

    fn decided(action: Action, delivery: Delivery, replayed_by: Option<Owner>) -> SharedRecord {
        let answer = Answer { status: 200, body: "{}".into(), action: Some(action) };
        record(
            7,
            0,
            SharedPhase::Decided(SharedDecision {
                answer,
                since: Some(NOW),
                delivery,
                replayed_by,
            }),
        )
    }

    fn form_answer() -> Answer {
        Answer { status: 200, body: "{}".into(), action: Some(Action::ValidationError) }
    }

    fn fallback() -> Outcome {
        Outcome { answer: Answer::no_decision(), source: Source::Default, reason: None }
    }

    fn seen(record: SharedRecord) -> Seen {
        Seen { revision: REVISION, written: NOW, record: Some(record) }
    }

    const NOTHING: Seen = Seen { revision: Revision::NONE, written: NOW, record: None };

    /// What a claim whose first write lost does about what it then reads.
    fn after(claimant: Claimant, record: SharedRecord, now: UnixMicros) -> Step {
        let (mut claiming, _) = Claiming::start(claimant);
        assert_eq!(claiming.lost(), Step::Read);
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
        assert_eq!(claiming.wrote(Revision(3)), Step::Done(lead));
    }

    #[test]
    fn a_lost_acknowledgement_of_the_own_claim_is_seen() {
        let (mut claiming, step) = Claiming::start(claimant());
        let Step::Write(_, record) = step else { panic!("{step:?}") };
        claiming.unsure();
        let Step::Done(Claimed::Lead { round, claim, .. }) = claiming.read(seen(record), NOW)
        else {
            panic!("not claimed")
        };
        assert_eq!((round, claim.revision), (Round(1), REVISION));
    }

    #[test]
    fn a_write_that_lost_to_one_not_yet_to_be_seen_is_tried_again_after_a_pause() {
        let (mut claiming, first) = Claiming::start(claimant());
        claiming.lost();
        assert_eq!(claiming.read(NOTHING, NOW), Step::Pause(UNSEEN_PAUSE));
        assert_eq!(claiming.read(NOTHING, NOW), first);
    }

    #[test]
    fn a_call_that_another_replica_has_claimed_is_joined_and_looked_at_less_and_less_often() {
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.lost();
        for pause in [20, 40, 80, 160, 320, 320] {
            let step = claiming.read(seen(claimed_by(OTHER, 0)), NOW);
            assert_eq!(step, join(pause));
        }
        let step = claiming.read(seen(claimed_by(OTHER, 0)), later(15_499));
        assert_eq!(step, join(1), "to the end of the lease");
    }

    fn at(time: u64) -> Instant {
        static START: LazyLock<Instant> = LazyLock::new(start);
        *START + ms(time)
    }

    /// What is seen of an owner that has been silent from the start until then.
    fn quiet(until: u64) -> Option<Quiet> {
        let quiet = Quiet::seen(None, Revision::NONE, at(0), at(0));
        Some(Quiet::seen(Some(quiet), Revision::NONE, at(until), at(until)))
    }

    #[test]
    fn an_owner_that_is_silent_for_too_long_is_taken_over_as_the_next_attempt() {
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.lost();
        assert_eq!(claiming.read(seen(claimed_by(OTHER, 0)), NOW), join(20));
        // It counts from here, however long somebody else has seen it silent before.
        claiming.looked_at(quiet(5_000), at(5_000));
        assert_eq!(claiming.read(seen(claimed_by(OTHER, 0)), NOW), join(40));
        claiming.looked_at(None, at(6_000));
        claiming.looked_at(quiet(6_790), at(6_791));
        assert_eq!(claiming.read(seen(claimed_by(OTHER, 0)), NOW), join(20), "10 ms are missing");
        claiming.looked_at(quiet(6_800), at(6_801));
        assert_eq!(leads_in(&claiming.read(seen(claimed_by(OTHER, 0)), NOW)), (7, 1));
        let step = claiming.wrote(Revision(10));
        assert!(matches!(step, Step::Done(Claimed::Lead { taken_over: true, .. })), "{step:?}");
    }

    #[test]
    fn an_owner_that_beats_or_leases_the_call_anew_is_waited_for() {
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.lost();
        claiming.read(seen(claimed_by(OTHER, 0)), NOW);
        claiming.looked_at(quiet(0), at(0));
        claiming.looked_at(quiet(1_799), at(1_800));
        let once_more = Seen { revision: Revision(10), ..seen(claimed_by(OTHER, 0)) };
        assert!(matches!(claiming.read(once_more.clone(), NOW), Step::Join { .. }), "anew");
        claiming.looked_at(quiet(3_000), at(3_001));
        claiming.looked_at(quiet(4_800), at(4_801));
        let step = claiming.read(once_more.clone(), NOW);
        assert!(matches!(step, Step::Join { .. }), "{step:?}");
        let beaten = Quiet::seen(quiet(4_800), Revision(1), at(4_900), at(4_901));
        claiming.looked_at(Some(beaten), at(4_901));
        claiming.looked_at(Some(Quiet::seen(Some(beaten), Revision(1), at(6_700), at(0))), at(0));
        let step = claiming.read(once_more, NOW);
        assert!(matches!(step, Step::Join { .. }), "{step:?}");
    }

    #[test]
    fn a_lease_of_version_0_1_0_is_waited_for_until_it_says_that_it_ends() {
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.lost();
        let pause = Duration::from_millis(20);
        let step = claiming.read(seen(claimed_without_beats()), NOW);
        assert_eq!(step, Step::Join { pause, owner: None });
        claiming.looked_at(quiet(0), at(0));
        claiming.looked_at(quiet(9_000), at(9_001));
        assert!(matches!(claiming.read(seen(claimed_without_beats()), NOW), Step::Join { .. }));
        let step = claiming.read(seen(claimed_without_beats()), later(15_500));
        assert_eq!(leads_in(&step), (7, 1));
    }

    #[test]
    fn a_lease_that_may_be_over_is_made_anew_where_nobody_has_touched_it() {
        let leased = Claimant { leased: Some(REVISION), round: Round(7), ..claimant() };
        let (mut claiming, step) = Claiming::start(leased);
        assert_eq!(leads_in(&step), (7, 0), "one write, in place of the own lease");
        claiming.unsure();
        let (owner, until) = (ME, later(15_499));
        let mine = record(7, 0, SharedPhase::Claimed { owner, until, beats: true });
        claiming.read(seen(mine.clone()), NOW); // what was written may not be seen yet
        assert_eq!(leads_in(&claiming.read(seen(mine), NOW)), (7, 0), "nobody has been asked");
        let sent = Claimant { unanswered: 1, ..leased };
        assert_eq!(leads_in(&Claiming::start(sent).1), (7, 1));
    }

    #[test]
    fn what_others_have_made_of_a_lease_that_was_over_counts() {
        let leased = Claimant { leased: Some(Revision(3)), round: Round(7), ..claimant() };
        let step = after(leased, claimed_by(OTHER, 1), NOW);
        assert!(matches!(step, Step::Join { .. }), "{step:?}");
        let fell_back = record(7, 2, SharedPhase::FellBack(fallback()));
        assert_eq!(leads_in(&after(leased, fell_back, NOW)), (7, 2), "the third attempt");
        let decided = decided(Action::Continue, Delivery::Yes, None);
        let step = after(leased, decided, NOW);
        assert!(matches!(step, Step::Done(Claimed::Replay(Round(7), ..))), "{step:?}");
        let (claiming, _) = Claiming::start(leased);
        let Claimed::Unsure { unanswered, .. } = claiming.give_up() else { panic!("no store") };
        assert_eq!(unanswered, 1, "another may have asked meanwhile");
    }

    #[test]
    fn without_the_store_a_call_is_asked_about_unclaimed_and_not_as_if_nobody_had_been_asked() {
        let (claiming, _) = Claiming::start(claimant());
        let claim = Claim { revision: Revision::NONE, until: later(15_500) };
        let unsure = |round, unanswered| Claimed::Unsure { round: Round(round), unanswered, claim };
        assert_eq!(claiming.give_up(), unsure(1, 0));
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.unsure();
        assert_eq!(claiming.give_up(), unsure(1, 0));
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.lost();
        assert_eq!(claiming.give_up(), unsure(1, 1), "whoever was first may have asked a worker");
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.lost();
        claiming.read(seen(claimed_by(OTHER, 1)), NOW);
        assert_eq!(claiming.give_up(), unsure(7, 2));
    }

    #[test]
    fn who_joined_gets_what_the_other_answered_whatever_that_is() {
        let ends = [
            (SharedPhase::FellBack(fallback()), fallback()),
            (
                decided(Action::ValidationError, Delivery::Yes, None).phase,
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
            claiming.lost();
            claiming.read(seen(claimed_by(OTHER, 0)), NOW);
            let step = claiming.read(seen(record(7, 1, phase)), NOW);
            let Step::Done(Claimed::Joined { round, outcome, .. }) = step else {
                panic!("{step:?}")
            };
            assert_eq!((round, outcome), (Round(7), expected));
        }
    }

    #[test]
    fn who_asked_while_it_was_being_decided_joins_without_having_seen_that() {
        let asked = |arrived| Claimant { arrived, over: Some(Round(7)), ..claimant() };
        let form = decided(Action::ValidationError, Delivery::Presumed, None);
        let step = after(asked(UnixMicros(NOW.0 - 1)), form.clone(), NOW);
        assert!(matches!(step, Step::Done(Claimed::Joined { .. })), "{step:?}");
        assert_eq!(leads_in(&after(asked(NOW), form.clone(), NOW)), (2, 0), "posted again");
        // Where it was not written again, the store's own word counts.
        let mut record = form;
        if let SharedPhase::Decided(decision) = &mut record.phase {
            decision.since = None;
        }
        let step = after(asked(UnixMicros(NOW.0 - 1)), record.clone(), NOW);
        assert!(matches!(step, Step::Done(Claimed::Joined { .. })), "{step:?}");
        assert_eq!(leads_in(&after(asked(NOW), record, NOW)), (2, 0));
    }

    #[test]
    fn a_claim_that_is_over_is_taken_over_as_the_next_attempt_of_the_same_round() {
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.lost();
        let step = claiming.read(seen(claimed_by(OTHER, 2)), later(15_500));
        assert_eq!(leads_in(&step), (7, 3));
        let step = claiming.wrote(Revision(10));
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
        let old = decided(Action::Continue, Delivery::No, None);
        assert_eq!(leads_in(&after(claimant(), old, later(45_000))), (1, 0));
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.lost();
        let step = claiming.read(Seen { revision: REVISION, written: NOW, record: None }, NOW);
        assert_eq!(leads_in(&step), (1, 0));
    }

    #[test]
    fn a_decision_is_replayed_and_a_validation_error_once() {
        for action in [Action::Continue, Action::ShowBlockPage] {
            let known = Claimant { over: Some(Round(7)), ..claimant() };
            let step = after(known, decided(action, Delivery::Yes, Some(OTHER)), NOW);
            assert!(matches!(step, Step::Done(Claimed::Replay(Round(7), ..))), "{step:?}");
        }
        let form = |delivery, by| decided(Action::ValidationError, delivery, by);
        for (delivery, replayed_by) in
            [(Delivery::Yes, None), (Delivery::Presumed, None), (Delivery::No, Some(OTHER))]
        {
            let step = after(claimant(), form(delivery, replayed_by), NOW);
            assert_eq!(leads_in(&step), (2, 0), "decided anew");
        }
        let step = after(claimant(), form(Delivery::No, None), NOW);
        let replayed = form(Delivery::No, Some(ME));
        assert_eq!(step, Step::Write(REVISION, replayed), "so that no other replica replays it");
        let known = Claimant { over: Some(Round(7)), ..claimant() };
        for record in [form(Delivery::No, None), claimed_by(ME, 0)] {
            let step = after(known, record, NOW);
            assert_eq!(leads_in(&step), (2, 0), "this process knows that it was delivered");
        }
    }

    #[test]
    fn a_replay_counts_although_the_store_did_not_say_that_it_took_the_mark() {
        let form = |by| decided(Action::ValidationError, Delivery::No, by);
        let marking = || {
            let (mut claiming, _) = Claiming::start(claimant());
            claiming.lost();
            claiming.read(seen(form(None)), NOW);
            claiming
        };
        let replay = Claimed::Replay(
            Round(7),
            Recorded { answer: form_answer(), delivered: false, replayed: true },
            later(45_000),
        );
        assert_eq!(marking().give_up(), replay);
        let mut lost = marking();
        lost.unsure();
        let taken = Seen { revision: Revision(10), written: NOW, record: Some(form(Some(ME))) };
        assert_eq!(lost.read(taken, NOW), Step::Done(replay));
        let mut lost = marking();
        lost.unsure();
        let other = Seen { revision: Revision(10), written: NOW, record: Some(form(Some(OTHER))) };
        let step = lost.read(other, NOW);
        assert!(matches!(step, Step::Write(Revision(10), _)), "decided anew: {step:?}");
    }

    #[test]
    fn a_round_that_is_over_is_not_decided_again_under_its_own_number() {
        let known = Claimant { round: Round(7), unanswered: 3, ..claimant() };
        let step = after(known, decided(Action::ValidationError, Delivery::Yes, None), NOW);
        assert_eq!(leads_in(&step), (2, 0));
    }

    #[test]
    fn what_was_read_counts_although_the_claim_failed() {
        let (mut claiming, _) = Claiming::start(claimant());
        claiming.lost();
        let fell_back = record(7, 1, SharedPhase::FellBack(fallback()));
        assert_eq!(leads_in(&claiming.read(seen(fell_back), NOW)), (7, 1));
        let Claimed::Unsure { round, unanswered, .. } = claiming.give_up() else {
            panic!("the store failed")
        };
        assert_eq!((round, unanswered), (Round(7), 1));
    }
}
