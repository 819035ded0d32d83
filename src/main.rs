//! `connector-bridge`: see `--help`.

use std::process::ExitCode;

use connector_bridge::commands;

/// Less CPU per call than the system's, and memory that stays flat.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    commands::run(lexopt::Parser::from_env())
}
