//! What a bridge would make of what came for one call.

use std::time::Duration;

use super::{cases::Call, record::Seen};
use crate::domain::{
    connector::Connector,
    reply::{self, Decided, NoDecision},
};

/// What a bridge would make of it.
pub(super) enum Reading {
    /// A decision in time.
    Decided { decided: Decided, took: Duration, limit: Duration },
    /// A reply in time that is none.
    NoDecision(NoDecision, Duration),
    /// The first reply came so long after the deadline.
    Late(Duration),
    /// No reply at all.
    Silent,
    /// Nobody listens.
    Nobody,
}

impl Reading {
    /// How long a reply in time took.
    pub(super) fn took(&self) -> Option<Duration> {
        match self {
            Reading::Decided { took, .. } | Reading::NoDecision(_, took) => Some(*took),
            Reading::Late(_) | Reading::Silent | Reading::Nobody => None,
        }
    }
}

/// Reads by the same rules as the bridge; `connector` at the step of `call`.
pub(super) fn read(connector: &Connector, call: &Call, seen: &Seen) -> Reading {
    let (protocol, step) = (call.protocol, call.step);
    let connector = Connector { protocol, step, ..connector.clone() };
    match seen.replies.first() {
        None if seen.nobody => Reading::Nobody,
        None => Reading::Silent,
        Some((took, _)) if *took > seen.limit => Reading::Late(*took - seen.limit),
        Some((took, reply)) => match reply::read(&connector, None, reply) {
            Ok(decided) => Reading::Decided { decided, took: *took, limit: seen.limit },
            Err(none) => Reading::NoDecision(none, *took),
        },
    }
}
