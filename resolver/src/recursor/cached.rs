//! Between resolution and caches: what the caches know of a name and type, and what they learn from
//! a response or a failure.

use std::{net::SocketAddr, time::Duration};

use hickory_proto::{
    op::ResponseCode,
    rr::{Record, RecordType},
};
use policy::name::{Name, NameRef};

use crate::message::types::Rtype;

use super::{
    cache::rrsets::{CacheEntry, CachedData},
    dname::synthesise_cname,
    environment::Environment,
    failure::ResolutionFailure,
    lookup_chain::LookupChain,
    query_context::QueryContext,
    rebinding::leads_into,
    response::{Denial, Response, ResponseKind},
    rrset::{RrSet, SecurityStatus},
    state::Recursor,
};

/// One step along an alias chain, from the caches or from a response.
pub(super) struct Found {
    pub end: ChainEnd,
    /// RRsets of the answer section, the aliases first. TTLs are what remains of them.
    pub sets: Vec<RrSet>,
    /// SOA and proofs of a negative answer, with the TTL that remains.
    pub denial: Denial,
    /// What validation found of the denial.
    pub denial_security: SecurityStatus,
    /// The server that sent it. None for data from the caches.
    pub server: Option<SocketAddr>,
}

impl Found {
    pub(super) fn of_sets(end: ChainEnd, sets: Vec<RrSet>) -> Self {
        Self {
            end,
            sets,
            denial: Denial::default(),
            denial_security: SecurityStatus::Indeterminate,
            server: None,
        }
    }
}

/// How the RRsets of a step end.
pub(super) enum ChainEnd {
    /// With the records queried.
    Records,
    Alias(Name),
    /// With this code and without records of the queried type.
    Code(ResponseCode),
}

impl<E: Environment> Recursor<E> {
    /// What the caches know of a name and type. A prefetch ignores entries near the end of their
    /// TTL. What is not validated is not refused because validation failed: a query with CD, the
    /// address of a name server, the records that validation needs.
    ///
    /// # Errors
    /// The failure from the failure cache.
    pub(super) fn cached(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        rtype: Rtype,
        is_prefetch: bool,
    ) -> Result<Option<Found>, ResolutionFailure> {
        let now = self.environment.now();
        let is_usable = |entry: &CacheEntry| !(is_prefetch && entry.is_prefetch_due(now));
        let set_at = |name: NameRef<'_>, rtype: RecordType| {
            let entry = self.rrsets.get(name, rtype.into(), now)?;
            match &entry.data {
                CachedData::Records(set) if is_usable(&entry) => Some(RrSet {
                    security: entry.security(),
                    ..set.with_ttl(entry.remaining_s(now))
                }),
                _ => None,
            }
        };
        let found = self
            .rrsets
            .find(name, rtype, now)
            .filter(|entry| is_usable(entry));
        if let Some(entry) = found {
            return Ok(Some(found_in(&entry, now)));
        }
        if rtype != Rtype::CNAME
            && let Some(alias) = set_at(name, RecordType::CNAME)
            && let Some(target) = alias.alias_target()
        {
            return Ok(Some(Found::of_sets(ChainEnd::Alias(target), vec![alias])));
        }
        let dname = name
            .ancestors()
            .skip(1)
            .find_map(|above| set_at(above, RecordType::DNAME));
        // One above a zone cut redirects no name of the zone below.
        if let Some(dname) = dname
            && dname
                .owner
                .borrow()
                .is_within(self.highest_signer(name).borrow())
        {
            return Ok(Some(found_by_dname(dname, name, rtype)));
        }
        let validates = chain.is_client_query() && !context.checking_disabled;
        match self.failures.get(name, rtype, now) {
            Some(failure) if !(is_prefetch || failure.is_bogus() && !validates) => {
                self.counters.cached_failures.increment(1);
                Err(failure)
            }
            _ => Ok(None),
        }
    }

    /// Inserts a failure (RFC 9520) under the name that fails. A failure that is due to the client
    /// query is inserted under the name that the client queries, because it says nothing about the
    /// name at which the resolution stopped.
    pub(super) fn cache_failure(
        &self,
        chain: &LookupChain<'_>,
        name: NameRef<'_>,
        rtype: Rtype,
        failure: ResolutionFailure,
    ) {
        let now = self.environment.now();
        if !failure.is_of_query() {
            self.failures.insert(name, rtype, failure, now);
        } else if chain.is_client_query() && failure != ResolutionFailure::Busy {
            self.failures.insert(chain.name(), rtype, failure, now);
        }
    }

    /// Inserts a response into the RRset cache. Returns it as a client may see it: TTLs within their
    /// bounds, without private addresses.
    pub(super) fn cache_response(
        &self,
        mut response: Response,
        rtype: Rtype,
        delegated_until: Duration,
        now: Duration,
    ) -> Response {
        let credibility = response.credibility;
        let unix_s = self.environment.unix_s() as u32;
        response.denial.limit_by_proofs(unix_s);
        let denial = response.denial.clone();
        match &response.kind {
            ResponseKind::Referral(_) | ResponseKind::Unusable(_) => return response,
            ResponseKind::NxDomain { name } => {
                self.rrsets
                    .insert_nxdomain(name.borrow(), denial, credibility, now);
            }
            ResponseKind::NoData { name } => {
                self.rrsets
                    .insert_nodata(name.borrow(), rtype, denial, credibility, now);
            }
            ResponseKind::Answer | ResponseKind::Alias { .. } | ResponseKind::DnameTooLong => {}
        }
        let queried = response.answer.last().map(|set| set.owner.clone());
        let count = response.answer.len();
        self.cache_sets(&mut response, delegated_until, unix_s, now);
        self.bound_denial(&mut response.denial);
        let is_emptied = matches!(response.kind, ResponseKind::Answer)
            && response.answer.len() < count
            && response.answer.last().is_none_or(|set| set.rtype != rtype);
        // All addresses of the name are private.
        if let Some(name) = queried.filter(|_| is_emptied) {
            response.kind = ResponseKind::NoData { name };
        }
        response
    }

    /// Inserts the RRsets of a response, after it removed private addresses.
    fn cache_sets(
        &self,
        response: &mut Response,
        delegated_until: Duration,
        unix_s: u32,
        now: Duration,
    ) {
        let bounds = self.rrsets.bounds();
        let filters_private = !self.settings.private_addresses.is_empty();
        let proofs = &response.denial.proofs;
        let sets = &mut response.answer;
        for set in sets.iter_mut() {
            let owner = set.owner.borrow();
            set.records
                .retain(|record| !(filters_private && self.is_private(owner, record)));
            if set.is_expanded() {
                set.proofs.clone_from(proofs);
            }
            if let Some(max_s) = set.signed_ttl_max_s(unix_s) {
                set.set_ttl(max_s.min(set.ttl_s()));
            }
            set.set_ttl(bounds.of_set(set));
        }
        sets.retain(|set| !set.records.is_empty());
        for (place, set) in sets.iter().enumerate() {
            // A synthesised CNAME is not kept, so that it never appears without its DNAME (RFC 6672
            // section 3.1).
            let is_synthesised =
                set.rtype == Rtype::CNAME && place > 0 && sets[place - 1].rtype == Rtype::DNAME;
            if !is_synthesised {
                self.rrsets
                    .insert(set.clone(), response.credibility, delegated_until, now);
            }
        }
    }

    /// Gives the SOA and the proofs of a denial the lifetime of the negative entry.
    fn bound_denial(&self, denial: &mut Denial) {
        let ttl_s = self.rrsets.bounds().of_denial(denial.soa_record());
        *denial = denial.with_ttl(ttl_s);
    }

    /// Whether a record leads from a name of the Internet into a private network (DNS rebinding).
    pub(super) fn is_private(&self, owner: NameRef<'_>, record: &Record) -> bool {
        let is_exempt = self
            .settings
            .private_domains
            .iter()
            .any(|domain| owner.is_within(domain.borrow()));
        !is_exempt && leads_into(record, &self.settings.private_addresses)
    }
}

fn found_in(entry: &CacheEntry, now: Duration) -> Found {
    let left_s = entry.remaining_s(now);
    let denied = |code, denial: &Denial| Found {
        end: ChainEnd::Code(code),
        sets: Vec::new(),
        denial: denial.with_ttl(left_s),
        denial_security: entry.security(),
        server: None,
    };
    match &entry.data {
        CachedData::Records(set) => {
            let set = RrSet {
                security: entry.security(),
                ..set.with_ttl(left_s)
            };
            Found::of_sets(ChainEnd::Records, vec![set])
        }
        CachedData::NoData(denial) => denied(ResponseCode::NoError, denial),
        CachedData::NxDomain(denial) => denied(ResponseCode::NXDomain, denial),
    }
}

/// What a cached DNAME says of a name below it.
fn found_by_dname(dname: RrSet, name: NameRef<'_>, rtype: Rtype) -> Found {
    let (end, sets) = match synthesise_cname(&dname, name) {
        Ok((cname, _)) if rtype == Rtype::CNAME => (ChainEnd::Records, vec![dname, cname]),
        Ok((cname, target)) => (ChainEnd::Alias(target), vec![dname, cname]),
        // The DNAME goes with the code, RFC 6672 section 2.2.
        Err(_) => (ChainEnd::Code(ResponseCode::YXDomain), vec![dname]),
    };
    Found::of_sets(end, sets)
}

#[cfg(test)]
mod tests;
