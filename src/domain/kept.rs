//! Decisions kept for fallbacks: how long, and for whom.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    connector::Connector,
    decision::{Decision, ReturnedClaims},
    fallback::CachedRules,
    protocol::Answer,
    reply::CacheControl,
};

/// A decision kept for a fallback.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptDecision {
    pub(super) decision: Arc<Decision>,
    pub(super) kept_at: Instant,
    pub(super) age_max: Duration,
}

/// What a new decision means for earlier ones of the same call or of the same values.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// It replaces them.
    Replace(KeptDecision),
    /// It is not kept, but they have been overtaken.
    Drop,
    /// It is not kept and says nothing about them.
    Leave,
}

impl Keep {
    /// The bytes of what is kept.
    pub fn bytes(&self) -> usize {
        match self {
            Keep::Replace(kept) => kept.bytes(),
            Keep::Drop | Keep::Leave => 0,
        }
    }
}

/// What becomes of `decision` in the cache: under the same call, and under the same values.
///
/// A ValidationError speaks of one form: it overtakes what was decided about that form, not what
/// was decided about the person.
pub fn keep(
    rules: &CachedRules,
    decision: Decision,
    cache_control: CacheControl,
    now: Instant,
) -> (Keep, Keep) {
    match decision {
        Decision::ValidationError(_) => (Keep::Drop, Keep::Leave),
        Decision::Continue(_) | Decision::ShowBlockPage(_) if cache_control.no_store => {
            (Keep::Drop, Keep::Drop)
        }
        Decision::Continue(_) | Decision::ShowBlockPage(_) => {
            let age_max = cache_control.stale_if_error.unwrap_or(Duration::MAX).min(rules.max_age);
            let kept = KeptDecision { decision: Arc::new(decision), kept_at: now, age_max };
            (Keep::Replace(kept.clone()), Keep::Replace(kept))
        }
    }
}

impl KeptDecision {
    /// The bytes of what was decided.
    pub fn bytes(&self) -> usize {
        self.decision.bytes()
    }

    /// Whether it may still be used at `now`.
    pub fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.kept_at) < self.age_max
    }

    /// Whether it was decided after `instant`.
    pub fn is_later_than(&self, instant: Instant) -> bool {
        self.kept_at > instant
    }

    /// This decision, where it may not be older than `age_max`.
    #[must_use]
    pub fn at_most(self, age_max: Duration) -> Self {
        Self { age_max: self.age_max.min(age_max), ..self }
    }

    /// The answer for the very same call: the decision, whole.
    pub fn for_same_call(&self, connector: &Connector) -> Answer {
        connector.answer(&self.decision)
    }

    /// The answer for another call with the same values: without claims where they could
    /// overwrite what the person has just typed.
    pub fn for_same_values(&self, connector: &Connector) -> Answer {
        match &*self.decision {
            Decision::Continue(_) if connector.step.overwrites_form => {
                connector.answer(&Decision::Continue(ReturnedClaims::default()))
            }
            Decision::Continue(_) | Decision::ShowBlockPage(_) | Decision::ValidationError(_) => {
                connector.answer(&self.decision)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{ms, start};

    #[test]
    fn the_own_rules_bound_what_another_replica_keeps() {
        let now = start();
        let decision = Arc::new(Decision::Continue(ReturnedClaims::default()));
        let kept = KeptDecision { decision, kept_at: now, age_max: ms(60_000) };
        let bounded = kept.clone().at_most(ms(5_000));
        assert!(bounded.is_fresh(now + ms(4_999)) && !bounded.is_fresh(now + ms(5_000)));
        assert!(!kept.clone().at_most(ms(90_000)).is_fresh(now + ms(60_000)));
        assert!(!kept.is_later_than(now) && kept.is_later_than(now - ms(1)));
    }
}
