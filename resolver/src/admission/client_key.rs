//! The client whose share a query takes.

use std::net::{IpAddr, Ipv6Addr};

use policy::rules::household::Mac;

/// Bits of an IPv6 address that one client has: a household's line gets a /56.
const V6_CLIENT_BITS: u32 = 56;

/// A client, as far as places and turns are shared between clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKey {
    /// A household, by its identifier: all of its lines and devices.
    Household(Box<str>),
    /// An IPv4 address, or the /56 of an IPv6 address.
    Address(IpAddr),
    /// A device of a household whose queries a forwarder sends.
    Device(Mac),
    /// The operator: explanations for a line without a household.
    Operator,
}

impl ClientKey {
    /// The client of a source address.
    #[must_use]
    pub fn of_address(source: IpAddr) -> Self {
        Self::Address(match source.to_canonical() {
            IpAddr::V6(address) => {
                let host_bits = 128 - V6_CLIENT_BITS;
                Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits).into()
            }
            v4 => v4,
        })
    }
}
