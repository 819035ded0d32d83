//! Turns API connector calls (HTTP) into NATS request-reply.
//!
//! Start at [`pipeline`]; the map is in `ARCHITECTURE.md`.
pub mod admin;
pub mod app;
pub mod budget;
pub mod cache;
pub mod call;
pub mod caller;
pub mod client;
pub mod clock;
pub mod commands;
pub mod config;
pub mod domain;
pub mod ends;
pub mod events;
pub mod http;
pub mod inbox;
pub mod journal;
pub mod lane;
pub mod lifecycle;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod nats;
pub mod pipeline;
pub mod playground;
pub mod random;
pub mod room;
pub mod secrets;
pub mod stalls;
pub mod store;
pub mod tls;
pub mod traces;
pub mod turns;
pub mod wire;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this program was built from, where the build says so.
pub const REVISION: &str = match option_env!("CONNECTOR_BRIDGE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
