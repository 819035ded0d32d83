//! What a replica tells the others about its cached decisions, and how that is written down.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    connector::Connector,
    decision::{Decision, UserMessage},
    json::Object,
    kept::{Keep, KeptDecision},
    reply::returned_claims,
    shared::{Owner, UnixMicros},
};

/// What became of a key of a cache.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedKeep {
    /// Who tells it.
    pub by: Owner,
    /// When it was decided.
    pub at: Instant,
    /// [`Keep::Replace`] or [`Keep::Drop`].
    pub keep: Keep,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u8,
    by: Owner,
    at: UnixMicros,
    /// None where an earlier decision was overtaken and nothing is kept.
    kept: Option<WrittenKept>,
}

#[derive(Serialize, Deserialize)]
struct WrittenKept {
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
    pub fn encode(&self, now: Instant, wall: UnixMicros) -> Option<Vec<u8>> {
        let kept = match &self.keep {
            Keep::Leave => return None,
            Keep::Drop => None,
            Keep::Replace(KeptDecision { decision, age_max, .. }) => Some(WrittenKept {
                age_max_ms: u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX),
                decision: match &**decision {
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
        let at = wall.minus(now.saturating_duration_since(self.at));
        serde_json::to_vec(&Written { version: VERSION, by: self.by, at, kept }).ok()
    }

    /// From JSON, for `connector`: claims that it does not list are dropped, as from a reply.
    /// `None` for anything that this version cannot make sense of.
    pub fn decode(
        bytes: &[u8],
        connector: &Connector,
        now: Instant,
        wall: UnixMicros,
    ) -> Option<Self> {
        let Written { version, by, at, kept } = serde_json::from_slice(bytes).ok()?;
        if version != VERSION {
            return None;
        }
        // What was decided later than now was decided now, by a clock that is ahead.
        let at = now.checked_sub(wall.since(at))?;
        let Some(WrittenKept { age_max_ms, decision }) = kept else {
            return Some(Self { by, at, keep: Keep::Drop });
        };
        let decision = Arc::new(match decision {
            WrittenDecision::Continue(claims) => {
                let claims = Object::parse(claims.as_bytes()).ok()?;
                returned_claims(connector, &claims).ok()?.decision
            }
            WrittenDecision::ShowBlockPage(message) => {
                Decision::ShowBlockPage(UserMessage::parse(&message)?)
            }
        });
        let age_max = Duration::from_millis(age_max_ms);
        let keep = Keep::Replace(KeptDecision { decision, kept_at: at, age_max });
        Some(Self { by, at, keep })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        decision::ReturnedClaims,
        testing::{connector, ms, start},
    };

    const WALL: UnixMicros = UnixMicros(1_800_000_000_000_000);

    fn go_on(connector: &Connector) -> Decision {
        let claims = Object::parse(br#"{"tier":"gold \u00e9","n":1.50,"b":true}"#).unwrap();
        returned_claims(connector, &claims).unwrap().decision
    }

    fn told(decision: Decision, at: Instant) -> SharedKeep {
        let kept = KeptDecision { decision: Arc::new(decision), kept_at: at, age_max: ms(60_000) };
        SharedKeep { by: Owner(7), at, keep: Keep::Replace(kept) }
    }

    #[test]
    fn what_one_replica_keeps_another_reads_with_its_age() {
        let connector = connector();
        let block = Decision::ShowBlockPage(UserMessage::parse("No.\n").unwrap());
        let nothing = Decision::Continue(ReturnedClaims::default());
        for decision in [go_on(&connector), nothing, block] {
            let here = start() + ms(1_000_000);
            let bytes = told(decision.clone(), here).encode(here + ms(5_000), WALL).unwrap();
            // The other process counts from another start, and reads it 10 s later.
            let there = here + ms(777_000);
            let wall = WALL.plus(ms(10_000));
            let read = SharedKeep::decode(&bytes, &connector, there, wall).unwrap();
            let Keep::Replace(kept) = &read.keep else { panic!("{read:?}") };
            assert_eq!((read.by, &*kept.decision), (Owner(7), &decision));
            assert!(kept.is_fresh(there + ms(44_999)) && !kept.is_fresh(there + ms(45_000)));
        }
    }

    #[test]
    fn a_clock_that_is_ahead_makes_no_decision_younger_than_now() {
        let (now, connector) = (start() + ms(1_000_000), connector());
        let bytes = told(go_on(&connector), now).encode(now, WALL.plus(ms(500_000))).unwrap();
        assert_eq!(SharedKeep::decode(&bytes, &connector, now, WALL).unwrap().at, now);
    }

    #[test]
    fn claims_that_are_not_listed_any_more_are_dropped() {
        let now = start();
        let bytes = told(go_on(&connector()), now).encode(now, WALL).unwrap();
        let mut strict = connector();
        strict.claims.returned = Some(vec!["n".to_owned()]);
        let read = SharedKeep::decode(&bytes, &strict, now, WALL).unwrap();
        let Keep::Replace(kept) = &read.keep else { panic!("{read:?}") };
        let Decision::Continue(claims) = &*kept.decision else { panic!("{read:?}") };
        assert_eq!(claims.members(), r#""n":1.50"#);
    }

    #[test]
    fn that_a_decision_was_overtaken_is_told_and_nothing_else_is() {
        let (at, by) = (start(), Owner(1));
        let told = SharedKeep { by, at, keep: Keep::Drop };
        let bytes = told.encode(at, WALL).unwrap();
        assert_eq!(SharedKeep::decode(&bytes, &connector(), at, WALL), Some(told));
        assert_eq!(SharedKeep { by, at, keep: Keep::Leave }.encode(at, WALL), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let (now, connector) = (start(), connector());
        let bytes = told(go_on(&connector), now).encode(now, WALL).unwrap();
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
            assert_eq!(SharedKeep::decode(bad.as_bytes(), &connector, now, WALL), None, "{bad}");
        }
    }
}
