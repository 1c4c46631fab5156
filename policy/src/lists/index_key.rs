//! Keys for addresses and paths, which are no names. They are in the same FST, overlay and delta as
//! names, under keys that no walk of a queried name reaches.
//!
//! - An address prefix is a subtree below a top label that no name has. The octets of an IPv4
//!   address and the nibbles of an IPv6 address are labels, the most significant one uppermost. A
//!   prefix that ends inside a label is several subtrees.
//! - A path is one more label below its host; it begins with the slash of the path.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::name::{KEY_ESCAPE, KEY_LABEL_END, Name, NameRef};

/// The top labels of addresses.
const V4: &[u8] = b"*ip4";
const V6: &[u8] = b"*ip6";

/// Turns an IPv4-mapped IPv6 network (`::ffff:192.0.2.0/120`, RFC 4291 section 2.5.5.2) into IPv4.
/// Other networks stay as they are.
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

/// The name that stands for an address. An IPv4-mapped address stands for the IPv4 address.
#[must_use]
pub fn name_of_address(address: IpAddr) -> Name {
    let address = address.to_canonical();
    let (bits, length) = bits_of(address);
    name_of_bits(bits, length, address.is_ipv4())
}

/// The names whose subtrees make up a prefix: one, or several if it ends inside a label.
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

/// The prefix of a name that [`names_of_prefix`] returned; `None` for other names.
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

/// Whether octets are a sequence of labels, each ended and none empty. The root's key has none. A
/// path's label can be longer than a name's.
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

/// Whether a name has the form of an address key. A client can query it; it is then an ordinary
/// name that does not exist.
pub(crate) fn is_of_addresses(name: NameRef<'_>) -> bool {
    // Nearly every name ends otherwise, so its last octets are compared first.
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

/// The first octets of the keys of IPv4 and IPv6 addresses.
pub(crate) fn address_tops() -> [Vec<u8>; 2] {
    [V4, V6].map(|top| [top, &[KEY_LABEL_END]].concat())
}

/// The key of a path below its host. The path begins with its slash.
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

/// Splits the key of a path into the key of its host and the path.
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

/// The key of the host of a path's key.
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

/// Shifts left; a shift by all bits gives 0 instead of overflowing.
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
