//! The record of one answered call, for audit and for work downstream: what it says, and how that
//! is written. A CloudEvent 1.0 in its JSON format; `schemas/event.json` describes it.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    call_id::CallId,
    connector::{Connector, Subject},
    deadline::milliseconds,
    json::{Kind, Object, Value},
    outcome::Outcome,
    record::Round,
    trace_context::SpanRef,
};

/// What happened, as CloudEvents names it.
pub const TYPE: &str = "connector-bridge.call.answered";

/// The schema of what such a record says. Another number would mean that readers have to change.
pub const DATA_SCHEMA: &str = "urn:connector-bridge:event-data:1";

/// Where records go, and which claims they may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRules {
    /// A subject that a JetStream stream listens to.
    pub subject: Subject,
    /// The posted claims that go into records, by name; no others ever do.
    pub claims: Vec<String>,
}

/// The end of a request that became a call, as far as a record speaks of it.
pub struct Event<'a> {
    /// The connector that was called.
    pub connector: &'a Connector,
    /// The same for the same claims at this connector.
    pub call: CallId,
    /// The round of the call that ended so, or a number of this request's own.
    pub round: Round,
    /// What was answered.
    pub outcome: &'a Outcome,
    /// The number of the last message that this request sent to the workers.
    pub attempt: Option<u32>,
    /// When it was answered.
    pub answered: SystemTime,
    /// From the request's first byte until then.
    pub taken: Duration,
    /// The request's place in its trace.
    pub span: SpanRef,
    /// What the caller posted, where claims are listed.
    pub claims: Option<&'a Object<'a>>,
    /// The name of this replica.
    pub instance: &'a str,
}

/// A record, ready to be published.
pub struct Record {
    /// The same for every request that gets the same outcome of the same round of a call: whoever
    /// keeps one record for each id keeps one for each decision.
    pub id: String,
    /// The whole CloudEvent.
    pub json: Vec<u8>,
}

impl Event<'_> {
    /// Writes it. `None` where JSON cannot be written, which would be a fault in the code.
    pub fn record(&self, rules: &EventRules) -> Option<Record> {
        let Self { connector, outcome, call, .. } = self;
        let (connector, action) = (connector.name.as_str(), self.action());
        let kind = if outcome.reason.is_none() { "decision" } else { "fallback" };
        let id = format!("{call}.{:016x}.{kind}.{action}", self.round.0);
        let received = self.answered.checked_sub(self.taken).unwrap_or(self.answered);
        let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
        let envelope = Envelope {
            specversion: "1.0",
            id: &id,
            source: &format!("/connectors/{connector}"),
            r#type: TYPE,
            subject: connector,
            time: &time(self.answered),
            datacontenttype: "application/json",
            dataschema: DATA_SCHEMA,
            traceparent: &self.span.traceparent(),
            data: Data {
                connector,
                step: self.connector.step.name,
                protocol: self.connector.protocol.name,
                call_id: &call.to_string(),
                action,
                source: outcome.source.label(),
                reason: outcome.reason.map(|reason| reason.label()),
                status: outcome.answer.status,
                attempt: self.attempt,
                received: &time(received),
                answered: &time(self.answered),
                deadline: &time(received + self.connector.deadline),
                ms: milliseconds(self.taken),
                instance: self.instance,
                claims: self.claims.map(|posted| Listed { posted, names: &rules.claims }),
            },
        };
        let json = serde_json::to_vec(&envelope).ok()?;
        Some(Record { id, json })
    }

    fn action(&self) -> &'static str {
        self.outcome.answer.action.map_or("none", |action| action.label())
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'static str,
    subject: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    dataschema: &'static str,
    traceparent: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    connector: &'a str,
    step: &'static str,
    protocol: &'static str,
    call_id: &'a str,
    action: &'static str,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    received: &'a str,
    answered: &'a str,
    deadline: &'a str,
    ms: f64,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Listed<'a>>,
}

/// The claims that are listed and there, as they were posted. Only strings, booleans and numbers:
/// what is inside of others, nobody has listed.
struct Listed<'a> {
    posted: &'a Object<'a>,
    names: &'a [String],
}

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.names {
            if let Some(value) = self.posted.get(name).filter(|value| is_single(*value)) {
                map.serialize_entry(name, &value)?;
            }
        }
        map.end()
    }
}

fn is_single(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::String(_) | Kind::Boolean | Kind::Number(_) => true,
        Kind::Null | Kind::Array(_) | Kind::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        call_id::HashKey,
        decision::Action,
        outcome::{Reason, Source},
        protocol::Answer,
        testing::{connector, ms},
    };

    const CLAIMS: &str = r#"{"email":"a\u00e9@b.c","n":1.50,"big":1e400,"yes":true,"none":null,"list":["x"],"map":{"x":1},"other":"secret"}"#;

    /// The record of a call that got `action`, by `reason` if it is a fallback.
    fn record(
        round: u64,
        action: Option<Action>,
        (source, reason): (Source, Option<Reason>),
        listed: &[&str],
    ) -> Record {
        let claims = Object::parse(CLAIMS.as_bytes()).unwrap();
        let connector = connector();
        let answer = Answer { status: 200, body: "secret".into(), action };
        let outcome = Outcome { answer, source, reason };
        let rules = EventRules {
            subject: Subject::parse("connector-events.decided").unwrap(),
            claims: listed.iter().map(|name| (*name).to_owned()).collect(),
        };
        let event = Event {
            connector: &connector,
            call: CallId::of(&HashKey::public(), "c", &claims),
            round: Round(round),
            outcome: &outcome,
            attempt: Some(2),
            answered: SystemTime::UNIX_EPOCH + ms(1_500),
            taken: Duration::from_micros(1_250_499),
            span: SpanRef { trace_id: 1, span_id: 2, flags: 0 },
            claims: (!listed.is_empty()).then_some(&claims),
            instance: "pod-1",
        };
        event.record(&rules).unwrap()
    }

    fn text(record: &Record) -> &str {
        std::str::from_utf8(&record.json).unwrap()
    }

    #[test]
    fn a_record_says_what_was_answered_and_when_and_nothing_of_what_was_posted() {
        let decided = record(7, Some(Action::Continue), (Source::Worker, None), &[]);
        let call = "2a0c4f2bd41bfd0e3d0a2bdbb3f3d3a0";
        assert_eq!(
            text(&decided).replace(&decided.id[..32], call),
            format!(
                r#"{{"specversion":"1.0","id":"{call}.0000000000000007.decision.continue","source":"/connectors/c","type":"connector-bridge.call.answered","subject":"c","time":"1970-01-01T00:00:01.500Z","datacontenttype":"application/json","dataschema":"urn:connector-bridge:event-data:1","traceparent":"00-00000000000000000000000000000001-0000000000000002-00","data":{{"connector":"c","step":"before-create","protocol":"entra","call_id":"{call}","action":"continue","source":"worker","status":200,"attempt":2,"received":"1970-01-01T00:00:00.249Z","answered":"1970-01-01T00:00:01.500Z","deadline":"1970-01-01T00:00:15.249Z","ms":1250.499,"instance":"pod-1"}}}}"#
            )
        );
    }

    #[test]
    fn an_id_stands_for_one_outcome_of_one_round() {
        let of = |round, action, source| record(round, action, source, &[]).id;
        let (worker, replay) = ((Source::Worker, None), (Source::Replay, None));
        let (cache, default) =
            ((Source::Cache, Some(Reason::Timeout)), (Source::Default, Some(Reason::BreakerOpen)));
        let (yes, no) = (Some(Action::Continue), Some(Action::ShowBlockPage));
        let decided = of(1, yes, worker);
        assert_eq!(decided, of(1, yes, replay), "a retry brings nothing new");
        assert_eq!(of(1, yes, cache), of(1, yes, default), "nor does another fallback");
        let others =
            [of(2, yes, worker), of(1, no, worker), of(1, yes, cache), of(1, None, worker)];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(*other, decided);
            assert!(!others[..at].contains(other), "{other}");
        }
    }

    #[test]
    fn claims_are_only_those_listed_and_single_and_stay_as_they_were_written() {
        let names = ["yes", "email", "n", "big", "none", "list", "map", "missing", "Other"];
        let listed = record(1, None, (Source::Default, Some(Reason::Timeout)), &names);
        let claims = text(&listed).split_once(r#","claims":"#).unwrap().1;
        assert_eq!(claims, r#"{"yes":true,"email":"a\u00e9@b.c","n":1.50,"big":1e400}}}"#);
        assert!(text(&listed).contains(r#""action":"none","source":"default","reason":"timeout""#));
        assert!(!text(&listed).contains("secret"));
        let empty = record(1, None, (Source::Worker, None), &["missing"]);
        assert!(text(&empty).ends_with(r#","claims":{}}}"#), "{}", text(&empty));
    }
}
