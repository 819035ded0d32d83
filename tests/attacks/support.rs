//! What the other tests stand on too.

#[path = "../it/support/pki.rs"]
pub(crate) mod pki;
#[path = "../it/support/process.rs"]
pub(crate) mod process;
#[path = "../it/support/real.rs"]
pub(crate) mod real;
