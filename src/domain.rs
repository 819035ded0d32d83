//! Every rule, and no input or output: no clock, no socket, no task, no lock, no NATS.
//!
//! Time comes in as `now`; what to do next goes out as a value.

pub mod breaker;
pub mod budget;
pub mod call_id;
pub mod claiming;
pub mod claims;
pub mod connector;
pub mod credentials;
pub mod deadline;
pub mod decision;
pub mod event;
pub mod fallback;
pub mod json;
pub mod kept;
pub mod lease;
pub mod message;
pub mod outcome;
pub mod problem;
pub mod protocol;
pub mod record;
pub mod reply;
pub mod rights;
pub mod seal;
pub mod sending;
pub mod settling;
pub mod shared;
pub mod shared_keep;
pub mod trace_context;

#[cfg(test)]
mod testing {
    use std::time::{Duration, Instant};

    use super::{
        breaker::BreakerRules,
        connector::{ClaimRules, Connector, ConnectorName, Subject},
        decision::UserMessage,
        fallback::{DefaultAnswer, FallbackRules},
        message::Messages,
        protocol::Protocol,
        sending::Patience,
    };

    /// Any instant; the domain only ever looks at differences.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn start() -> Instant {
        Instant::now()
    }

    pub(super) fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A connector of protocol `entra` at `before-create`, with the defaults.
    pub(super) fn connector() -> Connector {
        let protocol = Protocol::named("entra").unwrap();
        let messages = |message| Messages::new(message, vec![]);
        Connector {
            name: ConnectorName::parse("c").unwrap(),
            protocol,
            step: protocol.step("before-create").unwrap(),
            subject: Subject::parse("connectors.c.before-create").unwrap(),
            deadline: protocol.default_deadline,
            max_in_flight: 1,
            patience: Patience { grace: Duration::ZERO, reconnect_grace: Duration::ZERO },
            identify_by: vec![],
            claims: ClaimRules {
                require: vec![],
                require_message: messages(UserMessage::FILL_IN_ALL),
                returned: None,
            },
            fallback: FallbackRules {
                cached: None,
                default: DefaultAnswer::Block,
                messages: messages(UserMessage::COULD_NOT_CHECK),
            },
            breaker: BreakerRules { failures: 5, open_for: ms(10_000) },
        }
    }
}
