//! The caller of `make bench`: it sends claims, one call after the other on each of some connections
//! or at the moments of a Poisson process, and says how long each took. Made to cost little, because
//! it shares the machine with what it measures.

mod arrivals;
mod claims;
mod cpu;
mod http;
mod idle;
mod nats;
mod options;
mod tally;
mod window;

use std::error::Error;

use serde_json::Value;
use tokio::runtime;

pub use self::options::{Options, Pace, Target};

/// Whatever ends a measurement before its time.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Carries out one measurement. What it found, as JSON.
pub fn run(options: &Options) -> Result<Value, Failure> {
    match &options.target {
        // One thread is enough to keep every bridge busy, and takes least from it.
        Target::Http(target) => {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(http::run(target.clone(), options))
        }
        // As the bridges that it is compared with: the client on all cores.
        Target::Nats(target) => {
            let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(nats::run(target.clone(), options))
        }
        Target::Idle { address, connections } => {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(idle::run(address, *connections))
        }
    }
}
