//! The trusted keys of a zone: from its DS RRset or from trust anchors.

use std::collections::BTreeSet;

use policy::name::{Name, NameRef};

use crate::{message::types::Rtype, recursor::rrset::RrSet, weighed::heap_octets};

use super::{
    anchors::TrustAnchor,
    context::ValidationContext,
    dnskey::ZoneKey,
    ds::UsableDs,
    fault::{InsecurityCause, ValidationFault},
    rrsig::{self, VerifiedSet},
};

/// Keys of one tag and algorithm that a zone may have. A count, as in Unbound; by chance it has two.
/// A zone with more is bogus as a whole, so that its signatures cost nothing (KeyTrap, CVE-2023-50387).
const KEYS_PER_TAG_MAX: usize = 4;

/// What a zone's DNSKEY RRset is worth.
#[derive(Debug, Clone)]
pub enum ZoneTrust {
    Secure(ZoneKeys),
    /// The zone is signed by means that the validator does not have.
    Insecure(InsecurityCause),
}

/// The keys of a zone that may sign its RRsets. A DS record or a trust anchor vouches for them.
#[derive(Debug, Clone)]
pub struct ZoneKeys {
    zone: Name,
    keys: Vec<ZoneKey>,
    ttl_max_s: u32,
}

impl ZoneKeys {
    /// The keys of the zone that owns the DNSKEY RRset, where a DS record vouches for a key that
    /// signs the RRset (RFC 4035 section 5.2).
    ///
    /// # Errors
    /// Why the zone is bogus.
    pub fn from_ds(
        set: &RrSet,
        ds: &UsableDs,
        context: ValidationContext<'_>,
    ) -> Result<ZoneTrust, ValidationFault> {
        let named = ds.records().iter().map(|ds| (ds.tag, ds.algorithm));
        Self::trusted(set, context, named.collect(), |key| {
            for record in ds.records() {
                if record.matches(set.owner.borrow(), key, context)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// The keys of the zone that owns the DNSKEY RRset, where a trust anchor vouches for a key that
    /// signs the RRset.
    ///
    /// # Errors
    /// Why the zone is bogus.
    pub fn from_anchors(
        set: &RrSet,
        anchors: &[TrustAnchor],
        context: ValidationContext<'_>,
    ) -> Result<ZoneTrust, ValidationFault> {
        if !anchors
            .iter()
            .any(|anchor| anchor.is_usable(context.settings))
        {
            return Ok(ZoneTrust::Insecure(InsecurityCause::UnsupportedAlgorithm));
        }
        let named = anchors.iter().map(TrustAnchor::tag_and_algorithm);
        Self::trusted(set, context, named.collect(), |key| {
            for anchor in anchors {
                if anchor.vouches_for(set.owner.borrow(), key, context)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// The keys of a set that a key verifies for which `is_vouched_for` holds. `named` are the key
    /// tags and algorithms for which something vouches.
    fn trusted(
        set: &RrSet,
        context: ValidationContext<'_>,
        named: BTreeSet<(u16, u8)>,
        is_vouched_for: impl Fn(&ZoneKey) -> Result<bool, ValidationFault>,
    ) -> Result<ZoneTrust, ValidationFault> {
        let mut keys: Vec<ZoneKey> = set.records.iter().filter_map(ZoneKey::of).collect();
        if set.rtype != Rtype::DNSKEY || keys.is_empty() {
            return Err(ValidationFault::KeySetMissing);
        }
        // Before a digest of each: the keys that another server has are within the budget, too.
        if share_tags(&keys) {
            return Err(ValidationFault::KeyTags);
        }
        let mut fault = ValidationFault::KeyUntrusted;
        let mut entries = Vec::new();
        for key in keys.iter().filter(|key| key.is_supported(context.settings)) {
            if !is_vouched_for(key)? {
                continue;
            }
            if !key.is_of_zone() {
                fault = fault.or_graver(ValidationFault::KeyNotOfZone);
            } else if key.is_revoked() {
                fault = fault.or_graver(ValidationFault::KeyRevoked);
            } else {
                entries.push(key);
            }
        }
        if entries.is_empty() {
            return Err(fault);
        }
        // The RRset is not verified: keys that others vouch for may have been left out.
        if entries.iter().all(|key| key.has_unsupported_size()) {
            let is_named = |tag_and_algorithm: &(u16, u8)| {
                let mut there = entries.iter().map(|key| (key.tag, key.algorithm));
                there.any(|key| key == *tag_and_algorithm)
            };
            return match named.iter().all(is_named) {
                true => Ok(ZoneTrust::Insecure(InsecurityCause::UnsupportedKeySize)),
                false => Err(fault),
            };
        }
        // One of an unsupported size proves nothing beside others: an attacker may have its private
        // key.
        entries.retain(|key| !key.has_unsupported_size());
        let verified = rrsig::verify(set, set.owner.borrow(), entries.into_iter(), context)?;
        keys.retain(|key| key.may_sign() && key.is_supported(context.settings));
        Ok(ZoneTrust::Secure(Self {
            zone: set.owner.clone(),
            keys,
            ttl_max_s: verified.ttl_max_s.min(set.ttl_s()),
        }))
    }

    /// The apex of the zone.
    #[must_use]
    pub fn zone(&self) -> NameRef<'_> {
        self.zone.borrow()
    }

    /// How long the keys may be kept, in seconds from the arrival of their RRset.
    #[must_use]
    pub fn ttl_max_s(&self) -> u32 {
        self.ttl_max_s
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &ZoneKey> + Clone {
        self.keys.iter()
    }

    /// Verifies an RRset of the zone: RFC 4035 section 5.3. The DS RRset of a zone is verified with
    /// the keys of its parent.
    ///
    /// A set that is expanded from a wildcard is not secure yet, see [`VerifiedSet::closest_encloser`].
    ///
    /// # Errors
    /// Why the set is bogus. [`ValidationFault::is_of_query`] tells what says nothing about it.
    pub fn verify(
        &self,
        set: &RrSet,
        context: ValidationContext<'_>,
    ) -> Result<VerifiedSet, ValidationFault> {
        rrsig::verify(set, self.zone.borrow(), self.keys.iter(), context)
    }

    /// Memory behind the keys, in octets.
    #[must_use]
    pub fn heap_octets(&self) -> usize {
        heap_octets(self.zone.borrow().wire().len())
            + heap_octets(self.keys.capacity() * size_of::<ZoneKey>())
            + self.keys.iter().map(ZoneKey::heap_octets).sum::<usize>()
    }
}

/// Whether more keys have one tag and algorithm than a zone may have.
fn share_tags(keys: &[ZoneKey]) -> bool {
    let mut named: Vec<_> = keys.iter().map(|key| (key.tag, key.algorithm)).collect();
    named.sort_unstable();
    let mut groups = named.windows(KEYS_PER_TAG_MAX + 1);
    groups.any(|group| group.first() == group.last())
}

#[cfg(test)]
mod tests;
