//! What a worker is sent, as data: each case is a call or several that belong together, and what
//! the worker owes for them.

use bytes::Bytes;

use super::claims::Claims;
use crate::domain::{
    call_id::{CallId, HashKey},
    connector::Connector,
    json::{JsonFault, Object},
    protocol::{PROTOCOLS, Protocol, Step},
};

/// The largest body that a bridge takes by default.
const BODY_BYTES: usize = 64 * 1024;

/// A body that breaks off. No bridge sends it; a stranger on the subject could.
const NOT_JSON: &[u8] = br#"{"email":"johnsmith@fabrikam.onmicro"#;

/// One message.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) protocol: &'static Protocol,
    pub(super) step: &'static Step,
    pub(super) body: Bytes,
    pub(super) id: CallId,
    pub(super) attempt: u32,
    pub(super) time: Time,
}

/// How a call lies to its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// All of it is left.
    Left,
    /// It passed a second before the call was sent.
    Over,
}

/// What a worker owes for a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owes {
    /// A decision that the caller understands.
    Decision,
    /// The same, or word that it cannot decide.
    DecisionOrError,
    /// The same, if it serves the step at all.
    IfItServes,
    /// A decision for each, and from attempt 2 on none that contradicts an earlier one.
    SameDecision,
    /// Nothing: who would hear it is gone.
    Silence,
    /// Word that it cannot decide, or nothing.
    NoDecision,
}

/// Whether the calls of a case wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    OneByOne,
    AtOnce,
}

/// A call, or several that belong together.
pub(super) struct Case {
    /// A name that stays: `claims.none`.
    pub(super) id: String,
    /// What is sent, for people.
    pub(super) sent: String,
    pub(super) calls: Vec<Call>,
    pub(super) pace: Pace,
    pub(super) owes: Owes,
}

/// What all cases are made of.
struct Plan<'a> {
    connector: &'a Connector,
    key: &'a HashKey,
    base: Claims,
    cases: Vec<Case>,
}

/// All cases, in the order in which they are sent: for the step of `connector` with the claims in
/// `base` and variants of them, for the other steps with the claims that callers document.
/// `burst` is how many calls come at once.
pub(super) fn plan(
    connector: &Connector,
    key: &HashKey,
    base: &[u8],
    burst: usize,
) -> Result<Vec<Case>, JsonFault> {
    let claims = Claims::parse(base)?;
    let mut plan = Plan { connector, key, base: claims, cases: Vec::new() };
    plan.steps(base)?;
    plan.missing_claims()?;
    plan.locales()?;
    plan.attributes()?;
    plan.repeats()?;
    plan.time_and_form()?;
    plan.burst(burst)?;
    plan.one("alive", "a sign-up after all that", Owes::Decision, |base| base.of_person("alive"))?;
    Ok(plan.cases)
}

/// A sign-up like any other, to see whether a worker is still there. `tag` tells it from others.
pub(super) fn sign_of_life(
    connector: &Connector,
    key: &HashKey,
    base: &[u8],
    tag: &str,
) -> Result<Call, JsonFault> {
    let body = Claims::parse(base)?.of_person(tag).body();
    Ok(Call::new(connector, key, &Object::parse(&body)?, &body))
}

impl Call {
    fn new(connector: &Connector, key: &HashKey, claims: &Object<'_>, body: &[u8]) -> Self {
        Self {
            protocol: connector.protocol,
            step: connector.step,
            body: Bytes::copy_from_slice(body),
            id: CallId::of(key, connector.name.as_str(), claims),
            attempt: 1,
            time: Time::Left,
        }
    }
}

impl Plan<'_> {
    fn call(&self, body: &[u8]) -> Result<Call, JsonFault> {
        Ok(Call::new(self.connector, self.key, &Object::parse(body)?, body))
    }

    fn add(&mut self, id: &str, sent: &str, owes: Owes, pace: Pace, calls: Vec<Call>) {
        self.cases.push(Case { id: id.to_owned(), sent: sent.to_owned(), calls, pace, owes });
    }

    /// One call with the base claims, changed.
    fn one(
        &mut self,
        id: &str,
        sent: &str,
        owes: Owes,
        change: impl FnOnce(Claims) -> Claims,
    ) -> Result<(), JsonFault> {
        let call = self.call(&change(self.base.clone()).body())?;
        self.add(id, sent, owes, Pace::OneByOne, vec![call]);
        Ok(())
    }

    /// The own step first, with the claims as they were given.
    fn steps(&mut self, base: &[u8]) -> Result<(), JsonFault> {
        let Connector { protocol, step, .. } = self.connector;
        let name =
            |protocol: &Protocol, step: &Step| format!("step.{}.{}", protocol.name, step.name);
        let own = self.call(base)?;
        let sent = format!("a sign-up at {} ({})", step.name, protocol.name);
        self.add(&name(protocol, step), &sent, Owes::Decision, Pace::OneByOne, vec![own]);
        for other in PROTOCOLS {
            for at in other.steps {
                if other.name == protocol.name && at.name == step.name {
                    continue;
                }
                let call = self.call(at.sample.as_bytes())?;
                let call = Call { protocol: other, step: at, ..call };
                let sent = format!("a call at {} ({})", at.name, other.name);
                self.add(&name(other, at), &sent, Owes::IfItServes, Pace::OneByOne, vec![call]);
            }
        }
        Ok(())
    }

    fn missing_claims(&mut self) -> Result<(), JsonFault> {
        let owes = Owes::DecisionOrError;
        self.one("claims.only-email", "only an e-mail address", owes, |base| base.only("email"))?;
        self.one("claims.no-email", "no e-mail address", owes, |base| base.without("email"))?;
        self.one("claims.none", "no claims at all", owes, |_| Claims::none())?;
        self.one("claims.null", "every claim null", owes, |base| base.all("null"))?;
        self.one("claims.empty", "every claim an empty text", owes, |base| base.all(r#""""#))
    }

    fn locales(&mut self) -> Result<(), JsonFault> {
        self.one("locale.absent", "no ui_locales", Owes::Decision, |base| {
            base.of_person("locale-absent").without("ui_locales")
        })?;
        for (id, sent, locales) in [
            ("locale.unknown", "ui_locales of a language that nobody has", "tlh-Piqd-KX-x-worf"),
            ("locale.several", "ui_locales with several languages", "de-AT, de;q=0.8 pt-BR"),
            ("locale.malformed", "ui_locales that is none", "--;q=,*_%41\\\t{}"),
            ("locale.empty", "an empty ui_locales", ""),
        ] {
            self.one(id, sent, Owes::Decision, |base| {
                base.of_person(&id.replace('.', "-")).with_text("ui_locales", locales)
            })?;
        }
        Ok(())
    }

    fn attributes(&mut self) -> Result<(), JsonFault> {
        let app = "extension_0123456789abcdef0123456789abcdef";
        self.one("attributes.custom", "custom attributes", Owes::Decision, |base| {
            base.of_person("attributes-custom")
                .with_text(&format!("{app}_Text"), "some text")
                .with(&format!("{app}_Yes"), "true")
                .with(&format!("{app}_Number"), "9007199254740993")
        })?;
        self.one("attributes.nested", "lists and objects nobody knows", Owes::Decision, |base| {
            base.of_person("attributes-nested")
                .with("workerCheckList", r#"[1,"two",[3],{"four":null}]"#)
                .with("workerCheckObject", r#"{"a":{"b":{"c":[]}}}"#)
        })?;
        self.one("attributes.unicode", "every kind of letter", Owes::Decision, |base| {
            base.of_person("attributes-unicode")
                .with_text("displayName", "Zoë 张伟 أحمد 👩🏽‍💻 e\u{301}\u{202e}\u{feff}\u{2028}")
                .with_text("surname", "O'Brien \"<b>\" \\ ; -- \r\n\t")
                .with_text("größe 📏", "ключ")
        })?;
        self.one("attributes.long", "a text of 10,000 letters", Owes::DecisionOrError, |base| {
            base.of_person("attributes-long").with_text("displayName", &"Ö".repeat(10_000))
        })?;
        self.one("attributes.64KiB", "a body of 64 KiB", Owes::DecisionOrError, |base| {
            base.of_person("attributes-64kib").filled_to(BODY_BYTES)
        })
    }

    fn repeats(&mut self) -> Result<(), JsonFault> {
        let first = self.call(&self.base.clone().of_person("repeated").body())?;
        let second_attempt = Call { attempt: 2, ..first.clone() };
        let calls = vec![first.clone(), first, second_attempt];
        self.add(
            "repeat",
            "the same call again and again",
            Owes::SameDecision,
            Pace::OneByOne,
            calls,
        );
        let unseen = self.call(&self.base.clone().of_person("unseen").body())?;
        let unseen = vec![Call { attempt: 2, ..unseen }];
        let sent = "attempt 2 of a call that never came";
        self.add("unseen", sent, Owes::Decision, Pace::OneByOne, unseen);
        let call = self.call(&self.base.clone().of_person("at-once").body())?;
        let calls = vec![call.clone(), call];
        let sent = "the same call twice at once";
        self.add("at-once", sent, Owes::SameDecision, Pace::AtOnce, calls);
        Ok(())
    }

    fn time_and_form(&mut self) -> Result<(), JsonFault> {
        let late = self.call(&self.base.clone().of_person("late").body())?;
        let late = Call { time: Time::Over, ..late };
        self.add("late", "a call past its deadline", Owes::Silence, Pace::OneByOne, vec![late]);
        let call = self.call(br#"{"correlationId":"not JSON"}"#)?;
        let call = Call { body: Bytes::from_static(NOT_JSON), ..call };
        self.add(
            "not-json",
            "a body that is no JSON",
            Owes::NoDecision,
            Pace::OneByOne,
            vec![call],
        );
        Ok(())
    }

    fn burst(&mut self, burst: usize) -> Result<(), JsonFault> {
        if burst == 0 {
            return Ok(());
        }
        let body = |number: usize| self.base.clone().of_person(&format!("burst-{number}")).body();
        let calls = (1..=burst).map(|number| self.call(&body(number))).collect::<Result<_, _>>()?;
        let sent = format!("{burst} sign-ups at once");
        self.add("burst", &sent, Owes::Decision, Pace::AtOnce, calls);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Config;

    fn cases(step: &str, claims: Option<&str>) -> Vec<Case> {
        let text =
            format!("connectors: {{c: {{{step}, auth: none, fallback: {{default: refuse}}}}}}");
        let connector = Config::parse(&text).unwrap().connectors.remove(0).connector;
        let base = claims.unwrap_or(connector.step.sample);
        plan(&connector, &HashKey::public(), base.as_bytes(), 3).unwrap()
    }

    #[test]
    fn every_step_of_every_protocol_is_sent_the_own_one_first_and_as_it_was_given() {
        let steps: BTreeSet<_> = PROTOCOLS
            .into_iter()
            .flat_map(|protocol| protocol.steps.iter().map(|step| (protocol.name, step.name)))
            .collect();
        for (protocol, step) in &steps {
            let given = r#"{"email" : "a@b.example", "n": 1.0}"#;
            let cases = cases(&format!("protocol: {protocol}, step: {step}"), Some(given));
            let own = &cases[0].calls[0];
            assert_eq!((own.protocol.name, own.step.name), (*protocol, *step));
            assert_eq!(own.body, given);
            let of_steps = cases.iter().filter(|case| case.id.starts_with("step."));
            let sent: Vec<_> = of_steps.map(|case| &case.calls[0]).collect();
            assert_eq!(sent.len(), steps.len());
            let sent: BTreeSet<_> =
                sent.iter().map(|call| (call.protocol.name, call.step.name)).collect();
            assert_eq!(sent, steps);
        }
    }

    #[test]
    fn only_what_belongs_together_has_the_same_call_id_and_all_but_one_body_is_claims() {
        for claims in [None, Some(r#"{"signInName":"x"}"#)] {
            let cases = cases("protocol: entra, step: before-create", claims);
            let mut seen = BTreeSet::new();
            for case in &cases {
                let ids: BTreeSet<CallId> = case.calls.iter().map(|call| call.id).collect();
                let count = if case.owes == Owes::SameDecision { 1 } else { case.calls.len() };
                assert_eq!(ids.len(), count, "{}", case.id);
                // Without an address there is little to leave out.
                let is_new = ids.iter().all(|id| seen.insert(*id));
                assert!(is_new || claims.is_some(), "{}", case.id);
                for call in &case.calls {
                    let is_json = Object::parse(&call.body).is_ok();
                    assert_eq!(is_json, case.id != "not-json", "{}", case.id);
                }
            }
            let names: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
            assert_eq!(names.len(), cases.len());
        }
    }

    #[test]
    fn bodies_are_as_large_as_a_bridge_lets_them_be() {
        let cases = cases("protocol: entra, step: before-create", None);
        let largest = cases.iter().flat_map(|case| &case.calls).map(|call| call.body.len()).max();
        assert_eq!(largest, Some(65_536));
        let empty = cases.iter().find(|case| case.id == "claims.none").unwrap();
        assert_eq!(empty.calls[0].body, "{}");
    }
}
