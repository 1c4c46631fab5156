//! Picks RRsets out of the sections of a message, each with the signatures that cover it.

use hickory_proto::rr::{DNSClass, Name as ProtoName, RData, Record, RecordType};
use policy::name::{Name, NameRef};

use crate::{message::types::Rtype, upstream::canonical};

use super::rrset::{RrSet, SecurityStatus};

/// Records of one RRset. A count, as in PowerDNS; larger sets load the resolver (CacheFlush).
pub(super) const RECORDS_MAX: usize = 256;
/// Signatures that are kept of one RRset. A count; an honest set has one for each algorithm, and
/// twice as many during a key rollover.
const SIGNATURES_MAX: usize = 8;
/// NSEC and NSEC3 RRsets that are kept of one response. A count; an NXDOMAIN by NSEC3 has three (RFC
/// 5155 section 7.2.2), a referral or a wildcard answer fewer.
const PROOFS_MAX: usize = 8;

/// The RRset of a name and type, class IN, without duplicates (RFC 2181 section 5.5). It may have
/// one record more than [`RECORDS_MAX`], which shows that it is too large.
pub(super) fn rrset(section: &[Record], owner: NameRef<'_>, rtype: Rtype) -> Option<RrSet> {
    let mut records: Vec<Record> = Vec::new();
    let mut signatures: Vec<Record> = Vec::new();
    for record in section {
        if record.dns_class != DNSClass::IN {
            continue;
        }
        let set = if Rtype::from(record.record_type()) == rtype {
            &mut records
        } else if covered_type(record) == Some(rtype) && signatures.len() < SIGNATURES_MAX {
            &mut signatures
        } else {
            continue;
        };
        if is_named(record, owner) && !set.iter().any(|known| known.data == record.data) {
            set.push(record.clone());
        }
        if records.len() > RECORDS_MAX {
            break;
        }
    }
    (!records.is_empty()).then(|| RrSet {
        owner: owner.to_owned(),
        rtype,
        records,
        signatures,
        proofs: Vec::new(),
        security: SecurityStatus::Indeterminate,
    })
}

/// The same for types of which a name has one record: of several, which no RFC allows, the first.
pub(super) fn singleton(section: &[Record], owner: NameRef<'_>, rtype: Rtype) -> Option<RrSet> {
    let mut set = rrset(section, owner, rtype)?;
    set.records.truncate(1);
    Some(set)
}

/// The NSEC and NSEC3 RRsets of a section whose owners are in the zone.
pub(super) fn proofs(section: &[Record], zone: NameRef<'_>) -> Vec<RrSet> {
    let mut proofs: Vec<RrSet> = Vec::new();
    for record in section {
        let rtype = Rtype::from(record.record_type());
        if !matches!(rtype, Rtype::NSEC | Rtype::NSEC3) || record.dns_class != DNSClass::IN {
            continue;
        }
        let owner = canonical(&record.name);
        let is_known = proofs
            .iter()
            .any(|set| set.rtype == rtype && set.owner == owner);
        if is_known || !owner.borrow().is_within(zone) {
            continue;
        }
        proofs.extend(rrset(section, owner.borrow(), rtype));
        if proofs.len() >= PROOFS_MAX {
            break;
        }
    }
    proofs
}

/// The type that an RRSIG record covers: the first field of its data, RFC 4034 section 3.1.1.
fn covered_type(record: &Record) -> Option<Rtype> {
    let RData::Unknown {
        code: RecordType::RRSIG,
        rdata,
    } = &record.data
    else {
        return None;
    };
    let covered: &[u8; 2] = rdata.anything.first_chunk()?;
    Some(Rtype::new(u16::from_be_bytes(*covered)))
}

/// Whether a record has this owner name, in any letter case.
pub(super) fn is_named(record: &Record, name: NameRef<'_>) -> bool {
    is_same(&record.name, name)
}

fn is_same(proto: &ProtoName, name: NameRef<'_>) -> bool {
    let mut theirs = proto.iter();
    let mut ours = name.labels();
    loop {
        match (theirs.next(), ours.next()) {
            (None, None) => return true,
            (Some(theirs), Some(ours)) if theirs.eq_ignore_ascii_case(ours) => {}
            _ => return false,
        }
    }
}

/// The owner of the first SOA record of a section that may deny a name: at or above the name, and
/// within the zone.
pub(super) fn denying_zone(
    section: &[Record],
    name: NameRef<'_>,
    zone: NameRef<'_>,
) -> Option<Name> {
    section
        .iter()
        .filter(|record| {
            record.record_type() == RecordType::SOA && record.dns_class == DNSClass::IN
        })
        .map(|record| canonical(&record.name))
        .find(|owner| name.is_within(owner.borrow()) && owner.borrow().is_within(zone))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, NULL};

    use crate::upstream::proto_name;

    use super::*;

    fn record(owner: &str, data: RData) -> Record {
        Record::from_rdata(proto_name(Name::parse(owner).unwrap().borrow()), 60, data)
    }

    fn opaque(owner: &str, code: RecordType, octets: &[u8]) -> Record {
        let rdata = NULL::with(octets.to_vec());
        record(owner, RData::Unknown { code, rdata })
    }

    fn address(owner: &str) -> Record {
        record(owner, RData::A(A::new(192, 0, 2, 1)))
    }

    #[test]
    fn a_set_has_the_signatures_that_cover_its_type_at_its_name() {
        let signature =
            |owner, covered, last| opaque(owner, RecordType::RRSIG, &[0, covered, 13, last]);
        let mut section = vec![
            signature("www.example", 1, 0),
            address("WWW.example"),
            signature("www.example", 28, 1),
            signature("example", 1, 2),
            signature("www.example", 1, 3),
            signature("www.example", 1, 3),
            opaque("www.example", RecordType::RRSIG, &[0]),
        ];
        let name = Name::parse("www.example").unwrap();
        let set = rrset(&section, name.borrow(), Rtype::A).unwrap();
        assert_eq!(set.records, [section[1].clone()]);
        assert_eq!(set.signatures, [section[0].clone(), section[4].clone()]);
        assert!(
            rrset(&section, name.borrow(), Rtype::AAAA).is_none(),
            "no records"
        );
        section.extend((10..30).map(|last| signature("www.example", 1, last)));
        let set = rrset(&section, name.borrow(), Rtype::A).unwrap();
        assert_eq!(set.signatures.len(), SIGNATURES_MAX);
    }

    #[test]
    fn the_signatures_of_a_name_can_be_queried_themselves() {
        let section = [opaque("example", RecordType::RRSIG, &[0, 1, 13])];
        let name = Name::parse("example").unwrap();
        let set = rrset(&section, name.borrow(), Rtype::RRSIG).unwrap();
        assert_eq!((set.records.len(), set.signatures.len()), (1, 0));
    }

    #[test]
    fn proofs_are_the_nsec_and_nsec3_sets_within_the_zone() {
        let mut section = vec![
            opaque("a.example", RecordType::NSEC, b"\x01b\x00"),
            opaque("a.example", RecordType::RRSIG, &[0, 47, 13]),
            opaque("a.example", RecordType::NSEC, b"\x01c\x00"),
            opaque("a.example", RecordType::NSEC3, b"\x01"),
            opaque("a.other", RecordType::NSEC, b"\x01b\x00"),
            address("a.example"),
        ];
        let zone = Name::parse("example").unwrap();
        let found = proofs(&section, zone.borrow());
        let found: Vec<(Rtype, usize, usize)> = found
            .iter()
            .map(|set| (set.rtype, set.records.len(), set.signatures.len()))
            .collect();
        assert_eq!(found, [(Rtype::NSEC, 2, 1), (Rtype::NSEC3, 1, 0)]);
        section.extend((0..20).map(|number| {
            opaque(
                &format!("n{number}.example"),
                RecordType::NSEC,
                b"\x01z\x00",
            )
        }));
        assert_eq!(proofs(&section, zone.borrow()).len(), PROOFS_MAX);
    }
}
