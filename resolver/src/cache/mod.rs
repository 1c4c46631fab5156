//! What the Internet said, shared by every household: never a decision, and no household in the
//! key.
//!
//! An entry is the wire answer without its OPT record, the places of its TTLs, and the names of its
//! chain. What the lists say of the name asked for, of its chain and of its addresses lies beside
//! them, stamped with the lists' content, and is renewed by the first query after a swap. A name
//! that is blocked for whoever asks is never resolved; it has an entry without an answer, so that
//! it too is looked up in the lists once and not for each query.

pub(crate) mod encode;

use std::{
    hash::{BuildHasher as _, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use foldhash::fast::RandomState;
use policy::{
    decide::{Action, EffectivePolicy, Verdict, judge},
    identity::directory::TOUCHED_MAX,
    lists::{
        blocklist::{Blocklist, Classification},
        index_key::name_of_address,
    },
    name::{Name, NameRef, WireName},
};
use quick_cache::{Equivalent, Weighter, sync::Cache};

use crate::message::{
    addresses::{for_each_address, targets},
    query::{HEADER_OCTETS, Query, Rcode, number, skip_name},
    reply::Transport,
};

/// Octets an entry costs beside its key's name and its message: the entry itself (96), the
/// allocator's rounding of three allocations, and its place in the cache's tables. Measured:
/// `benches/README.md`, "answer cache".
const ENTRY_OVERHEAD_OCTETS: u64 = 200;
/// What an average entry weighs, for sizing the cache's tables, in octets.
const ENTRY_TYPICAL_OCTETS: u64 = 320;
/// Type and class behind the name in a key, as in a question.
const KEY_TAIL_OCTETS: usize = 4;
/// Places of a worker's window: half a mebibyte of them, which a core's own cache holds.
const WINDOW_PLACES: usize = 1 << 14;
/// The largest message that a window holds on to, in octets: it may outlive its place in the cache,
/// beside the budget.
const WINDOW_MESSAGE_MAX: usize = 1_232;
/// Every so often what a window answers is asked of the cache too, so that the cache knows what is
/// popular and keeps it.
const WINDOW_USES: u8 = 64;
/// Addresses of an answer whose listings are no weight of their own: nearly no answer has more, and
/// nearly no address is listed.
const ADDRESSES_FREE: usize = 16;
/// What the listing of each further address costs, in octets, its name on the heap included.
const LISTED_ADDRESS_OCTETS: usize = size_of::<(Name, Classification)>() + 80;
/// Addresses that are listed alike as one of the last few before them are kept once.
const ALIKE_LOOKED_BACK: usize = 16;
/// Stands for lists that never were; a real stamp is a part of a SHA-256.
const NO_STAMP: u64 = u64::MAX;

/// The question an answer is kept under: lower-case wire name, type, class. Nothing is validated
/// and no signature is kept, so DO and CD make no difference to an answer; where they do, they must
/// come back in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Box<[u8]>);

/// A key in a query's memory: what a hit asks with.
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    name: NameRef<'a>,
    tail: [u8; KEY_TAIL_OCTETS],
}

impl<'a> KeyRef<'a> {
    /// The key of a query.
    #[must_use]
    pub fn of(query: &'a Query<'_>) -> Self {
        Self::new(query.name(), query.resolved_type(), query.class)
    }

    pub(crate) fn new(name: NameRef<'a>, record_type: u16, class: u16) -> Self {
        let ([t0, t1], [c0, c1]) = (record_type.to_be_bytes(), class.to_be_bytes());
        Self {
            name,
            tail: [t0, t1, c0, c1],
        }
    }

    /// The key of the same question about another name.
    #[must_use]
    pub fn about<'b>(&self, name: NameRef<'b>) -> KeyRef<'b> {
        KeyRef {
            name,
            tail: self.tail,
        }
    }

    /// A key that lives on its own.
    #[must_use]
    pub fn to_owned(self) -> Key {
        Key([self.name.wire(), &self.tail].concat().into())
    }
}

impl Key {
    /// Octets it holds.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.0.len()
    }
}

// A key and its borrowed form must hash alike: the name, then the tail.
impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.name.wire());
        state.write(&self.tail);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (name, tail) = self.0.split_at(self.0.len() - KEY_TAIL_OCTETS);
        state.write(name);
        state.write(tail);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        let (name, tail) = key.0.split_at(key.0.len() - KEY_TAIL_OCTETS);
        name == self.name.wire() && tail == self.tail
    }
}

/// What the lists of one generation say of an entry's names: the one asked for, then its chain's,
/// then its listed addresses'.
struct Classified {
    stamp: u64,
    asked: Classification,
    chain: Box<[Classification]>,
    addresses: Box<[(Name, Classification)]>,
}

impl Classified {
    /// Looks everything up.
    fn of(entry: &Entry, name: NameRef<'_>, lists: &Blocklist) -> Self {
        let mut addresses: Vec<(Name, Classification)> = Vec::new();
        if lists.has_addresses() {
            for_each_address(entry.message(), |address| {
                let class = lists.classify_address(address);
                let is_known = || {
                    addresses
                        .iter()
                        .rev()
                        .take(ALIKE_LOOKED_BACK)
                        .any(|(_, known)| *known == class)
                };
                if class != Classification::NOTHING && !is_known() {
                    addresses.push((name_of_address(address), class));
                }
            });
        }
        let chain = entry
            .chain
            .iter()
            .map(|name| lists.classify(name.borrow()))
            .collect();
        Self {
            stamp: lists.stamp(),
            asked: lists.classify(name),
            chain,
            addresses: addresses.into(),
        }
    }

    fn says_nothing(&self) -> bool {
        let mut names = std::iter::once(&self.asked).chain(&self.chain);
        self.addresses.is_empty() && names.all(|class| *class == Classification::NOTHING)
    }

    /// The same as a client over TCP is judged by.
    fn over_tcp(&self) -> Self {
        Self {
            stamp: self.stamp,
            asked: self.asked.over_tcp(),
            chain: self.chain.iter().map(|class| class.over_tcp()).collect(),
            addresses: self
                .addresses
                .iter()
                .map(|(name, class)| (name.clone(), class.over_tcp()))
                .collect(),
        }
    }
}

/// What is known of one question.
pub struct Entry {
    /// The message (header, question in lower case, sections; no OPT), then the place of each
    /// record's TTL in it, two octets each. Only header and question as long as the question was
    /// not resolved.
    octets: Box<[u8]>,
    message_octets: u16,
    /// How many addresses stand in its answer.
    addresses: u16,
    chain: Box<[Name]>,
    /// The stamp of the lists that say nothing of any of its names. Nearly all names are such
    /// names, and then this word is all that a query reads.
    unlisted: AtomicU64,
    listed: ArcSwapOption<Classified>,
    stored_s: u32,
    ttl_s: u32,
    /// Whether somebody asks already for what comes after it.
    is_renewed: AtomicBool,
}

impl Entry {
    /// Takes a wire answer without OPT. The names and the addresses that it leads to are read from
    /// it, so that nothing is sent that was not judged.
    ///
    /// Returns none where the message cannot be walked; that is a fault of ours and is answered
    /// SERVFAIL.
    #[must_use]
    pub fn new(message: Vec<u8>, ttl_s: u32, now: Duration) -> Option<Self> {
        let message_octets = u16::try_from(message.len()).ok()?;
        let chain = targets(&message).into();
        let mut addresses = 0_u16;
        // A message has no room for as many as would not fit.
        for_each_address(&message, |_| addresses = addresses.saturating_add(1));
        let mut octets = message;
        ttl_places(&octets)?
            .iter()
            .for_each(|place| octets.extend(place.to_ne_bytes()));
        Some(Self {
            octets: octets.into(),
            message_octets,
            addresses,
            chain,
            stored_s: seconds(now),
            ttl_s,
            ..Self::blank()
        })
    }

    /// A question that nobody has resolved: it may be blocked all the same.
    #[must_use]
    pub fn unresolved(key: &KeyRef<'_>) -> Self {
        let octets = [&[0; HEADER_OCTETS], key.name.wire(), &key.tail].concat();
        Self {
            message_octets: u16::try_from(octets.len()).expect("a question is short"),
            octets: octets.into(),
            ..Self::blank()
        }
    }

    /// The same answer, of which nobody has said anything yet.
    #[must_use]
    pub fn unjudged(&self) -> Self {
        let Self {
            message_octets,
            addresses,
            stored_s,
            ttl_s,
            ..
        } = *self;
        Self {
            octets: self.octets.clone(),
            message_octets,
            addresses,
            chain: self.chain.clone(),
            stored_s,
            ttl_s,
            ..Self::blank()
        }
    }

    fn blank() -> Self {
        Self {
            octets: Box::default(),
            message_octets: 0,
            addresses: 0,
            chain: Box::default(),
            unlisted: AtomicU64::new(NO_STAMP),
            listed: ArcSwapOption::empty(),
            stored_s: 0,
            ttl_s: 0,
            is_renewed: AtomicBool::new(false),
        }
    }

    /// Whether it is about the question of this key.
    fn is_about(&self, key: &KeyRef<'_>) -> bool {
        let question = self.octets.get(HEADER_OCTETS..).unwrap_or_default();
        let name = key.name.wire();
        question.starts_with(name) && question[name.len()..].starts_with(&key.tail)
    }

    /// Whether it has an answer that may still be used.
    #[must_use]
    pub fn is_fresh(&self, now: Duration) -> bool {
        self.age_s(now) < self.ttl_s
    }

    /// Whether it has an answer that is too old to be used, but not by more than `longer`: better
    /// than none (RFC 8767).
    #[must_use]
    pub fn is_stale_but_servable(&self, now: Duration, longer: Duration) -> bool {
        let age = u64::from(self.age_s(now));
        self.ttl_s > 0
            && age >= u64::from(self.ttl_s)
            && age < u64::from(self.ttl_s) + longer.as_secs()
    }

    /// Whether a tenth of its time is left and it lives long enough for that to matter, and nobody
    /// was told so before: who is told renews it.
    pub fn wants_renewal(&self, now: Duration) -> bool {
        let left = self.ttl_s.saturating_sub(self.age_s(now));
        self.ttl_s >= RENEWED_FROM_TTL_S
            && left <= self.ttl_s / 10
            && !self.is_renewed.swap(true, Ordering::Relaxed)
    }

    /// Whether it may be kept at all: an answer with a TTL of zero is for those who asked, RFC 1035
    /// section 3.2.1.
    #[must_use]
    pub fn may_be_kept(&self) -> bool {
        self.ttl_s > 0
    }

    fn age_s(&self, now: Duration) -> u32 {
        seconds(now).saturating_sub(self.stored_s)
    }

    /// Whether the name that was asked for exists. Where it leads to another one, the code is that
    /// one's (RFC 6604 section 3).
    #[must_use]
    pub fn has_name(&self) -> bool {
        let code = self.message()[3] & 0x0f;
        let answers = number(self.message(), 6).unwrap_or(0);
        code == Rcode::NoError as u8 || code == Rcode::NxDomain as u8 && answers > 0
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.octets[..usize::from(self.message_octets)]
    }

    /// The names behind the one asked for.
    #[must_use]
    pub fn chain(&self) -> &[Name] {
        &self.chain
    }

    /// Judges the name asked for, and its chain and its addresses as well where `with_answer`: an
    /// answer that will not be used says nothing. Looks into the lists once a generation. Says
    /// which hop decided: 0 is the name asked for, then those of [`Self::hops`].
    pub fn judge(
        &self,
        asker: &EffectivePolicy,
        name: NameRef<'_>,
        lists: &Blocklist,
        with_answer: bool,
        transport: Transport,
    ) -> (Verdict, usize) {
        if self.unlisted.load(Ordering::Relaxed) == lists.stamp() {
            // Nobody lists anything of it, but a family may have named it, or what it leads to.
            let chain = if with_answer { &*self.chain } else { &[] };
            let chain = chain
                .iter()
                .map(|name| (name.borrow(), &Classification::NOTHING));
            return judge(asker, name, &Classification::NOTHING, chain);
        }
        let listed = self.listed.load();
        match listed
            .as_ref()
            .filter(|current| current.stamp == lists.stamp())
        {
            Some(current) => self.judge_by(current, asker, name, with_answer, transport),
            None => self.judge_anew(listed.is_some(), asker, name, lists, with_answer, transport),
        }
    }

    /// Looks into the lists, once a generation, and keeps what they say.
    #[cold]
    #[inline(never)]
    fn judge_anew(
        &self,
        was_listed: bool,
        asker: &EffectivePolicy,
        name: NameRef<'_>,
        lists: &Blocklist,
        with_answer: bool,
        transport: Transport,
    ) -> (Verdict, usize) {
        let current = Classified::of(self, name, lists);
        let verdict = self.judge_by(&current, asker, name, with_answer, transport);
        if current.says_nothing() {
            self.unlisted.store(lists.stamp(), Ordering::Relaxed);
            // Dear, and needed only where older lists knew the name.
            if was_listed {
                self.listed.store(None);
            }
        } else {
            self.listed.store(Some(Arc::new(current)));
        }
        verdict
    }

    fn judge_by(
        &self,
        by: &Classified,
        asker: &EffectivePolicy,
        name: NameRef<'_>,
        with_answer: bool,
        transport: Transport,
    ) -> (Verdict, usize) {
        let judged = self.review(by, asker, name, with_answer);
        let wants_tcp = judged.0.action == Action::TcpOnly && judged.0.is_block();
        if wants_tcp && transport == Transport::Tcp {
            self.judge_over_tcp(by, asker, name, with_answer)
        } else {
            judged
        }
    }

    /// The client has come over TCP as it was asked to: what others say is left.
    #[cold]
    #[inline(never)]
    fn judge_over_tcp(
        &self,
        by: &Classified,
        asker: &EffectivePolicy,
        name: NameRef<'_>,
        with_answer: bool,
    ) -> (Verdict, usize) {
        self.review(&by.over_tcp(), asker, name, with_answer)
    }

    fn review(
        &self,
        by: &Classified,
        asker: &EffectivePolicy,
        name: NameRef<'_>,
        with_answer: bool,
    ) -> (Verdict, usize) {
        let (chain, addresses) = if with_answer {
            (&*self.chain, &*by.addresses)
        } else {
            (&[] as &[_], &[] as &[_])
        };
        let chain = chain.iter().map(Name::borrow).zip(&by.chain);
        let addresses = addresses.iter().map(|(name, class)| (name.borrow(), class));
        judge(asker, name, &by.asked, chain.chain(addresses))
    }

    /// The names that hops of a verdict under these lists are about, behind the one asked for: the
    /// chain's, and those that stand for listed addresses (`policy::lists::index_key`).
    #[must_use]
    pub fn hops(&self, lists: &Blocklist) -> Vec<Name> {
        let listed = self.listed.load();
        let addresses = listed
            .as_ref()
            .filter(|current| current.stamp == lists.stamp())
            .map_or(&[][..], |current| &current.addresses);
        self.chain
            .iter()
            .chain(addresses.iter().map(|(name, _)| name))
            .cloned()
            .collect()
    }

    /// Writes one TTL in seconds into all records of a copy of the message.
    pub fn write_ttl(&self, copy: &mut [u8], ttl_s: u32) {
        for place in self.octets[usize::from(self.message_octets)..].chunks_exact(2) {
            let place = usize::from(u16::from_ne_bytes([place[0], place[1]]));
            copy[place..place + 4].copy_from_slice(&ttl_s.to_be_bytes());
        }
    }

    /// Writes the age into the TTLs of a copy of the message.
    pub fn write_ttls(&self, copy: &mut [u8], now: Duration) {
        let age = self.age_s(now);
        for place in self.octets[usize::from(self.message_octets)..].chunks_exact(2) {
            let place = usize::from(u16::from_ne_bytes([place[0], place[1]]));
            let ttl = u32::from_be_bytes(copy[place..place + 4].try_into().expect("four octets"));
            copy[place..place + 4].copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
        }
    }
}

/// Answers that live shorter are not asked again before their end, in seconds: a tenth of that is
/// less than a resolution.
const RENEWED_FROM_TTL_S: u32 = 10;

/// Seconds since the start, as an entry keeps them: enough for 136 years.
fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// Where each record's TTL stands; none where the message does not add up.
fn ttl_places(wire: &[u8]) -> Option<Vec<u16>> {
    let mut at = HEADER_OCTETS;
    for _ in 0..number(wire, 4)? {
        at = skip_name(wire, at)? + 4;
    }
    let records = (6..12)
        .step_by(2)
        .map(|place| number(wire, place).map(usize::from))
        .sum::<Option<usize>>()?;
    let mut places = Vec::with_capacity(records.min(wire.len()));
    for _ in 0..records {
        at = skip_name(wire, at)?;
        places.push(u16::try_from(at + 4).ok()?);
        at += 10 + usize::from(number(wire, at + 8)?);
    }
    (at == wire.len()).then_some(places)
}

#[derive(Clone)]
struct ByOctets;

impl Weighter<Key, Arc<Entry>> for ByOctets {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        let per_name = size_of::<Name>() + size_of::<Classification>();
        let chain: usize = entry
            .chain
            .iter()
            .map(|name| name.borrow().wire().len() + per_name)
            .sum();
        let addresses =
            usize::from(entry.addresses).saturating_sub(ADDRESSES_FREE) * LISTED_ADDRESS_OCTETS;
        (key.0.len() + entry.octets.len() + chain + addresses) as u64 + ENTRY_OVERHEAD_OCTETS
    }
}

/// The answer cache: a hard budget in octets, scan-resistant eviction.
pub struct AnswerCache(Cache<Key, Arc<Entry>, ByOctets>);

impl AnswerCache {
    /// A cache that holds at most `budget` octets.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let items = usize::try_from(budget / ENTRY_TYPICAL_OCTETS)
            .unwrap_or(usize::MAX)
            .max(16);
        Self(Cache::with_weighter(items, budget, ByOctets))
    }

    /// What is known of a question; perhaps an answer that is too old to be used.
    #[must_use]
    pub fn find(&self, key: &KeyRef<'_>) -> Option<Arc<Entry>> {
        self.0.get(key)
    }

    /// The same, by a key of its own.
    #[must_use]
    pub fn find_owned(&self, key: &Key) -> Option<Arc<Entry>> {
        self.0.get(key)
    }

    /// Keeps what is known. An entry that is heavier than one shard's part of the budget is not
    /// kept.
    pub fn insert(&self, key: Key, entry: Arc<Entry>) {
        self.0.insert(key, entry);
    }

    /// Octets held, and entries.
    #[must_use]
    pub fn usage(&self) -> (u64, usize) {
        (self.0.weight(), self.0.len())
    }
}

/// What one worker was asked lately: a way past the shared cache's locks and counters for the names
/// that everybody asks.
///
/// It holds what the cache held. Nothing ever changes an entry but its classification, which is
/// inside of it; one that is of no more use (too old, or never resolved) is asked of the cache
/// again, see [`Self::find_newer`].
pub struct Window {
    places: Box<[Option<Place>]>,
    hasher: RandomState,
}

struct Place {
    hash: u64,
    entry: Arc<Entry>,
    uses: u8,
}

impl Window {
    /// A worker's window.
    #[must_use]
    pub fn new() -> Self {
        Self {
            places: (0..WINDOW_PLACES).map(|_| None).collect(),
            hasher: RandomState::default(),
        }
    }

    /// None: for those who ask rarely.
    #[must_use]
    pub fn none() -> Self {
        Self {
            places: Box::default(),
            hasher: RandomState::default(),
        }
    }

    /// What is known of a question, from here or from the cache.
    pub fn find(&mut self, cache: &AnswerCache, key: &KeyRef<'_>) -> Option<Arc<Entry>> {
        if self.places.is_empty() {
            return cache.find(key);
        }
        let hash = self.hash(key.name, &key.tail);
        let place = &mut self.places[Self::place(hash)];
        if let Some(near) = place
            .as_mut()
            .filter(|near| near.hash == hash && near.entry.is_about(key))
        {
            near.uses = (near.uses + 1) % WINDOW_USES;
            if near.uses == 0 && cache.find(key).is_none() {
                // The cache gave up what it thought nobody asks for.
                cache.insert((*key).to_owned(), Arc::clone(&near.entry));
            }
            return Some(Arc::clone(&near.entry));
        }
        let entry = cache.find(key)?;
        let is_small = entry.octets.len() <= WINDOW_MESSAGE_MAX;
        *place = is_small.then(|| Place {
            hash,
            entry: Arc::clone(&entry),
            uses: 0,
        });
        Some(entry)
    }

    /// What the cache knows by now of a question, where that is not `known`.
    pub fn find_newer(
        &mut self,
        cache: &AnswerCache,
        key: &KeyRef<'_>,
        known: &Arc<Entry>,
    ) -> Option<Arc<Entry>> {
        let newer = cache.find(key).filter(|newer| !Arc::ptr_eq(newer, known))?;
        if !self.places.is_empty() {
            let place = &mut self.places[Self::place(self.hash(key.name, &key.tail))];
            if let Some(near) = place
                .as_mut()
                .filter(|near| Arc::ptr_eq(&near.entry, known))
            {
                near.entry = Arc::clone(&newer);
            }
        }
        Some(newer)
    }

    /// Reads what [`Self::find`] and an answer will read for the first [`TOUCHED_MAX`] of these
    /// packets, and decides nothing; see `policy::identity::directory::DirectoryReader::touch` for why, and why in
    /// loops of their own. A packet that is no query touches something that nobody needs.
    #[must_use]
    pub fn touch<'p>(&self, packets: impl Iterator<Item = &'p [u8]>) -> u64 {
        let mut room = WireName::default();
        let mut places = [0; TOUCHED_MAX];
        let mut count = 0;
        for (place, packet) in places.iter_mut().zip(packets) {
            let Ok(name) = room.read(packet, HEADER_OCTETS) else {
                continue;
            };
            let tail = packet
                .get(HEADER_OCTETS + name.wire().len()..)
                .unwrap_or_default();
            *place = Self::place(self.hash(name, tail));
            count += 1;
        }
        if self.places.is_empty() {
            return 0;
        }
        let mut entries = [None; TOUCHED_MAX];
        let mut found = 0;
        for near in places[..count]
            .iter()
            .filter_map(|&place| self.places[place].as_ref())
        {
            entries[found] = Some(&near.entry);
            found += 1;
        }
        let octets = entries[..found].iter().flatten().map(|entry| &entry.octets);
        octets.fold(0, |touched, octets| {
            touched ^ octets.first().copied().map_or(0, u64::from)
        })
    }

    /// The same name and type have the same hash, in a key and in a packet.
    fn hash(&self, name: NameRef<'_>, tail: &[u8]) -> u64 {
        let mut state = self.hasher.build_hasher();
        state.write(name.wire());
        state.write(tail.get(..2).unwrap_or_default());
        state.finish()
    }

    /// The upper bits choose the place; all of them tell keys apart before a name is compared.
    fn place(hash: u64) -> usize {
        (hash >> (u64::BITS - WINDOW_PLACES.ilog2())) as usize
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
