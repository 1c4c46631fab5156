//! Protection against DNS rebinding: records that lead a client from a public name into a private
//! network (`recursion.private_addresses`). This file checks the data of one record; the caller knows
//! the names that may lead there (`recursion.private_domains`).
//!
//! An HTTPS or SVCB record with a private hint is dropped as a whole. A record without the hint may
//! have a dangling `mandatory` key (RFC 9460 section 8), and no signature covers it.

use std::net::IpAddr;

use hickory_proto::rr::{RData, Record, RecordType};
use ipnet::IpNet;
use policy::lists::index_key::unmapped;

use crate::message::{embedded::embedded_ipv4, targets::hints};

/// Whether a record leads into one of these networks: by the address of an A or AAAA record, or by a
/// hint of an HTTPS or SVCB record.
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
            // Hints before parameters that cannot be read count, because lenient clients use them.
            let _ = hints(&rdata.anything, &mut |address| {
                is_private |= is_in(address, networks)
            });
            is_private
        }
        _ => false,
    }
}

/// Whether an address, or the IPv4 address embedded in it, is in one of these networks.
fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    [Some(address), embedded_ipv4(address)]
        .into_iter()
        .flatten()
        .any(|address| networks.iter().any(|network| contains(network, address)))
}

/// Whether a network contains an address. A part of ::ffff:0:0/96 counts as the IPv4 network in it;
/// the whole of it stands for the notation, not for all of IPv4.
fn contains(network: &IpNet, address: IpAddr) -> bool {
    const NOTATION_BITS: u8 = 96;
    network.contains(&address)
        || network.prefix_len() > NOTATION_BITS && unmapped(*network).contains(&address)
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

    fn service(rtype: RecordType, octets: &[u8]) -> RData {
        RData::Unknown {
            code: rtype,
            rdata: rdata::NULL::with(octets.to_vec()),
        }
    }

    #[test]
    fn an_address_is_private_in_each_form_that_embeds_it() {
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
    fn a_network_counts_in_the_notation_of_ipv6_as_well() {
        let leads = |text: &str, network: &str| {
            let record = Record::from_rdata(Name::root(), 60, address(text));
            leads_into(&record, &[network.parse().unwrap()])
        };
        for text in ["192.168.0.1", "::ffff:192.168.0.1", "64:ff9b::192.168.0.1"] {
            assert!(leads(text, "::ffff:192.168.0.0/112"), "{text}");
        }
        assert!(!leads("192.169.0.1", "::ffff:192.168.0.0/112"));
        // The whole of it is how Unbound's documentation forbids the notation.
        assert!(leads("::ffff:192.0.2.1", "::ffff:0:0/96"));
        assert!(!leads("192.0.2.1", "::ffff:0:0/96"));
    }

    #[test]
    fn a_service_record_is_private_where_one_hint_is() {
        let public = b"\0\x04\0\x04\xc0\0\x02\x01";
        let private = b"\0\x04\0\x08\xc0\0\x02\x01\x0a\x01\x02\x03";
        let private_v6 = b"\0\x06\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        for rtype in [RecordType::HTTPS, RecordType::SVCB] {
            let with = |parameters: &[u8]| service(rtype, &[b"\0\x01\0", parameters].concat());
            check(with(b""), false);
            check(with(b"\0\x01\0\x03\x02h2"), false);
            check(with(public), false);
            check(with(private), true);
            check(with(private_v6), true);
            check(with(&[&public[..], private_v6].concat()), true);
            // The parameters are cut off behind the hint.
            check(with(&[&private[..], b"\0\x07\0\x09"].concat()), true);
        }
        // The same octets have no meaning under another type.
        check(
            service(
                RecordType::Unknown(65_281),
                &[b"\0\x01\0", &private[..]].concat(),
            ),
            false,
        );
    }
}
