//! The time by which a decision must be there.

use std::time::{Duration, Instant};

/// The least and the most that is kept back from a deadline to word and write the answer.
const RESERVE_MIN: Duration = Duration::from_millis(10);
const RESERVE_MAX: Duration = Duration::from_millis(100);

/// Milliseconds with three decimals, as log lines and records of decisions have them.
pub fn milliseconds(taken: Duration) -> f64 {
    (taken.as_secs_f64() * 1e6).round() / 1e3
}

/// The instant by which a decision must be there so that the answer is written in time.
///
/// Absolute, so that every hop counts from the same point; a relative time that is handed on
/// starts the clock again at each hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// For a request whose first byte arrived at `arrived` and whose answer must be written
    /// within `limit`. A tenth of it, 10 to 100 ms, is kept back for wording and writing.
    pub fn of(arrived: Instant, limit: Duration) -> Self {
        let reserve = (limit / 10).clamp(RESERVE_MIN, RESERVE_MAX);
        Self(arrived + limit.saturating_sub(reserve))
    }

    /// The earlier of this and `other`.
    pub fn cut_to(self, other: Option<Instant>) -> Self {
        Self(other.map_or(self.0, |other| self.0.min(other)))
    }

    /// The instant itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// The time left at `now`, zero once it has passed.
    pub fn left(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether no time is left at `now`.
    pub fn has_passed(self, now: Instant) -> bool {
        self.left(now).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{ms, start};

    #[test]
    fn a_tenth_of_the_limit_between_10_and_100_ms_is_kept_back() {
        for (limit, left) in [(50, 40), (100, 90), (500, 450), (1_000, 900), (15_000, 14_900)] {
            let now = start();
            assert_eq!(Deadline::of(now, ms(limit)).left(now), ms(left), "{limit}");
        }
    }

    #[test]
    fn it_has_passed_at_the_very_instant() {
        let now = start();
        let deadline = Deadline::of(now, ms(1_000));
        assert!(!deadline.has_passed(now + ms(899)));
        assert!(deadline.has_passed(now + ms(900)));
        assert!(deadline.cut_to(Some(now)).has_passed(now));
        assert_eq!(deadline.cut_to(Some(now + ms(5_000))), deadline);
    }
}
