//! The callers' contracts. Each is one file that names its limits, words decisions and reads
//! answers; it joins the others by its line in [`PROTOCOLS`].

mod b2c;
mod b2c_policy;
mod entra;

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;

use super::{
    decision::{Action, Decision, ReturnedClaims},
    json::Object,
    problem::Problem,
};

/// Every protocol that a connector can be configured with.
pub static PROTOCOLS: [&Protocol; 3] = [&entra::PROTOCOL, &b2c::PROTOCOL, &b2c_policy::PROTOCOL];

/// The time before the caller stops waiting by which a deadline must end: the network and the TLS
/// handshake cost time too.
pub const CALLER_MARGIN: Duration = Duration::from_secs(1);

/// A caller's HTTP contract.
#[derive(Debug)]
pub struct Protocol {
    /// Its name in the configuration.
    pub name: &'static str,
    /// How long the caller waits for an answer before it tries once more.
    pub caller_waits: Duration,
    /// The deadline of a connector that configures none.
    pub default_deadline: Duration,
    /// Whether its claims always name the person, so that a retry can be told from another call.
    pub names_the_person: bool,
    /// Where in its flows the caller calls.
    pub steps: &'static [Step],
    /// Words a decision that the step expresses: HTTP status and JSON body.
    pub word: fn(&Decision) -> (u16, String),
    /// Reads what [`Self::word`] wrote, as the caller would: the decision, or what is wrong.
    pub read: fn(u16, &Object<'_>) -> Result<Decision, &'static str>,
}

impl Protocol {
    /// The protocol called `name` in the configuration.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROTOCOLS.into_iter().find(|protocol| protocol.name == name)
    }

    /// The step called `name` in the configuration.
    pub fn step(&'static self, name: &str) -> Option<&'static Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The longest deadline that still reaches the caller in time.
    pub fn deadline_max(&self) -> Duration {
        self.caller_waits.saturating_sub(CALLER_MARGIN)
    }

    /// What the person sees for this answer, or what breaks the contract about it.
    pub fn read(&self, step: &Step, status: u16, body: &[u8]) -> Result<Decision, &'static str> {
        let body = Object::parse(body).map_err(|_| "the body is not a JSON object")?;
        let decision = (self.read)(status, &body)?;
        match step.nearest(&decision) {
            Some(nearest) if *nearest == decision => Ok(decision),
            Some(_) | None => Err("the step has no such answer"),
        }
    }
}

/// A point in a flow where the caller calls.
#[derive(Debug)]
pub struct Step {
    /// Its name in configuration, subjects and labels.
    pub name: &'static str,
    /// Which decisions the caller understands here.
    pub expresses: Expresses,
    /// Whether returned claims replace what the person has just typed.
    pub overwrites_form: bool,
    /// Claims that the caller posts here, as its documentation shows them. JSON.
    pub sample: &'static str,
}

/// Which decisions a caller understands at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expresses {
    /// All three.
    Everything,
    /// Continue and ShowBlockPage.
    NoValidationError,
    /// Continue only: the caller ignores a block page and would let the person in.
    OnlyContinue,
}

impl Step {
    /// The decision itself, or the nearest one that the step has. `None` where only refusing to
    /// answer keeps the person from going on.
    pub fn nearest<'a>(&self, decision: &'a Decision) -> Option<Cow<'a, Decision>> {
        match (decision, self.expresses) {
            (Decision::Continue(_), _)
            | (_, Expresses::Everything)
            | (Decision::ShowBlockPage(_), Expresses::NoValidationError) => {
                Some(Cow::Borrowed(decision))
            }
            (Decision::ValidationError(message), Expresses::NoValidationError) => {
                Some(Cow::Owned(Decision::ShowBlockPage(message.clone())))
            }
            (
                Decision::ShowBlockPage(_) | Decision::ValidationError(_),
                Expresses::OnlyContinue,
            ) => None,
        }
    }
}

/// What goes back over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: Bytes,
    /// The action answered; where no action could be answered, the one decided, if any.
    pub action: Option<Action>,
}

impl Answer {
    /// The answer that `decision` is at this step of this protocol.
    pub fn to(protocol: &Protocol, step: &Step, decision: &Decision) -> Self {
        match step.nearest(decision) {
            Some(decision) => {
                let (status, body) = (protocol.word)(&decision);
                Self { status, body: body.into(), action: Some(decision.action()) }
            }
            None => Self { action: Some(decision.action()), ..Self::no_decision() },
        }
    }

    /// The answer where no decision can be expressed: the caller stops the person with an error.
    pub fn no_decision() -> Self {
        let problem = Problem::NO_DECISION;
        Self { status: problem.status, body: problem.body().into(), action: None }
    }

    /// Whether the body is a decision of the contract, not a problem.
    pub fn is_decision(&self) -> bool {
        self.status != Problem::NO_DECISION.status
    }
}

/// Claims and messages are personal data: how many bytes, never which.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (status, bytes) = (self.status, self.body.len());
        write!(f, "Answer({status}, {:?}, {bytes} bytes)", self.action)
    }
}

/// The claims of an answer, or what is wrong with them. Names in `envelope` are no claims.
fn read_claims(body: &Object<'_>, envelope: &[&str]) -> Result<ReturnedClaims, &'static str> {
    let mut claims = ReturnedClaims::default();
    for (name, value) in body.members().filter(|(name, _)| !envelope.contains(name)) {
        match value.text().as_bytes().first() {
            Some(b'n') => return Err("a claim is null"),
            Some(b'[' | b'{') => return Err("a claim is an array or an object"),
            Some(_) | None => claims.push(name, value.text()),
        }
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::UserMessage;

    type Row = (&'static str, &'static str, Decision, u16, Result<&'static str, &'static str>);

    fn message() -> UserMessage {
        UserMessage::parse("Say \"hi\" <b>\n").unwrap()
    }

    fn block() -> Decision {
        Decision::ShowBlockPage(message())
    }

    fn invalid() -> Decision {
        Decision::ValidationError(message())
    }

    fn go_on(claims: &[(&str, &str)]) -> Decision {
        let mut returned = ReturnedClaims::default();
        claims.iter().for_each(|(name, value)| returned.push(name, value));
        Decision::Continue(returned)
    }

    const BLOCK: &str =
        r#"{"version":"1.0.0","action":"ShowBlockPage","userMessage":"Say \"hi\" <b>\n"}"#;
    const INVALID: &str = r#"{"version":"1.0.0","status":400,"action":"ValidationError","userMessage":"Say \"hi\" <b>\n"}"#;
    const CONFLICT: &str = r#"{"version":"1.0.0","status":409,"userMessage":"Say \"hi\" <b>\n"}"#;
    const CONTINUE: &str = r#"{"version":"1.0.0","action":"Continue"}"#;
    const CLAIMS: &str = r#"{"version":"1.0.0","action":"Continue","n":1.50,"b":true}"#;
    const NONE: &str = r#"{"title":"No decision","status":503,"code":"no_decision"}"#;

    #[rustfmt::skip]
    fn rows() -> Vec<Row> {
        let claims = || go_on(&[("n", "1.50"), ("b", "true")]);
        vec![
            ("entra", "after-federation", go_on(&[]), 200, Ok(CONTINUE)),
            ("entra", "after-federation", claims(),   200, Ok(CLAIMS)),
            ("entra", "after-federation", block(),    200, Ok(BLOCK)),
            ("entra", "after-federation", invalid(),  200, Ok(BLOCK)),
            ("entra", "before-create",    go_on(&[]), 200, Ok(CONTINUE)),
            ("entra", "before-create",    claims(),   200, Ok(CLAIMS)),
            ("entra", "before-create",    block(),    200, Ok(BLOCK)),
            ("entra", "before-create",    invalid(),  400, Ok(INVALID)),
            ("b2c",   "after-federation", claims(),   200, Ok(CLAIMS)),
            ("b2c",   "after-federation", block(),    200, Ok(BLOCK)),
            ("b2c",   "after-federation", invalid(),  200, Ok(BLOCK)),
            ("b2c",   "before-create",    claims(),   200, Ok(CLAIMS)),
            ("b2c",   "before-create",    block(),    200, Ok(BLOCK)),
            ("b2c",   "before-create",    invalid(),  400, Ok(INVALID)),
            ("b2c",   "before-token",     claims(),   200, Ok(CLAIMS)),
            ("b2c",   "before-token",     block(),    503, Err(NONE)),
            ("b2c",   "before-token",     invalid(),  503, Err(NONE)),
            ("b2c-policy", "custom",      go_on(&[]), 200, Ok("{}")),
            ("b2c-policy", "custom",      claims(),   200, Ok(r#"{"n":1.50,"b":true}"#)),
            ("b2c-policy", "custom",      block(),    409, Ok(CONFLICT)),
            ("b2c-policy", "custom",      invalid(),  409, Ok(CONFLICT)),
        ]
    }

    #[test]
    fn every_decision_at_every_step_has_its_documented_answer() {
        for (protocol, step, decision, status, body) in rows() {
            let name = format!("{protocol} {step} {decision:?}");
            let protocol = Protocol::named(protocol).expect(&name);
            let step = protocol.step(step).expect(&name);
            let answer = Answer::to(protocol, step, &decision);
            let (Ok(wanted) | Err(wanted)) = body;
            assert_eq!((answer.status, &*answer.body), (status, wanted.as_bytes()), "{name}");
            assert_eq!(answer.is_decision(), body.is_ok(), "{name}");
            let read = protocol.read(step, answer.status, &answer.body);
            assert_eq!(read.is_ok(), body.is_ok(), "{name}: {read:?}");
        }
    }

    #[test]
    fn the_table_of_answers_has_every_protocol_step_and_decision() {
        let rows = rows();
        for protocol in PROTOCOLS {
            assert!(protocol.default_deadline <= protocol.deadline_max(), "{}", protocol.name);
            for step in protocol.steps {
                for action in [Action::Continue, Action::ShowBlockPage, Action::ValidationError] {
                    let found = rows.iter().any(|(p, s, decision, _, _)| {
                        (*p, *s, decision.action()) == (protocol.name, step.name, action)
                    });
                    assert!(found, "{} {} {action:?}", protocol.name, step.name);
                }
            }
        }
    }

    #[test]
    fn the_action_counted_is_the_one_answered_and_at_the_token_step_the_one_decided() {
        let b2c = Protocol::named("b2c").unwrap();
        for (step, action) in [
            ("after-federation", Action::ShowBlockPage),
            ("before-create", Action::ValidationError),
            ("before-token", Action::ValidationError),
        ] {
            let answer = Answer::to(b2c, b2c.step(step).unwrap(), &invalid());
            assert_eq!(answer.action, Some(action), "{step}");
        }
        assert_eq!(Answer::no_decision().action, None);
    }

    #[test]
    fn an_answer_that_breaks_the_contract_is_read_as_such() {
        let rows = [
            ("entra", 200, "<html>"),
            ("entra", 500, CONTINUE),
            ("entra", 400, CONTINUE),
            ("entra", 200, INVALID),
            ("entra", 400, r#"{"version":"1.0.0","action":"ValidationError","userMessage":"x"}"#),
            ("entra", 200, r#"{"action":"Continue"}"#),
            ("entra", 200, r#"{"version":"1.0.0","action":"continue"}"#),
            ("entra", 200, r#"{"version":"1.0.0","action":"Continue","status":200}"#),
            ("entra", 200, r#"{"version":"1.0.0","action":"Continue","city":null}"#),
            ("entra", 200, r#"{"version":"1.0.0","action":"Continue","roles":[]}"#),
            ("entra", 200, r#"{"version":"1.0.0","action":"ShowBlockPage"}"#),
            ("entra", 200, r#"{"version":"1.0.0","action":"ShowBlockPage","userMessage":" "}"#),
            ("b2c-policy", 200, CONTINUE),
            ("b2c-policy", 409, r#"{"version":"1.0.0","status":400,"userMessage":"x"}"#),
            ("b2c-policy", 409, r#"{"status":409,"userMessage":"x"}"#),
        ];
        for (protocol, status, body) in rows {
            let protocol = Protocol::named(protocol).unwrap();
            let step = protocol.steps.last().unwrap();
            let read = protocol.read(step, status, body.as_bytes());
            assert!(read.is_err(), "{} {status} {body}: {read:?}", protocol.name);
        }
        let entra = Protocol::named("entra").unwrap();
        let after_federation = entra.step("after-federation").unwrap();
        assert!(entra.read(after_federation, 400, INVALID.as_bytes()).is_err());
    }
}
