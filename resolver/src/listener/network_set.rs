//! A set of networks of clients.

use std::net::IpAddr;

use ipnet::IpNet;
use policy::lists::index_key::unmapped;

/// A set of networks as sorted ranges of addresses. A lookup is one binary search.
#[derive(Debug, Default)]
pub struct NetworkSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl NetworkSet {
    /// A set of these networks, in any order. An IPv4-mapped IPv6 network counts as the IPv4 network
    /// in it.
    #[must_use]
    pub fn of<'n>(networks: impl IntoIterator<Item = &'n IpNet>) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for network in networks {
            match unmapped(*network) {
                IpNet::V4(network) => {
                    v4.push((network.network().to_bits(), network.broadcast().to_bits()))
                }
                IpNet::V6(network) => {
                    v6.push((network.network().to_bits(), network.broadcast().to_bits()))
                }
            }
        }
        Self {
            v4: merged(v4),
            v6: merged(v6),
        }
    }

    /// Whether one of the networks contains the address. An IPv4-mapped IPv6 address counts as the
    /// IPv4 address in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => is_within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => is_within(&self.v6, address.to_bits()),
        }
    }
}

/// Sorts ranges and removes those inside others. Two networks are nested or disjoint, so the range
/// before is the one that may contain the next.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable_by(|(first, last), (other_first, other_last)| {
        first.cmp(other_first).then(other_last.cmp(last))
    });
    ranges.dedup_by(|later, earlier| later.1 <= earlier.1);
    ranges.into()
}

fn is_within<T: Ord + Copy>(ranges: &[(T, T)], bits: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= bits);
    behind
        .checked_sub(1)
        .is_some_and(|place| bits <= ranges[place].1)
}

#[cfg(test)]
mod tests;
