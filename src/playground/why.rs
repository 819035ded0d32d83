//! In words for people: why a request ended as it did.

use crate::{
    domain::{
        decision::Action,
        outcome::{Reason, Source},
        problem::Problem,
    },
    journal::{Ended, Page},
    metrics::CallResult,
};

/// Why this came of a request. `None` while it has no end, and where a worker simply decided.
pub(super) fn why(page: &Page) -> Option<String> {
    let (_, ended) = page.ended.as_ref()?;
    let (status, source, reason, action) = match *ended {
        Ended::Refused { code, .. } => return Some(refused(code).to_owned()),
        Ended::Answered { status, source, reason, action } => (status, source, reason, action),
    };
    let told = [
        page.found.and_then(found),
        reason.map(fallback),
        told_by(source, reason),
        action.filter(|_| status == Problem::NO_DECISION.status).and_then(unsaid),
    ];
    let told: Vec<&str> = told.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join(" "))
}

fn refused(code: &str) -> &'static str {
    match code {
        "unauthorized" => {
            "The bridge turned the request away: no right credentials. Nothing reached NATS."
        }
        "forbidden" => {
            "The bridge knows the caller's certificate, but this connector does not list it. \
             Nothing reached NATS."
        }
        "body_timeout" => {
            "The body did not come within read_timeout, or by the deadline. Nothing reached NATS."
        }
        "no_room" => {
            "The body had not come as a whole when others needed its room. Nothing reached NATS."
        }
        _ => "The bridge turned the request away before it became a call. Nothing reached NATS.",
    }
}

fn found(result: CallResult) -> Option<&'static str> {
    match result {
        CallResult::First => None,
        CallResult::Joined => Some(
            "Join: the same call was in flight, so this request waited for its end. No second \
             message was sent.",
        ),
        CallResult::Replayed => Some(
            "Replay: this call was decided within the replay window, so the recorded decision \
             answered. No worker was asked.",
        ),
        CallResult::TakenOver => Some(
            "Taken over: another replica had this call and did not finish it, so this one asked \
             with the next attempt.",
        ),
    }
}

fn fallback(reason: Reason) -> &'static str {
    match reason {
        Reason::Timeout => "Fallback: a worker had the call and kept silent until the deadline.",
        Reason::NoResponders => "Fallback: no worker listened, and none came within grace.",
        Reason::Disconnected => {
            "Fallback: there was no connection to NATS, or it broke while the call waited, and it \
             did not return in time."
        }
        Reason::WorkerError => "Fallback: the worker said that it failed.",
        Reason::InvalidReply => "Fallback: the worker's reply is no decision.",
        Reason::Overload => "Fallback: max_in_flight calls were with the workers already.",
        Reason::BreakerOpen => {
            "Fallback: the breaker is open after several time-outs in a row, and this call was \
             none of the few that probe."
        }
        Reason::MissingClaim => {
            "Fallback: a claim that the connector requires is not filled, so no worker was asked."
        }
        Reason::ShuttingDown => "Fallback: the bridge is stopping and had no time left.",
    }
}

/// Of a decision that the caller does not understand at this step.
fn unsaid(action: Action) -> Option<&'static str> {
    match action {
        Action::Continue => None,
        Action::ShowBlockPage | Action::ValidationError => Some(
            "At this step the caller ignores such a decision and would let the person go on, so \
             the bridge answers with an error.",
        ),
    }
}

fn told_by(source: Source, reason: Option<Reason>) -> Option<&'static str> {
    match source {
        Source::Worker | Source::Replay => None,
        Source::Cache => {
            Some("An earlier decision of a worker, from the fallback cache, answered.")
        }
        Source::Default if reason == Some(Reason::MissingClaim) => {
            Some("What claims.require says for it answered.")
        }
        Source::Default => Some("The connector's configured default answered."),
    }
}
