//! One record of a policy zone as one row: `OWNER\tTYPE\tRDATA`. The owner is relative to the zone
//! and in lower case, the data is in presentation format. A record always gives the same row,
//! whatever letter case a primary uses, so that a later difference can remove it. TTLs are dropped:
//! policy answers have their own.

use std::fmt::{self, Write};

use bytes::Bytes;
use domain::{
    base::{
        Name, Rtype,
        iana::Class,
        name::{Label, ToLabelIter},
        zonefile_fmt::{DisplayKind, ZonefileFmt},
    },
    net::xfr::protocol::ParsedRecord,
};

/// The zone apex in a row.
pub(super) const APEX: &str = "@";

/// The role of a record in a policy zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordRole {
    /// It may be a rule.
    Policy,
    /// It describes the zone: its name servers and signatures.
    Meta,
    /// It belongs to another zone or class.
    Outside,
}

pub(super) fn record_role(record: &ParsedRecord, zone: &Name<Bytes>) -> RecordRole {
    if record.class() != Class::IN || !record.owner().ends_with(zone) {
        return RecordRole::Outside;
    }
    match record.rtype() {
        Rtype::RRSIG
        | Rtype::NSEC
        | Rtype::NSEC3
        | Rtype::NSEC3PARAM
        | Rtype::DNSKEY
        | Rtype::CDS
        | Rtype::CDNSKEY => RecordRole::Meta,
        Rtype::NS | Rtype::SOA if record.owner() == zone => RecordRole::Meta,
        _ => RecordRole::Policy,
    }
}

/// Writes the row of a record into the buffer, replacing its content.
pub(super) fn write_row(record: &ParsedRecord, zone: &Name<Bytes>, row: &mut Vec<u8>) {
    row.clear();
    let mut text = RowText { row, lower: true };
    let never = "writing to memory does not fail";
    let labels = record.owner().iter_labels().count() - zone.iter_labels().count();
    if labels == 0 {
        text.write_str(APEX).expect(never);
    }
    for (place, label) in record.owner().iter_labels().take(labels).enumerate() {
        write!(
            text,
            "{}{}",
            if place == 0 { "" } else { "." },
            Label::from_slice(label.as_slice()).expect("it is a label")
        )
        .expect(never);
    }
    text.row.push(b'\t');
    text.lower = false;
    write!(text, "{}", record.rtype()).expect(never);
    text.row.push(b'\t');
    // Only names have letters in these types, and names are case-insensitive.
    text.lower = matches!(
        record.rtype(),
        Rtype::CNAME | Rtype::DNAME | Rtype::NS | Rtype::PTR | Rtype::MX | Rtype::SRV
    );
    write!(
        text,
        "{}",
        record.data().display_zonefile(DisplayKind::Simple)
    )
    .expect(never);
}

/// Text on its way into a row. Control characters are escaped, so that none can end the row or a
/// column.
struct RowText<'a> {
    row: &'a mut Vec<u8>,
    lower: bool,
}

impl Write for RowText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for octet in text.bytes() {
            match octet {
                0..0x20 | 0x7f => self.row.extend(format!("\\{octet:03}").bytes()),
                _ if self.lower => self.row.push(octet.to_ascii_lowercase()),
                _ => self.row.push(octet),
            }
        }
        Ok(())
    }
}
