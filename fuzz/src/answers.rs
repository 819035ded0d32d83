//! Connectors of every kind, and what must hold for each answer of theirs.

use std::{fmt::Write, sync::LazyLock};

use connector_bridge::{
    config::Config,
    domain::{
        connector::Connector,
        decision::Decision,
        fallback::DefaultAnswer,
        kept::KeptDecision,
        protocol::{Answer, Expresses, PROTOCOLS},
    },
};

/// One of every protocol, step and default, with all that a connector can have.
pub(crate) static CONNECTORS: LazyLock<Vec<Connector>> = LazyLock::new(|| {
    let mut text = "connectors:\n".to_owned();
    let steps =
        PROTOCOLS.iter().flat_map(|protocol| protocol.steps.iter().map(move |s| (protocol, s)));
    for (at, (protocol, step)) in steps.enumerate() {
        for (default, claims) in [("block", ""), ("continue", ", return: [a, b]"), ("refuse", "")] {
            if default == "block" && step.expresses == Expresses::OnlyContinue {
                continue;
            }
            let (protocol, step) = (protocol.name, step.name);
            let messages = "messages: {de: Später, pt-BR: Depois}";
            writeln!(
                text,
                "  c{at}-{default}: {{protocol: {protocol}, step: {step}, auth: none, \
                 claims: {{require: [a]{claims}}}, \
                 fallback: {{default: {default}, {messages}, cached: {{by: [a]}}}}}}",
            )
            .expect("text can be written");
        }
    }
    let config = Config::parse(&text).expect("it is a configuration");
    config.connectors.into_iter().map(|settings| settings.connector).collect()
});

/// The connector's default, and a 503 only where that is the default.
pub(crate) fn expect_default(connector: &Connector, answer: &Answer) {
    expect_valid(connector, answer);
    assert_eq!(!answer.is_decision(), connector.fallback.default == DefaultAnswer::Refuse);
}

/// What is answered from the cache.
pub(crate) fn expect_kept(connector: &Connector, kept: &KeptDecision) {
    expect_valid(connector, &kept.for_same_call(connector));
    expect_valid(connector, &kept.for_same_values(connector));
}

/// An answer that the caller understands, or none.
pub(crate) fn expect_valid(connector: &Connector, answer: &Answer) {
    let read = connector.protocol.read(connector.step, answer.status, &answer.body);
    assert!(!answer.is_decision() || read.is_ok(), "{answer:?}: {read:?}");
}

/// The caller reads what was decided, or the nearest that the step has.
pub(crate) fn expect_worded(connector: &Connector, decision: &Decision) {
    let answer = connector.answer(decision);
    let Some(nearest) = connector.step.nearest(decision) else {
        assert!(!answer.is_decision());
        return;
    };
    let read = connector.protocol.read(connector.step, answer.status, &answer.body);
    let read = read.unwrap_or_else(|fault| panic!("{answer:?}: {fault}"));
    assert_eq!(shown(&read), shown(&nearest));
}

/// The claims where the person goes on, else the message.
fn shown(decision: &Decision) -> Result<&str, &str> {
    match decision {
        Decision::Continue(claims) => Ok(claims.members()),
        Decision::ShowBlockPage(message) | Decision::ValidationError(message) => {
            Err(message.as_str())
        }
    }
}
