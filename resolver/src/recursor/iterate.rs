//! Iterative resolution: from the closest zone that is known down to the answer, and along aliases.

use std::{future::Future, pin::Pin, sync::Arc};

use hickory_proto::op::ResponseCode;
use policy::name::{Name, NameRef};

use crate::{
    message::types::Rtype,
    upstream::{ALIASES_MAX, canonical},
};

use super::{
    cache::{delegations::Delegation, rrsets::CachedData},
    cached::{ChainEnd, Found},
    environment::Environment,
    failure::ResolutionFailure,
    lookup_chain::LookupChain,
    minimiser::Minimiser,
    query_context::QueryContext,
    response::{Denial, Referral, Response, ResponseKind, ServerRole},
    rrset::{RrSet, SecurityStatus},
    state::Recursor,
};

/// Referrals from a known zone down to the name. A count; no honest name needs a third of it.
const REFERRALS_MAX: usize = 24;
/// The type under which the failure cache has the failure of a whole zone. No record has it, and no
/// client may query it (RFC 6895 section 3.1).
const TYPE_ZONE: Rtype = Rtype::RESERVED;

/// The result of a resolution.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    pub code: ResponseCode,
    /// The aliases, then the RRset queried. TTLs are what remains of them.
    pub sets: Vec<RrSet>,
    /// The SOA and the proofs of a negative answer.
    pub denial: Denial,
    /// The least secure status of its parts.
    pub security: SecurityStatus,
}

pub(super) type BoxFuture<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

impl<E: Environment> Recursor<E> {
    /// Resolves a name and type as the last lookup of a chain. Boxed, because lookups nest.
    pub(super) fn resolve_chain<'f>(
        &'f self,
        context: &'f QueryContext,
        chain: &'f LookupChain<'f>,
        name: NameRef<'f>,
        rtype: Rtype,
    ) -> BoxFuture<'f, Result<Resolved, ResolutionFailure>> {
        Box::pin(self.follow_aliases(context, chain, name, rtype))
    }

    async fn follow_aliases(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        rtype: Rtype,
    ) -> Result<Resolved, ResolutionFailure> {
        let is_prefetch = context.is_prefetch && chain.is_client_query();
        let validates = self.validates() && chain.is_client_query() && !context.checking_disabled;
        let mut at = name.to_owned();
        let mut sets = Vec::new();
        let mut security = SecurityStatus::Secure;
        loop {
            let found = if validates {
                self.find_valid(context, chain, at.borrow(), rtype, is_prefetch)
                    .await?
            } else {
                self.find(context, chain, at.borrow(), rtype, is_prefetch)
                    .await?
            };
            security = found
                .sets
                .iter()
                .fold(security, |status, set| status.and(set.security));
            sets.extend(found.sets);
            let code = match found.end {
                ChainEnd::Alias(target) => {
                    check_alias_count(&sets)?;
                    check_alias_loop(&sets, &target)?;
                    at = target;
                    continue;
                }
                ChainEnd::Records => {
                    check_alias_count(&sets)?;
                    ResponseCode::NoError
                }
                ChainEnd::Code(code) => {
                    security = security.and(found.denial_security);
                    code
                }
            };
            return Ok(Resolved {
                code,
                sets,
                denial: found.denial,
                security,
            });
        }
    }

    /// One step along the alias chain: from the caches, or from the authorities.
    pub(super) async fn find(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        rtype: Rtype,
        is_prefetch: bool,
    ) -> Result<Found, ResolutionFailure> {
        if let Some(found) = self.cached(context, chain, name, rtype, is_prefetch)? {
            return Ok(found);
        }
        // A prefetch wants what the zone says now.
        if !is_prefetch && let Some(found) = self.synthesised(context, name, rtype) {
            return Ok(found);
        }
        if let Some(broken) = self.known_broken(context, chain, name, rtype) {
            context.trace(self.environment.now(), || {
                format!("{name}: bogus, as its zone is; its servers are not asked")
            });
            self.note_bogus(chain, name, rtype, &broken);
            return Err(ResolutionFailure::Bogus(broken.fault));
        }
        let response = self.query_authorities(context, chain, name, rtype).await;
        if let Err(failure) = &response {
            self.cache_failure(chain, name, rtype, *failure);
        }
        step_of(response?)
    }

    /// Queries zone after zone, from the closest one that is known down to the name.
    async fn query_authorities(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        rtype: Rtype,
    ) -> Result<Response, ResolutionFailure> {
        // The DS RRset of a zone belongs to its parent.
        let start = if rtype == Rtype::DS {
            name.parent().unwrap_or(name)
        } else {
            name
        };
        let delegation = self.closest(context, chain, start, false).await?;
        let mut descent = Descent {
            recursor: self,
            context,
            chain,
            name,
            rtype,
            start,
            minimiser: self.minimiser(name, &delegation),
            delegation,
            referrals: 0,
            skip_forward_first: false,
            has_asked_parent_again: false,
        };
        loop {
            if let Some(response) = descent.step().await? {
                return Ok(response);
            }
        }
    }

    fn minimiser<'n>(&self, name: NameRef<'n>, delegation: &Delegation) -> Minimiser<'n> {
        let is_on = self.settings.qname_minimisation && delegation.role() == ServerRole::Authority;
        Minimiser::new(name, delegation.zone.borrow(), is_on)
    }

    /// The closest zone that is known.
    async fn closest(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        skip_forward_first: bool,
    ) -> Result<Arc<Delegation>, ResolutionFailure> {
        let now = self.environment.now();
        match self.delegations.closest(name, now, skip_forward_first) {
            Some(delegation) => Ok(delegation),
            // Rare, and boxed so that it takes no room in each resolution.
            None => Box::pin(self.prime(context, chain)).await,
        }
    }

    /// Queries the servers of the hints for the root's NS RRset, RFC 8109. The hints themselves
    /// serve where no server has it.
    async fn prime(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
    ) -> Result<Arc<Delegation>, ResolutionFailure> {
        if self.settings.prime {
            let root = Name::root();
            let response = self
                .query_zone(context, chain, &self.hints, root.borrow(), Rtype::NS)
                .await;
            if let Ok(Response {
                apex: Some(apex), ..
            }) = response.as_deref()
                && apex.servers.iter().any(|server| !server.glue.is_empty())
            {
                let now = self.environment.now();
                return Ok(self.delegations.learn(apex.clone(), &self.hints, now));
            }
        }
        Ok(Arc::clone(&self.hints))
    }
}

/// The way down from one zone to the next.
struct Descent<'a, E> {
    recursor: &'a Recursor<E>,
    context: &'a QueryContext,
    chain: &'a LookupChain<'a>,
    name: NameRef<'a>,
    rtype: Rtype,
    /// The name whose closest zone the descent starts in.
    start: NameRef<'a>,
    delegation: Arc<Delegation>,
    minimiser: Minimiser<'a>,
    referrals: usize,
    /// Whether the servers of a forward-first zone have failed.
    skip_forward_first: bool,
    has_asked_parent_again: bool,
}

impl<E: Environment> Descent<'_, E> {
    /// One query to one zone. None where another one must follow.
    async fn step(&mut self) -> Result<Option<Response>, ResolutionFailure> {
        let (name, rtype) = self.minimiser.question(self.rtype);
        let is_full = name == self.name && rtype == self.rtype;
        if !is_full && self.skips_minimised(name, rtype) {
            return Ok(None);
        }
        let asked =
            self.recursor
                .query_zone(self.context, self.chain, &self.delegation, name, rtype);
        let response = if self.lacks_keys() {
            let zone = self.delegation.zone.borrow();
            let keys = self.recursor.ask_for_keys(self.context, zone);
            tokio::join!(asked, keys).0
        } else {
            asked.await
        };
        match response {
            Ok(response) => self.handle(response, name, rtype, is_full),
            Err(
                failure @ (ResolutionFailure::TooLong
                | ResolutionFailure::TooMuchWork
                | ResolutionFailure::Busy),
            ) => Err(failure),
            // Some servers fail for names that are no full query name.
            Err(_) if !is_full => {
                self.minimiser.give_up();
                Ok(None)
            }
            Err(failure) => {
                self.restart_after(failure).await?;
                Ok(None)
            }
        }
    }

    /// Whether the keys of a signed zone will be needed to validate what its servers are asked for,
    /// and are not known.
    fn lacks_keys(&self) -> bool {
        let is_signed = || {
            let signer = self.delegation.ds(self.recursor.environment.now());
            signer.is_some_and(|(signer, _)| signer.set.is_some())
        };
        self.chain.is_client_query()
            && !self.context.checking_disabled
            && is_signed()
            && self.recursor.lacks_keys_of(self.delegation.zone.borrow())
    }

    /// Whether a query with a minimised name is needless, because the cache knows its result.
    fn skips_minimised(&mut self, name: NameRef<'_>, rtype: Rtype) -> bool {
        let rrsets = &self.recursor.rrsets;
        let now = self.recursor.environment.now();
        if rrsets.is_denied(name, now) {
            self.minimiser.give_up();
            return true;
        }
        // NODATA of the zone itself: the name is no zone apex.
        let is_in_zone = rrsets.get(name, rtype, now).is_some_and(|entry| {
            matches!(&entry.data, CachedData::NoData(denial)
                if denial.soa_record().is_some_and(|soa| canonical(&soa.name) == self.delegation.zone))
        });
        if is_in_zone {
            self.minimiser.advance();
        }
        is_in_zone
    }

    /// After a zone has failed: goes on without the forward-first zone, or asks the parent again.
    async fn restart_after(&mut self, failure: ResolutionFailure) -> Result<(), ResolutionFailure> {
        let recursor = self.recursor;
        let zone = &self.delegation.zone;
        if self.delegation.then_recurses() {
            self.skip_forward_first = true;
            return self.restart().await;
        }
        let has_no_other_servers = self.has_asked_parent_again
            || self.delegation.is_configured()
            || zone.borrow().is_root()
            || self.referrals > 0;
        let now = recursor.environment.now();
        if has_no_other_servers {
            recursor
                .failures
                .insert(zone.borrow(), TYPE_ZONE, failure, now);
            return Err(failure);
        }
        let has_failed_before = recursor
            .failures
            .get(zone.borrow(), TYPE_ZONE, now)
            .is_some();
        if has_failed_before {
            return Err(failure);
        }
        // The delegation may have changed since it was learned.
        self.has_asked_parent_again = true;
        recursor.delegations.remove(zone);
        self.restart().await
    }

    async fn restart(&mut self) -> Result<(), ResolutionFailure> {
        self.delegation = self
            .recursor
            .closest(
                self.context,
                self.chain,
                self.start,
                self.skip_forward_first,
            )
            .await?;
        self.minimiser = self.recursor.minimiser(self.name, &self.delegation);
        Ok(())
    }

    /// Learns from a response. Returns it if it answers the full query.
    fn handle(
        &mut self,
        response: Arc<Response>,
        name: NameRef<'_>,
        rtype: Rtype,
        is_full: bool,
    ) -> Result<Option<Response>, ResolutionFailure> {
        let recursor = self.recursor;
        let now = recursor.environment.now();
        if let Some(apex) = &response.apex {
            recursor
                .delegations
                .learn_apex(apex.clone(), &self.delegation, now);
        }
        match &response.kind {
            ResponseKind::Referral(referral) => {
                self.enter(referral.clone())?;
                return Ok(None);
            }
            // Many servers deny empty non-terminals, so only a denial of the full name counts.
            ResponseKind::NxDomain { .. } if !is_full => {
                let denial = response.denial.clone();
                recursor.rrsets.insert_minimised_nxdomain(name, denial, now);
                self.minimiser.give_up();
                return Ok(None);
            }
            _ => {}
        }
        let response = recursor.cache_response(
            Arc::unwrap_or_clone(response),
            rtype,
            self.delegation.expires(),
            now,
        );
        if is_full {
            return Ok(Some(response));
        }
        self.minimiser.advance();
        Ok(None)
    }

    /// Goes on in the zone that a referral names.
    fn enter(&mut self, referral: Referral) -> Result<(), ResolutionFailure> {
        self.referrals += 1;
        if self.referrals > REFERRALS_MAX {
            return Err(ResolutionFailure::TooMuchWork);
        }
        let now = self.recursor.environment.now();
        let delegation = self
            .recursor
            .delegations
            .learn(referral, &self.delegation, now);
        self.context.trace(now, || {
            format!(
                "{} is delegated by {}",
                delegation.zone, self.delegation.zone
            )
        });
        self.minimiser.enter(delegation.zone.borrow());
        self.delegation = delegation;
        Ok(())
    }
}

/// The step along the alias chain that a response makes.
fn step_of(response: Response) -> Result<Found, ResolutionFailure> {
    let end = match response.kind {
        ResponseKind::Answer => ChainEnd::Records,
        ResponseKind::Alias { target } => ChainEnd::Alias(target),
        ResponseKind::NxDomain { .. } => ChainEnd::Code(ResponseCode::NXDomain),
        ResponseKind::NoData { .. } => ChainEnd::Code(ResponseCode::NoError),
        // The DNAME goes with the code, RFC 6672 section 2.2.
        ResponseKind::DnameTooLong => ChainEnd::Code(ResponseCode::YXDomain),
        ResponseKind::Unusable(_) | ResponseKind::Referral(_) => {
            return Err(ResolutionFailure::Useless);
        }
    };
    Ok(Found {
        end,
        sets: response.answer,
        denial: response.denial,
        denial_security: SecurityStatus::Indeterminate,
        server: response.server,
    })
}

fn check_alias_count(sets: &[RrSet]) -> Result<(), ResolutionFailure> {
    let aliases = sets.iter().filter(|set| set.rtype == Rtype::CNAME).count();
    if aliases > ALIASES_MAX {
        Err(ResolutionFailure::TooManyAliases)
    } else {
        Ok(())
    }
}

fn check_alias_loop(sets: &[RrSet], target: &Name) -> Result<(), ResolutionFailure> {
    let is_loop = sets
        .iter()
        .any(|set| set.owner == *target && set.rtype == Rtype::CNAME);
    if is_loop {
        Err(ResolutionFailure::Circular)
    } else {
        Ok(())
    }
}
