//! The alerts, their runbook and the dashboards, held against the real thing: bridges that are broken
//! on purpose, a real Prometheus that evaluates the very rules, and a real Alertmanager.
//!
//! `make test-observability` runs all of it; it takes minutes. Prometheus lives in time-lapse: every
//! duration of the rules is divided by [`lapse::FACTOR`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout
)]

mod bridges;
mod collector;
mod dashboards;
mod documents;
mod expected;
mod lapse;
mod monitors;
mod receiver;
mod rounds;
mod story;
#[allow(dead_code, reason = "the other tests need more of it")]
mod support;
mod traffic;
mod worker;
