//! What is promised, held against faults: real processes of the bridge and of nats-server are
//! killed, stopped, cut off and refused, and a checker reads what came of every call.
//!
//! `make test-faults` runs all scenarios. `FAULTS_CALLS=1000000 make test-faults` makes as many calls in
//! all of them together; `FAULTS_MINUTES=30 make test-faults` makes the storm last half an hour and NATS
//! stay away for two minutes, and the rest is the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm
)]

mod cached;
mod caller;
mod checker;
mod clients;
mod cluster;
mod crashes;
mod fleet;
mod history;
mod identity;
mod killed;
mod leader;
mod lines;
mod load;
mod replicas;
mod retries;
mod rolling;
mod server;
mod still;
mod storm;
#[allow(dead_code, reason = "the other tests need more of it")]
mod support;
mod totals;
mod worker;
mod workers;
