//! What the demo can break on purpose, so that a team sees what its users would get.

use serde::{Deserialize, Serialize};

/// What is broken now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// How the worker behaves.
    pub worker: WorkerFault,
    /// Whether there is a NATS server.
    pub nats: NatsFault,
}

/// How the worker behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerFault {
    /// As it should.
    #[default]
    None,
    /// It decides, but after the deadline.
    Slow,
    /// It takes calls and never replies.
    Silent,
    /// It replies with something that is no decision.
    Wrong,
    /// Nobody listens.
    Gone,
}

/// Whether there is a NATS server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NatsFault {
    /// It runs.
    #[default]
    None,
    /// It is stopped.
    Stopped,
}
