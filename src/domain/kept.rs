//! Decisions kept for fallbacks: how long, under what, and how replicas share them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    connector::Connector,
    decision::{Decision, ReturnedClaims, UserMessage},
    fallback::CachedRules,
    json::Object,
    protocol::{Answer, read_claims},
    reply::CacheControl,
    shared::{Owner, UnixMs},
};

/// A decision kept for a fallback.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptDecision {
    decision: Decision,
    kept_at: Instant,
    age_max: Duration,
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

    /// The later of this and `other`.
    #[must_use]
    pub fn or_later(self, other: Option<Self>) -> Self {
        other.filter(|other| other.kept_at > self.kept_at).unwrap_or(self)
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

/// What a process tells the others about a key of its cache.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedKeep {
    /// Who tells it.
    pub by: Owner,
    /// What it did: [`Keep::Replace`] or [`Keep::Drop`].
    pub keep: Keep,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u8,
    by: Owner,
    kept: Option<WrittenKept>,
}

#[derive(Serialize, Deserialize)]
struct WrittenKept {
    kept_at: UnixMs,
    age_max_ms: u64,
    decision: WrittenDecision,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenDecision {
    /// The claims, as a JSON object.
    Continue(String),
    ShowBlockPage(String),
}

/// The version of the written form. Another one is not read.
const VERSION: u8 = 1;

impl SharedKeep {
    /// As JSON. `None` where it says nothing that others need: a ValidationError is never kept.
    pub fn encode(&self, now: Instant, wall: UnixMs) -> Option<Vec<u8>> {
        let kept = match &self.keep {
            Keep::Leave => return None,
            Keep::Drop => None,
            Keep::Replace(KeptDecision { decision, kept_at, age_max }) => Some(WrittenKept {
                kept_at: wall.minus(now.saturating_duration_since(*kept_at)),
                age_max_ms: u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX),
                decision: match decision {
                    Decision::Continue(claims) => {
                        WrittenDecision::Continue(format!("{{{}}}", claims.members()))
                    }
                    Decision::ShowBlockPage(message) => {
                        WrittenDecision::ShowBlockPage(message.as_str().to_owned())
                    }
                    Decision::ValidationError(_) => return None,
                },
            }),
        };
        serde_json::to_vec(&Written { version: VERSION, by: self.by, kept }).ok()
    }

    /// From JSON; `None` for anything that this version cannot make sense of.
    pub fn decode(bytes: &[u8], now: Instant, wall: UnixMs) -> Option<Self> {
        let Written { version, by, kept } = serde_json::from_slice(bytes).ok()?;
        if version != VERSION {
            return None;
        }
        let Some(WrittenKept { kept_at, age_max_ms, decision }) = kept else {
            return Some(Self { by, keep: Keep::Drop });
        };
        let decision = match decision {
            WrittenDecision::Continue(claims) => {
                let claims = Object::parse(claims.as_bytes()).ok()?;
                Decision::Continue(read_claims(&claims, &[]).ok()?)
            }
            WrittenDecision::ShowBlockPage(message) => {
                Decision::ShowBlockPage(UserMessage::parse(&message)?)
            }
        };
        let kept_at = now.checked_sub(wall.since(kept_at))?;
        let age_max = Duration::from_millis(age_max_ms);
        Some(Self { by, keep: Keep::Replace(KeptDecision { decision, kept_at, age_max }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{ms, start};

    const WALL: UnixMs = UnixMs(1_800_000_000_000);

    fn rules() -> CachedRules {
        let (by, max_age) = (vec!["email".to_owned()], Duration::from_secs(60));
        CachedRules { by, max_age, max_entries: 10, shared: true }
    }

    fn go_on() -> Decision {
        let claims = Object::parse(br#"{"tier":"gold \u00e9","n":1.50,"b":true}"#).unwrap();
        Decision::Continue(read_claims(&claims, &[]).unwrap())
    }

    #[test]
    fn what_one_replica_keeps_another_reads_with_its_age() {
        let block = Decision::ShowBlockPage(UserMessage::parse("No.\n").unwrap());
        for decision in [go_on(), Decision::Continue(ReturnedClaims::default()), block] {
            let here = start() + ms(1_000_000);
            let (keep, _) = keep(&rules(), &decision, CacheControl::default(), here);
            let told = SharedKeep { by: Owner(7), keep };
            let bytes = told.encode(here + ms(5_000), WALL).unwrap();
            // The other process counts from another start, and reads it 10 s later.
            let there = here + ms(777_000);
            let read = SharedKeep::decode(&bytes, there, WALL.plus(ms(10_000))).unwrap();
            let Keep::Replace(kept) = &read.keep else { panic!("{read:?}") };
            assert_eq!((read.by, &kept.decision), (Owner(7), &decision));
            assert!(kept.is_fresh(there + ms(44_999)) && !kept.is_fresh(there + ms(45_000)));
        }
    }

    #[test]
    fn the_own_rules_bound_what_another_replica_keeps_and_the_later_one_counts() {
        let now = start() + ms(1_000_000);
        let kept = |at| match keep(&rules(), &go_on(), CacheControl::default(), at) {
            (Keep::Replace(kept), _) => kept,
            (other, _) => panic!("{other:?}"),
        };
        let bounded = kept(now).at_most(ms(5_000));
        assert!(bounded.is_fresh(now + ms(4_999)) && !bounded.is_fresh(now + ms(5_000)));
        assert!(!kept(now).at_most(ms(90_000)).is_fresh(now + ms(60_000)));
        let (old, new) = (kept(now), kept(now + ms(1)));
        assert_eq!(old.clone().or_later(Some(new.clone())), new);
        assert_eq!(new.clone().or_later(Some(old.clone())), new);
        assert_eq!(old.clone().or_later(None), old);
    }

    #[test]
    fn that_a_decision_was_overtaken_is_told_and_nothing_else_is() {
        let (now, by) = (start(), Owner(1));
        let told = SharedKeep { by, keep: Keep::Drop };
        let bytes = told.encode(now, WALL).unwrap();
        assert_eq!(SharedKeep::decode(&bytes, now, WALL), Some(told));
        assert_eq!(SharedKeep { by, keep: Keep::Leave }.encode(now, WALL), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let now = start();
        let (keep, _) = keep(&rules(), &go_on(), CacheControl::default(), now);
        let bytes = SharedKeep { by: Owner(1), keep }.encode(now, WALL).unwrap();
        let good = String::from_utf8(bytes).unwrap();
        for bad in [
            "",
            "{}",
            "[]",
            &good.replace("\"version\":1", "\"version\":2"),
            &good.replace("continue", "dreams"),
            &good.replace("true,", "[1],"),
            &good.replace("true,", "true"),
        ] {
            assert_eq!(SharedKeep::decode(bad.as_bytes(), now, WALL), None, "{bad}");
        }
    }
}
