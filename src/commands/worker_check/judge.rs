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
    reply::{self, NoDecision},
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
        (_, Reading::NoDecision(NoDecision::Invalid(rejection), _)) => vec![invalid(*rejection)],
        (Owes::Silence, Reading::Silent) => vec![pass("no reply")],
        (Owes::Silence, Reading::NoDecision(NoDecision::WorkerError(error), _)) => {
            vec![note("service_error", format!("{}; silence is enough", said(*error)))]
        }
        (Owes::Silence, Reading::Decided { .. } | Reading::Late(_)) => {
            vec![fail("decided_after_deadline", "decided, though the deadline had passed")]
        }
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
            all.push(note("action_at_step", "which this step does not have: the caller gets 503"))
        }
        Some(nearest) if nearest != action => {
            let text = format!("which this step does not have: {} is answered", nearest.name());
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
        let sent = format!("{}, attempt {}", case.sent, call.attempt);
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
