//! Every rule, and no input or output: no clock, no socket, no task, no lock, no NATS.
//!
//! Time comes in as `now`; what to do next goes out as a value.

pub mod breaker;
pub mod call_id;
pub mod claiming;
pub mod claims;
pub mod connector;
pub mod credentials;
pub mod deadline;
pub mod decision;
pub mod fallback;
pub mod json;
pub mod kept;
pub mod message;
pub mod outcome;
pub mod problem;
pub mod protocol;
pub mod record;
pub mod reply;
pub mod seal;
pub mod sending;
pub mod settling;
pub mod shared;
pub mod trace_context;

#[cfg(test)]
mod testing {
    use std::time::{Duration, Instant};

    /// Any instant; the domain only ever looks at differences.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn start() -> Instant {
        Instant::now()
    }

    pub(super) fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
