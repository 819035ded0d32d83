//! The breaker of a connector: when its workers keep silent, people get the fallback at once
//! instead of waiting for the deadline.
//!
//! Time-outs are weak evidence: five forms that a worker cannot digest look like five workers that
//! are gone. So it opens for a second only, lets a call try again and again, and is shut for longer
//! only while those calls find nobody. An answer, however bad, is proof, and undoes much.

use std::time::{Duration, Instant};

/// When the breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// Consecutive time-outs that open it.
    pub failures: u32,
    /// The longest time from one call that probes to the next.
    pub open_for: Duration,
}

/// How long it is open before the first call probes, and from one probe to the next while nothing
/// is known of them: a probe that finds nobody takes its whole deadline to show that.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// So many answers close it. After the first, two calls may pass, after the second four: workers
/// that come back are not run over.
const ANSWERS: u32 = 3;

/// The most calls that may pass besides those of the pauses.
const EXTRA_MAX: u32 = 1 << (ANSWERS - 1);

/// Counts consecutive time-outs and nothing else.
#[derive(Debug, Default)]
pub struct Breaker {
    time_outs: u32,
    /// When a worker last answered.
    answered: Option<Instant>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// When it opened or the last pause ended.
    since: Instant,
    /// From then to the next probe. Twice as long after each probe that found nobody.
    pause: Duration,
    /// Answers without a time-out in between.
    answers: u32,
    /// Calls that may pass at once.
    extra: u32,
}

/// Leave to ask a worker. Handed back with how it went by [`Breaker::settle`].
#[derive(Debug, PartialEq, Eq)]
pub struct Pass {
    at: Instant,
    is_probe: bool,
}

/// What the breaker wants to know of a call that it let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A worker answered in time, however badly.
    Answer,
    /// A worker had the time that a call usually has, and did not answer.
    TimeOut,
    /// Neither: no worker had the call for long enough, or its answer may be lost.
    Nothing,
}

impl Breaker {
    /// `None` while it is open: the call gets its fallback at once.
    pub fn let_pass(&mut self, now: Instant) -> Option<Pass> {
        let Some(open) = &mut self.open else { return Some(Pass { at: now, is_probe: false }) };
        if now >= open.since + open.pause {
            open.since = now;
        } else {
            open.extra = open.extra.checked_sub(1)?;
        }
        Some(Pass { at: now, is_probe: true })
    }

    /// Takes back a pass.
    pub fn settle(&mut self, pass: Pass, heard: Heard, rules: BreakerRules, now: Instant) {
        match heard {
            Heard::Answer => self.answer(now),
            Heard::TimeOut => self.time_out(&pass, rules, now),
            Heard::Nothing => {
                if let Some(open) = self.open.as_mut().filter(|_| pass.is_probe) {
                    open.extra = (open.extra + 1).min(EXTRA_MAX);
                }
            }
        }
    }

    fn answer(&mut self, now: Instant) {
        self.time_outs = 0;
        self.answered = Some(now);
        if let Some(open) = &mut self.open {
            open.answers += 1;
            open.extra = 1 << open.answers;
            if open.answers >= ANSWERS {
                self.open = None;
            }
        }
    }

    fn time_out(&mut self, pass: &Pass, rules: BreakerRules, now: Instant) {
        // Workers that have answered another call since are there: it is this call that they
        // cannot answer.
        if self.answered.is_some_and(|answered| answered >= pass.at) {
            return;
        }
        match &mut self.open {
            None => {
                self.time_outs += 1;
                if self.time_outs >= rules.failures {
                    let pause = PAUSE_MIN.min(rules.open_for);
                    self.open = Some(Open { since: now, pause, answers: 0, extra: 0 });
                }
            }
            // The pause counts from the last probe, not from this news of an older one.
            Some(open) if pass.is_probe => {
                open.pause = (open.pause * 2).min(rules.open_for);
                (open.answers, open.extra) = (0, 0);
            }
            // A call from before the breaker opened says nothing new.
            Some(_) => {}
        }
    }

    /// Whether calls are held back, up to the answers that close it.
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

    /// One that has just opened.
    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| run(&mut breaker, Heard::TimeOut, now));
        assert!(breaker.is_open());
        breaker
    }

    /// So many of 20 calls may pass now.
    fn passes(breaker: &mut Breaker, now: Instant) -> Vec<Pass> {
        (0..20).filter_map(|_| breaker.let_pass(now)).collect()
    }

    #[test]
    fn only_consecutive_time_outs_open_it_and_for_a_second_first() {
        let (mut breaker, now) = (Breaker::default(), start());
        for heard in [Heard::TimeOut, Heard::TimeOut, Heard::Answer] {
            run(&mut breaker, heard, now);
        }
        let later = now + ms(1);
        for heard in [Heard::TimeOut, Heard::Nothing, Heard::TimeOut, Heard::Nothing] {
            run(&mut breaker, heard, later);
        }
        assert!(!breaker.is_open());
        run(&mut breaker, Heard::TimeOut, later);
        assert!(breaker.is_open());
        assert_eq!(breaker.let_pass(later + ms(999)), None);
        assert!(breaker.let_pass(later + ms(1_000)).is_some());
    }

    #[test]
    fn silence_counts_for_nothing_where_others_were_answered_meanwhile() {
        let (mut breaker, now) = (Breaker::default(), start());
        let silent: Vec<Pass> = passes(&mut breaker, now);
        run(&mut breaker, Heard::Answer, now + ms(9_000));
        for pass in silent {
            breaker.settle(pass, Heard::TimeOut, RULES, now + ms(10_000));
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn one_call_probes_and_its_end_decides() {
        // What the probe hears; how many may pass then; how many when its pause is over.
        for (heard, at_once, later) in
            [(Heard::Answer, 2, 3), (Heard::TimeOut, 0, 1), (Heard::Nothing, 1, 2)]
        {
            let now = start();
            let mut breaker = opened(now);
            let probe_at = now + ms(1_000);
            let mut probes = passes(&mut breaker, probe_at);
            assert_eq!(probes.len(), 1, "one at first");
            breaker.settle(probes.remove(0), heard, RULES, probe_at);
            let mut again = opened(now);
            run(&mut again, heard, probe_at);
            assert_eq!(passes(&mut breaker, probe_at).len(), at_once, "{heard:?}");
            assert_eq!(passes(&mut again, probe_at + ms(2_000)).len(), later, "{heard:?}");
            assert!(breaker.is_open() && again.is_open());
        }
    }

    #[test]
    fn a_probe_that_keeps_silent_holds_up_nobody() {
        let now = start();
        let mut breaker = opened(now);
        let silent = breaker.let_pass(now + ms(1_000)).expect("a probe");
        assert_eq!(breaker.let_pass(now + ms(1_999)), None);
        run(&mut breaker, Heard::Answer, now + ms(2_000));
        run(&mut breaker, Heard::Answer, now + ms(2_100));
        run(&mut breaker, Heard::Answer, now + ms(2_200));
        assert!(!breaker.is_open());
        breaker.settle(silent, Heard::TimeOut, RULES, now + ms(16_000));
        (0..3).for_each(|_| run(&mut breaker, Heard::Answer, now + ms(16_000)));
        assert!(!breaker.is_open() && breaker.time_outs == 0);
    }

    #[test]
    fn as_answers_come_more_may_pass_at_once_until_it_closes() {
        let now = start();
        let mut breaker = opened(now);
        let mut at = now + ms(1_000);
        for expected in [1, 2, 4] {
            let mut probes = passes(&mut breaker, at);
            assert_eq!(probes.len(), expected);
            at += ms(100);
            breaker.settle(probes.remove(0), Heard::Answer, RULES, at);
        }
        assert!(!breaker.is_open());
        assert_eq!(passes(&mut breaker, at).len(), 20);
    }

    #[test]
    fn the_pause_doubles_with_each_probe_that_finds_nobody_up_to_open_for() {
        let now = start();
        let (mut breaker, mut at, mut pauses) = (opened(now), now, Vec::new());
        for _ in 0..6 {
            let from = at;
            let probe = loop {
                at += ms(100);
                if let Some(probe) = breaker.let_pass(at) {
                    break probe;
                }
            };
            pauses.push((at - from).as_millis());
            breaker.settle(probe, Heard::TimeOut, RULES, at);
        }
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    }

    #[test]
    fn while_all_workers_are_silent_one_call_a_second_waits_in_vain_at_the_most_and_then_fewer() {
        const DEADLINE: Duration = Duration::from_secs(15);
        let now = start();
        let (mut breaker, mut out, mut passed) = (opened(now), Vec::new(), Vec::new());
        // A hundred calls a second for two minutes.
        for tick in 0..12_000 {
            let at = now + ms(tick * 10);
            while out.first().is_some_and(|pass: &Pass| pass.at + DEADLINE <= at) {
                breaker.settle(out.remove(0), Heard::TimeOut, RULES, at);
            }
            if let Some(pass) = breaker.let_pass(at) {
                passed.push(at);
                out.push(pass);
            }
        }
        assert!(passed.windows(2).all(|two| two[1] - two[0] >= ms(1_000)), "{passed:?}");
        let late = passed.iter().filter(|at| **at >= now + ms(60_000)).count();
        assert!((5..=7).contains(&late), "one in ten seconds: {late} in the second minute");
        assert!(passed.len() <= 27, "{} in all", passed.len());
    }

    #[test]
    fn an_answer_to_a_call_from_before_it_opened_is_an_answer_and_its_silence_is_no_news() {
        let (mut breaker, now) = (Breaker::default(), start());
        let old = breaker.let_pass(now).unwrap();
        let older = breaker.let_pass(now).unwrap();
        (0..3).for_each(|_| run(&mut breaker, Heard::TimeOut, now));
        breaker.settle(older, Heard::TimeOut, RULES, now + ms(900));
        assert!(breaker.let_pass(now + ms(1_000)).is_some(), "a late time-out does not prolong");
        breaker.settle(old, Heard::Answer, RULES, now + ms(1_000));
        assert_eq!(passes(&mut breaker, now + ms(1_000)).len(), 2);
    }
}
