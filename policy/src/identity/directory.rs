//! The directory: identifies the client of a query. Finds the rules of a household by the source
//! address, and by an asserted MAC address.
//!
//! ```text
//! address ── a prefix length in use, longest first ──> index of networks ──> slot ──> the mask
//!                                                                                       |
//! MAC ─────────────────────────────────────────────────────────────────────────────> record: devices, custom lists
//! ```
//!
//! Millions of households stay in memory. Nearly every query reads two cache lines: an entry of the
//! index and a slot. A change of rules is written into one slot, whatever the number of networks
//! that lead to it. Readers never lock and never wait.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering, fence},
    },
};

use crate::{
    decide::EffectivePolicy,
    identity::{
        index::{Index, IndexView, Probe},
        network::{Network, PrefixLengths},
        slot::{Slot, Slots},
    },
    rules::{
        compiled::HouseholdRules,
        household::{Id, Mac},
        operator::OperatorDefaults,
    },
    unix_seconds::UnixSeconds,
};

pub use crate::identity::client::{Identity, IdentityEvent, IdentitySource, Trust};

/// How often one search is repeated because networks moved meanwhile; each repetition needs another
/// move in between.
const SEARCHES_MAX: usize = 4;

/// Searches that [`DirectoryReader::touch`] begins in one call: a batch of clients where one prefix
/// length is in use, fewer clients where more are.
pub const TOUCHED_MAX: usize = 64;

/// All households of this node.
pub struct Directory {
    slots: Slots,
    networks: Index,
    macs: Index,
    ids: Index,
    lengths: PrefixLengths,
    /// Counts changes that remove index entries. Raised after the new entries are added and before
    /// the old ones are removed.
    moves: AtomicU64,
    households: AtomicUsize,
    unknown: EffectivePolicy,
    /// State that only changes need. Its lock also serialises them.
    book: Mutex<Book>,
}

/// The most further households with the same MAC address whose policies are combined. More are an
/// attempt to make queries expensive.
const OWNERS_MAX: usize = 15;

#[derive(Default)]
struct Book {
    /// Free slot numbers.
    free: Vec<u32>,
    /// The number of slots ever allocated.
    made: u32,
    length_counts: HashMap<(bool, u8), usize>,
    /// When a household's record expires, and its slot. Some belong to records that were replaced.
    due: BinaryHeap<Reverse<(UnixSeconds, u32)>>,
}

impl Directory {
    /// An empty directory; `defaults` apply to clients of no household.
    #[must_use]
    pub fn new(defaults: OperatorDefaults) -> Self {
        Self {
            slots: Slots::default(),
            networks: Index::default(),
            macs: Index::default(),
            ids: Index::default(),
            lengths: PrefixLengths::default(),
            moves: AtomicU64::new(0),
            households: AtomicUsize::new(0),
            unknown: EffectivePolicy::of_mask(defaults.preset, defaults.flags()),
            book: Mutex::new(Book::default()),
        }
    }

    /// A reader for one batch of queries. The worker makes it after receiving the batch, and drops
    /// it after answering.
    #[must_use]
    pub fn reader(&self, now: UnixSeconds) -> DirectoryReader<'_> {
        let moves = self.moves.load(Ordering::Acquire);
        DirectoryReader {
            directory: self,
            moves,
            networks: self.networks.view(),
            now,
        }
    }

    /// Identifies the client of one query, see [`DirectoryReader::identify`].
    #[must_use]
    pub fn identify(
        &self,
        source: IpAddr,
        mac: Option<Mac>,
        trust: impl Into<Trust>,
        now: UnixSeconds,
    ) -> Identity {
        self.reader(now).identify(source, mac, trust)
    }

    fn identify_outside(&self, mac: Option<Mac>, trust: Trust, now: UnixSeconds) -> Identity {
        let unknown = |event| Identity {
            policy: self.unknown_line(),
            source: IdentitySource::Unknown,
            event,
        };
        match mac {
            None => unknown(None),
            Some(_) if trust == Trust::Household => unknown(Some(IdentityEvent::UntrustedPeer)),
            Some(mac) => {
                let view = self.macs.view();
                let mut owners = view.slots(mac).filter_map(|slot| {
                    let rules = self.slots.get(slot).rules();
                    let rules = rules.as_ref()?;
                    Some((
                        slot,
                        EffectivePolicy::of(rules, Some(rules.device_by_mac(mac)?), now),
                    ))
                });
                let Some((first, policy)) = owners.next() else {
                    return unknown(Some(IdentityEvent::UnknownMac));
                };
                // A household can occur twice: two of its MAC addresses can have one fingerprint.
                let mut others = owners.filter(|(slot, _)| *slot != first).peekable();
                if others.peek().is_none() {
                    return Identity {
                        policy,
                        source: IdentitySource::Mac,
                        event: None,
                    };
                }
                // Registering another household's device must neither switch off that household's
                // filter nor reveal its queries. The query therefore belongs to no household, and
                // the strictest of all owners' policies applies.
                let owners = others.take(OWNERS_MAX).map(|(_, other)| other);
                let all = owners.fold(policy, |all, other| other.under(all));
                Identity {
                    policy: self.unknown_line().under(all),
                    source: IdentitySource::Unknown,
                    event: Some(IdentityEvent::UnknownMac),
                }
            }
        }
    }

    /// The household whose network contains an address.
    #[must_use]
    pub fn household_of(&self, address: IpAddr) -> Option<Arc<HouseholdRules>> {
        self.search(address.to_canonical(), |slot, network| {
            slot.rules()
                .clone()
                .filter(|rules| rules.has_network(network))
        })
    }

    /// Asks the slots of the longest network that contains an address. `judge` returns `None` where
    /// the network is not the slot's.
    ///
    /// A client with a household before and after a change has one at every moment between:
    /// [`Self::install`] adds the new entries, then writes the slot, then counts a move, then
    /// removes the old entries. A search during which no move was counted saw all old entries, or
    /// all new ones. If it saw the old ones after the slot was written, it met an entry whose slot
    /// refused. So a search without a move and without a refusal is right; any other one is
    /// repeated.
    fn search<T>(&self, source: IpAddr, judge: impl Fn(&Slot, Network) -> Option<T>) -> Option<T> {
        let mut found = None;
        for _ in 0..SEARCHES_MAX {
            let moves = self.moves.load(Ordering::Acquire);
            let is_certain;
            (found, is_certain) = self.search_once(&self.networks.view(), source, &judge);
            // If the search saw any removal of old entries, this load sees the move before it.
            fence(Ordering::Acquire);
            if is_certain && self.moves.load(Ordering::Relaxed) == moves {
                break;
            }
        }
        found
    }

    /// One pass of [`Self::search`]. Also returns whether no slot refused.
    fn search_once<T>(
        &self,
        view: &IndexView<'_>,
        source: IpAddr,
        judge: impl Fn(&Slot, Network) -> Option<T>,
    ) -> (Option<T>, bool) {
        let mut is_certain = true;
        for length in self.lengths.longest_first(source.is_ipv4()) {
            let network = Network::around(source, length);
            for slot in view.slots(network) {
                let found = judge(self.slots.get(slot), network);
                if found.is_some() {
                    return (found, is_certain);
                }
                is_certain = false;
            }
        }
        (None, is_certain)
    }

    /// The policy of a client of no household.
    #[must_use]
    pub fn unknown_line(&self) -> EffectivePolicy {
        self.unknown.clone()
    }

    #[must_use]
    pub fn household(&self, id: &Id) -> Option<Arc<HouseholdRules>> {
        self.find(id.as_str()).map(|(_, rules)| rules)
    }

    fn find(&self, id: &str) -> Option<(u32, Arc<HouseholdRules>)> {
        let view = self.ids.view();
        view.slots(id).find_map(|slot| {
            let rules = self.slots.get(slot).rules().clone();
            rules
                .filter(|rules| rules.id() == id)
                .map(|rules| (slot, rules))
        })
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.households.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a household's rules and networks in force. Every query that is received after this
    /// returns obeys them. A network of another household belongs to this one from now on.
    pub fn install(&self, rules: HouseholdRules) {
        let mut book = self
            .book
            .lock()
            .expect("no change panics while it holds the lock");
        let rules = Arc::new(rules);
        let (slot, before) = match self.find(rules.id()) {
            Some((slot, before)) => (slot, Some(before)),
            None => (self.hand_out(&mut book), None),
        };
        let (networks_before, macs_before) = before.as_deref().map(ways_in).unwrap_or_default();
        let (networks, macs) = ways_in(&rules);
        let until = rules.until();
        if until != UnixSeconds::NEVER
            && before
                .as_deref()
                .is_none_or(|before| before.until() != until)
        {
            book.due.push(Reverse((until, slot)));
        }
        // The new entries come first; until the slot is written they are refused. `search` explains
        // the order.
        networks
            .difference(&networks_before)
            .for_each(|network| self.link(&mut book, *network, slot));
        macs.difference(&macs_before)
            .for_each(|mac| self.macs.insert(mac, slot));
        if before.is_none() {
            self.ids.insert(rules.id(), slot);
            self.households.fetch_add(1, Ordering::Relaxed);
        }
        self.slots.get(slot).write(Some(rules));
        self.moves.fetch_add(1, Ordering::AcqRel);
        networks
            .difference(&networks_before)
            .for_each(|network| self.take_from_others(&mut book, *network, slot));
        networks_before
            .difference(&networks)
            .for_each(|network| self.unlink(&mut book, *network, slot));
        macs_before
            .difference(&macs)
            .for_each(|mac| self.macs.remove(mac, slot));
    }

    /// Returns at most `most` households whose record has expired, the longest expired first. Each
    /// is returned once; the caller compiles it again. Until then the data path uses the later
    /// phases of the record.
    #[must_use]
    pub fn due(&self, now: UnixSeconds, most: usize) -> Vec<Id> {
        let mut book = self
            .book
            .lock()
            .expect("no change panics while it holds the lock");
        let mut due = Vec::new();
        while due.len() < most
            && let Some(&Reverse((until, slot))) = book.due.peek()
            && until <= now
        {
            book.due.pop();
            // The slot may belong to another household by now, or its record may be newer.
            due.extend(
                self.slots
                    .get(slot)
                    .rules()
                    .as_ref()
                    .filter(|rules| rules.until() == until)
                    .and_then(|rules| rules.id().parse().ok()),
            );
        }
        due
    }

    /// All households with changes by the clock. When the clock is set back, all of them must be
    /// compiled again.
    #[must_use]
    pub fn timed(&self) -> Vec<Id> {
        let made = self
            .book
            .lock()
            .expect("no change panics while it holds the lock")
            .made;
        let timed = |slot| {
            self.slots
                .get(slot)
                .rules()
                .as_ref()
                .filter(|rules| rules.until() != UnixSeconds::NEVER)?
                .id()
                .parse()
                .ok()
        };
        (0..made).filter_map(timed).collect()
    }

    /// Removes a household. Its clients belong to no household from now on.
    pub fn remove(&self, id: &Id) {
        let mut book = self
            .book
            .lock()
            .expect("no change panics while it holds the lock");
        let Some((slot, rules)) = self.find(id.as_str()) else {
            return;
        };
        self.slots.get(slot).write(None);
        let (networks, macs) = ways_in(&rules);
        networks
            .iter()
            .for_each(|network| self.unlink(&mut book, *network, slot));
        macs.iter().for_each(|mac| self.macs.remove(mac, slot));
        self.ids.remove(id.as_str(), slot);
        self.households.fetch_sub(1, Ordering::Relaxed);
        book.free.push(slot);
    }

    fn hand_out(&self, book: &mut Book) -> u32 {
        book.free.pop().unwrap_or_else(|| {
            let slot = book.made;
            self.slots.allocate(slot);
            book.made += 1;
            slot
        })
    }

    fn link(&self, book: &mut Book, network: Network, slot: u32) {
        let is_v4 = network.is_v4();
        let length = network.length();
        self.networks.insert(network, slot);
        *book.length_counts.entry((is_v4, length)).or_default() += 1;
        self.lengths.record(is_v4, length);
    }

    fn unlink(&self, book: &mut Book, network: Network, slot: u32) {
        let is_v4 = network.is_v4();
        let length = network.length();
        let count = book
            .length_counts
            .get_mut(&(is_v4, length))
            .expect("the length of every linked network is counted");
        *count -= 1;
        if *count == 0 {
            book.length_counts.remove(&(is_v4, length));
            self.lengths.forget(is_v4, length);
        }
        self.networks.remove(network, slot);
    }

    fn take_from_others(&self, book: &mut Book, network: Network, slot: u32) {
        let others: Vec<u32> = self
            .networks
            .view()
            .slots(network)
            .filter(|other| *other != slot)
            .collect();
        for other in others {
            let slot = self.slots.get(other);
            let had = slot
                .rules()
                .clone()
                .filter(|rules| rules.has_network(network));
            if let Some(had) = had {
                slot.write(Some(Arc::new(had.without(network))));
                self.unlink(book, network, other);
            }
        }
    }
}

/// The directory for one batch of queries. It loads the index of networks once, which costs as much
/// as a search.
pub struct DirectoryReader<'a> {
    directory: &'a Directory,
    /// The number of moves when the index was loaded, or fewer.
    moves: u64,
    networks: IndexView<'a>,
    now: UnixSeconds,
}

impl DirectoryReader<'_> {
    /// Identifies a client. The source address proves a household; a MAC address then selects the
    /// device inside it. Where the address proves a device as well, the MAC address of another or
    /// unknown device adds its rules and removes none. A trusted peer may assert a MAC address from
    /// outside of every household; from any other peer there the MAC address is ignored and
    /// reported in the event.
    #[must_use]
    pub fn identify(&self, source: IpAddr, mac: Option<Mac>, trust: impl Into<Trust>) -> Identity {
        let source = source.to_canonical();
        let trust = trust.into();
        let judge = |slot: &Slot, network| {
            if mac.is_none()
                && let Some(digest) = slot.digest()
                && digest.has(network)
                && !digest.needs_record(self.now)
            {
                let policy = EffectivePolicy::of_mask(digest.blocked(), digest.flags());
                return Some(Identity {
                    policy,
                    source: IdentitySource::Network,
                    event: Identity::of_unnamed(network),
                });
            }
            let rules = slot.rules();
            rules
                .as_ref()
                .filter(|rules| rules.has_network(network))
                .map(|rules| match mac {
                    None => Identity::by_address(rules, source, network, self.now),
                    Some(mac) => Identity::asserted(rules, source, mac, trust, self.now),
                })
        };
        let (mut found, is_certain) = self.directory.search_once(&self.networks, source, judge);
        // A slot has just confirmed the network. If none did, the loaded index may be older than a
        // move.
        if found.is_none()
            && (!is_certain || self.directory.moves.load(Ordering::Acquire) != self.moves)
        {
            found = self.directory.search(source, judge);
        }
        found.unwrap_or_else(|| self.directory.identify_outside(mac, trust, self.now))
    }

    /// Reads the memory that [`Self::identify`] will read for the first [`TOUCHED_MAX`] of these
    /// clients. A worker that calls this for a batch waits for memory twice, instead of twice a
    /// query. The returned number has no meaning; it keeps the reads from being optimised away.
    ///
    /// Each kind of read has a loop of its own: reads overlap only with few instructions between
    /// them.
    #[must_use]
    pub fn touch(&self, sources: impl Iterator<Item = IpAddr>) -> u64 {
        let mut searches = [Probe::default(); TOUCHED_MAX];
        let networks = sources
            .map(|source| source.to_canonical())
            .flat_map(|source| {
                let lengths = self.directory.lengths.longest_first(source.is_ipv4());
                lengths.map(move |length| Network::around(source, length))
            });
        let mut count = 0;
        for (search, network) in searches.iter_mut().zip(networks) {
            *search = self.networks.search(network);
            count += 1;
        }
        let searches = &searches[..count];
        let entries = searches
            .iter()
            .fold(0, |touched, search| touched ^ self.networks.touch(*search));
        let mut slots = [0; TOUCHED_MAX];
        let mut found = 0;
        for slot in searches
            .iter()
            .filter_map(|search| self.networks.found(*search).next())
        {
            slots[found] = slot;
            found += 1;
        }
        slots[..found].iter().fold(entries, |touched, slot| {
            touched ^ self.directory.slots.get(*slot).touch()
        })
    }
}

/// All keys by which a query finds a household.
fn ways_in(rules: &HouseholdRules) -> (BTreeSet<Network>, BTreeSet<Mac>) {
    (
        rules
            .packed_networks()
            .map(|(_, network)| network)
            .collect(),
        rules.macs().collect(),
    )
}

#[cfg(test)]
mod tests;
