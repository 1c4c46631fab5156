//! The default networks of the configuration.

use ipnet::IpNet;

/// Loopback, private, shared and link-local networks (RFC 6890): the Internet does not route them.
const LOCAL: [&str; 9] = [
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// The special-purpose networks of RFC 6890 and its registries: no authoritative server of the public
/// Internet has an address there.
const SPECIAL: [&str; 22] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/127",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// The networks of a home, and of an operator's side of its lines.
pub fn local() -> Vec<IpNet> {
    parsed(&LOCAL)
}

/// The loopback network, IPv4.
pub fn loopback() -> Vec<IpNet> {
    parsed(&LOCAL[..1])
}

/// The loopback networks of IPv4 and IPv6.
pub fn loopback_of_both_families() -> Vec<IpNet> {
    parsed(&LOCAL[..2])
}

/// Networks without authoritative servers of the public Internet.
pub fn special() -> Vec<IpNet> {
    parsed(&SPECIAL)
}

fn parsed(texts: &[&str]) -> Vec<IpNet> {
    texts
        .iter()
        .map(|text| text.parse().expect("our own defaults are networks"))
        .collect()
}
