//! IPv4 addresses inside IPv6 addresses: packets to such an address end at the IPv4 address, so a
//! rule about the one applies to the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The well-known prefix of NAT64, 64:ff9b::/96 (RFC 6052 section 2.1).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
/// The first group of 6to4, 2002::/16 (RFC 3056 section 2).
const SIX_TO_FOUR: u16 = 0x2002;

/// The IPv4 address that a host, translator or tunnel sends packets for this address to, if the
/// address is IPv6 and has one.
pub(crate) fn embedded_ipv4(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let groups = address.segments();
    let of = |high: u16, low: u16| {
        let bits = u32::from(high) << 16 | u32::from(low);
        Some(IpAddr::V4(Ipv4Addr::from(bits)))
    };
    match groups {
        // ::ffff:192.0.2.1 (RFC 4291 section 2.5.5.2), and the older ::192.0.2.1.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
            if address != Ipv6Addr::LOCALHOST && address != Ipv6Addr::UNSPECIFIED =>
        {
            of(high, low)
        }
        [front @ .., high, low] if front == NAT64 => of(high, low),
        [SIX_TO_FOUR, high, low, ..] => of(high, low),
        _ => None,
    }
}
