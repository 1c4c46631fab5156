//! NSEC records, RFC 4034 section 4, and what those of a response prove.

use policy::name::{Name, NameRef};

use crate::{message::types::Rtype, recursor::rrset::RrSet, weighed::heap_octets};

use super::{
    bitmap::TypeBitmap,
    canonical::{child, common_labels, compare_names, data_octets, name_at, wildcard},
    fault::ValidationFault,
    finding::{Delegation, Finding, cut, denied_type},
};

/// An NSEC record of a zone.
#[derive(Debug, Clone)]
pub(super) struct Nsec {
    pub(super) owner: Name,
    next: Name,
    /// The record is the last one of the zone: its next name is the apex.
    is_last: bool,
    types: TypeBitmap,
}

impl Nsec {
    /// The records of an NSEC RRset. A record is left out whose next name is outside the zone, or
    /// before its owner without being the apex.
    pub(super) fn of(set: &RrSet, zone: NameRef<'_>) -> impl Iterator<Item = Self> {
        set.records.iter().filter_map(move |record| {
            let data = data_octets(record)?;
            let (next, at) = name_at(&data, 0)?;
            let owner = set.owner.clone();
            let is_last = next.borrow() == zone;
            let is_in_order = is_last || compare_names(owner.borrow(), next.borrow()).is_lt();
            let is_sound =
                is_in_order && owner.borrow().is_within(zone) && next.borrow().is_within(zone);
            let types = TypeBitmap::parse(&data[at..])?;
            is_sound.then_some(Self {
                owner,
                next,
                is_last,
                types,
            })
        })
    }

    /// Whether the name, which is in the zone, does not exist: it lies between the owner and the
    /// next name, is no empty non-terminal, and not below a zone cut or a DNAME at the owner.
    pub(super) fn denies(&self, name: NameRef<'_>) -> bool {
        self.spans(name) && !self.next.borrow().is_within(name)
    }

    /// Whether the name is an empty non-terminal: the next name is below it.
    fn shows_empty_non_terminal(&self, name: NameRef<'_>) -> bool {
        self.spans(name) && self.next.borrow().is_within(name)
    }

    fn spans(&self, name: NameRef<'_>) -> bool {
        let owner = self.owner.borrow();
        let is_hidden = self.types.hides_descendants() && name.is_within(owner);
        compare_names(owner, name).is_lt()
            && (self.is_last || compare_names(name, self.next.borrow()).is_lt())
            && !is_hidden
    }

    /// The closest encloser of a name that the record denies: the longest ancestor that the owner or
    /// the next name shows to exist.
    pub(super) fn closest_encloser<'n>(&self, name: NameRef<'n>) -> NameRef<'n> {
        let labels =
            common_labels(name, self.owner.borrow()).max(common_labels(name, self.next.borrow()));
        name.last_labels(labels)
    }

    /// Whether the record says nothing about other names: a compact denial, RFC 9824 section 2. Its
    /// next name is the first one that could follow its owner.
    pub(super) fn is_compact(&self) -> bool {
        let is_next = child(b"\0", self.owner.borrow()).is_some_and(|next| next == self.next);
        is_next || self.types.denies_its_name()
    }

    /// Memory behind the record, in octets.
    pub(super) fn heap_octets(&self) -> usize {
        let of_name = |name: &Name| heap_octets(name.borrow().wire().len());
        of_name(&self.owner) + of_name(&self.next) + self.types.heap_octets()
    }
}

/// The types of an NSEC record, from its data.
pub(super) fn types_of(data: &[u8]) -> Option<TypeBitmap> {
    let (_, at) = name_at(data, 0)?;
    TypeBitmap::parse(&data[at..])
}

/// The NSEC records of a response.
#[derive(Debug, Clone, Default)]
pub(super) struct NsecRecords(Vec<Nsec>);

impl NsecRecords {
    /// The sound records of NSEC RRsets.
    pub(super) fn of<'s>(sets: impl Iterator<Item = &'s RrSet>, zone: NameRef<'_>) -> Self {
        Self(sets.flat_map(|set| Nsec::of(set, zone)).collect())
    }

    /// These records.
    pub(super) fn of_records(records: Vec<Nsec>) -> Self {
        Self(records)
    }

    /// RFC 4035 section 5.4: no record has the name, and none the wildcard that could stand in.
    pub(super) fn nxdomain(&self, name: NameRef<'_>) -> Option<Finding> {
        if let Some(record) = self.at(name) {
            return record.types.denies_its_name().then_some(Finding::Compact);
        }
        let wildcard = wildcard(self.denying(name)?.closest_encloser(name))?;
        self.denying(wildcard.borrow()).map(|_| Finding::Secure)
    }

    /// RFC 4035 section 5.4, RFC 6840 section 4: the name exists without the type, is an empty
    /// non-terminal, or a wildcard without the type stands in for it.
    pub(super) fn nodata(
        &self,
        name: NameRef<'_>,
        rtype: Rtype,
    ) -> Result<Option<Finding>, ValidationFault> {
        if let Some(record) = self.at(name) {
            return denied_type(&record.types, rtype, name.is_root());
        }
        if self.shows_empty_non_terminal(name) {
            return Ok(Some(Finding::Secure));
        }
        let wildcard = self
            .denying(name)
            .and_then(|record| wildcard(record.closest_encloser(name)));
        let Some(wildcard) = wildcard else {
            return Ok(None);
        };
        match self.at(wildcard.borrow()) {
            Some(record) => denied_type(&record.types, rtype, false),
            None if self.shows_empty_non_terminal(wildcard.borrow()) => Ok(Some(Finding::Secure)),
            None => Ok(None),
        }
    }

    /// Whether a name does not exist, whatever a wildcard says.
    pub(super) fn absence(&self, name: NameRef<'_>) -> Option<Finding> {
        self.denying(name).map(|_| Finding::Secure)
    }

    /// Whether a name is that of an unsigned delegation, or below it.
    pub(super) fn is_below_unsigned_cut(&self, name: NameRef<'_>) -> bool {
        self.0.iter().any(|record| {
            record.types.is_unsigned_delegation() && name.is_within(record.owner.borrow())
        })
    }

    /// What is at a name for which there is no DS RRset.
    pub(super) fn cut(&self, name: NameRef<'_>) -> Result<Option<Delegation>, ValidationFault> {
        if let Some(record) = self.at(name) {
            return cut(&record.types);
        }
        let is_none = self.shows_empty_non_terminal(name) || self.denying(name).is_some();
        Ok(is_none.then_some(Delegation::NoCut))
    }

    fn at(&self, name: NameRef<'_>) -> Option<&Nsec> {
        self.0.iter().find(|record| record.owner.borrow() == name)
    }

    fn denying(&self, name: NameRef<'_>) -> Option<&Nsec> {
        self.0.iter().find(|record| record.denies(name))
    }

    fn shows_empty_non_terminal(&self, name: NameRef<'_>) -> bool {
        self.0
            .iter()
            .any(|record| record.shows_empty_non_terminal(name))
    }
}

#[cfg(test)]
mod tests;
