//! From the closest zone that is known down to the answer, and along its aliases.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use hickory_proto::{
    op::ResponseCode,
    rr::{Record, RecordType},
};
use policy::name::{Name, NameRef};

use crate::{
    recursor::{
        budget::{Path, Quest},
        delegations::Cut,
        environment::Surroundings,
        scrub::{ALIASES_MAX, Finding, Role, Sifted, follow_dname},
    },
    upstream::canonical,
};

use super::{
    Failure, Recursor,
    rebinding::leads_into,
    rrsets::{Fact, Rank, RrSet},
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

impl<S: Surroundings> Recursor<S> {
    /// Finds out what a name has of a type.
    pub(super) fn resolve_path<'f>(
        &'f self,
        quest: &'f Quest,
        path: &'f Path<'f>,
        name: NameRef<'f>,
        record_type: u16,
    ) -> Boxed<'f, Result<Resolved, Failure>> {
        Box::pin(self.follow(quest, path, name, record_type))
    }

    async fn follow(
        &self,
        quest: &Quest,
        path: &Path<'_>,
        name: NameRef<'_>,
        record_type: u16,
    ) -> Result<Resolved, Failure> {
        let mut at = name.to_owned();
        let mut sets = Vec::new();
        loop {
            let is_renewed = quest.renews && path.is_first();
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
                    let found = self.find(quest, path, at.borrow(), record_type).await;
                    if let Err(failure) = &found {
                        self.remember_failure(path, at.borrow(), record_type, *failure);
                    }
                    match found? {
                        Finding::Answer(found) => {
                            sets.extend(found);
                            check_aliases(&sets)?;
                            return Ok(Resolved {
                                code: ResponseCode::NoError,
                                sets,
                                soa: None,
                            });
                        }
                        Finding::Alias(further, target) => (further, target),
                        Finding::NxDomain(found, _, soa) => {
                            sets.extend(found);
                            return Ok(Resolved {
                                code: ResponseCode::NXDomain,
                                sets,
                                soa,
                            });
                        }
                        Finding::NoData(found, _, soa) => {
                            sets.extend(found);
                            return Ok(Resolved {
                                code: ResponseCode::NoError,
                                sets,
                                soa,
                            });
                        }
                        // The DNAME goes with the code, RFC 6672 section 2.2.
                        Finding::TooLong(found) => {
                            sets.extend(found);
                            return Ok(Resolved {
                                code: ResponseCode::YXDomain,
                                sets,
                                soa: None,
                            });
                        }
                        Finding::Bad(_) | Finding::Referral(_) => return Err(Failure::Useless),
                    }
                }
            };
            sets.extend(further);
            check_aliases(&sets)?;
            if sets
                .iter()
                .any(|set| set.owner == target && set.record_type == TYPE_CNAME)
            {
                return Err(Failure::Circular);
            }
            at = target;
        }
    }

    /// Remembers a failure for a while (RFC 9520): under the name that fails, or, where one
    /// question wanted too much, under what the client asked. Nobody's name must fail because
    /// somebody else's question came to its end there.
    fn remember_failure(
        &self,
        path: &Path<'_>,
        name: NameRef<'_>,
        record_type: u16,
        failure: Failure,
    ) {
        let now = self.surroundings.now();
        if !failure.is_of_question() {
            self.rrsets.keep_failure(name, record_type, failure, now);
        } else if path.is_first() && failure != Failure::Busy {
            self.rrsets
                .keep_failure(path.name(), record_type, failure, now);
        }
    }

    /// What the caches know of a name and a type.
    fn known(
        &self,
        name: NameRef<'_>,
        record_type: u16,
        is_renewed: bool,
    ) -> Result<Option<Known>, Failure> {
        let now = self.surroundings.now();
        let usable = |name: NameRef<'_>, record_type| {
            self.rrsets
                .exact(name, record_type, now)
                .filter(|kept| !(is_renewed && kept.is_old(now)))
        };
        let found = self
            .rrsets
            .find(name, record_type, now)
            .filter(|kept| !(is_renewed && kept.is_old(now)));
        if let Some(kept) = found {
            let left = kept.remaining_s(now);
            let soa = |soa: &Option<Record>| soa.clone().map(|soa| Box::new(with_ttl(soa, left)));
            return Ok(Some(match &kept.fact {
                Fact::Records(set) => Known::Records(vec![aged(set, left)]),
                Fact::NoData(denial) => Known::Denied(ResponseCode::NoError, soa(denial)),
                Fact::NxDomain(denial) => Known::Denied(ResponseCode::NXDomain, soa(denial)),
            }));
        }
        if record_type != TYPE_CNAME
            && let Some(kept) = usable(name, TYPE_CNAME)
            && let Fact::Records(set) = &kept.fact
            && let Some(target) = set.alias_target()
        {
            return Ok(Some(Known::Aliases(
                vec![aged(set, kept.remaining_s(now))],
                target,
            )));
        }
        for above in name.ancestors().skip(1) {
            if let Some(kept) = usable(above, TYPE_DNAME)
                && let Fact::Records(set) = &kept.fact
            {
                let dname = aged(set, kept.remaining_s(now));
                return Ok(Some(match follow_dname(&dname, name) {
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
        quest: &Quest,
        path: &Path<'_>,
        name: NameRef<'_>,
        record_type: u16,
    ) -> Result<Finding, Failure> {
        // What a zone is delegated with stands above it.
        let place = if record_type == TYPE_DS {
            name.parent().unwrap_or(name)
        } else {
            name
        };
        let mut cut = self.start(quest, path, place, false).await?;
        let minimiser_at = |cut: &Cut| {
            Minimiser::new(
                name,
                cut.zone.borrow(),
                self.settings.minimises && cut.role == Role::Authority,
            )
        };
        let mut minimiser = minimiser_at(&cut);
        let mut referrals = 0;
        let mut without_first = false;
        let mut is_second_try = false;
        loop {
            let (asked, asked_type) = minimiser.question(record_type);
            let is_whole = asked == name && asked_type == record_type;
            if !is_whole {
                let now = self.surroundings.now();
                if self.rrsets.is_denied(asked, now) {
                    minimiser.give_up();
                    continue;
                }
                // The zone itself said a while ago that this name is none of its own.
                let said = self.rrsets.exact(asked, asked_type, now);
                if said.is_some_and(|kept| matches!(&kept.fact, Fact::NoData(Some(soa)) if canonical(&soa.name) == cut.zone)) {
                    minimiser.advance();
                    continue;
                }
            }
            let sifted = match self.ask_zone(quest, path, &cut, asked, asked_type).await {
                Ok(sifted) => sifted,
                Err(failure @ (Failure::TooLong | Failure::TooMuchWork | Failure::Busy)) => {
                    return Err(failure);
                }
                // Some servers stumble over names that do not end a question.
                Err(_) if !is_whole => {
                    minimiser.give_up();
                    continue;
                }
                Err(_) if cut.is_first_only => {
                    without_first = true;
                    cut = self.start(quest, path, place, without_first).await?;
                    minimiser = minimiser_at(&cut);
                    continue;
                }
                Err(failure)
                    if is_second_try
                        || cut.is_fixed
                        || cut.zone.borrow().is_root()
                        || referrals > 0 =>
                {
                    self.rrsets.keep_failure(
                        cut.zone.borrow(),
                        TYPE_ZONE,
                        failure,
                        self.surroundings.now(),
                    );
                    return Err(failure);
                }
                // The zone above was asked a moment ago.
                Err(failure)
                    if self
                        .rrsets
                        .failure(cut.zone.borrow(), TYPE_ZONE, self.surroundings.now())
                        .is_some() =>
                {
                    return Err(failure);
                }
                // The delegation may have moved since it was learnt: ask the zone above once.
                Err(_) => {
                    is_second_try = true;
                    self.cuts.forget(&cut.zone);
                    cut = self.start(quest, path, place, without_first).await?;
                    minimiser = minimiser_at(&cut);
                    continue;
                }
            };
            let now = self.surroundings.now();
            if let Some(apex) = &sifted.apex {
                self.cuts.learn_apex(apex.clone(), &cut, now);
            }
            match &sifted.finding {
                Finding::Referral(referral) => {
                    referrals += 1;
                    if referrals > REFERRALS_MAX {
                        return Err(Failure::TooMuchWork);
                    }
                    let parent = cut;
                    cut = self.cuts.learn(referral.clone(), &parent, now);
                    quest.note(now, || {
                        format!("{} is delegated by {}", cut.zone, parent.zone)
                    });
                    minimiser.enter(cut.zone.borrow());
                }
                // Too many servers deny what merely has no records: the whole name is asked for,
                // and only that is denied or not.
                Finding::NxDomain(_, _, soa) if !is_whole => {
                    self.rrsets.keep_no_minimised_name(asked, soa.clone(), now);
                    minimiser.give_up();
                }
                _ if !is_whole => {
                    self.keep(Arc::unwrap_or_clone(sifted), asked_type, cut.expires(), now);
                    minimiser.advance();
                }
                _ => {
                    return Ok(self.keep(
                        Arc::unwrap_or_clone(sifted),
                        record_type,
                        cut.expires(),
                        now,
                    ));
                }
            }
        }
    }

    /// Where to begin.
    async fn start(
        &self,
        quest: &Quest,
        path: &Path<'_>,
        name: NameRef<'_>,
        without_first: bool,
    ) -> Result<Arc<Cut>, Failure> {
        match self
            .cuts
            .closest(name, self.surroundings.now(), without_first)
        {
            Some(cut) => Ok(cut),
            // Rare, and boxed so that it takes no room in every other resolution.
            None => Box::pin(self.prime(quest, path)).await,
        }
    }

    /// Asks the hinted servers who serves the root, RFC 8109. Where none says, the hints themselves
    /// do for a while.
    async fn prime(&self, quest: &Quest, path: &Path<'_>) -> Result<Arc<Cut>, Failure> {
        let root = Name::root();
        if self.settings.primes {
            let said = self
                .ask_zone(
                    quest,
                    path,
                    &self.hints,
                    root.borrow(),
                    RecordType::NS.into(),
                )
                .await;
            if let Ok(Sifted {
                apex: Some(apex), ..
            }) = said.as_deref()
                && apex.servers.iter().any(|server| !server.glue.is_empty())
            {
                return Ok(self
                    .cuts
                    .learn(apex.clone(), &self.hints, self.surroundings.now()));
            }
        }
        Ok(Arc::clone(&self.hints))
    }

    /// Keeps what was found, and returns it as it is to be used: TTLs within their bounds, private
    /// addresses left out.
    fn keep(
        &self,
        sifted: Sifted,
        record_type: u16,
        delegated_until: Duration,
        now: Duration,
    ) -> Finding {
        let rank = if sifted.is_sound {
            Rank::Answer
        } else {
            Rank::Hearsay
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
                    self.rrsets.keep(set.clone(), rank, delegated_until, now);
                }
            }
            sets
        };
        let bounded = |soa: Option<Record>| {
            let ttl = bounds.of_denial(soa.as_ref());
            soa.map(|soa| with_ttl(soa, ttl))
        };
        match sifted.finding {
            Finding::Answer(sets) => {
                let count = sets.len();
                let last = sets.last().map(|set| set.owner.clone());
                match (keep_sets(sets), last) {
                    // All its addresses are private.
                    (kept, Some(last))
                        if kept.len() < count
                            && kept.last().is_none_or(|set| set.record_type != record_type) =>
                    {
                        Finding::NoData(kept, last, None)
                    }
                    (kept, _) => Finding::Answer(kept),
                }
            }
            Finding::Alias(sets, target) => Finding::Alias(keep_sets(sets), target),
            Finding::TooLong(sets) => Finding::TooLong(keep_sets(sets)),
            Finding::NxDomain(sets, name, soa) => {
                self.rrsets
                    .keep_no_name(name.borrow(), soa.clone(), rank, now);
                Finding::NxDomain(keep_sets(sets), name, bounded(soa))
            }
            Finding::NoData(sets, name, soa) => {
                self.rrsets
                    .keep_no_data(name.borrow(), record_type, soa.clone(), rank, now);
                Finding::NoData(keep_sets(sets), name, bounded(soa))
            }
            other => other,
        }
    }

    /// The addresses of a server that came without.
    pub(super) async fn addresses_of(
        &self,
        quest: &Quest,
        path: &Path<'_>,
        server: &Name,
    ) -> Result<Vec<SocketAddr>, Failure> {
        quest.pay_server_name()?;
        let families = [
            (self.settings.ipv4, RecordType::A),
            (self.settings.ipv6, RecordType::AAAA),
        ];
        let mut result = Ok(Vec::new());
        for (_, record_type) in families.into_iter().filter(|(is_used, _)| *is_used) {
            let step = path.step(server.borrow(), record_type.into())?;
            // What its zone said of it under a delegation that has ended is forgotten first.
            let _is_told_anew =
                self.rrsets
                    .of_server(server.borrow(), record_type.into(), self.surroundings.now());
            match self
                .resolve_path(quest, &step, server.borrow(), record_type.into())
                .await
            {
                Ok(resolved) => {
                    // A server's name is no alias, RFC 2181 section 10.3; many resolvers follow one
                    // all the same, and so do we.
                    let facts = resolved.sets.into_iter().map(Fact::Records);
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
    pub(super) fn addresses_in(&self, fact: &Fact) -> Vec<SocketAddr> {
        let Fact::Records(set) = fact else {
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

fn check_aliases(sets: &[RrSet]) -> Result<(), Failure> {
    let aliases = sets
        .iter()
        .filter(|set| set.record_type == TYPE_CNAME)
        .count();
    if aliases > ALIASES_MAX {
        Err(Failure::TooManyAliases)
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
