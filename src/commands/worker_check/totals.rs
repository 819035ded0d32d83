//! What is said of all calls together: one reply to each, discovery, effects.

use super::{
    cases::Case,
    record::{Effects, Record, Seen},
    verdict::{Finding, Row, fail, invalid, note, pass},
};
use crate::domain::{
    call_id::CallId,
    reply::{self, Rejection},
};

/// The rows about all calls.
pub(super) fn rows(cases: &[Case], record: &Record) -> Vec<Row> {
    let mut rows = Vec::new();
    let calls: Vec<&Seen> = record.played.iter().flat_map(|played| &played.seen).collect();
    if calls.iter().any(|seen| !seen.replies.is_empty()) {
        rows.push(Row::about_all("replies", "one reply to each call", vec![replies(&calls)]));
    }
    if let Some(counts) = record.services {
        rows.push(Row::about_all("discovery", "discovery by $SRV.INFO", vec![services(counts)]));
    }
    if let Some(effects) = &record.effects {
        let unnamed = effects.iter().filter(|effect| effect.call.is_none()).count();
        let repeated = cases.iter().find(|case| case.id == "repeat");
        let repeated = repeated.and_then(|case| case.calls.first()).map(|call| call.id);
        let findings = self::effects(&Effects::count(effects), unnamed, repeated);
        rows.push(Row::about_all("effects", "effects, once for each call", findings));
    }
    rows
}

/// Whether each call got one reply.
fn replies(calls: &[&Seen]) -> Finding {
    let is_ack = |seen: &&&Seen| {
        seen.replies.iter().any(|(_, reply)| reply::is_jetstream_ack(&reply.payload))
    };
    if calls.iter().any(|seen| is_ack(&seen)) {
        return invalid(Rejection::JetstreamAck);
    }
    let several = calls.iter().filter(|seen| seen.replies.len() > 1).count();
    let most = calls.iter().map(|seen| seen.replies.len()).max().unwrap_or_default();
    match several {
        0 => pass(format!("none of {} calls got two", calls.len())),
        _ => fail(
            "several_replies",
            format!(
                "{several} of {} calls got more, up to {most}: its copies share no queue group, \
                 or it replies again",
                calls.len()
            ),
        ),
    }
}

fn services((before, after): (i64, i64)) -> Finding {
    match (before, after) {
        (0, _) => note("no_service", "no NATS service: workers_available will stay at -1"),
        (before, after) if after < before => {
            fail("service_lost", format!("of {before} services {after} are left"))
        }
        (before, _) => pass(format!("services with an endpoint on the subject: {before}")),
    }
}

fn effects(effects: &Effects<'_>, unnamed: usize, repeated: Option<CallId>) -> Vec<Finding> {
    let calls = effects.calls();
    let [(dropped, _), (done, most)] = effects.repeated();
    let mut all = Vec::new();
    if done > 0 {
        let text = format!("{done} calls had an effect more than once, up to {most} times");
        all.push(fail("effect_repeated", text));
    }
    if dropped > 0 {
        let text =
            format!("for {dropped} calls more than once with one Nats-Msg-Id: a stream drops that");
        all.push(note("effect_dropped_by_stream", text));
    }
    if unnamed > 0 {
        all.push(note("effect_unnamed", format!("{unnamed} messages name no call")));
    }
    match repeated {
        _ if calls.is_empty() => all.push(note("effect_unseen", "none was seen")),
        Some(call) if !calls.contains(&call) => {
            all.push(note("effect_unseen", "none was seen of the call that was repeated"));
        }
        Some(_) | None if all.is_empty() => {
            all.push(pass(format!("{} calls had one, each once", calls.len())));
        }
        Some(_) | None => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{record::Effect, verdict::Level},
        *,
    };
    use crate::domain::{call_id::HashKey, json::Object, reply::Reply};

    fn id(number: usize) -> CallId {
        let claims = format!(r#"{{"number":{number}}}"#);
        CallId::of(&HashKey::public(), "c", &Object::parse(claims.as_bytes()).unwrap())
    }

    #[test]
    fn two_replies_to_a_call_fail_and_an_acknowledgement_is_told_apart() {
        let call = |replies: &[&str]| {
            let reply = |text: &&str| {
                let reply = Reply { payload: (*text).to_owned().into(), ..Reply::default() };
                (Duration::ZERO, reply)
            };
            let replies = replies.iter().map(reply).collect();
            Seen { limit: Duration::from_secs(1), nobody: false, replies }
        };
        let (one, two, none) = (call(&["{}"]), call(&["{}", "[]"]), call(&[]));
        let stored = call(&["{}", r#"{"stream":"S","seq":1}"#]);
        let decided = call(&[r#"{"action":"Continue","stream":"S","seq":1}"#]);
        for (calls, level, reason) in [
            (vec![&one, &none, &decided], Level::Pass, "ok"),
            (vec![&one, &two], Level::Fail, "several_replies"),
            (vec![&one, &two, &stored], Level::Fail, "jetstream_ack"),
        ] {
            let found = replies(&calls);
            assert_eq!((found.level, found.reason), (level, reason));
        }
    }

    #[test]
    fn services_that_are_lost_fail_and_a_plain_subscriber_is_a_note() {
        for (counts, level, reason) in [
            ((2, 2), Level::Pass, "ok"),
            ((1, 2), Level::Pass, "ok"),
            ((2, 1), Level::Fail, "service_lost"),
            ((1, 0), Level::Fail, "service_lost"),
            ((0, 0), Level::Note, "no_service"),
        ] {
            let found = services(counts);
            assert_eq!((found.level, found.reason), (level, reason), "{counts:?}");
        }
    }

    #[test]
    fn effects_are_counted_by_call_and_subject() {
        let effect = |call: Option<usize>, subject: &str, message_id: Option<String>| Effect {
            call: call.map(id),
            subject: subject.to_owned(),
            message_id,
        };
        let plain = |call, subject| effect(Some(call), subject, None);
        let named =
            |call, with: &str| effect(Some(call), "e.a", Some(format!("{}{with}", id(call))));
        let other = || effect(Some(1), "e.a", Some("same".to_owned()));
        let rows: [(Vec<Effect>, &[&str]); 9] = [
            (vec![plain(1, "e.a"), plain(2, "e.a")], &["ok"]),
            (vec![plain(1, "e.a"), plain(1, "e.b")], &["ok"]),
            (vec![plain(1, "e.a"), plain(1, "e.a")], &["effect_repeated"]),
            (vec![named(1, "-mail"), named(1, "-mail")], &["effect_dropped_by_stream"]),
            (vec![named(1, "-1"), named(1, "-2")], &["effect_repeated"]),
            (vec![other(), other()], &["effect_repeated"]),
            (vec![plain(1, "e.a"), effect(None, "e.a", None)], &["effect_unnamed"]),
            (vec![plain(2, "e.a")], &["effect_unseen"]),
            (vec![], &["effect_unseen"]),
        ];
        for (seen, reasons) in rows {
            let unnamed = seen.iter().filter(|effect| effect.call.is_none()).count();
            let found = effects(&Effects::count(&seen), unnamed, Some(id(1)));
            let found: Vec<&str> = found.iter().map(|finding| finding.reason).collect();
            assert_eq!(found, reasons);
        }
    }
}
