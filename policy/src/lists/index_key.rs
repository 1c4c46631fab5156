//! Keys that are no names: what else the lists are asked by stands in the same transducer, overlay
//! and delta, under keys that no query walks to unless the lists mean it.
//!
//! - An address prefix is a subtree below a top label that no name has: octets of an IPv4 address
//!   as labels, nibbles of an IPv6 address, the most significant one uppermost. A prefix that ends
//!   between labels is several subtrees.
//! - A path is one more label below its host, which begins with the path's slash.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::name::{KEY_ESCAPE, KEY_LABEL_END, Name, NameRef};

/// The top labels of addresses.
const V4: &[u8] = b"*ip4";
const V6: &[u8] = b"*ip6";

/// An IPv4 network that is written as IPv6 (`::ffff:192.0.2.0/120`, RFC 4291 section 2.5.5.2), as
/// IPv4. Any other network as it is.
#[must_use]
pub fn unmapped(network: IpNet) -> IpNet {
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

/// The name that stands for an address. An IPv4 address that is written as IPv6 is an IPv4 address.
#[must_use]
pub fn name_of_address(address: IpAddr) -> Name {
    let address = address.to_canonical();
    let (bits, length) = bits_of(address);
    name_of_bits(bits, length, address.is_ipv4())
}

/// The names whose subtrees are a prefix: one, or as many as it takes to end at a label.
#[must_use]
pub fn names_of_prefix(prefix: IpNet) -> Vec<Name> {
    let prefix = unmapped(prefix);
    let is_v4 = prefix.addr().is_ipv4();
    let length = u32::from(prefix.prefix_len());
    let (bits, whole) = bits_of(prefix.network());
    let step = if is_v4 { 8 } else { 4 };
    let rounded = length.div_ceil(step) * step;
    (0..1_u128 << (rounded - length))
        .map(|part| name_of_bits(bits | shift_left(part, whole - rounded), rounded, is_v4))
        .collect()
}

/// The prefix that a name stands for, where it stands for one.
#[must_use]
pub fn prefix_of_name(name: NameRef<'_>) -> Option<IpNet> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let (top, digits) = labels.split_last()?;
    let (radix, step, whole): (u32, u32, u32) = match *top {
        V4 => (10, 8, 32),
        V6 => (16, 4, 128),
        _ => return None,
    };
    let mut bits = 0_u128;
    for digit in digits.iter().rev() {
        bits = bits << step
            | u128::from(u8::from_str_radix(std::str::from_utf8(digit).ok()?, radix).ok()?);
    }
    let length = u32::try_from(digits.len()).ok()? * step;
    let bits = shift_left(bits, whole.checked_sub(length)?);
    let address = if whole == 32 {
        IpAddr::V4(u32::try_from(bits).ok()?.into())
    } else {
        IpAddr::V6(bits.into())
    };
    IpNet::new(address, u8::try_from(length).ok()?).ok()
}

/// Whether octets are a key of labels, each of them ended and none of them empty; the root's has
/// none. Paths are longer than labels.
pub(crate) fn is_key(key: &[u8]) -> bool {
    let mut octets = key.iter();
    let mut is_in_label = false;
    while let Some(&octet) = octets.next() {
        match octet {
            KEY_LABEL_END if !is_in_label => return false,
            KEY_LABEL_END => is_in_label = false,
            KEY_ESCAPE if !matches!(octets.next(), Some(1 | 2)) => return false,
            _ => is_in_label = true,
        }
    }
    !is_in_label
}

/// Whether a name stands for addresses. A client can ask for it, and it is then a name like any
/// other that does not exist.
pub(crate) fn is_of_addresses(name: NameRef<'_>) -> bool {
    // Nearly every name ends otherwise, and is told by its last octets alone.
    let has_end = |top: &[u8]| {
        name.wire()
            .strip_suffix(&[0])
            .is_some_and(|wire| wire.ends_with(top))
    };
    (has_end(V4) || has_end(V6))
        && name
            .labels()
            .last()
            .is_some_and(|top| top == V4 || top == V6)
}

/// The beginning of the keys of all addresses, of each kind.
pub(crate) fn address_tops() -> [Vec<u8>; 2] {
    [V4, V6].map(|top| [top, &[KEY_LABEL_END]].concat())
}

/// The key of a path below its host; the path begins with its slash.
#[must_use]
pub fn key_of_path(host: NameRef<'_>, path: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(host.wire().len() + path.len() + 2);
    host.write_key(&mut key);
    for &octet in path {
        if octet <= KEY_ESCAPE {
            key.extend([KEY_ESCAPE, octet + 1]);
        } else {
            key.push(octet);
        }
    }
    key.push(KEY_LABEL_END);
    key
}

/// A path's key, apart again: the key of its host, and the path.
#[must_use]
pub fn split_path(key: &[u8]) -> (&[u8], Vec<u8>) {
    let host = host_of_path(key);
    let mut path = Vec::new();
    let mut octets = key[host.len()..]
        .strip_suffix(&[KEY_LABEL_END])
        .unwrap_or(&key[host.len()..])
        .iter();
    while let Some(&octet) = octets.next() {
        path.push(if octet == KEY_ESCAPE {
            octets.next().map_or(0, |next| next.wrapping_sub(1))
        } else {
            octet
        });
    }
    (host, path)
}

/// The key of the host that a path's key is below.
pub(crate) fn host_of_path(key: &[u8]) -> &[u8] {
    let path = key.len().saturating_sub(1);
    let end = key[..path]
        .iter()
        .rposition(|&octet| octet == KEY_LABEL_END)
        .map_or(0, |end| end + 1);
    &key[..end]
}

fn bits_of(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// A shift by all bits is no shift to Rust.
fn shift_left(bits: u128, by: u32) -> u128 {
    bits.checked_shl(by).unwrap_or(0)
}

fn name_of_bits(bits: u128, length: u32, is_v4: bool) -> Name {
    let (top, step, whole) = if is_v4 { (V4, 8, 32) } else { (V6, 4, 128) };
    let mut wire = Vec::with_capacity(80);
    for place in (0..length / step).rev() {
        let digit = bits >> (whole - step * (place + 1)) & ((1 << step) - 1);
        let text = if is_v4 {
            digit.to_string()
        } else {
            format!("{digit:x}")
        };
        wire.push(u8::try_from(text.len()).expect("at most three digits"));
        wire.extend(text.as_bytes());
    }
    wire.push(u8::try_from(top.len()).expect("a label"));
    wire.extend(top);
    wire.push(0);
    NameRef::from_wire(&wire)
        .expect("33 short labels at most")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_subtrees_that_its_addresses_are_in_and_no_others() {
        let covers = |prefix: &str, address: &str| {
            let name = name_of_address(address.parse().unwrap());
            names_of_prefix(prefix.parse().unwrap())
                .iter()
                .any(|top| name.borrow().is_within(top.borrow()))
        };
        for (prefix, inside, outside) in [
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.0.0/20", "192.0.15.9", "192.0.16.0"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::/45", "2001:db8:7::1", "2001:db8:8::"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            assert!(covers(prefix, inside), "{prefix} {inside}");
            assert!(!covers(prefix, outside), "{prefix} {outside}");
        }
        for prefix in [
            "192.0.2.7/32",
            "10.0.0.0/8",
            "2001:db8::/32",
            "::/0",
            "2001:db8::1/128",
        ] {
            let prefix: IpNet = prefix.parse().unwrap();
            let names = names_of_prefix(prefix);
            assert_eq!(names.len(), 1);
            assert_eq!(prefix_of_name(names[0].borrow()), Some(prefix));
        }
        assert_eq!(
            prefix_of_name(Name::parse("example.com").unwrap().borrow()),
            None
        );
    }

    #[test]
    fn a_path_is_below_its_host_and_its_host_is_found_again() {
        let host = Name::parse("files.example").unwrap();
        let mut key = Vec::new();
        host.borrow().write_key(&mut key);
        for path in ["/", "/a/b?c", "/\u{0}\u{1}x"] {
            let of_path = key_of_path(host.borrow(), path.as_bytes());
            assert_eq!(
                split_path(&of_path),
                (key.as_slice(), path.as_bytes().to_vec()),
                "{path:?}"
            );
        }
    }
}
