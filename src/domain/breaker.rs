//! The breaker of a connector: when its workers keep silent, people get the fallback at once
//! instead of waiting for the deadline.

use std::time::{Duration, Instant};

/// When the breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// Consecutive time-outs that open it.
    pub failures: u32,
    /// How long it stays open before one call probes.
    pub open_for: Duration,
}

/// Counts consecutive time-outs and nothing else.
#[derive(Debug, Default)]
pub struct Breaker {
    time_outs: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    probing: bool,
}

/// Leave to ask a worker. Handed back with how it went by [`Breaker::settle`].
#[derive(Debug, PartialEq, Eq)]
pub struct Pass {
    is_probe: bool,
}

/// What the breaker wants to know of a call that it let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A worker answered in time, however badly.
    Answer,
    /// No worker answered in time.
    TimeOut,
    /// Neither: the call never reached a worker, or was cut short.
    Nothing,
}

impl Breaker {
    /// `None` while it is open: the call gets its fallback at once.
    pub fn let_pass(&mut self, now: Instant) -> Option<Pass> {
        match &mut self.open {
            None => Some(Pass { is_probe: false }),
            Some(open) if now >= open.until && !open.probing => {
                open.probing = true;
                Some(Pass { is_probe: true })
            }
            Some(_) => None,
        }
    }

    /// Takes back a pass.
    pub fn settle(&mut self, pass: Pass, heard: Heard, rules: BreakerRules, now: Instant) {
        match (heard, &mut self.open) {
            (Heard::Answer, _) => *self = Self::default(),
            (Heard::TimeOut, None) => {
                self.time_outs += 1;
                if self.time_outs >= rules.failures {
                    self.open = Some(Open { until: now + rules.open_for, probing: false });
                }
            }
            (Heard::TimeOut, Some(open)) if pass.is_probe => {
                *open = Open { until: now + rules.open_for, probing: false };
            }
            (Heard::Nothing, Some(open)) if pass.is_probe => open.probing = false,
            // A call from before the breaker opened says nothing new.
            (Heard::TimeOut, Some(_)) | (Heard::Nothing, _) => {}
        }
    }

    /// Whether calls are held back, up to the answer to a probe.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{ms, start};

    const RULES: BreakerRules = BreakerRules { failures: 3, open_for: Duration::from_secs(10) };

    fn run(breaker: &mut Breaker, heard: Heard, now: Instant) {
        let pass = breaker.let_pass(now).expect("let pass");
        breaker.settle(pass, heard, RULES, now);
    }

    #[test]
    fn only_consecutive_time_outs_open_it() {
        let (mut breaker, now) = (Breaker::default(), start());
        for heard in [Heard::TimeOut, Heard::TimeOut, Heard::Answer, Heard::TimeOut] {
            run(&mut breaker, heard, now);
        }
        for heard in [Heard::Nothing, Heard::TimeOut, Heard::Nothing] {
            run(&mut breaker, heard, now);
        }
        assert!(!breaker.is_open());
        run(&mut breaker, Heard::TimeOut, now);
        assert!(breaker.is_open());
        assert_eq!(breaker.let_pass(now + ms(9_999)), None);
    }

    #[test]
    fn one_call_probes_and_its_end_decides() {
        for (heard, open, next_probe_after) in [
            (Heard::Answer, false, ms(0)),
            (Heard::TimeOut, true, ms(10_000)),
            (Heard::Nothing, true, ms(0)),
        ] {
            let (mut breaker, now) = (Breaker::default(), start());
            (0..3).for_each(|_| run(&mut breaker, Heard::TimeOut, now));
            let later = now + ms(10_000);
            let probe = breaker.let_pass(later).expect("a probe");
            assert_eq!(breaker.let_pass(later), None, "one probe at a time");
            breaker.settle(probe, heard, RULES, later);
            assert_eq!(breaker.is_open(), open, "{heard:?}");
            assert!(breaker.let_pass(later + next_probe_after).is_some(), "{heard:?}");
        }
    }

    #[test]
    fn an_answer_to_a_call_from_before_it_opened_closes_it() {
        let (mut breaker, now) = (Breaker::default(), start());
        let old = breaker.let_pass(now).unwrap();
        let older = breaker.let_pass(now).unwrap();
        (0..3).for_each(|_| run(&mut breaker, Heard::TimeOut, now));
        breaker.settle(older, Heard::TimeOut, RULES, now + ms(9_000));
        assert!(breaker.let_pass(now + ms(10_000)).is_some(), "a late time-out does not prolong");
        breaker.settle(old, Heard::Answer, RULES, now + ms(10_000));
        assert!(!breaker.is_open());
    }
}
