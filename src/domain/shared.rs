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

/// A wall-clock time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The time `after` this.
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time `before` this.
    pub fn minus(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(before.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this, zero where it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A process that claims calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What was there.
    pub record: Option<SharedRecord>,
}

impl Seen {
    /// The record, where it still counts at `now`.
    pub fn live(self, now: UnixMs) -> Option<SharedRecord> {
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
    pub ends: UnixMs,
    /// How far the call is.
    pub phase: SharedPhase,
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedPhase {
    /// A process has claimed it and asks a worker. After `until` it is taken for dead.
    Claimed {
        /// Who.
        owner: Owner,
        /// How long the claim holds.
        until: UnixMs,
    },
    /// Answered with a fallback, which is for those who had joined and for nobody else.
    FellBack(Outcome),
    /// Decided.
    Decided(Recorded),
}

/// The least and the most that a record lives in the store, which counts in whole seconds.
const LIFE_MIN_SECONDS: u64 = 1;
const LIFE_MAX_SECONDS: u64 = 2 * 3_600;

/// Longer than any claim holds, and than any record counts. A record that says more was written
/// by a clock that is far off, or not by a bridge.
const CLAIM_MAX: Duration = Duration::from_secs(30);
const ENDS_MAX: Duration = Duration::from_secs(LIFE_MAX_SECONDS);

/// More messages than any call gets.
const UNANSWERED_MAX: u32 = 1_000_000;

impl SharedRecord {
    /// This record as it may be believed at `now`.
    #[must_use]
    pub fn believed(mut self, now: UnixMs) -> Self {
        self.ends = self.ends.min(now.plus(ENDS_MAX));
        self.unanswered = self.unanswered.min(UNANSWERED_MAX);
        if let SharedPhase::Claimed { until, .. } = &mut self.phase {
            *until = (*until).min(now.plus(CLAIM_MAX));
        }
        self
    }

    /// How many seconds the store has to keep it at `now`: a little longer than it counts, so that
    /// its end never depends on the server's clock.
    pub fn life_seconds(&self, now: UnixMs) -> u64 {
        let left = self.ends.since(now).as_millis().div_ceil(1_000) + 1;
        u64::try_from(left).unwrap_or(u64::MAX).clamp(LIFE_MIN_SECONDS, LIFE_MAX_SECONDS)
    }

    /// As bytes: a line of JSON, then the answer's body where there is one.
    pub fn encode(&self) -> Vec<u8> {
        let worded = |answer: &Answer| (answer.status, answer.action);
        let (phase, body) = match &self.phase {
            SharedPhase::Claimed { owner, until } => {
                (PhaseHead::Claimed { owner: *owner, until: *until }, &Bytes::new())
            }
            SharedPhase::FellBack(Outcome { answer, source, reason }) => {
                let ((status, action), source, reason) = (worded(answer), *source, *reason);
                (PhaseHead::FellBack { status, action, source, reason }, &answer.body)
            }
            SharedPhase::Decided(Recorded { answer, delivered, replayed }) => {
                let (status, action) = worded(answer);
                let (delivered, replayed) = (*delivered, *replayed);
                (PhaseHead::Decided { status, action, delivered, replayed }, &answer.body)
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
            PhaseHead::Claimed { owner, until } => SharedPhase::Claimed { owner, until },
            PhaseHead::FellBack { status, action, source, reason } => {
                let answer = Answer { status, body, action };
                SharedPhase::FellBack(Outcome { answer, source, reason })
            }
            PhaseHead::Decided { status, action, delivered, replayed } => {
                let answer = Answer { status, body, action };
                SharedPhase::Decided(Recorded { answer, delivered, replayed })
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
    ends: UnixMs,
    phase: PhaseHead,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhaseHead {
    Claimed { owner: Owner, until: UnixMs },
    FellBack { status: u16, action: Option<Action>, source: Source, reason: Option<Reason> },
    Decided { status: u16, action: Option<Action>, delivered: bool, replayed: bool },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(phase: SharedPhase) -> SharedRecord {
        SharedRecord {
            round: Round(u64::MAX),
            unanswered: 2,
            ends: UnixMs(1_800_000_000_000),
            phase,
        }
    }

    fn answer() -> Answer {
        Answer {
            status: 200,
            body: "{\"a\":\"\n\u{e9}\"}\n".into(),
            action: Some(Action::Continue),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let phases = [
            SharedPhase::Claimed { owner: Owner(7), until: UnixMs(1_799_999_999_999) },
            SharedPhase::FellBack(Outcome {
                answer: Answer::no_decision(),
                source: Source::Default,
                reason: Some(Reason::NoResponders),
            }),
            SharedPhase::Decided(Recorded { answer: answer(), delivered: true, replayed: false }),
        ];
        for phase in phases {
            let record = record(phase);
            assert_eq!(SharedRecord::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_record() {
        let good = record(SharedPhase::Decided(Recorded::new(answer()))).encode();
        let good = String::from_utf8(good).unwrap();
        let other_version = good.replace("\"version\":1", "\"version\":2");
        let other_phase = good.replace("decided", "dreamt");
        for bad in ["", "\n", "{}", "{}\n", "\u{1}\n", &other_version, &other_phase, "no line"] {
            assert_eq!(SharedRecord::decode(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_clock_that_is_far_off_neither_blocks_a_call_nor_breaks_the_arithmetic() {
        let now = UnixMs(1_800_000_000_000);
        let (owner, until) = (Owner(7), UnixMs(u64::MAX));
        let claimed = SharedPhase::Claimed { owner, until };
        let far = SharedRecord { ends: UnixMs(u64::MAX), unanswered: u32::MAX, ..record(claimed) };
        let far = far.believed(now);
        assert_eq!(far.unanswered, UNANSWERED_MAX);
        let until = now.plus(CLAIM_MAX);
        assert_eq!(far.phase, SharedPhase::Claimed { owner, until });
        assert_eq!(far.ends.since(now), ENDS_MAX);
        let near = record(SharedPhase::Claimed { owner, until: now.plus(ENDS_MAX / 1_000) });
        assert_eq!(near.clone().believed(now), near);
    }

    #[test]
    fn the_store_keeps_it_a_little_longer_than_it_counts() {
        let record = record(SharedPhase::Decided(Recorded::new(answer())));
        for (left, seconds) in [(0, 1), (1, 2), (1_000, 2), (1_001, 3), (45_000, 46)] {
            let now = UnixMs(record.ends.0 - left);
            assert_eq!(record.life_seconds(now), seconds, "{left}");
        }
        assert_eq!(record.life_seconds(UnixMs(u64::MAX)), 1);
        assert_eq!(record.life_seconds(UnixMs(0)), 7_200);
    }
}
