//! What all replicas see of one call: its record in the store, and how that is written down.
//!
//! Times in a record are wall-clock times, since replicas share no other. Clocks that disagree
//! make a claim end earlier or later, never a decision change.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    decision::Action,
    outcome::{Outcome, Reason, Source},
    protocol::Answer,
    record::{Recorded, Round},
};

/// How long after its call's deadline a claim still holds, so that clocks may differ a little and
/// a last-moment end is still written. With it a claim ends between the deadline and 1 s after.
pub const CLAIM_MARGIN: Duration = Duration::from_millis(500);

/// A wall-clock time, in microseconds since 1970: fine enough to tell which of two requests of one
/// machine came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// The time `after` this.
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The time `before` this.
    pub fn minus(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(before.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this, zero where it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A process that claims calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner(pub u64);

/// Which version of a record this is: each write gives it a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// There is no record.
    pub const NONE: Self = Self(0);
}

/// What was read: a record or none, and under which revision it is replaced. A record that cannot
/// be read is none, but has its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What a write has to name.
    pub revision: Revision,
    /// When it was written, by the store's clock.
    pub written: UnixMicros,
    /// What was there.
    pub record: Option<SharedRecord>,
}

impl Seen {
    /// The record, where it still counts at `now`.
    pub fn live(self, now: UnixMicros) -> Option<SharedRecord> {
        self.record.filter(|record| now < record.ends)
    }
}

/// One call, as all replicas see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRecord {
    /// The round that decides, or has decided.
    pub round: Round,
    /// Messages that may have reached a worker, besides that of a claim that holds.
    pub unanswered: u32,
    /// When it counts no more.
    pub ends: UnixMicros,
    /// How far the call is.
    pub phase: SharedPhase,
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedPhase {
    /// A process has leased it and asks a worker. It is over with `until` at the latest.
    Claimed {
        /// Who.
        owner: Owner,
        /// How long the lease holds if its owner lives.
        until: UnixMicros,
        /// Whether the owner beats, so that its death is noticed earlier. Version 0.1.0 neither
        /// does nor reads this.
        beats: bool,
    },
    /// Answered with a fallback, which is for those who had joined and for nobody else.
    FellBack(Outcome),
    /// Decided.
    Decided(SharedDecision),
}

/// A decision, and what has become of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedDecision {
    /// The answer that the decision is.
    pub answer: Answer,
    /// When it was first written, by the store's clock; none where that was the last write.
    pub since: Option<UnixMicros>,
    /// Whether it was delivered.
    pub delivery: Delivery,
    /// Who replayed it, where that counts: a ValidationError is replayed once.
    pub replayed_by: Option<Owner>,
}

/// Whether an answer was delivered. Delivered to one of those who asked is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It is on its way. A form that is posted again now is that of a person who has seen it: the
    /// news of a delivery could not be faster.
    Presumed,
    /// The caller was gone.
    No,
    /// Its last byte went to the socket while the connection was open.
    Yes,
}

impl SharedDecision {
    /// The same, to be written again: what was read of it was `written` then.
    #[must_use]
    pub fn written_before(self, written: UnixMicros) -> Self {
        Self { since: Some(self.since.unwrap_or(written)), ..self }
    }

    /// Whether it speaks of one form, which the person may post again unchanged.
    pub fn is_about_form(&self) -> bool {
        self.recorded().is_about_form()
    }

    /// Whether a repeated call has to be decided anew.
    pub fn is_over(&self) -> bool {
        let is_used = self.delivery != Delivery::No || self.replayed_by.is_some();
        self.is_about_form() && is_used
    }

    /// What a process remembers of it.
    pub fn recorded(&self) -> Recorded {
        Recorded {
            answer: self.answer.clone(),
            delivered: self.delivery == Delivery::Yes,
            replayed: self.replayed_by.is_some(),
        }
    }
}

/// The least and the most that a record lives in the store, which counts in whole seconds.
const LIFE_MIN_SECONDS: u64 = 1;
const LIFE_MAX_SECONDS: u64 = 2 * 3_600;

/// Longer than any claim holds. A record that says more was written by a clock that is far off, or
/// not by a bridge.
const CLAIM_MAX: Duration = Duration::from_secs(30);

/// The statuses that an answer can have.
const STATUSES: [u16; 4] = [200, 400, 409, 503];

/// More messages than any call gets.
const UNANSWERED_MAX: u32 = 1_000_000;

impl SharedRecord {
    /// This record as it may be believed at `now`, by a process that remembers calls for `window`.
    #[must_use]
    pub fn believed(mut self, now: UnixMicros, window: Duration) -> Self {
        self.ends = self.ends.min(now.plus(window.max(CLAIM_MAX)));
        self.unanswered = self.unanswered.min(UNANSWERED_MAX);
        if let SharedPhase::Claimed { until, .. } = &mut self.phase {
            *until = (*until).min(now.plus(CLAIM_MAX));
        }
        self
    }

    /// How many seconds the store has to keep it at `now`: a little longer than it counts, so that
    /// its end never depends on the server's clock.
    pub fn life_seconds(&self, now: UnixMicros) -> u64 {
        let left = self.ends.since(now).as_millis().div_ceil(1_000) + 1;
        u64::try_from(left).unwrap_or(u64::MAX).clamp(LIFE_MIN_SECONDS, LIFE_MAX_SECONDS)
    }

    /// As bytes: a line of JSON, then the answer's body where there is one.
    pub fn encode(&self) -> Vec<u8> {
        let worded = |answer: &Answer| (answer.status, answer.action);
        let (phase, body) = match &self.phase {
            SharedPhase::Claimed { owner, until, beats } => {
                let (owner, until, beats) = (*owner, *until, *beats);
                (PhaseHead::Claimed { owner, until, beats }, &Bytes::new())
            }
            SharedPhase::FellBack(Outcome { answer, source, reason }) => {
                let ((status, action), source, reason) = (worded(answer), *source, *reason);
                (PhaseHead::FellBack { status, action, source, reason }, &answer.body)
            }
            SharedPhase::Decided(SharedDecision { answer, since, delivery, replayed_by }) => {
                let (status, action) = worded(answer);
                let (since, delivery, replayed_by) = (*since, *delivery, *replayed_by);
                (PhaseHead::Decided { status, action, since, delivery, replayed_by }, &answer.body)
            }
        };
        let Self { round: Round(round), unanswered, ends, .. } = *self;
        let head = Head { version: VERSION, round, unanswered, ends, phase };
        // Numbers and plain words can always be written.
        let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(body);
        bytes
    }

    /// From bytes; `None` for anything that this version cannot make sense of.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(bytes.get(..end)?).ok()?;
        let body = Bytes::copy_from_slice(bytes.get(end + 1..)?);
        let phase = match head.phase {
            PhaseHead::Claimed { owner, until, beats } => {
                SharedPhase::Claimed { owner, until, beats }
            }
            PhaseHead::FellBack { status, action, source, reason } => {
                let answer = answer(status, action, body)?;
                SharedPhase::FellBack(Outcome { answer, source, reason })
            }
            PhaseHead::Decided { status, action, since, delivery, replayed_by } => {
                let answer = answer(status, action, body)?;
                SharedPhase::Decided(SharedDecision { answer, since, delivery, replayed_by })
            }
        };
        let (round, unanswered, ends) = (Round(head.round), head.unanswered, head.ends);
        (head.version == VERSION).then_some(Self { round, unanswered, ends, phase })
    }
}

/// The version of the written form. Another one is not read: the call is taken for unknown.
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Head {
    version: u8,
    round: u64,
    unanswered: u32,
    ends: UnixMicros,
    phase: PhaseHead,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhaseHead {
    Claimed {
        owner: Owner,
        until: UnixMicros,
        #[serde(default)]
        beats: bool,
    },
    FellBack {
        status: u16,
        action: Option<Action>,
        source: Source,
        reason: Option<Reason>,
    },
    Decided {
        status: u16,
        action: Option<Action>,
        since: Option<UnixMicros>,
        delivery: Delivery,
        replayed_by: Option<Owner>,
    },
}

fn answer(status: u16, action: Option<Action>, body: Bytes) -> Option<Answer> {
    STATUSES.contains(&status).then_some(Answer { status, body, action })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(phase: SharedPhase) -> SharedRecord {
        SharedRecord {
            round: Round(u64::MAX),
            unanswered: 2,
            ends: UnixMicros(1_800_000_000_000_000),
            phase,
        }
    }

    fn decided(delivery: Delivery, replayed_by: Option<Owner>) -> SharedPhase {
        let body = "{\"a\":\"\n\u{e9}\"}\n".into();
        let answer = Answer { status: 200, body, action: Some(Action::Continue) };
        let since = replayed_by.map(|_| UnixMicros(1_799_999_999_000_000));
        SharedPhase::Decided(SharedDecision { answer, since, delivery, replayed_by })
    }

    fn leased(beats: bool) -> SharedPhase {
        SharedPhase::Claimed { owner: Owner(7), until: UnixMicros(1_799_999_999_999_000), beats }
    }

    /// A lease as version 0.1.0 writes it.
    const LEASE_0_1_0: &[u8] = b"{\"version\":1,\"round\":18446744073709551615,\"unanswered\":2,\
        \"ends\":1800000000000000,\"phase\":{\"claimed\":{\"owner\":7,\
        \"until\":1799999999999000}}}\n";

    #[test]
    fn a_lease_of_version_0_1_0_is_read_and_ends_at_its_time_only() {
        assert_eq!(SharedRecord::decode(LEASE_0_1_0), Some(record(leased(false))));
    }

    #[test]
    fn a_lease_is_what_version_0_1_0_writes_and_one_member_that_it_passes_over() {
        // That version reads with these types, which take no notice of other members.
        #[derive(Deserialize)]
        enum Phase0_1_0 {
            #[serde(rename = "claimed")]
            Claimed { owner: Owner, until: UnixMicros },
        }
        #[derive(Deserialize)]
        struct Head0_1_0 {
            version: u8,
            phase: Phase0_1_0,
        }
        let now = String::from_utf8(record(leased(true)).encode()).unwrap();
        assert_eq!(now.replace(",\"beats\":true", "").as_bytes(), LEASE_0_1_0);
        let head: Head0_1_0 = serde_json::from_str(now.trim_end()).unwrap();
        let Phase0_1_0::Claimed { owner, until } = head.phase;
        assert_eq!((head.version, owner, until.0), (1, Owner(7), 1_799_999_999_999_000));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let phases = [
            leased(true),
            leased(false),
            SharedPhase::FellBack(Outcome {
                answer: Answer::no_decision(),
                source: Source::Default,
                reason: Some(Reason::NoResponders),
            }),
            decided(Delivery::Yes, Some(Owner(3))),
            decided(Delivery::No, None),
        ];
        for phase in phases {
            let record = record(phase);
            assert_eq!(SharedRecord::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_record() {
        let good = record(decided(Delivery::Presumed, None)).encode();
        let good = String::from_utf8(good).unwrap();
        let other_version = good.replace("\"version\":1", "\"version\":2");
        let other_phase = good.replace("decided", "dreamt");
        let no_answer = good.replace("200", "99");
        for bad in
            [&no_answer, "", "\n", "{}", "{}\n", "\u{1}\n", &other_version, &other_phase, "no line"]
        {
            assert_eq!(SharedRecord::decode(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_clock_that_is_far_off_neither_blocks_a_call_nor_breaks_the_arithmetic() {
        let now = UnixMicros(1_800_000_000_000_000);
        let (owner, until) = (Owner(7), UnixMicros(u64::MAX));
        let claimed = SharedPhase::Claimed { owner, until, beats: true };
        let far =
            SharedRecord { ends: UnixMicros(u64::MAX), unanswered: u32::MAX, ..record(claimed) };
        let window = Duration::from_secs(45);
        let far = far.believed(now, window);
        assert_eq!(far.unanswered, UNANSWERED_MAX);
        let until = now.plus(CLAIM_MAX);
        assert_eq!(far.phase, SharedPhase::Claimed { owner, until, beats: true });
        assert_eq!(far.ends.since(now), window);
        let (until, ends) = (now.plus(CLAIM_MAX / 2), now.plus(window));
        let near = record(SharedPhase::Claimed { owner, until, beats: true });
        let near = SharedRecord { ends, ..near };
        assert_eq!(near.clone().believed(now, window), near);
    }

    #[test]
    fn the_store_keeps_it_a_little_longer_than_it_counts() {
        let record = record(decided(Delivery::Presumed, None));
        for (left, seconds) in [(0, 1), (1, 2), (1_000, 2), (1_001, 3), (45_000, 46)] {
            let now = UnixMicros(record.ends.0 - left * 1_000);
            assert_eq!(record.life_seconds(now), seconds, "{left}");
        }
        assert_eq!(record.life_seconds(UnixMicros(u64::MAX)), 1);
        assert_eq!(record.life_seconds(UnixMicros(0)), 7_200);
    }
}
