//! Where connections come from, as far as fairness goes.

use std::net::IpAddr;

/// Where something comes from: an address of IPv4, or a network of IPv6, in which one machine can
/// have any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(u64);

impl Source {
    /// The source of what comes from `address`.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // `0::/32` is given to nobody, so that these are no networks of IPv6.
            IpAddr::V4(address) => Self(u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }
}
