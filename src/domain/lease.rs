//! How long a call stays leased: for as long as its owner is heard of. An owner writes a beat
//! every now and then while it has leases; who waits for it looks whether a new one came.
//!
//! Every time here is measured by one process with its own monotonic clock: no two clocks are
//! compared.

use std::time::{Duration, Instant};

use super::shared::Revision;

/// How often an owner beats while it has leases. A call that is decided sooner needs no beat.
pub const BEAT_EVERY: Duration = Duration::from_millis(400);

/// An owner that was not heard of for so long is taken for dead, and its calls are taken over.
pub const LEASE_TIME: Duration = Duration::from_millis(1_800);

/// An owner itself relies on its leases for so long only: what it then sends is on its way before
/// anybody else can have taken the call over.
pub const LEASE_TIME_OWN: Duration = Duration::from_millis(1_500);

/// How long no new beat of another process has come, as one process has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// The beat that was there all the time.
    beat: Revision,
    /// When the first reading that showed it had been answered.
    since: Instant,
    /// When the last reading that showed it was asked for.
    until: Instant,
}

impl Quiet {
    /// What a reading adds that was asked for and answered then. A beat that is absent says as
    /// little as one that is old. Only readings that succeed count.
    pub fn seen(before: Option<Self>, beat: Revision, asked: Instant, answered: Instant) -> Self {
        match before {
            Some(before) if beat == before.beat || beat == Revision::NONE => {
                Self { until: before.until.max(asked), ..before }
            }
            Some(_) | None => Self { beat, since: answered, until: answered },
        }
    }

    /// How much of it lies after `from`.
    pub fn after(&self, from: Instant) -> Duration {
        self.until.saturating_duration_since(self.since.max(from))
    }
}

/// The own beats that the store has acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beats(Option<Unbroken>);

/// Beats that followed each other so closely that nobody can have missed them.
#[derive(Clone, Copy, Debug)]
struct Unbroken {
    /// When the first of them was acknowledged.
    since: Instant,
    /// When the last of them was sent.
    last: Instant,
}

impl Beats {
    /// A beat that was `sent` then is acknowledged.
    pub fn acknowledged(&mut self, sent: Instant, now: Instant) {
        let unbroken = self.0.filter(|beats| now < beats.last + LEASE_TIME_OWN);
        self.0 = Some(Unbroken { since: unbroken.map_or(now, |beats| beats.since), last: sent });
    }

    /// Whether nobody can have taken over by `now` what was leased by a write that was sent at
    /// `leased`: nobody can have begun to wait for it earlier.
    pub fn hold(&self, leased: Instant, now: Instant) -> bool {
        let is_fresh = now < leased + LEASE_TIME_OWN;
        let is_kept = self.0.is_some_and(|beats| {
            beats.since < leased + LEASE_TIME_OWN && now < beats.last + LEASE_TIME_OWN
        });
        is_fresh || is_kept
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::domain::testing::{ms, start};

    fn at(time: u64) -> Instant {
        static START: LazyLock<Instant> = LazyLock::new(start);
        *START + ms(time)
    }

    /// What a process sees that reads at these times, each answered 5 ms later.
    fn quiet(readings: &[(u64, u64)]) -> Quiet {
        let mut quiet = None;
        for (asked, beat) in readings {
            quiet = Some(Quiet::seen(quiet, Revision(*beat), at(*asked), at(*asked + 5)));
        }
        quiet.unwrap()
    }

    #[test]
    fn an_owner_is_quiet_from_the_answer_to_the_first_reading_to_the_question_of_the_last() {
        assert_eq!(quiet(&[(0, 7)]).after(at(0)), ms(0));
        assert_eq!(quiet(&[(0, 7), (900, 7), (1_805, 7)]).after(at(0)), ms(1_800));
        assert_eq!(quiet(&[(0, 7), (1_805, 7)]).after(at(1_000)), ms(805), "of a lease");
        assert_eq!(quiet(&[(0, 7), (1_805, 8)]).after(at(0)), ms(0), "it has beaten");
        assert_eq!(quiet(&[(0, 7), (900, 8), (1_805, 8)]).after(at(0)), ms(900));
    }

    #[test]
    fn a_beat_that_is_absent_is_no_new_one_and_the_first_one_is() {
        assert_eq!(quiet(&[(0, 0), (1_805, 0)]).after(at(0)), ms(1_800));
        assert_eq!(quiet(&[(0, 7), (1_805, 0)]).after(at(0)), ms(1_800), "forgotten meanwhile");
        assert_eq!(quiet(&[(0, 0), (1_805, 7)]).after(at(0)), ms(0));
    }

    #[test]
    fn a_lease_holds_on_its_own_for_a_while_and_then_as_long_as_the_owner_beats() {
        let mut beats = Beats::default();
        assert!(beats.hold(at(0), at(1_499)) && !beats.hold(at(0), at(1_500)));
        for sent in [400, 800, 1_200, 2_600] {
            beats.acknowledged(at(sent), at(sent + 3));
        }
        assert!(beats.hold(at(0), at(4_099)) && !beats.hold(at(0), at(4_100)));
    }

    #[test]
    fn beats_that_were_missed_are_not_made_up_for() {
        let mut beats = Beats::default();
        beats.acknowledged(at(400), at(403));
        // Sent in time and acknowledged too late: somebody may have looked in between.
        beats.acknowledged(at(1_890), at(1_900));
        assert!(!beats.hold(at(0), at(1_901)), "perhaps taken over at 1,900");
        assert!(beats.hold(at(1_000), at(1_901)), "leased later, so seen later");
        assert!(!beats.hold(at(100), at(1_901)) && beats.hold(at(1_901), at(1_902)));
        // The first beat after a lease must come in time too.
        let mut beats = Beats::default();
        beats.acknowledged(at(1_480), at(1_500));
        assert!(!beats.hold(at(0), at(1_501)) && beats.hold(at(1), at(1_501)));
    }

    #[test]
    fn whoever_waits_needs_longer_than_an_owner_relies_on_its_lease() {
        // What the owner has handed over gets to the server meanwhile; and some beats may be lost.
        assert!(LEASE_TIME >= LEASE_TIME_OWN + ms(300));
        assert!(LEASE_TIME_OWN >= BEAT_EVERY * 3 + ms(300));
    }
}
