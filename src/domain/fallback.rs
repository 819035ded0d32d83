//! What is answered when no valid decision came in time: a cached decision, else the configured
//! default.

use std::time::{Duration, Instant};

use super::{
    claims::ui_locales,
    connector::Connector,
    decision::{Decision, ReturnedClaims},
    json::Object,
    message::Messages,
    outcome::{Outcome, Reason, Source},
    protocol::Answer,
    reply::CacheControl,
};

/// A connector's fallback.
#[derive(Clone, Debug)]
pub struct FallbackRules {
    /// Whether and how earlier decisions are used.
    pub cached: Option<CachedRules>,
    /// What is answered otherwise.
    pub default: DefaultAnswer,
    /// What the person is told, by the default and wherever a worker gave no message.
    pub messages: Messages,
}

/// The answer without any decision, earlier or now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAnswer {
    /// A block page with the connector's message.
    Block,
    /// Let the person go on.
    Continue,
    /// HTTP 503: the caller shows its own error.
    Refuse,
}

/// How earlier decisions are used.
#[derive(Clone, Debug)]
pub struct CachedRules {
    /// The claims whose values find a decision of another call.
    pub by: Vec<String>,
    /// The greatest age of a decision that is used.
    pub max_age: Duration,
    /// How many are kept.
    pub max_entries: u64,
    /// Whether all replicas share them.
    pub shared: bool,
}

/// A decision kept for a fallback.
#[derive(Clone, Debug)]
pub struct KeptDecision {
    decision: Decision,
    kept_at: Instant,
    age_max: Duration,
}

/// What a new decision means for earlier ones of the same call or of the same values.
#[derive(Clone, Debug)]
pub enum Keep {
    /// It replaces them.
    Replace(KeptDecision),
    /// It is not kept, but they have been overtaken.
    Drop,
    /// It is not kept and says nothing about them.
    Leave,
}

/// What becomes of `decision` in the cache: under the same call, and under the same values.
///
/// A ValidationError speaks of one form: it overtakes what was decided about that form, not what
/// was decided about the person.
pub fn keep(
    rules: &CachedRules,
    decision: &Decision,
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
            let kept = KeptDecision { decision: decision.clone(), kept_at: now, age_max };
            (Keep::Replace(kept.clone()), Keep::Replace(kept))
        }
    }
}

impl KeptDecision {
    /// Whether it may still be used at `now`.
    pub fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.kept_at) < self.age_max
    }

    /// The answer for the very same call: the decision, whole.
    pub fn for_same_call(&self, connector: &Connector) -> Answer {
        connector.answer(&self.decision)
    }

    /// The answer for another call with the same values: without claims where they could
    /// overwrite what the person has just typed.
    pub fn for_same_values(&self, connector: &Connector) -> Answer {
        match &self.decision {
            Decision::Continue(_) if connector.step.overwrites_form => {
                connector.answer(&Decision::Continue(ReturnedClaims::default()))
            }
            Decision::Continue(_) | Decision::ShowBlockPage(_) | Decision::ValidationError(_) => {
                connector.answer(&self.decision)
            }
        }
    }
}

/// The connector's configured default, in the person's language.
pub fn default_answer(connector: &Connector, locales: Option<&str>) -> Answer {
    let rules = &connector.fallback;
    match rules.default {
        DefaultAnswer::Block => {
            connector.answer(&Decision::ShowBlockPage(rules.messages.pick(locales).clone()))
        }
        DefaultAnswer::Continue => connector.answer(&Decision::Continue(ReturnedClaims::default())),
        DefaultAnswer::Refuse => Answer::no_decision(),
    }
}

/// The end of a call that no worker is asked about because a required claim is not filled.
pub fn missing_claim(connector: &Connector, claims: &Object<'_>) -> Option<Outcome> {
    let rules = &connector.claims;
    let is_missing = |name: &String| !super::claims::is_filled(claims, name);
    if !rules.require.iter().any(is_missing) {
        return None;
    }
    let message = rules.require_message.pick(ui_locales(claims).as_deref()).clone();
    let answer = connector.answer(&Decision::ValidationError(message));
    // Nobody decided, so where the step cannot say it there is no action to be counted.
    let answer = if answer.is_decision() { answer } else { Answer::no_decision() };
    Some(Outcome { answer, source: Source::Default, reason: Some(Reason::MissingClaim) })
}
