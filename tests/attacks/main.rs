//! Attacks from outside on a real process of the bridge with 64 MiB of memory, 1,024 descriptors and
//! one core, while good callers call. Each scenario says what the attackers do, and holds what
//! became of the good callers against what is promised.
//!
//! `make test-attacks` runs all scenarios one after the other. Variables: `ATTACKS_PROGRAM` is the
//! program to attack, a release build, since what a debug build costs says nothing;
//! `ATTACKS_SECONDS` is how long each attack lasts; `ATTACKS_REPORT` is a file that gets the figures
//! of each scenario as a line of JSON, which `tests/attacks/table.py` reads.
//!
//! The limits need root, util-linux and control groups. Where there are none, each scenario says so
//! and holds the memory that was used against the limit itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm
)]

mod administration;
mod attackers;
mod bodies;
mod callers;
mod connections;
mod decisions;
mod figures;
mod handshakes;
mod heads;
mod limits;
mod nesting;
mod readers;
mod scenario;
mod site;
#[allow(dead_code, reason = "the other tests need more of it")]
mod support;
