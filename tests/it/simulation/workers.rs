//! The workers of one run. What they decide is numbered, so that every answer shows whose it is.

use std::{collections::BTreeMap, time::Duration};

use connector_bridge::{
    domain::{
        call_id::CallId,
        reply::{Reply, ServiceError},
    },
    inbox::Arrival,
};

use super::{
    dice::Dice,
    history::{Decision, Said, mark},
    plan::{Habits, Times},
};

pub(crate) struct Workers {
    dice: Dice,
    habits: Habits,
    times: Times,
    pub(crate) are_there: bool,
    decisions: Vec<&'static str>,
    decided: BTreeMap<CallId, Decision>,
}

const ACTIONS: [&str; 3] = ["Continue", "ShowBlockPage", "ValidationError"];

impl Workers {
    pub(crate) fn new(dice: Dice, habits: Habits, times: Times) -> Self {
        let (decisions, decided) = (Vec::new(), BTreeMap::new());
        Self { dice, habits, times, are_there: true, decisions, decided }
    }

    /// A message is here: what comes back, and after how long.
    pub(crate) fn take(&mut self, call: CallId, attempt: u32) -> Vec<(Duration, Said)> {
        if !self.are_there {
            return vec![(Duration::from_millis(self.dice.below(2)), Said::NobodyListens)];
        }
        let dice = &mut self.dice;
        let Habits { quick, slower, slow, bad, twice, .. } = self.habits;
        let Times { deadline, window, .. } = self.times;
        let kind = dice.below(100);
        let micros = if kind < quick {
            dice.pick(&[0, 50, 700, 3_000, 40_000])
        } else if kind < quick + slower {
            dice.between(50, deadline / 4) * 1_000
        } else if kind < quick + slower + slow {
            let around = dice.between(deadline - 200, deadline + 100);
            let late = dice.between(deadline / 4, deadline * 8 / 3);
            let last = dice.between(window - 1_000, window + 2_000);
            dice.pick(&[around, around, late, late, late, last]) * 1_000
        } else {
            return Vec::new();
        };
        let after = Duration::from_micros(micros);
        let is_bad = dice.percent(bad);
        let said = if is_bad {
            dice.pick(&[Said::Nonsense, Said::Failure])
        } else {
            Said::Decision(self.decide(call, attempt))
        };
        let mut comes = vec![(after, said)];
        if self.dice.percent(twice) {
            let again = after + Duration::from_millis(self.dice.pick(&[0, 1, 50, 4_000]));
            let other = self.dice.percent(20) && !self.habits.deduplicates && !is_bad;
            let said = if other { Said::Decision(self.decide(call, attempt)) } else { said };
            comes.push((again, said));
        }
        comes
    }

    fn decide(&mut self, call: CallId, attempt: u32) -> Decision {
        let made = self.decided.get(&call).filter(|_| self.habits.deduplicates && attempt > 1);
        if let Some(decision) = made {
            return *decision;
        }
        let action = match self.dice.below(100) {
            roll if roll < self.habits.about_form => 2,
            roll if roll < self.habits.about_form + 20 => 1,
            _ => 0,
        };
        self.decisions.push(ACTIONS[action]);
        let decision = Decision::try_from(self.decisions.len()).unwrap();
        self.decided.insert(call, decision);
        decision
    }

    /// What was said, as it comes over the bus.
    pub(crate) fn arrival(&self, said: Said) -> Arrival {
        let reply = match said {
            Said::NobodyListens => return Arrival::NoResponders,
            Said::Failure => {
                let service_error = Some(ServiceError { code: Some(500) });
                Reply { service_error, ..Reply::default() }
            }
            Said::Nonsense => Reply { payload: "yes".into(), ..Reply::default() },
            Said::Decision(decision) => {
                let action = self.decisions[decision as usize - 1];
                let mark = mark(decision);
                let member = if action == "Continue" { "tier" } else { "userMessage" };
                let payload = format!(r#"{{"action":"{action}","{member}":"{mark}"}}"#);
                Reply { payload: payload.into(), ..Reply::default() }
            }
        };
        Arrival::Reply(reply)
    }
}
