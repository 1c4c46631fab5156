//! Which networks may do what, by the address of the peer: ask, ask without recursion, and assert
//! the identity of others.
//!
//! Networks of households are not known here: the directory knows them, and the engine asks it
//! first.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use policy::identity::directory::Trust;

use crate::engine::config::Parts;

/// A set of networks as sorted ranges of addresses: a look-up is one binary search, however many
/// networks an operator has.
#[derive(Debug, Default)]
pub struct Networks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    /// These networks, in any order. An IPv4-mapped IPv6 network is the IPv4 network in it.
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

    /// Whether an address is in one of them. An IPv4-mapped IPv6 address is the IPv4 address in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => is_within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => is_within(&self.v6, address.to_bits()),
        }
    }
}

fn unmapped(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let Some(address) = mapped.addr().to_ipv4_mapped() else {
        return network;
    };
    let length = mapped.prefix_len().checked_sub(MAPPED_BITS);
    length
        .and_then(|length| Ipv4Net::new(address, length).ok())
        .map_or(network, IpNet::V4)
}

/// Ranges in order. Networks contain each other or do not meet, so the first one that begins
/// earlier contains the others.
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

/// What peers may do.
pub(crate) struct Access {
    asking: Networks,
    snooping: Networks,
    trusted: Networks,
    forwarders: Networks,
}

impl Access {
    pub fn of(parts: &Parts) -> Self {
        let is_one_address = |network: &&IpNet| network.prefix_len() == network.max_prefix_len();
        Self {
            asking: Networks::of(
                parts
                    .allow_from
                    .iter()
                    .chain(parts.trusted_peers.iter().filter(is_one_address)),
            ),
            snooping: Networks::of(&parts.snoop_from),
            trusted: Networks::of(&parts.trusted_peers),
            forwarders: Networks::of(parts.trusted_peers.iter().filter(is_one_address)),
        }
    }

    /// Whether a peer of no household may ask. A network that is trusted to assert identities may
    /// not for that alone: it is as wide as the operator's own side of the lines.
    pub fn may_ask(&self, peer: IpAddr) -> bool {
        self.asking.contains(peer)
    }

    /// Whether a peer may ask without recursion, and so see what others asked for.
    pub fn may_snoop(&self, peer: IpAddr) -> bool {
        self.snooping.contains(peer)
    }

    /// What the word of a peer is worth that asserts who asks.
    pub fn trust(&self, peer: IpAddr) -> Trust {
        if self.forwarders.contains(peer) {
            Trust::Forwarder
        } else {
            Trust::from(self.trusted.contains(peer))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Vec<IpNet> {
        text.split_whitespace()
            .map(|network| network.parse().unwrap())
            .collect()
    }

    #[test]
    fn an_address_is_found_in_exactly_the_networks_that_contain_it() {
        let text = "192.0.2.0/24 192.0.2.128/25 10.0.0.0/8 10.1.2.3/32 203.0.113.7/32 203.0.113.9/24 ::1/128 2001:db8::/32 \
            2001:db8:7::/48 fe80::/10 ::ffff:198.51.100.0/120";
        let list = Networks::of(&networks(text));
        for inside in [
            "192.0.2.0",
            "192.0.2.127",
            "192.0.2.128",
            "192.0.2.255",
            "10.0.0.0",
            "10.1.2.4",
            "10.255.255.255",
            "203.0.113.0",
            "::1",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "febf::1",
            "::ffff:10.0.0.1",
            "198.51.100.255",
            "::ffff:198.51.100.7",
        ] {
            assert!(list.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "192.0.1.255",
            "192.0.3.0",
            "9.255.255.255",
            "11.0.0.0",
            "203.0.112.255",
            "203.0.114.0",
            "0.0.0.0",
            "255.255.255.255",
            "::",
            "::2",
            "2001:db7:ffff::",
            "2001:db9::",
            "fec0::",
            "::ffff:11.0.0.0",
            "198.51.101.0",
        ] {
            assert!(!list.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn no_network_holds_nobody_and_the_whole_range_holds_one_family() {
        let none = Networks::default();
        let v4 = Networks::of(&networks("0.0.0.0/0"));
        let v6 = Networks::of(&networks("::/0 ::1/128"));
        for (address, is_v4) in [
            ("0.0.0.0", true),
            ("255.255.255.255", true),
            ("::ffff:192.0.2.1", true),
            ("::", false),
            ("ffff::", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(
                (
                    none.contains(address),
                    v4.contains(address),
                    v6.contains(address)
                ),
                (false, is_v4, !is_v4),
                "{address}"
            );
        }
    }

    #[test]
    fn many_networks_are_told_apart_as_a_scan_of_them_tells() {
        // Every third /24 of a /12, and some host addresses between: an operator with many
        // prefixes.
        let list: Vec<IpNet> = (0..4_096_u32)
            .filter(|number| number % 3 == 0)
            .map(|number| {
                IpNet::new(
                    IpAddr::V4((0x6440_0000 + (number << 8)).into()),
                    if number % 2 == 0 { 24 } else { 31 },
                )
                .unwrap()
            })
            .collect();
        let table = Networks::of(&list);
        for bits in (0x643f_ff00..0x6450_0100_u32).step_by(51) {
            let address = IpAddr::V4(bits.into());
            assert_eq!(
                table.contains(address),
                list.iter().any(|network| network.contains(&address)),
                "{address}"
            );
        }
    }
}
