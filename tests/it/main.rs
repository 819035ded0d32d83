//! All tests beside the unit tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod administration;
mod audit;
mod budget;
mod catalogue;
mod commands;
mod dashboards;
mod events;
mod fallbacks;
mod fuzz;
mod limits;
mod logs;
mod nats;
mod playground;
mod properties;
mod replies;
mod retries;
mod schemas;
mod security;
mod shapes;
mod shared;
mod shutdown;
mod simulation;
mod sockets;
mod support;
mod tidy;
mod traces;
mod workers;
