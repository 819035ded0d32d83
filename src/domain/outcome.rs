//! How a call can end.

use serde::{Deserialize, Serialize};

use super::protocol::Answer;

/// The end of one request that became a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What goes back over HTTP.
    pub answer: Answer,
    /// Where the answer comes from.
    pub source: Source,
    /// Why it is a fallback, if it is one.
    pub reason: Option<Reason>,
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A worker decided this call, now.
    Worker,
    /// The recorded decision of the same call.
    Replay,
    /// An earlier decision from the fallback cache.
    Cache,
    /// The connector's configured default.
    Default,
}

impl Source {
    /// The value of the header, and of a metric's or log line's label.
    pub fn label(self) -> &'static str {
        match self {
            Source::Worker => "worker",
            Source::Replay => "replay",
            Source::Cache => "cache",
            Source::Default => "default",
        }
    }
}

/// Why a call got a fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No worker answered before the deadline.
    Timeout,
    /// No worker listens on the subject.
    NoResponders,
    /// The NATS connection was down, or was lost while the call waited.
    Disconnected,
    /// A worker said that it failed.
    WorkerError,
    /// A worker's reply is not a decision.
    InvalidReply,
    /// More calls than `max_in_flight` are with the workers.
    Overload,
    /// The breaker is open.
    BreakerOpen,
    /// A claim that the connector requires is not filled.
    MissingClaim,
    /// The bridge is stopping and had no time left to wait.
    ShuttingDown,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::NoResponders,
        Self::Disconnected,
        Self::WorkerError,
        Self::InvalidReply,
        Self::Overload,
        Self::BreakerOpen,
        Self::MissingClaim,
        Self::ShuttingDown,
    ];

    /// The value of a metric's or log line's label.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Timeout => "timeout",
            Reason::NoResponders => "no_responders",
            Reason::Disconnected => "disconnected",
            Reason::WorkerError => "worker_error",
            Reason::InvalidReply => "invalid_reply",
            Reason::Overload => "overload",
            Reason::BreakerOpen => "breaker_open",
            Reason::MissingClaim => "missing_claim",
            Reason::ShuttingDown => "shutting_down",
        }
    }
}
