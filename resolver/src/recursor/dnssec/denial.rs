//! What NSEC and NSEC3 RRsets of one zone prove: RFC 4035 section 5.4, RFC 5155 section 8, RFC 6840
//! section 4, RFC 9824.

use policy::name::{Name, NameRef};

use crate::{message::types::Rtype, recursor::rrset::RrSet};

use super::{
    canonical::data_octets,
    context::ValidationContext,
    fault::{InsecurityCause, ValidationFault},
    finding::{Delegation, Finding},
    nsec::{self, NsecRecords},
    nsec3::{self, Nsec3Chain},
    zone_keys::ZoneKeys,
};

/// The verified NSEC and NSEC3 records of one response, of one zone.
#[derive(Debug, Clone)]
pub struct Proofs {
    zone: Name,
    nsec: NsecRecords,
    nsec3: Option<Nsec3Chain>,
    ttl_max_s: u32,
    /// The places of the sets that verified, and how long each may be kept, in seconds.
    verified: Vec<(usize, u32)>,
    /// Why a set was left out.
    fault: Option<ValidationFault>,
}

/// A denial that is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// Why the denial is insecure nevertheless; none where it is secure.
    pub insecurity: Option<InsecurityCause>,
    /// How long the proof may be kept, in seconds from the arrival of its RRsets.
    pub ttl_max_s: u32,
    /// Whether the proof is a compact denial (RFC 9824): it says nothing about other names.
    pub is_compact: bool,
}

/// Whether verified NSEC and NSEC3 RRsets say that a name does not exist, although the response code
/// is NOERROR: a compact denial, which the name's own record makes (RFC 9824 section 3.1).
#[must_use]
pub fn denies_the_name(sets: &[RrSet], name: NameRef<'_>) -> bool {
    sets.iter().any(|set| {
        let types_of = match set.rtype {
            Rtype::NSEC if set.owner.borrow() == name => nsec::types_of,
            Rtype::NSEC3 => nsec3::types_of,
            _ => return false,
        };
        set.records.iter().any(|record| {
            let Some(data) = data_octets(record) else {
                return false;
            };
            let denies = types_of(&data).is_some_and(|types| types.denies_its_name());
            denies && (set.rtype == Rtype::NSEC || nsec3::is_of(set.owner.borrow(), &data, name))
        })
    })
}

impl Proofs {
    /// Verifies the NSEC and NSEC3 RRsets of a response with the keys of their zone, and leaves out
    /// those that do not verify.
    ///
    /// # Errors
    /// [`ValidationFault::TooMuchWork`] only.
    pub fn verify<'s>(
        sets: impl IntoIterator<Item = &'s RrSet>,
        keys: &ZoneKeys,
        context: ValidationContext<'_>,
    ) -> Result<Self, ValidationFault> {
        let mut secure = Vec::new();
        let mut verified_sets = Vec::new();
        let mut ttl_max_s = u32::MAX;
        let mut fault: Option<ValidationFault> = None;
        for (place, set) in sets.into_iter().enumerate() {
            if !matches!(set.rtype, Rtype::NSEC | Rtype::NSEC3) {
                continue;
            }
            match keys.verify(set, context) {
                Ok(verified) => {
                    ttl_max_s = ttl_max_s.min(verified.ttl_max_s);
                    secure.push(set);
                    verified_sets.push((place, verified.ttl_max_s));
                }
                Err(ValidationFault::TooMuchWork) => return Err(ValidationFault::TooMuchWork),
                Err(other) => fault = Some(fault.map_or(other, |known| known.or_graver(other))),
            }
        }
        let mut proofs = Self::from_secure(secure.iter().copied(), keys.zone());
        proofs.ttl_max_s = proofs.ttl_max_s.min(ttl_max_s);
        proofs.verified = verified_sets;
        proofs.fault = fault;
        Ok(proofs)
    }

    /// These records of a zone, which are secure.
    pub(super) fn of_records(
        zone: NameRef<'_>,
        nsec: NsecRecords,
        nsec3: Option<Nsec3Chain>,
    ) -> Self {
        Self {
            zone: zone.to_owned(),
            nsec,
            nsec3,
            ttl_max_s: u32::MAX,
            verified: Vec::new(),
            fault: None,
        }
    }

    /// Leaves out the sets that did not verify, of those given to [`Self::verify`]: a response may
    /// have more than the proof needs.
    pub fn keep_verified(&self, sets: &mut Vec<RrSet>) {
        let mut places = 0..;
        sets.retain(|_| {
            let place = places.next();
            let mut verified = self.verified.iter();
            verified.any(|(verified, _)| Some(*verified) == place)
        });
    }

    /// How long the proofs may be kept, in seconds.
    #[must_use]
    pub fn ttl_max_s(&self) -> u32 {
        self.ttl_max_s
    }

    /// The places of the sets that verified among those given to [`Self::verify`], and how long each
    /// may be kept, in seconds.
    #[must_use]
    pub fn verified(&self) -> &[(usize, u32)] {
        &self.verified
    }

    /// Takes NSEC and NSEC3 RRsets of a zone that are secure already, for example from a cache.
    #[must_use]
    pub fn from_secure<'s>(
        sets: impl Iterator<Item = &'s RrSet> + Clone,
        zone: NameRef<'_>,
    ) -> Self {
        let of_type = |rtype| sets.clone().filter(move |set: &&RrSet| set.rtype == rtype);
        Self {
            zone: zone.to_owned(),
            nsec: NsecRecords::of(of_type(Rtype::NSEC), zone),
            nsec3: Nsec3Chain::of(of_type(Rtype::NSEC3), zone),
            ttl_max_s: sets.clone().map(RrSet::ttl_s).min().unwrap_or(0),
            verified: Vec::new(),
            fault: None,
        }
    }

    /// Proves that a name does not exist, and that no wildcard stands in for it: RFC 4035 section
    /// 5.4, RFC 5155 section 8.4. A name that has an NXNAME bit does not exist (RFC 9824).
    ///
    /// # Errors
    /// Why the denial is bogus. Where the records prove instead that the name has no data, which
    /// [`Self::nodata`] tells, the response has a wrong response code, as Unbound accepts it.
    pub fn nxdomain(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<Denied, ValidationFault> {
        let denied = self.prove(
            name,
            context,
            |nsec| Ok(nsec.nxdomain(name)),
            |nsec3| nsec3.nxdomain(name, context),
        );
        self.or_insecure(denied, name, context)
    }

    /// Proves that a name has no records of a type: RFC 4035 section 5.4, RFC 5155 sections 8.5 to
    /// 8.7. The name exists, is an empty non-terminal, or a wildcard without the type stands in for
    /// it. A DS RRset is denied by the zone above the name.
    ///
    /// # Errors
    /// Why the denial is bogus.
    pub fn nodata(
        &mut self,
        name: NameRef<'_>,
        rtype: Rtype,
        context: ValidationContext<'_>,
    ) -> Result<Denied, ValidationFault> {
        let denied = self.prove(
            name,
            context,
            |nsec| nsec.nodata(name, rtype),
            |nsec3| nsec3.nodata(name, rtype, context),
        );
        self.or_insecure(denied, name, context)
    }

    /// A denial that is not proved is insecure where the same records prove that the name is at or
    /// below an unsigned delegation: they say nothing about it (RFC 6840 section 4.1), and whatever
    /// is said about it is insecure (RFC 4033 section 5).
    fn or_insecure(
        &mut self,
        denied: Result<Denied, ValidationFault>,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<Denied, ValidationFault> {
        match denied {
            Err(fault) if !fault.is_of_query() && self.is_below_unsigned_cut(name, context)? => {
                Ok(Denied {
                    insecurity: Some(InsecurityCause::UnsignedDelegation),
                    ttl_max_s: self.ttl_max_s,
                    is_compact: false,
                })
            }
            denied => denied,
        }
    }

    fn is_below_unsigned_cut(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<bool, ValidationFault> {
        if !name.is_within(self.zone.borrow()) {
            return Ok(false);
        }
        match &mut self.nsec3 {
            _ if self.nsec.is_below_unsigned_cut(name) => Ok(true),
            Some(chain) => chain.is_below_unsigned_cut(name, context),
            None => Ok(false),
        }
    }

    /// Proves that an answer for a name may come from the wildcard below its closest encloser: no
    /// name is closer (RFC 4035 section 5.3.4, RFC 5155 section 8.8).
    ///
    /// # Errors
    /// Why the answer is bogus.
    pub fn wildcard_answer(
        &mut self,
        name: NameRef<'_>,
        closest_encloser: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<Denied, ValidationFault> {
        // The next closer name is what must not exist: below the question itself may be anything.
        let next_closer = name.last_labels(closest_encloser.label_count() + 1);
        self.prove(
            next_closer,
            context,
            |nsec| Ok(nsec.absence(next_closer)),
            |nsec3| nsec3.absence(next_closer, context),
        )
    }

    /// Proves what kind of zone cut is at a name for which the parent zone has no DS RRset: RFC 4035
    /// section 5.2, RFC 5155 sections 8.6 and 8.9, RFC 6840 sections 4.4 and 5. The proof may come
    /// with a referral, or with an answer to a query for the DS RRset.
    ///
    /// # Errors
    /// Why the absence of a DS RRset is bogus.
    pub fn delegation(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
    ) -> Result<Delegation, ValidationFault> {
        self.find(
            name,
            context,
            |nsec| nsec.cut(name),
            |nsec3| nsec3.cut(name, context),
            Delegation::Insecure,
        )
    }

    fn prove(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
        by_nsec: impl FnOnce(&NsecRecords) -> Result<Option<Finding>, ValidationFault>,
        by_nsec3: impl FnOnce(&mut Nsec3Chain) -> Result<Option<Finding>, ValidationFault>,
    ) -> Result<Denied, ValidationFault> {
        let finding = self.find(name, context, by_nsec, by_nsec3, Finding::Insecure)?;
        Ok(Denied {
            insecurity: match finding {
                Finding::Insecure(cause) => Some(cause),
                Finding::Secure | Finding::Compact => None,
            },
            ttl_max_s: self.ttl_max_s,
            is_compact: finding == Finding::Compact,
        })
    }

    /// What the NSEC records say, or else the NSEC3 records.
    fn find<T>(
        &mut self,
        name: NameRef<'_>,
        context: ValidationContext<'_>,
        by_nsec: impl FnOnce(&NsecRecords) -> Result<Option<T>, ValidationFault>,
        by_nsec3: impl FnOnce(&mut Nsec3Chain) -> Result<Option<T>, ValidationFault>,
        insecure: impl FnOnce(InsecurityCause) -> T,
    ) -> Result<T, ValidationFault> {
        let missing = self.fault.unwrap_or(ValidationFault::DenialMissing);
        if !name.is_within(self.zone.borrow()) {
            return Err(missing);
        }
        if let Some(found) = by_nsec(&self.nsec)? {
            return Ok(found);
        }
        let Some(chain) = &mut self.nsec3 else {
            return Err(missing);
        };
        if chain.iterations() > context.settings.nsec3_iterations_max {
            return Ok(insecure(InsecurityCause::TooManyIterations));
        }
        by_nsec3(chain)?.ok_or(missing)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
