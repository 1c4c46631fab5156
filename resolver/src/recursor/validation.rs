//! Validation: whether an answer is secure, insecure or bogus (RFC 4035 section 5).
//!
//! Each RRset is validated once: the RRset cache remembers its status. What is bogus is asked of
//! another server, and forgotten.

use hickory_proto::{op::ResponseCode, rr::Record};
use policy::name::{Name, NameRef};

use crate::message::types::Rtype;

use super::{
    cache::{
        rrsets::CachedData,
        trust::{BrokenChain, ChainTrust},
    },
    cached::{ChainEnd, Found},
    dnssec::{Denied, InsecurityCause, Proofs, ValidationContext, ValidationFault, ZoneKeys},
    environment::Environment,
    failure::ResolutionFailure,
    lookup_chain::LookupChain,
    query_context::QueryContext,
    response::{Denial, ServerRole},
    rrset::{RrSet, SecurityStatus},
    state::Recursor,
};

/// Times that bogus data are asked for again, at another server. A count; Unbound has
/// `val-max-restart` 5.
const RETRIES_MAX: usize = 2;

/// Why a step of an answer is not valid.
enum Invalid {
    Bogus(BrokenChain),
    /// A lookup failed.
    Unresolved(ResolutionFailure),
}

impl From<ResolutionFailure> for Invalid {
    fn from(failure: ResolutionFailure) -> Self {
        Self::Unresolved(failure)
    }
}

impl Invalid {
    /// What a zone has signed, or has not, does not verify.
    fn at(zone: NameRef<'_>) -> impl Fn(ValidationFault) -> Self {
        move |fault| Self::Bogus(BrokenChain::at(zone, fault))
    }
}

impl<E: Environment> Recursor<E> {
    /// One step along the alias chain, validated.
    ///
    /// # Errors
    /// [`ResolutionFailure::Bogus`] where no server has data that verify.
    pub(super) async fn find_valid(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        rtype: Rtype,
        is_prefetch: bool,
    ) -> Result<Found, ResolutionFailure> {
        let mut retries = 0;
        let mut first = None;
        loop {
            let version = self.negative_anchors.version();
            let mut found = self.find(context, chain, name, rtype, is_prefetch).await?;
            let broken = match self.validate(context, name, rtype, &mut found).await {
                Ok(()) => return Ok(found),
                Err(Invalid::Unresolved(failure)) => return Err(failure),
                Err(Invalid::Bogus(broken)) => broken,
            };
            context.trace(self.environment.now(), || {
                format!("{name}: bogus in zone {}, {}", broken.zone, broken.fault)
            });
            self.forget(name, rtype, &found);
            let broken = broken.after(first.take());
            if broken.is_of_query || retries == RETRIES_MAX {
                self.negative_anchors
                    .if_unchanged(version, || self.note_bogus(chain, name, rtype, &broken));
                return Err(ResolutionFailure::Bogus(broken.fault));
            }
            first = Some(broken);
            retries += 1;
            if let Some(server) = found.server {
                context.distrust(server);
            }
        }
    }

    /// Where the chain of trust is known to break, if it breaks at or above the zone of a name that is
    /// to be validated: nothing that the servers of the zone may say is secure then. Another query
    /// asks them when this knowledge ends.
    pub(super) fn known_broken(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        rtype: Rtype,
    ) -> Option<BrokenChain> {
        if !chain.is_client_query() || context.checking_disabled {
            return None;
        }
        let now = self.environment.now();
        // The DS RRset of a zone belongs to its parent.
        let place = match rtype {
            Rtype::DS => name.parent().unwrap_or(name),
            _ => name,
        };
        let delegation = self.delegations.closest(place, now, false)?;
        if delegation.role() != ServerRole::Authority {
            // A forwarder answers for zones below, too.
            return None;
        }
        let zone = delegation.zone.borrow();
        let ChainTrust::Broken(broken) = self.trust.get(zone, now)? else {
            return None;
        };
        let anchors = self.anchors.load();
        let (anchored, _) = anchors.closest(place)?;
        // A trust anchor below the zone begins another chain, and what the zone has proved of a cut
        // before holds on.
        let mut below = place.ancestors().take_while(|above| *above != zone);
        let goes_on = below.any(|above| {
            let known = self.trust.get(above, now);
            matches!(known, Some(ChainTrust::Keys(_) | ChainTrust::Insecure(_)))
        });
        let is_of_zone = zone.is_within(anchored) && !self.has_negative_anchor(place);
        (is_of_zone && !goes_on).then_some(broken)
    }

    /// Notes that an answer is bogus. Where the bounds of the client query ended the validation, this
    /// is noted for the client's name, and not as the fault of the zone.
    pub(super) fn note_bogus(
        &self,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        rtype: Rtype,
        broken: &BrokenChain,
    ) {
        let now = self.environment.now();
        let failure = ResolutionFailure::Bogus(broken.fault);
        if !broken.is_of_query {
            self.bogus_zones
                .count(&broken.zone, name, broken.fault, now);
            self.cache_failure(chain, name, rtype, failure);
        } else if chain.is_client_query() {
            self.failures.insert(chain.name(), rtype, failure, now);
        }
    }

    /// Removes what is bogus from the cache.
    fn forget(&self, name: NameRef<'_>, rtype: Rtype, found: &Found) {
        self.rrsets.remove(name, rtype);
        for set in &found.sets {
            self.rrsets.remove(set.owner.borrow(), set.rtype);
        }
        if let Some(end) = end_of(found) {
            self.rrsets.remove(end.borrow(), rtype);
        }
    }

    /// Validates the parts of a step that were not validated before.
    async fn validate(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
        rtype: Rtype,
        found: &mut Found,
    ) -> Result<(), Invalid> {
        let version = self.negative_anchors.version();
        let mut above = None;
        for set in &mut found.sets {
            // The CNAME that a DNAME synthesises has no signature (RFC 6672 section 5.3.1).
            let synthesised = above
                .take()
                .filter(|_| set.rtype == Rtype::CNAME && set.signatures.is_empty());
            if let Some(status) = synthesised {
                set.security = status;
                continue;
            }
            if set.rtype == Rtype::RRSIG {
                // No signature covers signatures (RFC 4035 section 2.2).
                continue;
            }
            self.check_place_of_dname(name, set)?;
            if set.security == SecurityStatus::Indeterminate {
                let proofs = set.proofs.len();
                set.security = self.status_of_set(context, set).await?;
                if set.proofs.len() == proofs {
                    self.negative_anchors
                        .if_unchanged(version, || self.remember_set(set));
                } else {
                    // The cache has the proofs that do not verify, too.
                    self.rrsets.remove(set.owner.borrow(), set.rtype);
                }
            }
            if set.rtype == Rtype::DNAME {
                above = Some(set.security);
            }
        }
        let ChainEnd::Code(code) = found.end else {
            return Ok(());
        };
        if code == ResponseCode::YXDomain {
            // The DNAME proves it.
            found.denial_security = SecurityStatus::Secure;
        }
        if rtype == Rtype::RRSIG && code == ResponseCode::NoError {
            // Many servers answer it by nothing, and no signature covers signatures.
            return Ok(());
        }
        if found.denial_security == SecurityStatus::Indeterminate {
            let end = end_of(found).unwrap_or_else(|| name.to_owned());
            let proofs = found.denial.proofs.len();
            let denial = &mut found.denial;
            let (proved, status) = self
                .status_of_denial(context, end.borrow(), rtype, code, denial)
                .await?;
            if proved == code && denial.proofs.len() == proofs {
                self.negative_anchors.if_unchanged(version, || {
                    self.remember_denial(end.borrow(), rtype, denial, status);
                });
            } else {
                self.rrsets.remove(end.borrow(), rtype);
            }
            found.end = ChainEnd::Code(proved);
            found.denial_security = status;
        }
        Ok(())
    }

    /// The highest zone that may sign data at a name: the closest zone that is known, or the closest
    /// trust anchor if that is deeper. Above it are other zones, whatever a signature says (RFC 4035
    /// section 5.3.1, RFC 7646 section 2).
    pub(super) fn highest_signer(&self, name: NameRef<'_>) -> Name {
        let delegation = self
            .delegations
            .closest(name, self.environment.now(), false);
        let zone = delegation.map_or_else(Name::root, |delegation| delegation.zone.clone());
        let anchors = self.anchors.load();
        match anchors.closest(name) {
            Some((anchored, _)) if anchored.is_within(zone.borrow()) => anchored.to_owned(),
            _ => zone,
        }
    }

    /// A DNAME above a trust anchor redirects no name that the anchor covers.
    fn check_place_of_dname(&self, name: NameRef<'_>, set: &RrSet) -> Result<(), Invalid> {
        let anchors = self.anchors.load();
        match anchors.closest(name) {
            Some((anchored, _))
                if set.rtype == Rtype::DNAME && !set.owner.borrow().is_within(anchored) =>
            {
                Err(Invalid::at(anchored)(ValidationFault::SignerForeign))
            }
            _ => Ok(()),
        }
    }

    /// The status of an RRset. Of its proofs those are left that verify.
    async fn status_of_set(
        &self,
        context: &QueryContext,
        set: &mut RrSet,
    ) -> Result<SecurityStatus, Invalid> {
        let owner = set.owner.clone();
        let owner = owner.borrow();
        // The DS RRset of a zone belongs to its parent.
        let place = match set.rtype {
            Rtype::DS => owner.parent().unwrap_or(owner),
            _ => owner,
        };
        if self.has_negative_anchor(place) {
            return Ok(SecurityStatus::Insecure(
                InsecurityCause::NegativeTrustAnchor,
            ));
        }
        let highest = self.highest_signer(place);
        let is_of_zone = |signer: &Name| {
            place.is_within(signer.borrow()) && signer.borrow().is_within(highest.borrow())
        };
        let signer = set.signers().find(is_of_zone);
        let Some(signer) = signer else {
            let trust = self.enclosing_trust(context, place).await?;
            return unsigned(trust, ValidationFault::SignatureMissing);
        };
        let keys = match self.trust(context, signer.borrow()).await? {
            ChainTrust::Keys(keys) => keys,
            trust => return unsigned((trust, signer), ValidationFault::SignerForeign),
        };
        let invalid = Invalid::at(signer.borrow());
        let verified = match keys.verify(set, self.validation(context)) {
            Ok(verified) => verified,
            Err(fault) => return insecure(fault).map_err(&invalid),
        };
        let Some(encloser) = verified.closest_encloser else {
            return Ok(SecurityStatus::Secure);
        };
        let validation = self.validation(context);
        let mut proofs = self.proofs(context, &set.proofs, &keys).map_err(&invalid)?;
        let denied = proofs.wildcard_answer(owner, encloser.borrow(), validation);
        let status = denied.map(status_of).or_else(insecure).map_err(&invalid)?;
        if status == SecurityStatus::Secure {
            self.learn_wildcard(set, encloser.borrow(), verified.ttl_max_s);
            self.learn_denial(keys.zone(), None, &set.proofs, &proofs);
        }
        proofs.keep_verified(&mut set.proofs);
        Ok(status)
    }

    /// The status of a denial, and the code that it proves: some servers answer NXDOMAIN for an empty
    /// non-terminal. Of its proofs those are left that verify.
    async fn status_of_denial(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
        rtype: Rtype,
        code: ResponseCode,
        denial: &mut Denial,
    ) -> Result<(ResponseCode, SecurityStatus), Invalid> {
        let is_of_parent = rtype == Rtype::DS && !name.is_root();
        let place = if is_of_parent {
            name.parent().unwrap_or(name)
        } else {
            name
        };
        if self.has_negative_anchor(place) {
            let cause = InsecurityCause::NegativeTrustAnchor;
            return Ok((code, SecurityStatus::Insecure(cause)));
        }
        let highest = self.highest_signer(place);
        let is_of_zone = |signer: &Name| {
            place.is_within(signer.borrow()) && signer.borrow().is_within(highest.borrow())
        };
        let sets = denial.proofs.iter().chain(&denial.soa);
        let signer = sets.flat_map(RrSet::signers).find(is_of_zone);
        let Some(signer) = signer else {
            let trust = self.enclosing_trust(context, place).await?;
            return Ok((code, unsigned(trust, ValidationFault::DenialMissing)?));
        };
        let keys = match self.trust(context, signer.borrow()).await? {
            ChainTrust::Keys(keys) => keys,
            trust => {
                let status = unsigned((trust, signer), ValidationFault::SignerForeign)?;
                return Ok((code, status));
            }
        };
        self.proved(context, (name, rtype, code), denial, &keys)
            .or_else(|fault| Ok((code, insecure(fault)?)))
            .map_err(Invalid::at(signer.borrow()))
    }

    /// What the zone with these keys proves of a denial.
    fn proved(
        &self,
        context: &QueryContext,
        (name, rtype, code): (NameRef<'_>, Rtype, ResponseCode),
        denial: &mut Denial,
        keys: &ZoneKeys,
    ) -> Result<(ResponseCode, SecurityStatus), ValidationFault> {
        let validation = self.validation(context);
        let mut soa = None;
        if let Some(set) = &denial.soa {
            soa = Some((set, keys.verify(set, validation)?.ttl_max_s));
        }
        let mut proofs = self.proofs(context, &denial.proofs, keys)?;
        let (code, denied) = prove(&mut proofs, name, rtype, code, validation)?;
        self.learn_denial(keys.zone(), soa, &denial.proofs, &proofs);
        proofs.keep_verified(&mut denial.proofs);
        Ok((code, status_of(denied)))
    }

    /// The NSEC and NSEC3 sets of a response that verify.
    fn proofs(
        &self,
        context: &QueryContext,
        sets: &[RrSet],
        keys: &ZoneKeys,
    ) -> Result<Proofs, ValidationFault> {
        Proofs::verify(sets, keys, self.validation(context))
    }

    /// Notes the status of an RRset in the cache, if the cache has that set.
    fn remember_set(&self, set: &RrSet) {
        let now = self.environment.now();
        let Some(entry) = self.rrsets.get(set.owner.borrow(), set.rtype, now) else {
            return;
        };
        if let CachedData::Records(cached) = &entry.data
            && is_same(&cached.records, &set.records)
            && is_same(&cached.signatures, &set.signatures)
        {
            entry.set_security(set.security);
        }
    }

    /// Notes the status of a denial in the cache, if the cache has that denial.
    fn remember_denial(
        &self,
        name: NameRef<'_>,
        rtype: Rtype,
        denial: &Denial,
        status: SecurityStatus,
    ) {
        let now = self.environment.now();
        let Some(entry) = self.rrsets.find(name, rtype, now) else {
            return;
        };
        if let CachedData::NoData(cached) | CachedData::NxDomain(cached) = &entry.data
            && is_same_proof(cached, denial)
        {
            entry.set_security(status);
        }
    }
}

/// The code that the records of a denial prove.
fn prove(
    proofs: &mut Proofs,
    name: NameRef<'_>,
    rtype: Rtype,
    code: ResponseCode,
    validation: ValidationContext<'_>,
) -> Result<(ResponseCode, Denied), ValidationFault> {
    if code != ResponseCode::NXDomain {
        return Ok((code, proofs.nodata(name, rtype, validation)?));
    }
    proofs
        .nxdomain(name, validation)
        .map(|denied| (code, denied))
        .or_else(|fault| {
            let denied = proofs.nodata(name, rtype, validation);
            denied.map_or(Err(fault), |denied| Ok((ResponseCode::NoError, denied)))
        })
}

/// The name at the end of the aliases of a step.
fn end_of(found: &Found) -> Option<Name> {
    found
        .sets
        .iter()
        .rev()
        .find_map(|set| (set.rtype == Rtype::CNAME).then(|| set.alias_target())?)
}

/// The status of data without a signature that could be verified, by the trust in their zone.
fn unsigned(
    (trust, zone): (ChainTrust, Name),
    fault: ValidationFault,
) -> Result<SecurityStatus, Invalid> {
    match trust {
        ChainTrust::Keys(_) | ChainTrust::NoCut => Err(Invalid::at(zone.borrow())(fault)),
        ChainTrust::Insecure(cause) => Ok(SecurityStatus::Insecure(cause)),
        ChainTrust::NoAnchor => Ok(SecurityStatus::Indeterminate),
        ChainTrust::Broken(broken) => Err(Invalid::Bogus(broken)),
    }
}

/// The status of data with a fault that makes them insecure; the other faults are left.
fn insecure(fault: ValidationFault) -> Result<SecurityStatus, ValidationFault> {
    let cause = fault.insecurity();
    cause.map(SecurityStatus::Insecure).ok_or(fault)
}

fn status_of(denied: Denied) -> SecurityStatus {
    denied
        .insecurity
        .map_or(SecurityStatus::Secure, SecurityStatus::Insecure)
}

/// Whether two lists have the same data. TTLs may differ.
fn is_same(a: &[Record], b: &[Record]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.data == b.data)
}

fn is_same_proof(a: &Denial, b: &Denial) -> bool {
    let of_sets = |a: &RrSet, b: &RrSet| {
        a.owner == b.owner
            && is_same(&a.records, &b.records)
            && is_same(&a.signatures, &b.signatures)
    };
    let of_soa = match (&a.soa, &b.soa) {
        (Some(a), Some(b)) => of_sets(a, b),
        (None, None) => true,
        _ => false,
    };
    of_soa
        && a.proofs.len() == b.proofs.len()
        && a.proofs.iter().zip(&b.proofs).all(|(a, b)| of_sets(a, b))
}
