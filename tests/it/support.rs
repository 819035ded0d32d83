//! What tests stand on.

pub(crate) mod collector;
pub(crate) mod fake;
pub(crate) mod fake_store;
pub(crate) mod fake_stream;
pub(crate) mod pki;
pub(crate) mod process;
#[allow(dead_code, reason = "tests/faults needs all of it")]
pub(crate) mod proxy;
pub(crate) mod real;
pub(crate) mod records;
pub(crate) mod shapes;
