//! What is answered when no valid decision came in time: a cached decision, else the configured
//! default.

use std::time::Duration;

use super::{
    claims::ui_locales,
    connector::Connector,
    decision::{Decision, ReturnedClaims},
    json::Object,
    message::Messages,
    outcome::{Outcome, Reason, Source},
    protocol::Answer,
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
