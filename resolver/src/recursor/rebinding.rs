//! DNS rebinding: which records lead a client from a public name into a private network
//! (`recursion.private_addresses`). This file judges one record by its data alone; the caller knows
//! the names that may lead there (`recursion.private_domains`).
//!
//! A record of HTTPS or SVCB with a private hint is dropped as a whole, not rewritten: a hint that
//! is taken out leaves a dangling `mandatory` key (RFC 9460 section 8) and a record that no
//! signature covers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{RData, Record, RecordType};
use ipnet::IpNet;

use crate::message::targets::hints;

/// The well-known prefix of NAT64, 64:ff9b::/96 (RFC 6052 section 2.1), and the address of 6to4,
/// 2002::/16 (RFC 3056 section 2).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
const SIX_TO_FOUR: u16 = 0x2002;

/// Whether an address in a record's data is in one of these networks: of A and AAAA the address
/// itself, of HTTPS and SVCB each hint.
pub(super) fn leads_into(record: &Record, networks: &[IpNet]) -> bool {
    match &record.data {
        RData::A(_) | RData::AAAA(_) => record
            .data
            .ip_addr()
            .is_some_and(|address| is_in(address, networks)),
        RData::Unknown {
            code: RecordType::HTTPS | RecordType::SVCB,
            rdata,
        } => {
            let mut is_private = false;
            // The hints before parameters that cannot be read count: a careless client may use
            // them.
            let _ = hints(&rdata.anything, &mut |address| {
                is_private |= is_in(address, networks)
            });
            is_private
        }
        _ => false,
    }
}

/// Whether an address, or the IPv4 address that it stands for, is in one of these networks.
fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    let embedded = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
    };
    [Some(address), embedded]
        .into_iter()
        .flatten()
        .any(|address| networks.iter().any(|network| network.contains(&address)))
}

/// The IPv4 address to which a packet for this IPv6 address goes in the end.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let groups = address.segments();
    let of = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
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

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, rdata};

    use super::*;

    fn check(data: RData, is_private: bool) {
        let networks: Vec<IpNet> = ["10.0.0.0/8", "192.168.0.0/16", "fd00::/8"]
            .map(|text| text.parse().unwrap())
            .into();
        let record = Record::from_rdata(Name::root(), 60, data);
        assert_eq!(leads_into(&record, &networks), is_private, "{record}");
        assert!(
            !leads_into(&record, &[]),
            "no network is private unless it is configured"
        );
    }

    fn address(text: &str) -> RData {
        match text.parse().unwrap() {
            IpAddr::V4(address) => RData::A(address.into()),
            IpAddr::V6(address) => RData::AAAA(address.into()),
        }
    }

    fn service(record_type: RecordType, octets: &[u8]) -> RData {
        RData::Unknown {
            code: record_type,
            rdata: rdata::NULL::with(octets.to_vec()),
        }
    }

    #[test]
    fn an_address_is_private_in_each_form_that_leads_there() {
        for text in [
            "10.1.2.3",
            "192.168.0.1",
            "fd12::1",
            "::ffff:10.1.2.3",
            "::10.1.2.3",
            "64:ff9b::192.168.0.1",
            "2002:a01:203::1",
        ] {
            check(address(text), true);
        }
        for text in [
            "9.255.255.255",
            "192.167.0.1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::1",
            "::",
        ] {
            check(address(text), false);
        }
        check(
            RData::TXT(rdata::TXT::new(vec!["10.1.2.3".to_owned()])),
            false,
        );
    }

    #[test]
    fn a_service_record_is_private_where_one_hint_is() {
        let public = b"\0\x04\0\x04\xc0\0\x02\x01";
        let private = b"\0\x04\0\x08\xc0\0\x02\x01\x0a\x01\x02\x03";
        let private_v6 = b"\0\x06\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        for record_type in [RecordType::HTTPS, RecordType::SVCB] {
            let with =
                |parameters: &[u8]| service(record_type, &[b"\0\x01\0", parameters].concat());
            check(with(b""), false);
            check(with(b"\0\x01\0\x03\x02h2"), false);
            check(with(public), false);
            check(with(private), true);
            check(with(private_v6), true);
            check(with(&[&public[..], private_v6].concat()), true);
            // The list of parameters breaks off behind the hint.
            check(with(&[&private[..], b"\0\x07\0\x09"].concat()), true);
        }
        // The same octets under a type whose data nobody understands are data.
        check(
            service(
                RecordType::Unknown(65_281),
                &[b"\0\x01\0", &private[..]].concat(),
            ),
            false,
        );
    }
}
