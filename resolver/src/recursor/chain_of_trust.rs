//! The chain of trust: from a trust anchor down to the keys of a zone (RFC 4035 section 5).
//!
//! ```text
//! anchor --DNSKEY--> keys of the root --DS of the zone--> DNSKEY --> keys of the zone
//!                         └── no DS, with proof --> insecure
//! ```
//!
//! The signer of a DS RRset, or of the proof that there is none, is the zone above. So the chain is
//! found from the zone upwards, and no name between two zones is queried for.

use std::{sync::Arc, time::Duration};

use policy::name::{Name, NameRef};

use crate::message::types::Rtype;

use super::{
    cache::trust::{BOGUS_FOR, BrokenChain, ChainTrust},
    cached::{ChainEnd, Found},
    dnssec::{
        Delegation, InsecurityCause, Proofs, UsableDs, ValidationContext, ValidationFault,
        ZoneKeys, ZoneTrust,
    },
    environment::Environment,
    failure::ResolutionFailure,
    iterate::BoxFuture,
    lookup_chain::LookupChain,
    query_context::QueryContext,
    response::DelegationSigner,
    rrset::RrSet,
    state::Recursor,
};

/// How long what a referral says of a DS RRset is used.
const REFERRAL_FOR: Duration = Duration::from_secs(60);
/// Queries for the keys of a zone without an answer after which its servers count as not responding.
/// A count.
const KEY_QUERIES_MAX: i64 = 8;

/// Trust, and how long it holds, in seconds.
type Derived = (ChainTrust, u32);

impl<E: Environment> Recursor<E> {
    /// Whether there is a trust anchor at all.
    pub(super) fn validates(&self) -> bool {
        !self.anchors.load().is_empty()
    }

    /// Whether a name is not validated because of a negative trust anchor. It may be inside of a
    /// zone.
    pub(super) fn has_negative_anchor(&self, name: NameRef<'_>) -> bool {
        let unix_s = self.environment.unix_s();
        let anchors = self.anchors.load();
        let closest = anchors.closest(name);
        closest.is_some_and(|(anchored, _)| self.negative_anchors.covers(name, anchored, unix_s))
    }

    /// Whether the keys of a zone would be used, and are not cached.
    pub(super) fn lacks_keys_of(&self, zone: NameRef<'_>) -> bool {
        let now = self.environment.now();
        self.anchors.load().closest(zone).is_some()
            && !self.has_negative_anchor(zone)
            && self.trust.get(zone, now).is_none()
            && self.rrsets.get(zone, Rtype::DNSKEY, now).is_none()
    }

    /// Asks for the DNSKEY RRset of a zone, while its servers are asked for something else. What
    /// comes is validated when it is needed. Boxed, because lookups nest.
    pub(super) fn ask_for_keys<'f>(
        &'f self,
        context: &'f QueryContext,
        zone: NameRef<'f>,
    ) -> BoxFuture<'f, ()> {
        Box::pin(async move {
            // A failure is cached, and met again by the validation.
            let _ = self.find_keys(context, zone).await;
        })
    }

    /// The DNSKEY RRset of a zone, from the cache or its servers. Where they do not respond, and the
    /// query's budget or time ends with that, the failure is theirs, and cached.
    async fn find_keys(
        &self,
        context: &QueryContext,
        zone: NameRef<'_>,
    ) -> Result<Found, ResolutionFailure> {
        let chain = LookupChain::of_validation(zone, Rtype::DNSKEY);
        let before = context.validation_queries_left();
        let found = self.find(context, &chain, zone, Rtype::DNSKEY, false).await;
        let asked = before - context.validation_queries_left();
        match found {
            Err(failure) if failure.is_of_query() && asked >= KEY_QUERIES_MAX => {
                let failure = ResolutionFailure::Unreachable;
                let now = self.environment.now();
                self.failures.insert(zone, Rtype::DNSKEY, failure, now);
                Err(failure)
            }
            found => found,
        }
    }

    /// The circumstances of a validation step of this query.
    pub(super) fn validation<'q>(&'q self, context: &'q QueryContext) -> ValidationContext<'q> {
        ValidationContext {
            // Signatures count seconds modulo 2^32, RFC 4034 section 3.1.5.
            now_unix: self.environment.unix_s() as u32,
            settings: &self.settings.validation,
            budget: &context.validation,
        }
    }

    /// What the chain of trust says of a name that may be a zone. Boxed, because it asks for the
    /// zone above.
    ///
    /// # Errors
    /// The failure of a lookup: the servers of a zone do not respond, or the budget is used up.
    pub(super) fn trust<'f>(
        &'f self,
        context: &'f QueryContext,
        name: NameRef<'f>,
    ) -> BoxFuture<'f, Result<ChainTrust, ResolutionFailure>> {
        Box::pin(self.derive_trust(context, name))
    }

    async fn derive_trust(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
    ) -> Result<ChainTrust, ResolutionFailure> {
        let anchors = self.anchors.load_full();
        let Some((anchored, anchors)) = anchors.closest(name) else {
            return Ok(ChainTrust::NoAnchor);
        };
        let version = self.negative_anchors.version();
        if self.has_negative_anchor(name) {
            return Ok(ChainTrust::Insecure(InsecurityCause::NegativeTrustAnchor));
        }
        if let Some(known) = self.trust.get(name, self.environment.now()) {
            return Ok(known);
        }
        let (trust, ttl_s) = if anchored == name {
            let found =
                |set: &RrSet| ZoneKeys::from_anchors(set, anchors, self.validation(context));
            self.keys(context, name, u32::MAX, found).await?
        } else {
            self.delegated(context, name).await?
        };
        let now = self.environment.now();
        self.context_of(context, name, &trust);
        let lifetime = match &trust {
            ChainTrust::Broken(broken) if broken.is_of_query => return Ok(trust),
            ChainTrust::Broken(_) => BOGUS_FOR,
            _ => Duration::from_secs(ttl_s.into()),
        };
        self.negative_anchors.if_unchanged(version, || {
            self.trust.insert(name, trust.clone(), lifetime, now);
        });
        Ok(trust)
    }

    /// Adds what was found to the trace.
    fn context_of(&self, context: &QueryContext, name: NameRef<'_>, trust: &ChainTrust) {
        context.trace(self.environment.now(), || match trust {
            ChainTrust::Keys(keys) => {
                let tags: Vec<u16> = keys.keys().map(|key| key.tag).collect();
                format!("{name}: secure, its keys are {tags:?}")
            }
            ChainTrust::NoCut => format!("{name}: no zone of its own"),
            ChainTrust::Insecure(cause) => format!("{name}: insecure, {cause}"),
            ChainTrust::NoAnchor => format!("{name}: no trust anchor"),
            ChainTrust::Broken(broken) if broken.zone.borrow() == name => {
                format!("{name}: bogus, {}", broken.fault)
            }
            ChainTrust::Broken(broken) => {
                format!(
                    "{name}: bogus by its zone {}, {}",
                    broken.zone, broken.fault
                )
            }
        });
    }

    /// The trust in a name by what the zone above says of it.
    async fn delegated(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
    ) -> Result<Derived, ResolutionFailure> {
        // The referral that led to the zone has brought its DS RRset along, or the proof.
        let mut first = None;
        let referred = self.referred(name);
        if let Some(signer) = referred.as_ref().filter(|ds| signer_of(ds, name).is_some()) {
            let derived = self.by_delegation_signer(context, name, signer).await?;
            match derived.0 {
                ChainTrust::Broken(broken) => first = Some(broken),
                ChainTrust::NoCut => {}
                _ => return Ok(derived),
            }
        }
        for _ in 0..2 {
            let chain = LookupChain::of_validation(name, Rtype::DS);
            let found = self.find(context, &chain, name, Rtype::DS, false).await?;
            let server = found.server;
            let derived = match delegation_signer(found, name) {
                Some(signer) => self.by_delegation_signer(context, name, &signer).await?,
                None => (ChainTrust::NoCut, 0),
            };
            let (ChainTrust::Broken(broken), _) = derived else {
                return Ok(derived);
            };
            let broken = broken.after(first.take());
            if broken.is_of_query {
                return Ok((ChainTrust::Broken(broken), 0));
            }
            first = Some(broken);
            // Another server may have data that verify.
            self.rrsets.remove(name, Rtype::DS);
            if let Some(server) = server {
                context.distrust(server);
            }
        }
        Ok(first.map_or((ChainTrust::NoCut, 0), |broken| {
            (ChainTrust::Broken(broken), 0)
        }))
    }

    /// What a referral has just said of the DS RRset of a zone. Later the zone above is asked: the
    /// delegation is kept for as long as its NS RRset says, which has no signature.
    fn referred(&self, zone: NameRef<'_>) -> Option<DelegationSigner> {
        let now = self.environment.now();
        let delegation = self.delegations.closest(zone, now, false)?;
        let (signer, age) = delegation
            .ds(now)
            .filter(|_| delegation.zone.borrow() == zone)?;
        let sets = || signer.set.iter().chain(&signer.proofs);
        let ttl_s = sets().map(RrSet::ttl_s).min()?;
        let ttl = Duration::from_secs(ttl_s.into()).min(REFERRAL_FOR);
        let is_newer = self.rrsets.find(zone, Rtype::DS, now).is_some();
        (age < ttl && !is_newer).then(|| signer.clone())
    }

    /// The trust in a name by its DS RRset, or by the proof that it has none.
    async fn by_delegation_signer(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
        ds: &DelegationSigner,
    ) -> Result<Derived, ResolutionFailure> {
        let Some(signer) = signer_of(ds, name) else {
            // Nothing is signed: that is right below an insecure delegation only.
            let Some(parent) = name.parent() else {
                return Ok(broken(name, ValidationFault::SignatureMissing));
            };
            let missing = if ds.set.is_some() {
                ValidationFault::SignatureMissing
            } else {
                ValidationFault::DenialMissing
            };
            let (above, zone) = self.enclosing_trust(context, parent).await?;
            return Ok(match above {
                ChainTrust::Keys(_) | ChainTrust::NoCut => broken(zone.borrow(), missing),
                above => (above, BOGUS_FOR.as_secs() as u32),
            });
        };
        let keys = match self.trust(context, signer.borrow()).await? {
            ChainTrust::Keys(keys) => keys,
            ChainTrust::NoCut => {
                return Ok(broken(signer.borrow(), ValidationFault::SignerForeign));
            }
            above => return Ok((above, BOGUS_FOR.as_secs() as u32)),
        };
        let Some(set) = &ds.set else {
            return Ok(self.without_ds(context, name, (signer.borrow(), &keys), ds));
        };
        let verified = match keys.verify(set, self.validation(context)) {
            Ok(verified) => verified,
            Err(fault) => return Ok(broken(signer.borrow(), fault)),
        };
        let ttl_s = set.ttl_s().min(verified.ttl_max_s);
        match UsableDs::new(set, &self.settings.validation) {
            Err(cause) => Ok((ChainTrust::Insecure(cause), ttl_s)),
            Ok(usable) => {
                let found = |set: &RrSet| ZoneKeys::from_ds(set, &usable, self.validation(context));
                self.keys(context, name, ttl_s, found).await
            }
        }
    }

    /// The trust in a name that has no DS RRset.
    fn without_ds(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
        (signer, keys): (NameRef<'_>, &ZoneKeys),
        ds: &DelegationSigner,
    ) -> Derived {
        let validation = self.validation(context);
        let mut proofs = match Proofs::verify(&ds.proofs, keys, validation) {
            Ok(proofs) => proofs,
            Err(fault) => return broken(signer, fault),
        };
        let ttl_s = ds.proofs.iter().map(RrSet::ttl_s).min().unwrap_or(0);
        let ttl_s = ttl_s.min(proofs.ttl_max_s());
        match proofs.delegation(name, validation) {
            Ok(Delegation::Insecure(cause)) => (ChainTrust::Insecure(cause), ttl_s),
            Ok(Delegation::NoCut) => (ChainTrust::NoCut, ttl_s),
            Err(fault) => broken(signer, fault),
        }
    }

    /// The keys of a zone: its DNSKEY RRset, as `accept` finds it in order.
    async fn keys(
        &self,
        context: &QueryContext,
        zone: NameRef<'_>,
        ttl_s: u32,
        accept: impl Fn(&RrSet) -> Result<ZoneTrust, ValidationFault>,
    ) -> Result<Derived, ResolutionFailure> {
        let mut first = None;
        for _ in 0..2 {
            let found = match self.find_keys(context, zone).await {
                Ok(found) => found,
                // Servers that do not respond say nothing about the chain.
                Err(failure) if failure.is_of_query() || first.is_none() => return Err(failure),
                Err(_) => break,
            };
            let server = found.server;
            let set = match found.end {
                ChainEnd::Records => found.sets.into_iter().next_back(),
                ChainEnd::Alias(_) | ChainEnd::Code(_) => None,
            };
            let missing = || {
                let first = first.as_ref();
                first.map_or(ValidationFault::KeySetMissing, |first: &BrokenChain| {
                    first.fault
                })
            };
            let accepted = set.as_ref().map_or_else(|| Err(missing()), &accept);
            let ttl_s = ttl_s.min(set.as_ref().map_or(0, RrSet::ttl_s));
            let fault = match accepted {
                Ok(ZoneTrust::Secure(keys)) => {
                    let ttl_s = ttl_s.min(keys.ttl_max_s());
                    return Ok((ChainTrust::Keys(Arc::new(keys)), ttl_s));
                }
                Ok(ZoneTrust::Insecure(cause)) => return Ok((ChainTrust::Insecure(cause), ttl_s)),
                Err(fault) => fault,
            };
            let broken = BrokenChain::at(zone, fault).after(first.take());
            if broken.is_of_query {
                return Ok((ChainTrust::Broken(broken), 0));
            }
            first = Some(broken);
            // Another server may have keys that verify.
            self.rrsets.remove(zone, Rtype::DNSKEY);
            if let Some(server) = server {
                context.distrust(server);
            }
        }
        let broken = first.unwrap_or_else(|| BrokenChain::at(zone, ValidationFault::KeySetMissing));
        Ok((ChainTrust::Broken(broken), 0))
    }

    /// The trust in data of a name that has no signature to say of which zone it is: of the deepest
    /// zone that encloses the name. Returns that zone as well.
    pub(super) async fn enclosing_trust(
        &self,
        context: &QueryContext,
        name: NameRef<'_>,
    ) -> Result<(ChainTrust, Name), ResolutionFailure> {
        let anchors = self.anchors.load_full();
        let Some((anchor, _)) = anchors.closest(name) else {
            return Ok((ChainTrust::NoAnchor, Name::root()));
        };
        let delegation = self
            .delegations
            .closest(name, self.environment.now(), false);
        let start = delegation
            .as_ref()
            .map(|delegation| delegation.zone.borrow())
            .filter(|zone| zone.is_within(anchor))
            .unwrap_or(anchor);
        let mut zone = start;
        let mut trust = self.trust(context, zone).await?;
        if matches!(trust, ChainTrust::NoCut) {
            // The servers of a zone that is delegated nowhere.
            zone = anchor;
            trust = self.trust(context, zone).await?;
        }
        // Zones that the same servers have: no referral led into them.
        let mut labels = start.label_count();
        while matches!(trust, ChainTrust::Keys(_)) && labels < name.label_count() {
            labels += 1;
            let below = name.last_labels(labels);
            match self.trust(context, below).await? {
                ChainTrust::NoCut => {}
                other => (trust, zone) = (other, below),
            }
        }
        Ok((trust, zone.to_owned()))
    }
}

/// The chain breaks at a zone, or ends there.
fn broken(zone: NameRef<'_>, fault: ValidationFault) -> Derived {
    match fault.insecurity() {
        Some(cause) => (ChainTrust::Insecure(cause), BOGUS_FOR.as_secs() as u32),
        None => (ChainTrust::Broken(BrokenChain::at(zone, fault)), 0),
    }
}

/// The DS RRset of a response, or its proofs. None where the name is an alias.
fn delegation_signer(found: Found, name: NameRef<'_>) -> Option<DelegationSigner> {
    match found.end {
        ChainEnd::Alias(_) => None,
        ChainEnd::Records => Some(DelegationSigner {
            set: found
                .sets
                .into_iter()
                .next_back()
                .filter(|set| set.owner.borrow() == name),
            proofs: Vec::new(),
        }),
        ChainEnd::Code(_) if !found.sets.is_empty() => None,
        ChainEnd::Code(_) => Some(DelegationSigner {
            set: None,
            proofs: found.denial.proofs,
        }),
    }
}

/// The zone above, by the signatures of the DS RRset or of the proofs: a strict ancestor.
fn signer_of(ds: &DelegationSigner, zone: NameRef<'_>) -> Option<Name> {
    ds.set
        .iter()
        .chain(&ds.proofs)
        .flat_map(RrSet::signers)
        .find(|signer| zone != signer.borrow() && zone.is_within(signer.borrow()))
}
