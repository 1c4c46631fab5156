//! The NSEC and NSEC3 records of one zone that validation found secure, in the order of the zone, and
//! what they prove of names that were never queried: aggressive use of the cache, RFC 8198.
//!
//! A record counts until its TTL ends, and no longer than the SOA record allows that the zone had
//! last (RFC 9077). Compact denials (RFC 9824) and NSEC3 records that were made for one query (RFC
//! 7129 appendix B) say nothing about other names and are not kept. Nothing is concluded from an
//! Opt-Out span.

use std::{collections::BTreeMap, time::Duration};

use hickory_proto::rr::RData;
use policy::name::{Name, NameRef};

use crate::{message::types::Rtype, recursor::rrset::RrSet, weighed::heap_octets};

use super::{
    canonical::{data_octets, wildcard},
    context::ValidationContext,
    denial::{Denied, Proofs},
    fault::ValidationFault,
    nsec::{Nsec, NsecRecords},
    nsec3::{NameHash, Nsec3, Nsec3Chain, Parameters},
};

/// Names that are hashed for one conclusion. A count: a proof takes one for each label down to the
/// next closer name, and one for the wildcard; few zones are so deep.
const HASHES_MAX: usize = 12;
/// Octets that an entry of an ordered map takes, of a map that is filled in random order: nodes of
/// eleven entries are filled to about two thirds.
const fn map_octets<K>() -> usize {
    (size_of::<K>() + size_of::<usize>()) * 3 / 2 + 4
}

/// A record, and its RRset with the signatures.
struct Span<T> {
    record: T,
    set: RrSet,
    arrived: Duration,
    expires: Duration,
    /// Its place in the order of arrival.
    number: u64,
}

/// The NSEC3 records of one zone that share their parameters.
struct HashedSpans {
    parameters: Parameters,
    spans: BTreeMap<NameHash, Box<Span<Nsec3>>>,
}

/// The spans of one zone, and its SOA RRset.
pub struct ZoneSpans {
    zone: Name,
    soa: Option<Span<()>>,
    /// By the owner's key: its order is the canonical order of names (RFC 4034 section 6.1).
    nsec: BTreeMap<Box<[u8]>, Box<Span<Nsec>>>,
    nsec3: Option<HashedSpans>,
    /// How many records have arrived.
    arrivals: u64,
    octets: usize,
}

/// What is known of a name without a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Synthesis {
    /// The name does not exist, and no wildcard stands in for it.
    NxDomain,
    /// The name, or the wildcard that stands in for it, has no records of the type.
    NoData,
    /// The name does not exist. This wildcard stands in for it, if it exists.
    Wildcard(Name),
}

/// A conclusion with its proof.
#[derive(Debug)]
pub struct Synthesised {
    pub conclusion: Synthesis,
    pub soa: RrSet,
    /// The NSEC or NSEC3 RRsets.
    pub proofs: Vec<RrSet>,
    /// How long the conclusion holds, in seconds: the least that is left of the TTLs of its parts,
    /// and the MINIMUM field of the SOA record (RFC 9077 section 3).
    pub ttl_s: u32,
}

/// The records that a conclusion uses.
struct Used<'z> {
    conclusion: Synthesis,
    sets: Vec<&'z RrSet>,
    expires: Duration,
}

impl ZoneSpans {
    #[must_use]
    pub fn new(zone: NameRef<'_>) -> Self {
        Self {
            zone: zone.to_owned(),
            soa: None,
            nsec: BTreeMap::new(),
            nsec3: None,
            arrivals: 0,
            octets: heap_octets(zone.wire().len()),
        }
    }

    /// Memory behind it, in octets.
    #[must_use]
    pub fn heap_octets(&self) -> usize {
        self.octets
    }

    /// The NSEC and NSEC3 records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nsec.len() + self.hashed_len()
    }

    fn hashed_len(&self) -> usize {
        self.nsec3.as_ref().map_or(0, |chain| chain.spans.len())
    }

    /// Takes the zone's SOA RRset, which is secure, for so many seconds.
    pub fn insert_soa(&mut self, set: &RrSet, lifetime_s: u32, now: Duration) {
        let before = self.soa.take().map_or(0, |soa| soa.set.heap_octets());
        let soa = self.span((), set, lifetime_s, now);
        self.octets = self.octets + soa.set.heap_octets() - before;
        self.soa = Some(soa);
    }

    /// Takes an NSEC or NSEC3 RRset of the zone, which is secure, for so many seconds. One that says
    /// nothing about other names, or has more than one record, is ignored.
    pub fn insert(&mut self, set: &RrSet, lifetime_s: u32, now: Duration, iterations_max: u16) {
        match set.rtype {
            Rtype::NSEC => self.insert_nsec(set, lifetime_s, now),
            Rtype::NSEC3 => self.insert_nsec3(set, lifetime_s, now, iterations_max),
            _ => None,
        };
    }

    fn span<T>(&mut self, record: T, set: &RrSet, lifetime_s: u32, now: Duration) -> Span<T> {
        self.arrivals += 1;
        Span {
            record,
            set: set.clone(),
            arrived: now,
            expires: now + Duration::from_secs(lifetime_s.into()),
            number: self.arrivals,
        }
    }

    fn insert_nsec(&mut self, set: &RrSet, lifetime_s: u32, now: Duration) -> Option<()> {
        let mut records = Nsec::of(set, self.zone.borrow());
        let record = records.next().filter(|_| set.records.len() == 1)?;
        drop(records);
        if record.is_compact() {
            return None;
        }
        let span = Box::new(self.span(record, set, lifetime_s, now));
        self.octets += octets_of_nsec(&span);
        let replaced = self.nsec.insert(key(set.owner.borrow()), span);
        self.octets -= replaced.as_deref().map_or(0, octets_of_nsec);
        Some(())
    }

    fn insert_nsec3(
        &mut self,
        set: &RrSet,
        lifetime_s: u32,
        now: Duration,
        iterations_max: u16,
    ) -> Option<()> {
        let [record] = &set.records[..] else {
            return None;
        };
        let data = data_octets(record)?;
        let (parameters, record) = Nsec3::of(set.owner.borrow(), self.zone.borrow(), &data)?;
        if record.is_narrow() || parameters.iterations > iterations_max {
            return None;
        }
        // Of several chains the newest counts: the zone changes its salt.
        if self
            .nsec3
            .as_ref()
            .is_none_or(|chain| chain.parameters != parameters)
        {
            self.octets -= self.nsec3.take().map_or(0, |chain| chain.octets());
            let spans = BTreeMap::new();
            self.nsec3 = Some(HashedSpans { parameters, spans });
        }
        let span = Box::new(self.span(record, set, lifetime_s, now));
        let chain = self.nsec3.as_mut()?;
        self.octets += octets_of_nsec3(&span);
        let replaced = chain.spans.insert(span.record.hash, span);
        self.octets -= replaced.as_deref().map_or(0, octets_of_nsec3);
        Some(())
    }

    /// Removes what has expired, and then the older half of the rest until no more than so many
    /// octets are left.
    pub fn trim(&mut self, octets_max: usize, now: Duration) {
        self.retain(|_, expires| expires > now);
        while self.octets > octets_max && self.len() > 0 {
            let of_nsec = self.nsec.values().map(|span| span.number);
            let of_nsec3 = self.nsec3.iter().flat_map(|chain| chain.spans.values());
            let mut numbers: Vec<u64> = of_nsec.chain(of_nsec3.map(|span| span.number)).collect();
            let middle = numbers.len() / 2;
            let (_, median, _) = numbers.select_nth_unstable(middle);
            let median = *median;
            self.retain(|number, _| number > median);
        }
    }

    /// Keeps the records whose numbers and expiry meet a condition.
    fn retain(&mut self, keeps: impl Fn(u64, Duration) -> bool) {
        let mut removed = 0;
        self.nsec.retain(|_, span| {
            let is_kept = keeps(span.number, span.expires);
            removed += if is_kept { 0 } else { octets_of_nsec(span) };
            is_kept
        });
        if let Some(chain) = &mut self.nsec3 {
            chain.spans.retain(|_, span| {
                let is_kept = keeps(span.number, span.expires);
                removed += if is_kept { 0 } else { octets_of_nsec3(span) };
                is_kept
            });
        }
        self.octets -= removed;
    }

    /// What the records prove of a name of the zone and a type. The caller knows that no other zone
    /// has the name, as far as the caches know.
    #[must_use]
    pub fn synthesise(
        &self,
        name: NameRef<'_>,
        rtype: Rtype,
        now: Duration,
        context: ValidationContext<'_>,
    ) -> Option<Synthesised> {
        let soa = self.soa.as_ref().filter(|soa| soa.expires > now)?;
        let limit = Limit {
            now,
            kept_for: soa_lifetime(&soa.set)?,
        };
        let used = self
            .by_nsec(name, rtype, limit, context)
            .or_else(|| self.by_nsec3(name, rtype, limit, context))?;
        let expires = used.expires.min(soa.expires);
        let left = expires.saturating_sub(now).min(limit.kept_for);
        let ttl_s = u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
        (ttl_s > 0).then(|| Synthesised {
            conclusion: used.conclusion,
            soa: soa.set.with_ttl(ttl_s),
            proofs: used.sets.iter().map(|set| set.with_ttl(ttl_s)).collect(),
            ttl_s,
        })
    }

    fn by_nsec(
        &self,
        name: NameRef<'_>,
        rtype: Rtype,
        limit: Limit,
        context: ValidationContext<'_>,
    ) -> Option<Used<'_>> {
        let before = self.nsec_before(name, limit)?;
        let mut spans = vec![before];
        let mut stand_in = None;
        if before.record.denies(name) {
            let wildcard = wildcard(before.record.closest_encloser(name))?;
            spans.extend(self.nsec_before(wildcard.borrow(), limit));
            stand_in = Some(wildcard);
        }
        let records = spans.iter().map(|span| span.record.clone()).collect();
        let records = NsecRecords::of_records(records);
        let evidence = Evidence {
            proofs: Proofs::of_records(self.zone.borrow(), records, None),
            spans,
            absent_by: 1,
            stand_in,
        };
        evidence.conclude(name, rtype, limit, context)
    }

    /// The NSEC record of a name, or the one before it in the zone.
    fn nsec_before(&self, name: NameRef<'_>, limit: Limit) -> Option<&Span<Nsec>> {
        let (_, span) = self.nsec.range(..=key(name)).next_back()?;
        limit.holds(span).then_some(span)
    }

    fn by_nsec3(
        &self,
        name: NameRef<'_>,
        rtype: Rtype,
        limit: Limit,
        context: ValidationContext<'_>,
    ) -> Option<Used<'_>> {
        let chain = self.nsec3.as_ref()?;
        let place = chain.place(self.zone.borrow(), name, limit, context)?;
        let mut spans = Vec::new();
        let mut hashes = place.hashes;
        // What holds of the next closer name holds of all names below it.
        let mut subject = name;
        let mut stand_in = None;
        if let Some((next_closer, cover)) = place.beyond {
            subject = next_closer;
            // A wildcard answer is proved by this record alone (RFC 5155 section 7.2.6).
            spans.push(cover);
            let wildcard = wildcard(next_closer.parent()?)?;
            let hash = chain.parameters.hash(wildcard.borrow(), context).ok()?;
            let known = chain.at(&hash, limit);
            spans.extend(known.or_else(|| chain.covering(&hash, limit)));
            hashes.push((wildcard.clone(), hash));
            stand_in = Some(wildcard);
        }
        spans.push(place.at);
        let records = spans.iter().map(|span| span.record.clone()).collect();
        let zone = self.zone.borrow();
        let records = Nsec3Chain::of_records(zone, &chain.parameters, records, hashes);
        let evidence = Evidence {
            proofs: Proofs::of_records(zone, NsecRecords::default(), Some(records)),
            spans,
            absent_by: 1,
            stand_in,
        };
        evidence.conclude(subject, rtype, limit, context)
    }
}

/// The time, and how long a record may be used (RFC 9077).
#[derive(Clone, Copy)]
struct Limit {
    now: Duration,
    kept_for: Duration,
}

impl Limit {
    fn holds<T>(self, span: &Span<T>) -> bool {
        self.expiry(span) > self.now
    }

    fn expiry<T>(self, span: &Span<T>) -> Duration {
        span.expires.min(span.arrived + self.kept_for)
    }
}

/// Where a name is in a hashed zone.
struct HashedPlace<'z, 'n> {
    /// The record of the name, or of its closest encloser.
    at: &'z Span<Nsec3>,
    /// Where the name does not exist: its next closer name, and the record that covers that.
    beyond: Option<(NameRef<'n>, &'z Span<Nsec3>)>,
    hashes: Vec<(Name, NameHash)>,
}

impl HashedSpans {
    fn octets(&self) -> usize {
        self.spans.values().map(|span| octets_of_nsec3(span)).sum()
    }

    fn at(&self, hash: &NameHash, limit: Limit) -> Option<&Span<Nsec3>> {
        let span = self.spans.get(hash)?;
        limit.holds(span).then_some(span)
    }

    /// The record that denies a hash. The last one of the zone leads back to the first.
    fn covering(&self, hash: &NameHash, limit: Limit) -> Option<&Span<Nsec3>> {
        let before = self.spans.range(..*hash).next_back();
        let (_, span) = before.or_else(|| self.spans.last_key_value())?;
        (limit.holds(span) && span.record.denies(hash)).then_some(span)
    }

    /// Goes from the apex down to the name, so that a long name costs no more hashes than the labels
    /// of it that exist.
    fn place<'z, 'n>(
        &'z self,
        zone: NameRef<'_>,
        name: NameRef<'n>,
        limit: Limit,
        context: ValidationContext<'_>,
    ) -> Option<HashedPlace<'z, 'n>> {
        let mut hashes = Vec::new();
        let mut encloser = None;
        let labels = name.label_count();
        for count in (zone.label_count()..=labels).take(HASHES_MAX) {
            let here = name.last_labels(count);
            let hash = self.parameters.hash(here, context).ok()?;
            hashes.push((here.to_owned(), hash));
            if let Some(at) = self.at(&hash, limit) {
                if count == labels {
                    let beyond = None;
                    return Some(HashedPlace { at, beyond, hashes });
                }
                if at.record.hides_descendants() {
                    return None;
                }
                encloser = Some(at);
            } else if let Some(cover) = self.covering(&hash, limit) {
                let (at, beyond) = (encloser?, Some((here, cover)));
                return Some(HashedPlace { at, beyond, hashes });
            } else {
                encloser = None;
            }
        }
        None
    }
}

/// What records prove, where they prove it securely.
struct Evidence<'z, T> {
    spans: Vec<&'z Span<T>>,
    /// How many of them, at the front, show that the name itself does not exist.
    absent_by: usize,
    proofs: Proofs,
    /// The wildcard that would stand in for the name.
    stand_in: Option<Name>,
}

impl<'z, T> Evidence<'z, T> {
    fn conclude(
        mut self,
        name: NameRef<'_>,
        rtype: Rtype,
        limit: Limit,
        context: ValidationContext<'_>,
    ) -> Option<Used<'z>> {
        let is_secure = |denied: Result<Denied, ValidationFault>| {
            denied.is_ok_and(|denied| denied.insecurity.is_none() && !denied.is_compact)
        };
        let conclusion = if is_secure(self.proofs.nxdomain(name, context)) {
            Synthesis::NxDomain
        } else if is_secure(self.proofs.nodata(name, rtype, context)) {
            Synthesis::NoData
        } else {
            let wildcard = self.stand_in?;
            let encloser = wildcard.borrow().parent()?;
            if !is_secure(self.proofs.wildcard_answer(name, encloser, context)) {
                return None;
            }
            self.spans.truncate(self.absent_by);
            Synthesis::Wildcard(wildcard)
        };
        let expires = self.spans.iter().map(|span| limit.expiry(span)).min()?;
        let mut sets: Vec<&RrSet> = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            // One record may prove several things.
            if !sets.iter().any(|known| std::ptr::eq(*known, &span.set)) {
                sets.push(&span.set);
            }
        }
        Some(Used {
            conclusion,
            sets,
            expires,
        })
    }
}

/// How long a negative answer may be kept, by the SOA record: RFC 2308 section 5.
fn soa_lifetime(soa: &RrSet) -> Option<Duration> {
    let record = soa.records.first()?;
    let RData::SOA(data) = &record.data else {
        return None;
    };
    Some(Duration::from_secs(record.ttl.min(data.minimum).into()))
}

/// The key of a name, which orders names as RFC 4034 section 6.1 does.
fn key(name: NameRef<'_>) -> Box<[u8]> {
    let mut key = Vec::with_capacity(name.wire().len());
    name.write_key(&mut key);
    key.into()
}

fn octets_of_nsec(span: &Span<Nsec>) -> usize {
    let label_octets = |label: &[u8]| 1 + label.len() + escaped(label);
    let labels = span.record.owner.borrow().labels();
    let key_octets = labels.map(label_octets).sum();
    map_octets::<Box<[u8]>>()
        + heap_octets(key_octets)
        + heap_octets(size_of::<Span<Nsec>>())
        + span.record.heap_octets()
        + span.set.heap_octets()
}

/// Octets of a label that take two in a key.
fn escaped(label: &[u8]) -> usize {
    label.iter().filter(|octet| **octet <= 1).count()
}

fn octets_of_nsec3(span: &Span<Nsec3>) -> usize {
    map_octets::<NameHash>()
        + heap_octets(size_of::<Span<Nsec3>>())
        + span.record.heap_octets()
        + span.set.heap_octets()
}

#[cfg(test)]
mod tests;
