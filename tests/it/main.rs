//! All tests beside the unit tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod catalogue;
mod fallbacks;
mod limits;
mod properties;
mod replies;
mod retries;
mod schemas;
mod support;
mod tidy;
