//! The report, for people and for machines.

use serde_json::{Value, json};

use super::{
    options::Options,
    verdict::{Level, Milliseconds, Row, Speed},
};

/// A table with one line for each row, and a last one that counts them.
pub(super) fn text(options: &Options, rows: &[Row]) -> String {
    let connector = &options.connector;
    let mut text = format!(
        "{} at {}, as connector {} of {} at {}, deadline {}\n\n",
        connector.subject,
        options.server,
        connector.name,
        connector.protocol.name,
        connector.step.name,
        Milliseconds(connector.deadline),
    );
    let width = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or_default();
    let sent = width(|row| row.sent.chars().count());
    let took = width(|row| took(row).chars().count());
    for row in rows {
        text += &format!(
            "{:<4}  {:<sent$}  {:>took$}  {}\n",
            word(row.level()).replace("fail", "FAIL"),
            row.sent,
            self::took(row),
            verdict(row),
        );
    }
    let [passed, notes, failed] = counts(rows);
    text += &format!("\n{passed} passed, {notes} with a note, {failed} failed\n");
    if options.effects.is_none() {
        text += "Effects cannot be seen from here: have the worker publish a message for each, and name its subject with --effects.\n";
    }
    text
}

/// One JSON object.
pub(super) fn json(options: &Options, rows: &[Row]) -> String {
    let connector = &options.connector;
    let [passed, notes, failed] = counts(rows);
    let rows: Vec<Value> = rows.iter().map(row).collect();
    let report = json!({
        "subject": connector.subject.as_str(),
        "connector": connector.name.as_str(),
        "protocol": connector.protocol.name,
        "step": connector.step.name,
        "deadline_ms": milliseconds(connector.deadline),
        "passed": passed,
        "notes": notes,
        "failed": failed,
        "rows": rows,
    });
    format!("{report:#}\n")
}

fn row(row: &Row) -> Value {
    let findings: Vec<Value> = row
        .findings
        .iter()
        .map(|finding| {
            json!({
                "level": word(finding.level),
                "reason": finding.reason,
                "text": finding.text,
            })
        })
        .collect();
    let speed = match row.speed {
        None => Value::Null,
        Some(Speed::One(took)) => json!({"ms": milliseconds(took)}),
        Some(Speed::Many { p50, p99, max }) => json!({
            "p50_ms": milliseconds(p50),
            "p99_ms": milliseconds(p99),
            "max_ms": milliseconds(max),
        }),
    };
    json!({
        "row": row.id,
        "sent": row.sent,
        "level": word(row.level()),
        "speed": speed,
        "findings": findings,
    })
}

/// Rows that passed, have a note, and failed.
fn counts(rows: &[Row]) -> [usize; 3] {
    [Level::Pass, Level::Note, Level::Fail]
        .map(|level| rows.iter().filter(|row| row.level() == level).count())
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Pass => "pass",
        Level::Note => "note",
        Level::Fail => "fail",
    }
}

/// What fits into a column.
fn took(row: &Row) -> String {
    match row.speed {
        Some(Speed::One(took) | Speed::Many { max: took, .. }) => Milliseconds(took).to_string(),
        None => String::new(),
    }
}

fn verdict(row: &Row) -> String {
    let mut all: Vec<String> = row.findings.iter().map(|finding| finding.text.clone()).collect();
    if let Some(Speed::Many { p50, p99, .. }) = row.speed {
        all.push(format!("half within {}, 99 % within {}", Milliseconds(p50), Milliseconds(p99)));
    }
    all.join("; ")
}

/// To the microsecond.
fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
