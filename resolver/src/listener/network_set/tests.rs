//! Networks and the addresses in them.

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
    let list = NetworkSet::of(&networks(text));
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
fn an_empty_set_contains_nothing_and_a_whole_range_one_family() {
    let none = NetworkSet::default();
    let v4 = NetworkSet::of(&networks("0.0.0.0/0"));
    let v6 = NetworkSet::of(&networks("::/0 ::1/128"));
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
fn a_lookup_among_many_networks_agrees_with_a_scan() {
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
    let table = NetworkSet::of(&list);
    for bits in (0x643f_ff00..0x6450_0100_u32).step_by(51) {
        let address = IpAddr::V4(bits.into());
        assert_eq!(
            table.contains(address),
            list.iter().any(|network| network.contains(&address)),
            "{address}"
        );
    }
}
