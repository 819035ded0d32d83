//! From what was seen to what is said of it: one row for each case, and a few about all of them.

use std::time::Duration;

use super::{
    cases::{Call, Case, Owes},
    reading::{Reading, read},
    record::{Afterwards, Effects, Played, Record},
    totals,
    verdict::{Finding, Level, Milliseconds, Row, Speed, fail, invalid, note, pass},
};
use crate::domain::{
    connector::Connector,
    decision::{Action, Decision},
    reply::{self, NoDecision, Rejection},
};

/// Everything that is said of a worker that was sent `cases` for `connector`.
pub(super) fn judge(connector: &Connector, cases: &[Case], record: &Record) -> Vec<Row> {
    let effects = record.effects.as_deref().map(Effects::count);
    let mut rows: Vec<Row> = cases
        .iter()
        .zip(&record.played)
        .flat_map(|(case, played)| rows_of(connector, case, played, effects.as_ref()))
        .collect();
    let left = cases.get(record.played.len()..).unwrap_or_default();
    if let Some(last) = left.last() {
        let text = format!("not sent, as nobody answers any more: {} rows are missing", left.len());
        rows.push(Row::about_all(&last.id, &last.sent, vec![fail("not_sent", text)]));
    }
    rows.extend(totals::rows(cases, record));
    rows
}

fn rows_of(
    connector: &Connector,
    case: &Case,
    played: &Played,
    effects: Option<&Effects<'_>>,
) -> Vec<Row> {
    let readings: Vec<(&Call, Reading)> = case
        .calls
        .iter()
        .zip(&played.seen)
        .map(|(call, seen)| (call, read(connector, call, seen)))
        .collect();
    let mut rows = match (case.owes, &readings[..]) {
        (Owes::SameDecision, _) => same_decision(case, &readings),
        (_, [(call, reading)]) => {
            let findings = findings(case.owes, call, reading);
            let speed = reading.took().map(Speed::One);
            vec![Row { id: case.id.clone(), sent: case.sent.clone(), findings, speed }]
        }
        (_, _) => vec![many(case, &readings)],
    };
    let was_late = case.owes == Owes::Silence;
    let has_effect =
        |call: &Call| effects.is_some_and(|effects| effects.calls().contains(&call.id));
    if let Some(row) = rows.last_mut() {
        if was_late && case.calls.iter().any(has_effect) {
            row.findings.push(fail("effect_after_deadline", "had an effect all the same"));
        }
        row.findings.extend(afterwards(played));
    }
    rows
}

/// What is said of one call.
fn findings(owes: Owes, call: &Call, reading: &Reading) -> Vec<Finding> {
    match (owes, reading) {
        (_, Reading::Nobody) => vec![fail("no_responders", "nobody listens on the subject")],
        (Owes::Silence, Reading::Silent) => vec![pass("no reply")],
        (Owes::Silence, Reading::NoDecision(NoDecision::WorkerError(error), _)) => {
            vec![note("service_error", format!("{}; silence is enough", said(*error)))]
        }
        (_, Reading::NoDecision(NoDecision::Invalid(Rejection::JetstreamAck), _)) => {
            vec![invalid(Rejection::JetstreamAck)]
        }
        (
            Owes::Silence,
            Reading::Decided { .. }
            | Reading::Late(_)
            | Reading::NoDecision(NoDecision::Invalid(_), _),
        ) => vec![fail("decided_after_deadline", "replied, though the deadline had passed")],
        (_, Reading::NoDecision(NoDecision::Invalid(rejection), _)) => vec![invalid(*rejection)],
        (Owes::NoDecision, Reading::Silent) => vec![pass("no reply")],
        (Owes::NoDecision, Reading::NoDecision(NoDecision::WorkerError(error), _)) => {
            vec![pass(said(*error))]
        }
        (Owes::NoDecision, Reading::Decided { decided, .. }) => match decided.decision {
            Decision::Continue(_) => {
                vec![fail("decided_without_claims", "lets a person in whose claims it cannot read")]
            }
            Decision::ShowBlockPage(_) | Decision::ValidationError(_) => {
                let text = "decided; word that it cannot decide is better";
                vec![note("decided_without_claims", text)]
            }
        },
        (
            Owes::Decision | Owes::DecisionOrError | Owes::IfItServes | Owes::SameDecision,
            Reading::Decided { decided, took, limit },
        ) => decision(call, decided, *took, *limit),
        (
            Owes::Decision | Owes::SameDecision,
            Reading::NoDecision(NoDecision::WorkerError(error), _),
        ) => vec![fail("service_error", said(*error))],
        (
            Owes::DecisionOrError | Owes::IfItServes,
            Reading::NoDecision(NoDecision::WorkerError(error), _),
        ) => vec![note("service_error", format!("{}: the caller gets the fallback", said(*error)))],
        (Owes::IfItServes, Reading::Silent | Reading::Late(_)) => {
            let text = "no reply in time; if it should not serve this step, it had better say so";
            vec![note("silence", text)]
        }
        (Owes::Decision | Owes::DecisionOrError | Owes::SameDecision, Reading::Silent) => {
            vec![fail("silence", "no reply by the deadline")]
        }
        (_, Reading::Late(late)) => {
            let text = format!("replied {} after the deadline", Milliseconds(*late));
            vec![fail("late_reply", text)]
        }
    }
}

/// What is said of a decision where one is owed.
fn decision(
    call: &Call,
    decided: &reply::Decided,
    took: Duration,
    limit: Duration,
) -> Vec<Finding> {
    let action = decided.decision.action();
    let mut all = vec![pass(action.name())];
    match call.step.nearest(&decided.decision).map(|nearest| nearest.action()) {
        None => {
            all.push(note("action_at_step", "this step has no such answer: the caller gets 503"))
        }
        Some(nearest) if nearest != action => {
            let text = format!("this step has no such answer: it becomes {}", nearest.name());
            all.push(note("action_at_step", text));
        }
        Some(_) => {}
    }
    if decided.claims_null > 0 {
        all.push(note("claims_null", format!("{} null claims are dropped", decided.claims_null)));
    }
    all.extend(decided.message.map(message));
    if took > limit / 2 {
        all.push(note("slow", "took more than half of the time"));
    }
    all
}

fn message(change: reply::MessageChange) -> Finding {
    match change {
        reply::MessageChange::Missing => {
            note("message_missing", "no userMessage: the connector's own is shown")
        }
        reply::MessageChange::Dropped => {
            note("message_dropped", "the userMessage of a Continue is dropped")
        }
        reply::MessageChange::Blank => {
            fail("message_blank", "a blank userMessage: the connector's own is shown")
        }
        reply::MessageChange::NotText => fail(
            "message_not_text",
            "a userMessage that is no string: the connector's own is shown",
        ),
        reply::MessageChange::Cut => {
            fail("message_cut", "a userMessage over 2,000 characters: it is cut")
        }
    }
}

/// Only the number of an error is told: its text may quote claims.
fn said(error: reply::ServiceError) -> String {
    match error.code {
        Some(code) => format!("says that it cannot decide ({code})"),
        None => "says that it cannot decide".to_owned(),
    }
}

/// One row for each time that the same call was sent.
fn same_decision(case: &Case, readings: &[(&Call, Reading)]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut earlier: Vec<&Decision> = Vec::new();
    for (at, (call, reading)) in readings.iter().enumerate() {
        let mut findings = findings(case.owes, call, reading);
        if let Reading::Decided { decided, .. } = reading {
            if at > 0 {
                findings.extend(compared(call.attempt, &decided.decision, &earlier));
            }
            earlier.push(&decided.decision);
        }
        let id = format!("{}.{}", case.id, at + 1);
        let sent = format!("{}: attempt {}", case.sent, call.attempt);
        rows.push(Row { id, sent, findings, speed: reading.took().map(Speed::One) });
    }
    rows
}

/// At attempt 1 a worker decides anew. From 2 on an earlier decision may still count, so that it
/// is chance which does where they differ.
fn compared(attempt: u32, decision: &Decision, earlier: &[&Decision]) -> Option<Finding> {
    if earlier.is_empty() {
        return None;
    }
    if earlier.contains(&decision) {
        return Some(pass("the same decision"));
    }
    let action: Action = decision.action();
    let has_action = earlier.iter().any(|earlier| earlier.action() == action);
    Some(match (has_action, attempt) {
        (true, _) => note("other_content", "not with the same claims or message as before"),
        (false, 1) => note("other_action", "not the action of before"),
        (false, _) => fail("other_action", "not the action of before: either may count"),
    })
}

/// One row for many calls.
fn many(case: &Case, readings: &[(&Call, Reading)]) -> Row {
    let count = readings.len();
    let mut told: Vec<(Finding, usize)> = Vec::new();
    let mut decided = 0;
    for (call, reading) in readings {
        let findings = findings(case.owes, call, reading);
        decided += usize::from(findings.iter().all(|finding| finding.level != Level::Fail));
        for finding in findings.into_iter().filter(|finding| finding.level != Level::Pass) {
            match told.iter_mut().find(|(other, _)| other.reason == finding.reason) {
                Some((_, times)) => *times += 1,
                None => told.push((finding, 1)),
            }
        }
    }
    let mut findings = vec![pass(format!("{decided} of {count} decided"))];
    findings.extend(told.into_iter().map(|(finding, times)| Finding {
        text: format!("{times} times: {}", finding.text),
        ..finding
    }));
    let mut took: Vec<Duration> =
        readings.iter().filter_map(|(_, reading)| reading.took()).collect();
    took.sort_unstable();
    let speed = percentile(&took, 50).zip(percentile(&took, 99)).zip(took.last());
    let speed = speed.map(|((p50, p99), max)| Speed::Many { p50, p99, max: *max });
    Row { id: case.id.clone(), sent: case.sent.clone(), findings, speed }
}

/// By the nearest rank; `sorted` has the smallest first.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

fn afterwards(played: &Played) -> Option<Finding> {
    let found_nobody = played.seen.iter().any(|seen| seen.nobody);
    match played.afterwards {
        Afterwards::NotAsked | Afterwards::Answered => None,
        Afterwards::Gone if found_nobody => None,
        Afterwards::Gone => Some(fail("gone", "nobody listens any more after it")),
        Afterwards::CameBack => Some(fail("came_back", "for a while nobody listened after it")),
        Afterwards::Silent => Some(fail("hangs", "the next call got no reply either")),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            cases::{Pace, plan},
            record::{Effect, Seen},
        },
        *,
    };
    use crate::{
        config::Config,
        domain::{
            call_id::HashKey,
            protocol::Protocol,
            reply::{REPLY_BYTES_MAX, Reply, ServiceError},
        },
    };

    /// After how many of 1,000 ms, and with which words.
    type Replies<'a> = &'a [(u64, &'a str)];

    const CONTINUE: &str = r#"{"action":"Continue"}"#;
    const BLOCK: &str = r#"{"action":"ShowBlockPage","userMessage":"No."}"#;
    const INVALID: &str = r#"{"action":"ValidationError","userMessage":"No."}"#;
    const ACK: &str = r#"{"stream":"AUDIT","seq":7}"#;

    fn connector() -> Connector {
        let text = "connectors: {c: {protocol: entra, step: before-create, auth: none}}";
        Config::parse(text).unwrap().connectors.remove(0).connector
    }

    fn call(attempt: u32) -> Call {
        let cases = plan(&connector(), &HashKey::public(), b"{}", 1).unwrap();
        Call { attempt, ..cases[0].calls[0].clone() }
    }

    fn seen(replies: Replies<'_>) -> Seen {
        let reply = |(ms, text): &(u64, &str)| {
            let reply = match text.strip_prefix("error ") {
                None => Reply { payload: (*text).to_owned().into(), ..Reply::default() },
                Some(code) => Reply {
                    service_error: Some(ServiceError { code: code.parse().ok() }),
                    ..Reply::default()
                },
            };
            (Duration::from_millis(*ms), reply)
        };
        let limit = Duration::from_secs(1);
        Seen { limit, nobody: false, replies: replies.iter().map(reply).collect() }
    }

    fn case(owes: Owes, calls: Vec<Call>) -> Case {
        let (id, sent) = ("case".to_owned(), "a call".to_owned());
        Case { id, sent, calls, pace: Pace::OneByOne, owes }
    }

    fn played(seen: Vec<Seen>) -> Played {
        Played { seen, afterwards: Afterwards::NotAsked }
    }

    /// The worst that is said of one call.
    fn worst(owes: Owes, seen: Seen) -> (Level, &'static str) {
        let case = case(owes, vec![call(1)]);
        let rows = rows_of(&connector(), &case, &played(vec![seen]), None);
        worst_of(&rows[0])
    }

    fn worst_of(row: &Row) -> (Level, &'static str) {
        let worst = row.findings.iter().rev().max_by_key(|finding| finding.level).unwrap();
        (worst.level, worst.reason)
    }

    #[test]
    fn each_reply_is_judged_by_what_is_owed() {
        use Level::{Fail, Note, Pass};
        use Owes::{Decision, DecisionOrError, IfItServes, NoDecision, Silence};
        let too_large = format!("{CONTINUE}{}", " ".repeat(REPLY_BYTES_MAX));
        let cut = format!(r#"{{"action":"ShowBlockPage","userMessage":"{}"}}"#, "é".repeat(2_001));
        let longest = cut.replacen("é", "", 1);
        let rows: &[(Owes, Replies<'_>, Level, &str)] = &[
            (Decision, &[(1, CONTINUE)], Pass, "ok"),
            (Decision, &[(500, INVALID)], Pass, "ok"),
            (Decision, &[(501, INVALID)], Note, "slow"),
            (Decision, &[(1_000, INVALID)], Note, "slow"),
            (Decision, &[(1_001, CONTINUE)], Fail, "late_reply"),
            (Decision, &[], Fail, "silence"),
            (Decision, &[(1, "error 500")], Fail, "service_error"),
            (Decision, &[(1, "<html>")], Fail, "not_json"),
            (Decision, &[(1, "[]")], Fail, "not_object"),
            (Decision, &[(1, r#"{"action":"Allow"}"#)], Fail, "unknown_action"),
            (Decision, &[(1, r#"{"action":"Continue","a":[]}"#)], Fail, "bad_claim"),
            (Decision, &[(1, ACK)], Fail, "jetstream_ack"),
            (Decision, &[(1, &too_large)], Fail, "too_large"),
            (Decision, &[(1, &cut)], Fail, "message_cut"),
            (Decision, &[(1, &longest)], Pass, "ok"),
            (Decision, &[(1, r#"{"action":"ShowBlockPage"}"#)], Note, "message_missing"),
            (Decision, &[(1, &BLOCK.replace("\"No.\"", "null"))], Note, "message_missing"),
            (Decision, &[(1, &BLOCK.replace("No.", " "))], Fail, "message_blank"),
            (Decision, &[(1, &BLOCK.replace("\"No.\"", "5"))], Fail, "message_not_text"),
            (
                Decision,
                &[(1, &BLOCK.replace("ShowBlockPage", "Continue"))],
                Note,
                "message_dropped",
            ),
            (Decision, &[(1, r#"{"action":"Continue","a":null}"#)], Note, "claims_null"),
            (DecisionOrError, &[(1, "error 500")], Note, "service_error"),
            (DecisionOrError, &[], Fail, "silence"),
            (IfItServes, &[(1, "error x")], Note, "service_error"),
            (IfItServes, &[], Note, "silence"),
            (IfItServes, &[(1_001, CONTINUE)], Note, "silence"),
            (IfItServes, &[(1, "[]")], Fail, "not_object"),
            (Silence, &[], Pass, "ok"),
            (Silence, &[(1, "error 500")], Note, "service_error"),
            (Silence, &[(1, BLOCK)], Fail, "decided_after_deadline"),
            (Silence, &[(1_001, BLOCK)], Fail, "decided_after_deadline"),
            (Silence, &[(1, "[]")], Fail, "decided_after_deadline"),
            (Silence, &[(1, ACK)], Fail, "jetstream_ack"),
            (NoDecision, &[], Pass, "ok"),
            (NoDecision, &[(1, "error 500")], Pass, "ok"),
            (NoDecision, &[(1, BLOCK)], Note, "decided_without_claims"),
            (NoDecision, &[(1, CONTINUE)], Fail, "decided_without_claims"),
            (NoDecision, &[(1, "[]")], Fail, "not_object"),
        ];
        for (owes, replies, level, reason) in rows {
            assert_eq!(worst(*owes, seen(replies)), (*level, *reason), "{owes:?} {replies:?}");
        }
        for owes in [Decision, DecisionOrError, IfItServes, Silence, NoDecision] {
            let nobody = Seen { nobody: true, ..seen(&[]) };
            assert_eq!(worst(owes, nobody), (Fail, "no_responders"), "{owes:?}");
        }
    }

    #[test]
    fn an_action_that_a_step_does_not_have_is_a_note() {
        for (protocol, step, reply, reason) in [
            ("entra", "after-federation", INVALID, "action_at_step"),
            ("entra", "after-federation", BLOCK, "ok"),
            ("b2c", "before-token", BLOCK, "action_at_step"),
            ("b2c", "before-token", CONTINUE, "ok"),
            ("b2c-policy", "custom", INVALID, "ok"),
        ] {
            let protocol = Protocol::named(protocol).unwrap();
            let at = Call { protocol, step: protocol.step(step).unwrap(), ..call(1) };
            let case = case(Owes::IfItServes, vec![at]);
            let rows = rows_of(&connector(), &case, &played(vec![seen(&[(1, reply)])]), None);
            assert_eq!(worst_of(&rows[0]).1, reason, "{step} {reply}");
        }
    }

    #[test]
    fn another_action_fails_from_attempt_2_on_and_is_a_note_before() {
        let gold = r#"{"action":"Continue","tier":"gold"}"#;
        for (replies, attempts, level, reason) in [
            ([BLOCK, BLOCK, BLOCK], [1, 1, 2], Level::Pass, "ok"),
            ([CONTINUE, gold, gold], [1, 1, 2], Level::Pass, "ok"),
            ([CONTINUE, BLOCK, CONTINUE], [1, 1, 2], Level::Pass, "ok"),
            ([CONTINUE, CONTINUE, gold], [1, 1, 2], Level::Note, "other_content"),
            ([CONTINUE, CONTINUE, BLOCK], [1, 1, 2], Level::Fail, "other_action"),
            ([CONTINUE, CONTINUE, BLOCK], [1, 1, 1], Level::Note, "other_action"),
            (["[]", "[]", BLOCK], [1, 1, 2], Level::Pass, "ok"),
        ] {
            let case = case(Owes::SameDecision, attempts.map(call).to_vec());
            let seen = replies.map(|reply| seen(&[(1, reply)])).to_vec();
            let rows = rows_of(&connector(), &case, &played(seen), None);
            let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
            assert_eq!(ids, ["case.1", "case.2", "case.3"]);
            assert_eq!(worst_of(&rows[2]), (level, reason), "{replies:?}");
        }
    }

    #[test]
    fn many_calls_are_one_row_with_the_nearest_ranks() {
        let replies = (1..=200).map(|ms| match ms {
            7 => seen(&[]),
            8 => seen(&[(8, "[]")]),
            _ => seen(&[(ms, CONTINUE)]),
        });
        let case = case(Owes::Decision, vec![call(1); 200]);
        let rows = rows_of(&connector(), &case, &played(replies.collect()), None);
        let [row] = &rows[..] else { panic!("{} rows", rows.len()) };
        let said: Vec<(&str, &str)> =
            row.findings.iter().map(|finding| (finding.reason, &*finding.text)).collect();
        assert_eq!(
            said,
            [
                ("ok", "198 of 200 decided"),
                ("silence", "1 times: no reply by the deadline"),
                ("not_object", "1 times: the reply is no JSON object"),
            ]
        );
        let ms = Duration::from_millis;
        let speed = Speed::Many { p50: ms(101), p99: ms(199), max: ms(200) };
        assert_eq!(row.speed, Some(speed), "of 199 replies the 100th and the 198th");
    }

    #[test]
    fn what_became_of_a_silent_worker_is_told_and_what_was_not_sent() {
        for (afterwards, reason) in [
            (Afterwards::Answered, "silence"),
            (Afterwards::CameBack, "came_back"),
            (Afterwards::Silent, "hangs"),
            (Afterwards::Gone, "gone"),
        ] {
            let cases = [Owes::Decision, Owes::Decision].map(|owes| case(owes, vec![call(1)]));
            let played = vec![Played { seen: vec![seen(&[])], afterwards }];
            let rows = judge(&connector(), &cases, &Record { played, ..Record::default() });
            let last = rows[0].findings.last().unwrap();
            assert_eq!((last.level, last.reason), (Level::Fail, reason));
            assert_eq!(worst_of(&rows[1]), (Level::Fail, "not_sent"));
        }
    }

    #[test]
    fn an_effect_of_a_call_past_its_deadline_fails() {
        let late = call(1);
        let of = |call| Effect { call: Some(call), subject: "e".to_owned(), message_id: None };
        let case = case(Owes::Silence, vec![late.clone()]);
        for (effect, level) in [(of(late.id), Level::Fail), (of(another()), Level::Pass)] {
            let effects = [effect];
            let effects = Effects::count(&effects);
            let rows = rows_of(&connector(), &case, &played(vec![seen(&[])]), Some(&effects));
            assert_eq!(rows[0].level(), level);
        }
    }

    fn another() -> crate::domain::call_id::CallId {
        plan(&connector(), &HashKey::public(), br#"{"a":1}"#, 0).unwrap()[0].calls[0].id
    }
}
