//! An alias in the place of an answer: local data of a policy zone that leads to a walled garden, or
//! the address of a search engine with safe search.
//!
//! ```text
//! bets.example.    30 CNAME garden.example.    the feed's
//! garden.example.  30 A     203.0.113.1        the target's own records of the queried type
//! ```
//!
//! The lists do not judge the target: it is their own answer (draft-vixie-dnsop-dns-rpz-00 section
//! 6).

use policy::{
    lists::entry::{LocalData, LocalRecord},
    name::{Name, NameRef, WireName},
};

use crate::message::types::Rtype;

/// The first label of a target that stands for the queried name below another one (RPZ).
const WILDCARD_LABEL: &[u8] = b"\x01*";

/// The target of an alias, and the TTL of the alias.
pub(crate) struct Alias {
    pub(crate) target: Name,
    pub(crate) ttl_s: u32,
}

impl Alias {
    /// The alias of a feed's CNAME record for the queried name. None if a wildcard target with the
    /// queried name is longer than a name.
    pub(crate) fn of(asked: NameRef<'_>, record: &LocalRecord) -> Option<Self> {
        let mut name_buffer = WireName::default();
        let target = name_buffer.read(&record.rdata, 0).ok()?;
        let target = match target
            .parent()
            .filter(|_| record.rdata.starts_with(WILDCARD_LABEL))
        {
            Some(below) => asked.moved(Name::root().borrow(), below).ok()?,
            None => target.to_owned(),
        };
        Some(Self {
            target,
            ttl_s: record.ttl_s,
        })
    }
}

/// The CNAME record of a feed's local data, which answers each query type (RFC 1034 section 3.6.2).
pub(crate) fn find(records: &LocalData) -> Option<&LocalRecord> {
    records
        .0
        .iter()
        .find(|record| Rtype::new(record.record_type) == Rtype::CNAME)
}

/// Whether a query of this type asks for records of the target, and not for the alias itself.
pub(crate) fn is_followed(rtype: Rtype) -> bool {
    !matches!(rtype, Rtype::CNAME | Rtype::ANY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &str, rdata: &[u8], expected: Option<&str>) {
        let record = LocalRecord {
            record_type: Rtype::CNAME.into(),
            ttl_s: 60,
            rdata: rdata.to_vec(),
        };
        let alias = Alias::of(Name::parse(asked).unwrap().borrow(), &record);
        assert_eq!(
            alias.map(|alias| alias.target.to_string()).as_deref(),
            expected,
            "{asked}"
        );
    }

    #[test]
    fn an_alias_leads_to_its_target_or_to_the_name_below_it() {
        check(
            "www.bets.example",
            b"\x06Garden\x07example\0",
            Some("garden.example"),
        );
        check(
            "www.bets.example",
            b"\x01*\x06garden\x07example\0",
            Some("www.bets.example.garden.example"),
        );
        check(
            "www.bets.example",
            b"\x02a*\x06garden\x07example\0",
            Some("a\\042.garden.example"),
        );
        check("bets.example", b"\x01*\0", Some("bets.example"));
        let long = vec!["a".repeat(60); 4].join(".");
        check(&long, b"\x01*\x06garden\x07example\0", None);
        for no_name in [&b""[..], b"\xc0\x0c", b"\x09short\0"] {
            check("bets.example", no_name, None);
        }
    }
}
