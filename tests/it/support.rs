//! What tests stand on.

pub(crate) mod fake;
pub(crate) mod fake_store;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod real;
