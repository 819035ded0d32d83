//! What the page is told, as JSON. Times are milliseconds.

use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::{
    play::{Play, Progress, Try},
    why::why,
};
use crate::{
    caller::{Caller, HttpAnswer, Seen},
    clock,
    domain::{
        connector::Connector,
        decision::Decision,
        json::Object,
        outcome::{Reason, Source},
    },
    journal::{Came, Ended, Page, Read, Replied, Sent},
};

/// How much of a body is shown.
const SHOWN_BYTES_MAX: usize = 64 * 1024;

/// For how long a request without an end is taken to be under way: longer than any may take.
const UNDER_WAY_MAX: Duration = Duration::from_secs(330);

/// A play as far as it has come.
pub(super) fn play(play: &Play, connector: &Connector) -> Value {
    let (tries, progress) = play.so_far();
    let is_over = progress == Progress::Over;
    let last = tries.last().and_then(|last| last.heard.as_ref()).filter(|_| is_over);
    json!({
        "over": is_over,
        "elapsed_ms": since(play.began, clock::now()),
        "deadline_ms": milliseconds(connector.deadline),
        "caller_waits_ms": milliseconds(connector.protocol.caller_waits),
        "overwrites_form": connector.step.overwrites_form,
        "seen": last.map(|(_, answer)| seen(&play.caller, answer)),
        "tries": tries.iter().map(|one| request(play, one)).collect::<Value>(),
    })
}

fn seen(caller: &Caller, answer: &Result<HttpAnswer, String>) -> Value {
    let seen = caller.seen(answer);
    let words = seen.to_string();
    match seen {
        Seen::Contract(Decision::Continue(claims)) => {
            let text = format!("{{{}}}", claims.members());
            let claims = Object::parse(text.as_bytes());
            let claims = claims.iter().flat_map(Object::members);
            let claims: Vec<_> = claims.map(|(name, value)| json!([name, value.text()])).collect();
            json!({"kind": "continue", "claims": claims, "words": words})
        }
        Seen::Contract(Decision::ShowBlockPage(message)) => {
            json!({"kind": "block", "message": message.as_str(), "words": words})
        }
        Seen::Contract(Decision::ValidationError(message)) => {
            json!({"kind": "validation", "message": message.as_str(), "words": words})
        }
        Seen::Error(log) => json!({"kind": "error", "log": log, "words": words}),
    }
}

fn request(play: &Play, request: &Try) -> Value {
    let ms = |at: Instant| since(request.began, at);
    let heard = request.heard.as_ref();
    let answer = heard.and_then(|(_, heard)| heard.as_ref().ok());
    let nothing = heard.and_then(|(_, heard)| heard.as_ref().err());
    let page = request.notes.page();
    json!({
        "began_ms": since(play.began, request.began),
        "request": {
            "line": format!("POST {} HTTP/1.1", play.caller.shown_path()),
            "headers": headers(&play.caller.shown_headers(play.wanted.claims.len())),
            "body": text(play.wanted.claims.as_bytes()),
        },
        "heard_ms": heard.map(|(at, _)| ms(*at)),
        "nothing": nothing,
        "answer": answer.map(|answer| json!({
            "status": answer.status,
            "headers": headers(&answer.headers),
            "body": text(&answer.body),
        })),
        "noted": page.map(|page| noted(&page, request.began)),
    })
}

/// What the bridge noted of a request, in times since `began`.
fn noted(page: &Page, began: Instant) -> Value {
    let ms = |at: Instant| since(began, at);
    let body = |payload: &Option<Bytes>| payload.as_ref().map(|payload| text(payload));
    let message = |sent: &Sent| {
        json!({
            "at_ms": ms(sent.at),
            "subject": sent.subject,
            "headers": sent.headers,
            "payload": body(&sent.payload),
            "ended_ms": sent.ended.map(|(at, _)| ms(at)),
            "result": sent.ended.map(|(_, result)| result.label()),
        })
    };
    let reply = |reply: &Replied| {
        json!({
            "at_ms": ms(reply.at),
            "bytes": reply.bytes,
            "payload": body(&reply.payload),
            "late": reply.came == Came::Late,
            "service_error": reply.service_error.map(|error| json!({"code": error.code})),
            "no_store": reply.cache_control.no_store,
            "stale_if_error_s": reply.cache_control.stale_if_error.map(|time| time.as_secs()),
        })
    };
    json!({
        "number": page.number,
        "arrived_ms": ms(page.arrived),
        "authenticated_ms": page.authenticated.map(ms),
        "read_ms": page.read.as_ref().map(|read| ms(read.at)),
        "call_id": page.read.as_ref().map(|read| read.call_id.to_string()),
        "found": page.found.map(|found| found.label()),
        "messages": page.messages.iter().map(message).collect::<Value>(),
        "replies": page.replies.iter().map(reply).collect::<Value>(),
        "answered_ms": page.ended.map(|(at, _)| ms(at)),
        "end": page.ended.map(|(_, ended)| end(ended)),
        "why": why(page),
    })
}

/// A line of the list of last calls. Of claims it has the names.
pub(super) fn line(page: &Page) -> Value {
    let at = page.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let read = page.read.as_ref();
    let claims = |read: &Read| json!(read.claims);
    let age = clock::now() - page.arrived;
    let state = match page.ended {
        Some(_) => "ended",
        None if age < UNDER_WAY_MAX => "under_way",
        None => "left",
    };
    json!({
        "number": page.number,
        "connector": page.connector.as_str(),
        "at_ms": milliseconds(at).floor(),
        "state": state,
        "call_id": read.map(|read| read.call_id.to_string()),
        "claims": read.map(claims),
        "bytes": read.map(|read| read.bytes),
        "found": page.found.map(|found| found.label()),
        "messages": page.messages.len(),
        "late_reply": page.replies.iter().any(|reply| reply.came == Came::Late),
        "ms": page.ended.map(|(ended, _)| since(page.arrived, ended)),
        "end": page.ended.map(|(_, ended)| end(ended)),
        "why": why(page),
    })
}

fn end(ended: Ended) -> Value {
    match ended {
        Ended::Answered { status, source, reason, action } => json!({
            "status": status,
            "source": Source::label(source),
            "reason": reason.map(Reason::label),
            "action": action.map_or("none", |action| action.label()),
        }),
        Ended::Refused { status, code } => json!({
            "status": status, "source": "none", "reason": code, "action": "none",
        }),
    }
}

fn headers(headers: &HeaderMap) -> Value {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| json!([name.as_str(), text(value)])).collect()
}

fn text(bytes: &[u8]) -> Value {
    let shown = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
    json!({"text": String::from_utf8_lossy(shown), "bytes": bytes.len()})
}

fn since(start: Instant, at: Instant) -> f64 {
    milliseconds(at.saturating_duration_since(start))
}

/// With three decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
