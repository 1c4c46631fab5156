//! Answers that cached proofs make, in place of a query to the zone: aggressive use of NSEC and NSEC3
//! (RFC 8198), and names below one that does not exist (RFC 8020).
//!
//! Only what was validated as secure proves anything here. An entry that the caches have for the
//! exact name comes first.

use hickory_proto::{op::ResponseCode, rr::Record};
use policy::name::NameRef;

use crate::{message::types::Rtype, upstream::proto_name};

use super::{
    cache::{denials::SecureSet, rrsets::CachedData},
    cached::{ChainEnd, Found},
    dnssec::{Proofs, Synthesis, Synthesised, wildcard},
    environment::Environment,
    query_context::QueryContext,
    response::{Denial, ServerRole},
    rrset::{RrSet, SecurityStatus},
    state::Recursor,
};

impl<E: Environment> Recursor<E> {
    /// The answer that cached proofs make for a name and type.
    pub(super) fn synthesised(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
        rtype: Rtype,
    ) -> Option<Found> {
        let is_on = self.settings.aggressive_nsec || self.settings.harden_below_nxdomain;
        if !is_on || rtype == Rtype::ANY {
            return None;
        }
        // The DS RRset of a zone belongs to its parent.
        let start = if rtype == Rtype::DS {
            name.parent()?
        } else {
            name
        };
        let anchors = self.anchors.load();
        let (anchored, _) = anchors.closest(start)?;
        let unix_s = self.environment.unix_s();
        let now = self.environment.now();
        if self.negative_anchors.covers(name, anchored, unix_s) {
            return None;
        }
        // A zone above the closest one says nothing about the names of that, and what a forwarder
        // answers may differ from what the Internet's zones prove.
        let delegation = self.delegations.closest(start, now, false);
        let delegation = delegation.as_ref().unwrap_or(&self.hints);
        if delegation.role() == ServerRole::Forwarder {
            return None;
        }
        let zone = delegation.zone.borrow();
        let top = if zone.is_within(anchored) {
            zone
        } else {
            anchored
        };
        self.by_denials(context, name, rtype, (start, top))
            .or_else(|| self.below_nxdomain(context, name, top))
    }

    /// By the NSEC and NSEC3 records of the zone.
    fn by_denials(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
        rtype: Rtype,
        zones: (NameRef<'_>, NameRef<'_>),
    ) -> Option<Found> {
        if !self.settings.aggressive_nsec {
            return None;
        }
        let now = self.environment.now();
        let validation = self.validation(context);
        let synthesised = self
            .denials
            .synthesise(name, rtype, zones, now, validation)?;
        let zone = synthesised.soa.owner.clone();
        let (kind, found) = match &synthesised.conclusion {
            Synthesis::NxDomain => ("nxdomain", denied(ResponseCode::NXDomain, synthesised)),
            Synthesis::NoData => ("nodata", denied(ResponseCode::NoError, synthesised)),
            Synthesis::Wildcard(wildcard) => {
                let wildcard = wildcard.clone();
                let set = self.expanded(name, rtype, wildcard.borrow(), synthesised)?;
                let end = match set.alias_target() {
                    Some(target) if rtype != Rtype::CNAME => ChainEnd::Alias(target),
                    _ => ChainEnd::Records,
                };
                ("wildcard", Found::of_sets(end, vec![set]))
            }
        };
        self.counters.count_synthesis(kind);
        context.trace(now, || {
            format!("{name}: {kind} by cached proofs of {zone} (RFC 8198)")
        });
        Some(found)
    }

    /// The RRset of a wildcard, if the cache has it, as the answer for a name (RFC 8198 section 5.3).
    fn expanded(
        &self,
        name: NameRef<'_>,
        rtype: Rtype,
        wildcard: NameRef<'_>,
        synthesised: Synthesised,
    ) -> Option<RrSet> {
        if rtype == Rtype::DS {
            return None;
        }
        let now = self.environment.now();
        let entry = [rtype, Rtype::CNAME]
            .into_iter()
            .find_map(|rtype| self.rrsets.get(wildcard, rtype, now))?;
        let CachedData::Records(set) = &entry.data else {
            return None;
        };
        let is_private = |record| self.is_private(name, record);
        if entry.security() != SecurityStatus::Secure || set.records.iter().any(is_private) {
            return None;
        }
        let ttl_s = entry.remaining_s(now).min(synthesised.ttl_s);
        let mut set = renamed(set, name);
        set.proofs = synthesised.proofs;
        set.security = SecurityStatus::Secure;
        set.set_ttl(ttl_s);
        Some(set)
    }

    /// By an NXDOMAIN of a name above it, which is secure (RFC 8020).
    fn below_nxdomain(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
        top: NameRef<'_>,
    ) -> Option<Found> {
        if !self.settings.harden_below_nxdomain {
            return None;
        }
        let now = self.environment.now();
        let within = |above: &NameRef<'_>| above.is_within(top) && *above != top;
        let mut ancestors = name.ancestors().skip(1).take_while(within);
        let (above, entry) = ancestors.find_map(|above| {
            let entry = self.rrsets.nxdomain(above, now)?;
            (entry.security() == SecurityStatus::Secure).then_some((above, entry))
        })?;
        let CachedData::NxDomain(denial) = &entry.data else {
            return None;
        };
        // A compact denial is one of its own name (RFC 9824).
        let zone = &denial.soa.as_ref()?.owner;
        let proved = Proofs::from_secure(denial.proofs.iter(), zone.borrow())
            .nxdomain(above, self.validation(context))
            .ok()?;
        if proved.is_compact || proved.insecurity.is_some() {
            return None;
        }
        self.counters.count_synthesis("below-nxdomain");
        context.trace(now, || {
            format!("{name}: nxdomain, because {above} does not exist (RFC 8020)")
        });
        Some(Found {
            denial: denial.with_ttl(entry.remaining_s(now)),
            denial_security: SecurityStatus::Secure,
            ..Found::of_sets(ChainEnd::Code(ResponseCode::NXDomain), Vec::new())
        })
    }

    /// Keeps the SOA and the NSEC and NSEC3 RRsets of a denial that validation found proved.
    /// `verified` tells which of the sets verified.
    pub(super) fn learn_denial(
        &self,
        zone: NameRef<'_>,
        soa: Option<SecureSet<'_>>,
        sets: &[RrSet],
        verified: &Proofs,
    ) {
        if !self.settings.aggressive_nsec {
            return;
        }
        let bounded = |set: &RrSet, max_s: u32| set.ttl_s().min(max_s);
        let proofs = verified.verified().iter().filter_map(|(place, max_s)| {
            let set = sets.get(*place)?;
            Some((set, bounded(set, *max_s)))
        });
        self.denials.learn(
            zone,
            soa.map(|(set, max_s)| (set, bounded(set, max_s))),
            proofs,
            self.environment.now(),
            self.settings.validation.nsec3_iterations_max,
        );
    }

    /// Keeps the RRset of a wildcard, from an answer that was expanded from it and is secure.
    pub(super) fn learn_wildcard(&self, set: &RrSet, encloser: NameRef<'_>, max_s: u32) {
        let now = self.environment.now();
        let Some(wildcard) = wildcard(encloser).filter(|_| self.settings.aggressive_nsec) else {
            return;
        };
        if self.rrsets.get(wildcard.borrow(), set.rtype, now).is_some() {
            return;
        }
        let mut set = renamed(set, wildcard.borrow());
        set.set_ttl(set.ttl_s().min(max_s));
        self.rrsets.insert_wildcard(set, now);
    }
}

/// A negative answer that cached records prove.
fn denied(code: ResponseCode, synthesised: Synthesised) -> Found {
    Found {
        denial: Denial {
            soa: Some(synthesised.soa),
            proofs: synthesised.proofs,
        },
        denial_security: SecurityStatus::Secure,
        ..Found::of_sets(ChainEnd::Code(code), Vec::new())
    }
}

/// A copy of a set without its proofs, under another owner.
fn renamed(set: &RrSet, owner: NameRef<'_>) -> RrSet {
    let name = proto_name(owner);
    let rename = |record: &Record| {
        let mut record = record.clone();
        record.name = name.clone();
        record
    };
    RrSet {
        records: set.records.iter().map(rename).collect(),
        signatures: set.signatures.iter().map(rename).collect(),
        ..RrSet::unsigned(owner.to_owned(), set.rtype, Vec::new())
    }
}

#[cfg(test)]
mod tests;
