//! Networks as keys of the directory: family, prefix length and bits of the prefix; and the lengths
//! in use.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
};

use ipnet::IpNet;

/// The first kind of an IPv6 network; IPv4 has the 33 kinds below.
const V6_KINDS: u8 = 33;

/// A network. Equal networks are equal values, because host bits are cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Network {
    /// Family and length: the length of an IPv4 prefix, or 33 plus the length of an IPv6 prefix.
    kind: u8,
    /// The prefix from the highest bit down; the bits after it are zero.
    bits: u128,
}

impl Network {
    /// The network of this length that contains an address.
    pub fn around(address: IpAddr, length: u8) -> Self {
        let (kind, bits) = match address {
            IpAddr::V4(address) => (length, u128::from(address.to_bits()) << 96),
            IpAddr::V6(address) => (V6_KINDS + length, address.to_bits()),
        };
        // In Rust a shift by all 128 bits overflows; a prefix of length 0 has no bits.
        Self {
            kind,
            bits: bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0),
        }
    }

    pub fn is_v4(self) -> bool {
        self.kind < V6_KINDS
    }

    /// Whether it is a single address.
    #[inline]
    pub fn is_address(self) -> bool {
        self.kind == V6_KINDS - 1 || self.kind == V6_KINDS + 128
    }

    pub fn length(self) -> u8 {
        if self.is_v4() {
            self.kind
        } else {
            self.kind - V6_KINDS
        }
    }

    /// The 64 highest bits of the prefix. The address of an IPv4 network is in the upper half.
    pub fn upper_bits(self) -> u64 {
        (self.bits >> 64) as u64
    }

    /// Appends the network in as few octets as possible.
    pub fn pack(self, octets: &mut Vec<u8>) {
        octets.push(self.kind);
        octets.extend_from_slice(&self.bits.to_be_bytes()[..self.octets()]);
    }

    /// Reads what [`Self::pack`] wrote. Also returns the number of octets read.
    pub fn unpack(packed: &[u8]) -> (Self, usize) {
        let short = Self {
            kind: packed[0],
            bits: 0,
        };
        let taken = short.octets();
        let mut octets = [0; 16];
        octets[..taken].copy_from_slice(&packed[1..=taken]);
        (
            Self {
                bits: u128::from_be_bytes(octets),
                ..short
            },
            1 + taken,
        )
    }

    /// The number of octets that hold bits of the prefix.
    fn octets(self) -> usize {
        usize::from(self.length().div_ceil(8))
    }
}

impl From<&IpNet> for Network {
    fn from(network: &IpNet) -> Self {
        Self::around(network.addr(), network.prefix_len())
    }
}

impl From<Network> for IpNet {
    fn from(network: Network) -> Self {
        let address: IpAddr = if network.is_v4() {
            Ipv4Addr::from_bits((network.bits >> 96) as u32).into()
        } else {
            Ipv6Addr::from_bits(network.bits).into()
        };
        Self::new(address, network.length()).expect("the length is one of its family")
    }
}

/// The prefix lengths in use, one bit each: 0 to 128 for both families.
#[derive(Default)]
pub(crate) struct PrefixLengths {
    v4: [AtomicU64; 3],
    v6: [AtomicU64; 3],
}

impl PrefixLengths {
    fn words(&self, is_v4: bool) -> &[AtomicU64; 3] {
        if is_v4 { &self.v4 } else { &self.v6 }
    }

    pub fn record(&self, is_v4: bool, length: u8) {
        self.words(is_v4)[usize::from(length) / 64].fetch_or(1 << (length % 64), Ordering::SeqCst);
    }

    pub fn forget(&self, is_v4: bool, length: u8) {
        self.words(is_v4)[usize::from(length) / 64]
            .fetch_and(!(1 << (length % 64)), Ordering::SeqCst);
    }

    pub fn longest_first(&self, is_v4: bool) -> impl Iterator<Item = u8> + Clone {
        let words = self.words(is_v4);
        (0..3_u8).rev().flat_map(move |word| {
            let mut bits = words[usize::from(word)].load(Ordering::SeqCst);
            std::iter::from_fn(move || {
                let highest =
                    u8::try_from(63_u32.checked_sub(bits.leading_zeros())?).expect("below 64");
                bits &= !(1 << highest);
                Some(word * 64 + highest)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_any_length_is_read_back_as_it_was_packed() {
        let mut packed = Vec::new();
        for (address, longest) in [
            ("255.255.255.255", 32),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 128),
        ] {
            let address: IpAddr = address.parse().unwrap();
            for length in 0..=longest {
                let network = Network::around(address, length);
                packed.clear();
                network.pack(&mut packed);
                packed.push(9);
                assert_eq!(Network::unpack(&packed), (network, packed.len() - 1));
                let plain = IpNet::new(address, length).unwrap().trunc();
                assert_eq!(
                    (IpNet::from(network), Network::from(&plain)),
                    (plain, network)
                );
                assert_eq!(
                    (network.is_v4(), network.length()),
                    (address.is_ipv4(), length)
                );
            }
        }
    }
}
