//! The CNAME that a server synthesises from a DNAME, RFC 6672 section 3.1.

use hickory_proto::rr::{RData, Record, rdata};
use policy::name::{Name, NameRef};

use crate::{message::types::Rtype, upstream::proto_name};

use super::rrset::RrSet;

/// Why no CNAME can be synthesised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnameError {
    /// The substitution makes a name that is too long, RFC 6672 section 2.2.
    TooLong,
    /// The set holds no DNAME that can be read.
    Unreadable,
}

/// Synthesises the CNAME of a name below the owner of a DNAME. Returns it with its target.
///
/// # Errors
/// [`DnameError`] when the substitution is not possible.
pub fn synthesise_cname(dname: &RrSet, at: NameRef<'_>) -> Result<(RrSet, Name), DnameError> {
    let record = dname.records.first().ok_or(DnameError::Unreadable)?;
    let RData::Unknown { rdata, .. } = &record.data else {
        return Err(DnameError::Unreadable);
    };
    let wire = rdata.anything.to_ascii_lowercase();
    let target = NameRef::from_wire(&wire).map_err(|_| DnameError::Unreadable)?;
    let target = at
        .moved(dname.owner.borrow(), target)
        .map_err(|_| DnameError::TooLong)?;
    let cname = Record::from_rdata(
        proto_name(at),
        record.ttl,
        RData::CNAME(rdata::CNAME(proto_name(target.borrow()))),
    );
    let cname = RrSet::unsigned(at.to_owned(), Rtype::CNAME, vec![cname]);
    Ok((cname, target))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{RecordType, rdata::NULL};

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn set(data: RData) -> RrSet {
        let owner = name("d.example.com");
        let records = vec![Record::from_rdata(proto_name(owner.borrow()), 77, data)];
        RrSet::unsigned(owner, Rtype::DNAME, records)
    }

    fn dname(wire: &[u8]) -> RrSet {
        set(RData::Unknown {
            code: RecordType::DNAME,
            rdata: NULL::with(wire.to_vec()),
        })
    }

    #[test]
    fn a_synthesised_cname_has_the_ttl_of_its_dname() {
        let (cname, target) = synthesise_cname(
            &dname(b"\x01E\x04Test\0"),
            name("a.b.d.example.com").borrow(),
        )
        .unwrap();
        assert_eq!(
            (target.to_string(), cname.records[0].ttl),
            ("a.b.e.test".to_owned(), 77)
        );
        assert_eq!(
            (cname.owner.to_string(), cname.alias_target()),
            ("a.b.d.example.com".to_owned(), Some(target))
        );
    }

    #[test]
    fn a_set_without_a_readable_dname_makes_no_cname() {
        let empty = RrSet {
            records: Vec::new(),
            ..dname(b"\0")
        };
        for set in [
            dname(b"\x05shor\0"),
            set(RData::A(std::net::Ipv4Addr::LOCALHOST.into())),
            empty,
        ] {
            assert_eq!(
                synthesise_cname(&set, name("a.d.example.com").borrow()).unwrap_err(),
                DnameError::Unreadable
            );
        }
    }

    #[test]
    fn a_name_that_becomes_too_long_makes_no_cname() {
        let long = name(&format!(
            "{}.d.example.com",
            vec!["x".repeat(60); 3].join(".")
        ));
        let far = dname(name(&vec!["y".repeat(60); 2].join(".")).borrow().wire());
        assert_eq!(
            synthesise_cname(&far, long.borrow()).unwrap_err(),
            DnameError::TooLong
        );
    }
}
