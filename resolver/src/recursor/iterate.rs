//! From the closest zone that is known down to the answer, and along its aliases.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use hickory_proto::{
    op::ResponseCode,
    rr::{Record, RecordType},
};
use policy::name::{Name, NameRef};

use crate::{
    recursor::{
        budget::{LookupChain, QueryContext},
        delegations::Delegation,
        environment::Environment,
        scrub::{ALIASES_MAX, Response, ResponseKind, ServerRole, synthesize_cname},
    },
    upstream::canonical,
};

use super::{
    Recursor, ResolutionFailure,
    rebinding::leads_into,
    rrsets::{CachedData, RrSet, Trust},
};

/// Zones on the way from a known one down to the name. A count; nothing honest has a third of it.
const REFERRALS_MAX: usize = 24;
/// Queries with a minimised name, and how many of them add one label only: RFC 9156 section 2.3.
const MINIMISED_MAX: usize = 10;
const MINIMISED_ONE_LABEL: usize = 4;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_DNAME: u16 = 39;
const TYPE_DS: u16 = 43;
/// The failure of a zone as a whole is kept under a type that no record has and no client may ask
/// for, RFC 6895 section 3.1.
const TYPE_ZONE: u16 = 0;

/// What was found out.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The code.
    pub code: ResponseCode,
    /// The aliases, then the records; TTLs are what is left of them.
    pub sets: Vec<RrSet>,
    /// The SOA of a denial.
    pub soa: Option<Record>,
}

/// What the caches know.
enum Known {
    /// The last of these sets is what was asked for.
    Records(Vec<RrSet>),
    Aliases(Vec<RrSet>, Name),
    Denied(ResponseCode, Option<Box<Record>>),
    /// A DNAME that leads to too long a name.
    TooLong(RrSet),
}

type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

impl<S: Environment> Recursor<S> {
    /// Finds out what a name has of a type.
    pub(super) fn resolve_path<'f>(
        &'f self,
        context: &'f QueryContext,
        chain: &'f LookupChain<'f>,
        name: NameRef<'f>,
        record_type: u16,
    ) -> Boxed<'f, Result<Resolved, ResolutionFailure>> {
        Box::pin(self.follow(context, chain, name, record_type))
    }

    async fn follow(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        record_type: u16,
    ) -> Result<Resolved, ResolutionFailure> {
        let mut at = name.to_owned();
        let mut sets = Vec::new();
        loop {
            let is_renewed = context.renews && chain.is_client_query();
            let (further, target) = match self.known(at.borrow(), record_type, is_renewed)? {
                Some(Known::Records(found)) => {
                    sets.extend(found);
                    return Ok(Resolved {
                        code: ResponseCode::NoError,
                        sets,
                        soa: None,
                    });
                }
                Some(Known::Denied(code, soa)) => {
                    return Ok(Resolved {
                        code,
                        sets,
                        soa: soa.map(|soa| *soa),
                    });
                }
                Some(Known::TooLong(dname)) => {
                    sets.push(dname);
                    return Ok(Resolved {
                        code: ResponseCode::YXDomain,
                        sets,
                        soa: None,
                    });
                }
                Some(Known::Aliases(further, target)) => (further, target),
                None => {
                    let found = self.find(context, chain, at.borrow(), record_type).await;
                    if let Err(failure) = &found {
                        self.remember_failure(chain, at.borrow(), record_type, *failure);
                    }
                    match found? {
                        ResponseKind::Answer(found) => {
                            sets.extend(found);
                            check_aliases(&sets)?;
                            return Ok(Resolved {
                                code: ResponseCode::NoError,
                                sets,
                                soa: None,
                            });
                        }
                        ResponseKind::Alias(further, target) => (further, target),
                        ResponseKind::NxDomain(found, _, soa) => {
                            sets.extend(found);
                            return Ok(Resolved {
                                code: ResponseCode::NXDomain,
                                sets,
                                soa,
                            });
                        }
                        ResponseKind::NoData(found, _, soa) => {
                            sets.extend(found);
                            return Ok(Resolved {
                                code: ResponseCode::NoError,
                                sets,
                                soa,
                            });
                        }
                        // The DNAME goes with the code, RFC 6672 section 2.2.
                        ResponseKind::TooLong(found) => {
                            sets.extend(found);
                            return Ok(Resolved {
                                code: ResponseCode::YXDomain,
                                sets,
                                soa: None,
                            });
                        }
                        ResponseKind::Unusable(_) | ResponseKind::Referral(_) => {
                            return Err(ResolutionFailure::Useless);
                        }
                    }
                }
            };
            sets.extend(further);
            check_aliases(&sets)?;
            if sets
                .iter()
                .any(|set| set.owner == target && set.record_type == TYPE_CNAME)
            {
                return Err(ResolutionFailure::Circular);
            }
            at = target;
        }
    }

    /// Remembers a failure for a while (RFC 9520): under the name that fails, or, where one
    /// question wanted too much, under what the client asked. Nobody's name must fail because
    /// somebody else's question came to its end there.
    fn remember_failure(
        &self,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        record_type: u16,
        failure: ResolutionFailure,
    ) {
        let now = self.environment.now();
        if !failure.is_of_question() {
            self.rrsets.insert_failure(name, record_type, failure, now);
        } else if chain.is_client_query() && failure != ResolutionFailure::Busy {
            self.rrsets
                .insert_failure(chain.name(), record_type, failure, now);
        }
    }

    /// What the caches know of a name and a type.
    fn known(
        &self,
        name: NameRef<'_>,
        record_type: u16,
        is_renewed: bool,
    ) -> Result<Option<Known>, ResolutionFailure> {
        let now = self.environment.now();
        let usable = |name: NameRef<'_>, record_type| {
            self.rrsets
                .exact(name, record_type, now)
                .filter(|kept| !(is_renewed && kept.is_prefetch_due(now)))
        };
        let found = self
            .rrsets
            .find(name, record_type, now)
            .filter(|kept| !(is_renewed && kept.is_prefetch_due(now)));
        if let Some(kept) = found {
            let left = kept.remaining_s(now);
            let soa = |soa: &Option<Record>| soa.clone().map(|soa| Box::new(with_ttl(soa, left)));
            return Ok(Some(match &kept.fact {
                CachedData::Records(set) => Known::Records(vec![aged(set, left)]),
                CachedData::NoData(denial) => Known::Denied(ResponseCode::NoError, soa(denial)),
                CachedData::NxDomain(denial) => Known::Denied(ResponseCode::NXDomain, soa(denial)),
            }));
        }
        if record_type != TYPE_CNAME
            && let Some(kept) = usable(name, TYPE_CNAME)
            && let CachedData::Records(set) = &kept.fact
            && let Some(target) = set.alias_target()
        {
            return Ok(Some(Known::Aliases(
                vec![aged(set, kept.remaining_s(now))],
                target,
            )));
        }
        for above in name.ancestors().skip(1) {
            if let Some(kept) = usable(above, TYPE_DNAME)
                && let CachedData::Records(set) = &kept.fact
            {
                let dname = aged(set, kept.remaining_s(now));
                return Ok(Some(match synthesize_cname(&dname, name) {
                    Ok((alias, _)) if record_type == TYPE_CNAME => {
                        Known::Records(vec![dname, alias])
                    }
                    Ok((alias, target)) => Known::Aliases(vec![dname, alias], target),
                    Err(_) => Known::TooLong(dname),
                }));
            }
        }
        match self.rrsets.failure(name, record_type, now) {
            Some(failure) if !is_renewed => {
                self.counts.cached_failures.increment(1);
                Err(failure)
            }
            _ => Ok(None),
        }
    }

    /// Goes down from the closest known zone until somebody answers.
    async fn find(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        record_type: u16,
    ) -> Result<ResponseKind, ResolutionFailure> {
        // What a zone is delegated with stands above it.
        let place = if record_type == TYPE_DS {
            name.parent().unwrap_or(name)
        } else {
            name
        };
        let mut delegation = self.start(context, chain, place, false).await?;
        let minimiser_at = |delegation: &Delegation| {
            Minimiser::new(
                name,
                delegation.zone.borrow(),
                self.settings.qname_minimisation && delegation.role == ServerRole::Authority,
            )
        };
        let mut minimiser = minimiser_at(&delegation);
        let mut referrals = 0;
        let mut without_first = false;
        let mut is_second_try = false;
        loop {
            let (asked, asked_type) = minimiser.question(record_type);
            let is_whole = asked == name && asked_type == record_type;
            if !is_whole {
                let now = self.environment.now();
                if self.rrsets.is_denied(asked, now) {
                    minimiser.give_up();
                    continue;
                }
                // The zone itself said a while ago that this name is none of its own.
                let said = self.rrsets.exact(asked, asked_type, now);
                if said.is_some_and(|kept| matches!(&kept.fact, CachedData::NoData(Some(soa)) if canonical(&soa.name) == delegation.zone)) {
                    minimiser.advance();
                    continue;
                }
            }
            let response = match self
                .ask_zone(context, chain, &delegation, asked, asked_type)
                .await
            {
                Ok(response) => response,
                Err(
                    failure @ (ResolutionFailure::TooLong
                    | ResolutionFailure::TooMuchWork
                    | ResolutionFailure::Busy),
                ) => {
                    return Err(failure);
                }
                // Some servers stumble over names that do not end a question.
                Err(_) if !is_whole => {
                    minimiser.give_up();
                    continue;
                }
                Err(_) if delegation.then_recurse => {
                    without_first = true;
                    delegation = self.start(context, chain, place, without_first).await?;
                    minimiser = minimiser_at(&delegation);
                    continue;
                }
                Err(failure)
                    if is_second_try
                        || delegation.is_fixed
                        || delegation.zone.borrow().is_root()
                        || referrals > 0 =>
                {
                    self.rrsets.insert_failure(
                        delegation.zone.borrow(),
                        TYPE_ZONE,
                        failure,
                        self.environment.now(),
                    );
                    return Err(failure);
                }
                // The zone above was asked a moment ago.
                Err(failure)
                    if self
                        .rrsets
                        .failure(delegation.zone.borrow(), TYPE_ZONE, self.environment.now())
                        .is_some() =>
                {
                    return Err(failure);
                }
                // The delegation may have moved since it was learnt: ask the zone above once.
                Err(_) => {
                    is_second_try = true;
                    self.delegations.forget(&delegation.zone);
                    delegation = self.start(context, chain, place, without_first).await?;
                    minimiser = minimiser_at(&delegation);
                    continue;
                }
            };
            let now = self.environment.now();
            if let Some(apex) = &response.apex {
                self.delegations.learn_apex(apex.clone(), &delegation, now);
            }
            match &response.finding {
                ResponseKind::Referral(referral) => {
                    referrals += 1;
                    if referrals > REFERRALS_MAX {
                        return Err(ResolutionFailure::TooMuchWork);
                    }
                    let parent = delegation;
                    delegation = self.delegations.learn(referral.clone(), &parent, now);
                    context.trace(now, || {
                        format!("{} is delegated by {}", delegation.zone, parent.zone)
                    });
                    minimiser.enter(delegation.zone.borrow());
                }
                // Too many servers deny what merely has no records: the whole name is asked for,
                // and only that is denied or not.
                ResponseKind::NxDomain(_, _, soa) if !is_whole => {
                    self.rrsets
                        .insert_minimised_nxdomain(asked, soa.clone(), now);
                    minimiser.give_up();
                }
                _ if !is_whole => {
                    self.keep(
                        Arc::unwrap_or_clone(response),
                        asked_type,
                        delegation.expires(),
                        now,
                    );
                    minimiser.advance();
                }
                _ => {
                    return Ok(self.keep(
                        Arc::unwrap_or_clone(response),
                        record_type,
                        delegation.expires(),
                        now,
                    ));
                }
            }
        }
    }

    /// Where to begin.
    async fn start(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        without_first: bool,
    ) -> Result<Arc<Delegation>, ResolutionFailure> {
        match self
            .delegations
            .closest(name, self.environment.now(), without_first)
        {
            Some(delegation) => Ok(delegation),
            // Rare, and boxed so that it takes no room in every other resolution.
            None => Box::pin(self.prime(context, chain)).await,
        }
    }

    /// Asks the hinted servers who serves the root, RFC 8109. Where none says, the hints themselves
    /// do for a while.
    async fn prime(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
    ) -> Result<Arc<Delegation>, ResolutionFailure> {
        let root = Name::root();
        if self.settings.prime {
            let said = self
                .ask_zone(
                    context,
                    chain,
                    &self.hints,
                    root.borrow(),
                    RecordType::NS.into(),
                )
                .await;
            if let Ok(Response {
                apex: Some(apex), ..
            }) = said.as_deref()
                && apex.servers.iter().any(|server| !server.glue.is_empty())
            {
                return Ok(self.delegations.learn(
                    apex.clone(),
                    &self.hints,
                    self.environment.now(),
                ));
            }
        }
        Ok(Arc::clone(&self.hints))
    }

    /// Keeps what was found, and returns it as it is to be used: TTLs within their bounds, private
    /// addresses left out.
    fn keep(
        &self,
        response: Response,
        record_type: u16,
        delegated_until: Duration,
        now: Duration,
    ) -> ResponseKind {
        let rank = if response.is_sound {
            Trust::Authoritative
        } else {
            Trust::NonAuthoritative
        };
        let bounds = self.rrsets.bounds();
        let keep_sets = |mut sets: Vec<RrSet>| -> Vec<RrSet> {
            for set in &mut sets {
                let owner = set.owner.borrow();
                let is_filtered = !self.settings.private_addresses.is_empty();
                set.records
                    .retain(|record| !(is_filtered && self.is_private(owner, record)));
                set.set_ttl(bounds.of_set(set));
            }
            sets.retain(|set| !set.records.is_empty());
            for (place, set) in sets.iter().enumerate() {
                // What a DNAME makes is made of it each time, so that the two are never seen apart
                // (RFC 6672 section 3.1).
                let is_made = set.record_type == TYPE_CNAME
                    && place > 0
                    && sets[place - 1].record_type == TYPE_DNAME;
                if !is_made {
                    self.rrsets.insert(set.clone(), rank, delegated_until, now);
                }
            }
            sets
        };
        let bounded = |soa: Option<Record>| {
            let ttl = bounds.of_denial(soa.as_ref());
            soa.map(|soa| with_ttl(soa, ttl))
        };
        match response.finding {
            ResponseKind::Answer(sets) => {
                let count = sets.len();
                let last = sets.last().map(|set| set.owner.clone());
                match (keep_sets(sets), last) {
                    // All its addresses are private.
                    (kept, Some(last))
                        if kept.len() < count
                            && kept.last().is_none_or(|set| set.record_type != record_type) =>
                    {
                        ResponseKind::NoData(kept, last, None)
                    }
                    (kept, _) => ResponseKind::Answer(kept),
                }
            }
            ResponseKind::Alias(sets, target) => ResponseKind::Alias(keep_sets(sets), target),
            ResponseKind::TooLong(sets) => ResponseKind::TooLong(keep_sets(sets)),
            ResponseKind::NxDomain(sets, name, soa) => {
                self.rrsets
                    .insert_nxdomain(name.borrow(), soa.clone(), rank, now);
                ResponseKind::NxDomain(keep_sets(sets), name, bounded(soa))
            }
            ResponseKind::NoData(sets, name, soa) => {
                self.rrsets
                    .insert_nodata(name.borrow(), record_type, soa.clone(), rank, now);
                ResponseKind::NoData(keep_sets(sets), name, bounded(soa))
            }
            other => other,
        }
    }

    /// The addresses of a server that came without.
    pub(super) async fn addresses_of(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        server: &Name,
    ) -> Result<Vec<SocketAddr>, ResolutionFailure> {
        context.charge_server_name()?;
        let families = [
            (self.settings.ipv4, RecordType::A),
            (self.settings.ipv6, RecordType::AAAA),
        ];
        let mut result = Ok(Vec::new());
        for (_, record_type) in families.into_iter().filter(|(is_used, _)| *is_used) {
            let step = chain.nested(server.borrow(), record_type.into())?;
            // What its zone said of it under a delegation that has ended is forgotten first.
            let _is_told_anew = self.rrsets.server_address(
                server.borrow(),
                record_type.into(),
                self.environment.now(),
            );
            match self
                .resolve_path(context, &step, server.borrow(), record_type.into())
                .await
            {
                Ok(resolved) => {
                    // A server's name is no alias, RFC 2181 section 10.3; many resolvers follow one
                    // all the same, and so do we.
                    let facts = resolved.sets.into_iter().map(CachedData::Records);
                    let found: Vec<SocketAddr> =
                        facts.flat_map(|fact| self.addresses_in(&fact)).collect();
                    if !found.is_empty() {
                        return Ok(found);
                    }
                    if resolved.code == ResponseCode::NXDomain {
                        break;
                    }
                }
                Err(failure) => result = Err(failure),
            }
        }
        result
    }

    /// The addresses in a set that may be asked.
    pub(super) fn addresses_in(&self, fact: &CachedData) -> Vec<SocketAddr> {
        let CachedData::Records(set) = fact else {
            return Vec::new();
        };
        set.records
            .iter()
            .filter_map(|record| self.address_to_ask(record.data.ip_addr()?))
            .collect()
    }

    /// Whether a name of the Internet leads into somebody's own network (DNS rebinding).
    fn is_private(&self, owner: NameRef<'_>, record: &Record) -> bool {
        if self
            .settings
            .private_domains
            .iter()
            .any(|domain| owner.is_within(domain.borrow()))
        {
            return false;
        }
        leads_into(record, &self.settings.private_addresses)
    }
}

fn with_ttl(mut record: Record, ttl_s: u32) -> Record {
    record.ttl = ttl_s;
    record
}

fn aged(set: &RrSet, left_s: u32) -> RrSet {
    let mut set = set.clone();
    set.set_ttl(left_s);
    set
}

fn check_aliases(sets: &[RrSet]) -> Result<(), ResolutionFailure> {
    let aliases = sets
        .iter()
        .filter(|set| set.record_type == TYPE_CNAME)
        .count();
    if aliases > ALIASES_MAX {
        Err(ResolutionFailure::TooManyAliases)
    } else {
        Ok(())
    }
}

/// Shows each zone no more of a name than it needs to know, RFC 9156.
struct Minimiser<'n> {
    name: NameRef<'n>,
    labels: usize,
    /// Labels shown in the next query.
    shown: usize,
    queries: usize,
    is_on: bool,
}

impl<'n> Minimiser<'n> {
    fn new(name: NameRef<'n>, zone: NameRef<'_>, is_on: bool) -> Self {
        let labels = name.label_count();
        Self {
            name,
            labels,
            shown: zone.label_count() + 1,
            queries: 0,
            is_on,
        }
    }

    fn question(&self, record_type: u16) -> (NameRef<'n>, u16) {
        if !self.is_on || self.shown >= self.labels || self.queries >= MINIMISED_MAX {
            return (self.name, record_type);
        }
        (self.name.last_labels(self.shown), TYPE_A)
    }

    /// The name shown exists and is no zone of its own: show more.
    fn advance(&mut self) {
        self.queries += 1;
        let hidden = self.labels - self.shown.min(self.labels);
        let steps_left = MINIMISED_MAX.saturating_sub(self.queries).max(1);
        self.shown += if self.queries < MINIMISED_ONE_LABEL {
            1
        } else {
            hidden.div_ceil(steps_left).max(1)
        };
    }

    /// A zone further down.
    fn enter(&mut self, zone: NameRef<'_>) {
        self.queries += 1;
        self.shown = zone.label_count() + 1;
    }

    fn give_up(&mut self) {
        self.is_on = false;
    }
}

#[cfg(test)]
mod tests;
