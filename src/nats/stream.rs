//! What a stream has to be like to keep the promises, property by property, and what is wrong with
//! one that somebody else has made. Names and values are those of `nats stream info --json`.

use std::{fmt, time::Duration};

use async_nats::jetstream::stream::DiscardPolicy;
use serde_json::{Map, Value, json};

use super::bucket::{Bucket, RECORD_BYTES_MAX};

/// A stream's configuration as the server tells it, with properties that this client does not know.
pub(super) type Properties = Map<String, Value>;

/// What is wrong with a property.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wrong {
    name: &'static str,
    found: Value,
    right: Value,
    needs: Needs,
}

/// How a value is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// It is this one. Where a stream says nothing, it is nothing, no or zero.
    Exactly,
    /// There is no limit, or one that is not smaller.
    AtLeast,
}

/// What follows where it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// Promises cannot be kept: the stream is not used.
    Unfit,
    /// There is less room than was asked for: the stream is used.
    Small,
}

/// Whether the server changes it in a stream that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Yes,
    No,
}

type Property = (&'static str, Needs, Value, Without, Change);

fn properties(bucket: &Bucket) -> Vec<Property> {
    use self::{Change::*, Needs::*, Without::*};
    let is_new = bucket.discard == DiscardPolicy::New;
    let max_age = u64::try_from(bucket.max_age.as_nanos()).unwrap_or(u64::MAX);
    let mut properties = vec![
        // Records are kept in memory, so that no disk has personal data.
        ("storage", Exactly, json!("memory"), Unfit, No),
        ("subjects", Exactly, json!([bucket.subject(">")]), Unfit, Yes),
        // No record may go before its time, nor a read take it away.
        ("retention", Exactly, json!("limits"), Unfit, Yes),
        ("discard", Exactly, json!(if is_new { "new" } else { "old" }), Unfit, Yes),
        ("max_age", AtLeast, json!(max_age), Unfit, Yes),
        ("max_msgs", AtLeast, json!(-1), Unfit, Yes),
        // Of each call one record counts, and a newer one takes its place.
        ("max_msgs_per_subject", Exactly, json!(1), Unfit, Yes),
        ("discard_new_per_subject", Exactly, json!(false), Unfit, Yes),
        ("max_msg_size", AtLeast, json!(RECORD_BYTES_MAX), Unfit, Yes),
        ("max_bytes", AtLeast, json!(bucket.max_bytes), Small, Yes),
        // Records end by themselves, and leave no marker that would end the next one.
        ("allow_msg_ttl", Exactly, json!(true), Unfit, Yes),
        ("subject_delete_marker_ttl", Exactly, json!(0), Unfit, Yes),
        // Each write is acknowledged, as it was written and nowhere else.
        ("no_ack", Exactly, json!(false), Unfit, Yes),
        ("sealed", Exactly, json!(false), Unfit, No),
        ("mirror", Exactly, Value::Null, Unfit, No),
        ("sources", Exactly, Value::Null, Unfit, Yes),
        ("subject_transform", Exactly, Value::Null, Unfit, Yes),
        ("republish", Exactly, Value::Null, Unfit, Yes),
        ("allow_msg_counter", Exactly, json!(false), Unfit, No),
    ];
    if !is_new {
        // Every replica follows it.
        properties.push(("max_consumers", AtLeast, json!(-1), Unfit, No));
    }
    properties
}

impl Needs {
    fn is_met(self, found: &Value, right: &Value) -> bool {
        match self {
            Needs::Exactly => found == right || is_nothing(found) && is_nothing(right),
            Needs::AtLeast => {
                let (found, right) = (found.as_i64().unwrap_or(0), right.as_i64().unwrap_or(0));
                found <= 0 || right > 0 && found >= right
            }
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    let is_empty = value.as_array().is_some_and(Vec::is_empty);
    is_empty || [Value::Null, json!(false), json!(0)].contains(value)
}

impl Bucket {
    /// What is wrong with a stream.
    pub(super) fn wrong(&self, found: &Properties) -> Vec<(Wrong, Without)> {
        let properties = properties(self).into_iter();
        let wrong = properties.filter_map(|(name, needs, right, without, _)| {
            let found = found.get(name).cloned().unwrap_or_default();
            let is_right = needs.is_met(&found, &right);
            (!is_right).then_some((Wrong { name, found, right, needs }, without))
        });
        wrong.collect()
    }

    /// The stream with everything right that can be changed; its room only where that is
    /// asked for too.
    pub(super) fn mended(&self, found: &Properties, and_room: bool) -> Properties {
        let mut mended = found.clone();
        for (name, needs, right, without, change) in properties(self) {
            if without == Without::Small && !and_room {
                continue;
            }
            let is_right = needs.is_met(found.get(name).unwrap_or(&Value::Null), &right);
            // Nobody can make anything else of a work queue.
            let is_fixed = name == "retention" && found.get(name) == Some(&json!("workqueue"));
            if !is_right && change == Change::Yes && !is_fixed {
                mended.insert(name.to_owned(), right);
            }
        }
        mended
    }
}

/// As `storage is file and must be memory`.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, right, needs } = self;
        let shown = |value: &Value| match (value.as_str(), value.as_u64()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(nanos)) if *name == "max_age" => {
                humantime::format_duration(Duration::from_nanos(nanos)).to_string()
            }
            (None, _) => value.to_string(),
        };
        let least = if *needs == Needs::AtLeast && *right != json!(-1) { "at least " } else { "" };
        write!(f, "{name} is {} and must be {least}{}", shown(found), shown(right))
    }
}

/// Several of them in one sentence.
pub(super) fn told<'a>(wrong: impl IntoIterator<Item = &'a Wrong>) -> String {
    let told: Vec<String> = wrong.into_iter().map(Wrong::to_string).collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn bucket() -> Bucket {
        Bucket {
            name: "b",
            max_age: Duration::from_secs(120),
            max_bytes: 2_000_000,
            discard: DiscardPolicy::New,
            create: true,
            was_told: Arc::default(),
        }
    }

    fn made() -> Properties {
        serde_json::to_value(bucket().definition(1)).unwrap().as_object().unwrap().clone()
    }

    #[test]
    fn nothing_is_wrong_with_what_the_bridge_makes_itself() {
        assert_eq!(bucket().wrong(&made()), []);
        assert_eq!(bucket().mended(&made(), true), made());
        let follows = Bucket { discard: DiscardPolicy::Old, ..bucket() };
        let Value::Object(made) = serde_json::to_value(follows.definition(1)).unwrap() else {
            panic!("an object")
        };
        assert_eq!(follows.wrong(&made), []);
    }

    #[test]
    fn each_property_that_a_promise_needs_is_named_with_its_value_and_the_right_one() {
        let rows = [
            ("storage", json!("file"), "storage is file and must be memory"),
            ("subjects", json!(["a"]), "subjects is [\"a\"] and must be [\"$KV.b.>\"]"),
            ("retention", json!("interest"), "retention is interest and must be limits"),
            ("discard", json!("old"), "discard is old and must be new"),
            ("max_age", json!(1_000_000_000), "max_age is 1s and must be at least 2m"),
            ("max_msgs", json!(5), "max_msgs is 5 and must be -1"),
            ("max_msgs_per_subject", json!(2), "max_msgs_per_subject is 2 and must be 1"),
            ("max_msgs_per_subject", json!(-1), "max_msgs_per_subject is -1 and must be 1"),
            (
                "discard_new_per_subject",
                json!(true),
                "discard_new_per_subject is true and must be false",
            ),
            ("max_msg_size", json!(512), "max_msg_size is 512 and must be at least 131072"),
            ("max_bytes", json!(10), "max_bytes is 10 and must be at least 2000000"),
            ("allow_msg_ttl", json!(false), "allow_msg_ttl is false and must be true"),
            ("allow_msg_ttl", Value::Null, "allow_msg_ttl is null and must be true"),
            ("subject_delete_marker_ttl", json!(9), "subject_delete_marker_ttl is 9 and must be 0"),
            ("no_ack", json!(true), "no_ack is true and must be false"),
            ("sealed", json!(true), "sealed is true and must be false"),
            ("mirror", json!({"name": "a"}), "mirror is {\"name\":\"a\"} and must be null"),
            ("sources", json!([1]), "sources is [1] and must be null"),
            ("subject_transform", json!(1), "subject_transform is 1 and must be null"),
            ("republish", json!(1), "republish is 1 and must be null"),
            ("allow_msg_counter", json!(true), "allow_msg_counter is true and must be false"),
        ];
        for (name, value, expected) in rows {
            let mut found = made();
            found.insert(name.to_owned(), value);
            let wrong = bucket().wrong(&found);
            assert_eq!(told(wrong.iter().map(|(wrong, _)| wrong)), expected);
            let is_small = wrong.iter().any(|(_, without)| *without == Without::Small);
            assert_eq!(is_small, name == "max_bytes");
            let left = bucket().wrong(&bucket().mended(&found, true));
            let fixed = ["storage", "sealed", "mirror", "allow_msg_counter"];
            assert_eq!(left.is_empty(), !fixed.contains(&name), "{name}");
        }
    }

    #[test]
    fn what_matters_to_no_promise_may_be_otherwise_and_stays() {
        let mut found = made();
        let others = [
            ("max_consumers", json!(1)),
            ("deny_delete", json!(false)),
            ("deny_purge", json!(true)),
            ("allow_direct", json!(true)),
            ("allow_rollup_hdrs", json!(true)),
            ("duplicate_window", json!(1_000_000_000)),
            ("max_age", json!(0)),
            ("max_bytes", json!(-1)),
            ("max_msg_size", json!(-1)),
            ("num_replicas", json!(5)),
            ("made_up_by_a_later_server", json!({"a": 1})),
        ];
        for (name, value) in others {
            found.insert(name.to_owned(), value);
        }
        assert_eq!(bucket().wrong(&found), []);
        assert_eq!(bucket().mended(&found, true), found);
    }

    #[test]
    fn a_stream_that_every_replica_follows_lets_every_replica_follow() {
        let follows = Bucket { discard: DiscardPolicy::Old, ..bucket() };
        let mut found = follows.mended(&made(), true);
        found.insert("max_consumers".to_owned(), json!(2));
        let wrong = follows.wrong(&found);
        assert_eq!(told(wrong.iter().map(|(it, _)| it)), "max_consumers is 2 and must be -1");
    }
}
