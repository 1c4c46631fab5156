//! NSEC3 records, RFC 5155: hashed names, and what the records of a response say about a name.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use data_encoding::BASE32_DNSSEC;
use policy::name::{Name, NameRef};

use crate::{message::types::Rtype, recursor::rrset::RrSet};

use super::{
    bitmap::TypeBitmap,
    canonical::{data_octets, wildcard},
    context::ValidationContext,
    fault::{InsecurityCause, ValidationFault},
    finding::{Delegation, Finding, cut, denied_type},
};

/// The only hash algorithm, RFC 5155 section 11: SHA-1.
const HASH_SHA1: u8 = 1;
/// RFC 5155 section 3.1.2.1.
const FLAG_OPT_OUT: u8 = 1;
/// Hash algorithm, flags, iterations and the length of the salt, in octets.
const FIXED_OCTETS: usize = 5;
/// Octets of a hash in the first label of an owner, as base32 (RFC 5155 section 3.3).
const LABEL_OCTETS: usize = 32;

/// A hashed name.
pub(super) type NameHash = [u8; SHA1_OUTPUT_LEN];

/// The parameters that all NSEC3 records of a chain share, RFC 5155 section 3.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) iterations: u16,
    salt: Box<[u8]>,
}

impl Parameters {
    /// The hash of a name.
    ///
    /// # Errors
    /// [`ValidationFault::TooMuchWork`] when the budget is used up.
    pub(super) fn hash(
        &self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<NameHash, ValidationFault> {
        context.budget.charge_hash()?;
        Ok(hash_of_name(name, &self.salt, self.iterations))
    }
}

/// An NSEC3 record of a zone.
#[derive(Debug, Clone)]
pub(super) struct Nsec3 {
    pub(super) hash: NameHash,
    next: NameHash,
    is_opt_out: bool,
    types: TypeBitmap,
}

/// The NSEC3 records of a response that share their parameters, and the hashes computed so far.
#[derive(Debug, Clone)]
pub(super) struct Nsec3Chain {
    zone: Name,
    parameters: Parameters,
    records: Vec<Nsec3>,
    hashes: Vec<(Name, NameHash)>,
}

/// The types of an NSEC3 record, from its data.
pub(super) fn types_of(data: &[u8]) -> Option<TypeBitmap> {
    let (&[.., salt_length], rest) = data.split_first_chunk::<FIXED_OCTETS>()?;
    let (_, rest) = rest.split_at_checked(usize::from(salt_length))?;
    let (&next_length, rest) = rest.split_first()?;
    TypeBitmap::parse(rest.get(usize::from(next_length)..)?)
}

/// Whether the record with this owner and these data is of this name: its owner has the name's hash.
pub(super) fn is_of(owner: NameRef<'_>, data: &[u8], name: NameRef<'_>) -> bool {
    let zone = owner.parent().unwrap_or(owner);
    Nsec3::of(owner, zone, data).is_some_and(|(parameters, record)| {
        record.hash == hash_of_name(name, &parameters.salt, parameters.iterations)
    })
}

/// The closest provable encloser of a name, RFC 5155 section 8.3.
struct Enclosure<'n> {
    closest_encloser: NameRef<'n>,
    /// Whether the record that covers the next closer name has the Opt-Out flag.
    is_opt_out: bool,
}

impl Enclosure<'_> {
    fn finding(&self) -> Finding {
        finding(self.is_opt_out)
    }
}

/// What a record that covers a next closer name says: under Opt-Out an unsigned delegation may be
/// there (RFC 5155 section 9.2).
fn finding(is_opt_out: bool) -> Finding {
    if is_opt_out {
        Finding::Insecure(InsecurityCause::OptOut)
    } else {
        Finding::Secure
    }
}

impl Nsec3 {
    /// A record of a set; none where its hash algorithm or a flag of it is unknown (RFC 5155
    /// sections 8.1 and 8.2), or its owner is no hash below the apex.
    pub(super) fn of(
        owner: NameRef<'_>,
        zone: NameRef<'_>,
        data: &[u8],
    ) -> Option<(Parameters, Self)> {
        let (&[algorithm, flags, high, low, salt_length], rest) =
            data.split_first_chunk::<FIXED_OCTETS>()?;
        let (salt, rest) = rest.split_at_checked(usize::from(salt_length))?;
        let (&next_length, rest) = rest.split_first()?;
        let (next, types) = rest.split_at_checked(usize::from(next_length))?;
        let is_known = algorithm == HASH_SHA1 && flags & !FLAG_OPT_OUT == 0;
        if !is_known || owner.parent() != Some(zone) {
            return None;
        }
        let record = Self {
            hash: hash_of_label(owner.labels().next()?)?,
            next: next.try_into().ok()?,
            is_opt_out: flags & FLAG_OPT_OUT != 0,
            types: TypeBitmap::parse(types)?,
        };
        let parameters = Parameters {
            iterations: u16::from_be_bytes([high, low]),
            salt: salt.into(),
        };
        Some((parameters, record))
    }

    /// Whether a hash lies between that of the owner and the next one. The last record of a chain
    /// leads back to the first, and a single record to itself.
    fn covers(&self, hash: &NameHash) -> bool {
        if self.hash < self.next {
            self.hash < *hash && *hash < self.next
        } else {
            self.hash < *hash || *hash < self.next
        }
    }

    /// Whether the record proves that a name with this hash does not exist. Under Opt-Out an
    /// unsigned delegation may be there.
    pub(super) fn denies(&self, hash: &NameHash) -> bool {
        !self.is_opt_out && self.covers(hash)
    }

    /// Whether the record says nothing about names below its own: RFC 6840 section 4.1.
    pub(super) fn hides_descendants(&self) -> bool {
        self.types.hides_descendants()
    }

    /// Whether the record says nothing about other names: it was made for one query and leads from
    /// the hash before that of the name to the one after it (RFC 7129 appendix B), or it denies its
    /// own name (RFC 9824).
    pub(super) fn is_narrow(&self) -> bool {
        let head = |hash: &NameHash| {
            hash.first_chunk()
                .map_or(0, |octets| u64::from_be_bytes(*octets))
        };
        let distance = head(&self.next).wrapping_sub(head(&self.hash));
        self.types.denies_its_name() || distance <= 1 && self.next != self.hash
    }

    /// Memory behind the record, in octets.
    pub(super) fn heap_octets(&self) -> usize {
        self.types.heap_octets()
    }
}

impl Nsec3Chain {
    /// The chain of these NSEC3 RRsets; none without a usable record. Of several chains, as during a
    /// change of the salt, it is the one with most records (RFC 5155 section 8.2).
    pub(super) fn of<'s>(sets: impl Iterator<Item = &'s RrSet>, zone: NameRef<'_>) -> Option<Self> {
        let mut chains: Vec<Self> = Vec::new();
        for set in sets {
            for record in &set.records {
                let Some((parameters, record)) =
                    data_octets(record).and_then(|data| Nsec3::of(set.owner.borrow(), zone, &data))
                else {
                    continue;
                };
                match chains
                    .iter_mut()
                    .find(|chain| chain.parameters == parameters)
                {
                    Some(chain) => chain.records.push(record),
                    None => chains.push(Self {
                        zone: zone.to_owned(),
                        parameters,
                        records: vec![record],
                        hashes: Vec::new(),
                    }),
                }
            }
        }
        chains.into_iter().max_by_key(|chain| chain.records.len())
    }

    /// These records of a chain, and hashes that are known.
    pub(super) fn of_records(
        zone: NameRef<'_>,
        parameters: &Parameters,
        records: Vec<Nsec3>,
        hashes: Vec<(Name, NameHash)>,
    ) -> Self {
        Self {
            zone: zone.to_owned(),
            parameters: parameters.clone(),
            records,
            hashes,
        }
    }

    /// The iterations of the hash, RFC 5155 section 3.1.3.
    pub(super) fn iterations(&self) -> u16 {
        self.parameters.iterations
    }

    /// RFC 5155 section 8.4: the name has a closest encloser, but neither the next closer name nor
    /// the wildcard exists.
    pub(super) fn nxdomain(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<Option<Finding>, ValidationFault> {
        if let Some(record) = self.at(name, context)? {
            let is_compact = record.types.denies_its_name();
            return Ok(is_compact.then_some(Finding::Compact));
        }
        let Some(enclosure) = self.enclosure(name, context)? else {
            return Ok(None);
        };
        let Some(wildcard) = wildcard(enclosure.closest_encloser) else {
            return Ok(None);
        };
        let is_denied = self.covering(wildcard.borrow(), context)?.is_some();
        Ok(is_denied.then(|| enclosure.finding()))
    }

    /// RFC 5155 sections 8.5 to 8.7: the name exists without the type, a wildcard without the type
    /// stands in for it, or it may be an unsigned delegation in an opt-out span.
    pub(super) fn nodata(
        &mut self,
        name: NameRef<'_>,
        rtype: Rtype,
        context: ValidationContext<'_>,
    ) -> Result<Option<Finding>, ValidationFault> {
        if let Some(record) = self.at(name, context)? {
            return denied_type(&record.types, rtype, name.is_root());
        }
        let Some(enclosure) = self.enclosure(name, context)? else {
            return Ok(None);
        };
        if enclosure.is_opt_out {
            return Ok(Some(enclosure.finding()));
        }
        let Some(wildcard) = wildcard(enclosure.closest_encloser) else {
            return Ok(None);
        };
        match self.at(wildcard.borrow(), context)? {
            Some(record) => denied_type(&record.types, rtype, false),
            None => Ok(None),
        }
    }

    /// RFC 5155 section 8.8: whether a name does not exist, whatever a wildcard says. The signature
    /// of the wildcard shows that its parent exists.
    pub(super) fn absence(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<Option<Finding>, ValidationFault> {
        let cover = self.covering(name, context)?;
        Ok(cover.map(|record| finding(record.is_opt_out)))
    }

    /// Whether a name is that of an unsigned delegation, or below it.
    pub(super) fn is_below_unsigned_cut(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<bool, ValidationFault> {
        for above in name.ancestors() {
            if above == self.zone.borrow() {
                break;
            }
            if let Some(record) = self.at(above, context)? {
                return Ok(record.types.is_unsigned_delegation());
            }
        }
        Ok(false)
    }

    /// RFC 5155 sections 8.6 and 8.9: what is at a name for which there is no DS RRset.
    pub(super) fn cut(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<Option<Delegation>, ValidationFault> {
        if let Some(record) = self.at(name, context)? {
            return cut(&record.types);
        }
        let enclosure = self.enclosure(name, context)?;
        Ok(enclosure.map(|enclosure| match enclosure.finding() {
            Finding::Insecure(cause) => Delegation::Insecure(cause),
            _ => Delegation::NoCut,
        }))
    }

    /// The record of a name.
    fn at(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<Option<&Nsec3>, ValidationFault> {
        let hash = self.hash(name, context)?;
        Ok(self.records.iter().find(|record| record.hash == hash))
    }

    /// The record that covers a name.
    fn covering(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<Option<&Nsec3>, ValidationFault> {
        let hash = self.hash(name, context)?;
        Ok(self.records.iter().find(|record| record.covers(&hash)))
    }

    /// The closest provable encloser of a name that has no record, RFC 5155 section 8.3. None where
    /// the records do not prove one, or where it is a zone cut or a DNAME.
    fn enclosure<'n>(
        &mut self,
        name: NameRef<'n>,
        context: ValidationContext<'_>,
    ) -> Result<Option<Enclosure<'n>>, ValidationFault> {
        let mut next_closer = name;
        while let Some(closest_encloser) = next_closer.parent() {
            if !closest_encloser.is_within(self.zone.borrow()) {
                break;
            }
            if let Some(record) = self.at(closest_encloser, context)? {
                if record.types.hides_descendants() || record.types.denies_its_name() {
                    return Ok(None);
                }
                let cover = self.covering(next_closer, context)?;
                return Ok(cover.map(|record| Enclosure {
                    closest_encloser,
                    is_opt_out: record.is_opt_out,
                }));
            }
            next_closer = closest_encloser;
        }
        Ok(None)
    }

    fn hash(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<NameHash, ValidationFault> {
        if let Some((_, hash)) = self.hashes.iter().find(|(known, _)| known.borrow() == name) {
            return Ok(*hash);
        }
        let hash = self.parameters.hash(name, context)?;
        self.hashes.push((name.to_owned(), hash));
        Ok(hash)
    }
}

/// The hash of a name, RFC 5155 section 5.
pub(super) fn hash_of_name(name: NameRef<'_>, salt: &[u8], iterations: u16) -> NameHash {
    let once = |octets: &[u8]| {
        let mut sha1 = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        sha1.update(octets);
        sha1.update(salt);
        let digest = sha1.finish();
        let mut hash = NameHash::default();
        hash.copy_from_slice(digest.as_ref());
        hash
    };
    (0..iterations).fold(once(name.wire()), |hash, _| once(&hash))
}

/// Reads a label in base32 with the extended hexadecimal alphabet, RFC 4648 section 7, in lower case
/// as all labels are.
fn hash_of_label(label: &[u8]) -> Option<NameHash> {
    let mut hash = NameHash::default();
    (label.len() == LABEL_OCTETS).then_some(())?;
    BASE32_DNSSEC.decode_mut(label, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests;
