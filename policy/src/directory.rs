//! Who is asking: from a source address, and a MAC address where somebody may assert it, to the rules of a household.
//!
//! Millions of households stay in memory. A network is found by one hash probe for each prefix length that is in use,
//! longest first. A change of rules replaces one pointer in the household's slot, whatever number of networks lead there.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::{
    decide::Asker,
    household::{Id, Mac},
    rules::HouseholdRules,
};

/// By what an asker was found; in the order of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentitySource {
    /// The device by its MAC address.
    Mac,
    /// The device by its source address.
    Address,
    /// The household by its network; the device is not known.
    Network,
    /// None: the operator's default holds.
    Unknown,
}

/// What was wrong with an asserted identity; counted, never an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentityEvent {
    /// The peer may not assert identities, and its address proves no household.
    UntrustedPeer,
    /// No device, or more than one, has this MAC address.
    UnknownMac,
}

/// An asker, and how it was found.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who asks.
    pub asker: Asker,
    /// By what it was found.
    pub source: IdentitySource,
    /// What was dropped on the way.
    pub event: Option<IdentityEvent>,
}

struct Slot {
    rules: ArcSwap<HouseholdRules>,
}

/// All households of this node.
pub struct Directory {
    households: papaya::HashMap<Id, Arc<Slot>>,
    networks: papaya::HashMap<IpNet, Arc<Slot>>,
    /// MAC addresses that exactly one household has.
    macs: papaya::HashMap<Mac, Arc<Slot>>,
    lengths: PrefixLengths,
    unknown: Arc<HouseholdRules>,
    /// What only changes need; its lock also keeps them one after the other.
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    networks: HashMap<Id, BTreeSet<IpNet>>,
    mac_owners: HashMap<Mac, Vec<Id>>,
    length_counts: HashMap<(bool, u8), usize>,
}

impl Directory {
    /// An empty one; `unknown` are the rules of lines that belong to no household.
    #[must_use]
    pub fn new(unknown: HouseholdRules) -> Self {
        Self {
            households: papaya::HashMap::new(),
            networks: papaya::HashMap::new(),
            macs: papaya::HashMap::new(),
            lengths: PrefixLengths::default(),
            unknown: Arc::new(unknown),
            book: Mutex::new(Book::default()),
        }
    }

    /// Finds out who asks. The address proves a household; a MAC address then picks the device inside it. A peer that is
    /// trusted to assert identities may stand outside of every household; from anybody else there a MAC address is dropped.
    #[must_use]
    pub fn identify(&self, source: IpAddr, mac: Option<Mac>, peer_is_trusted: bool) -> Identity {
        let source = source.to_canonical();
        let Some(household) = self.find_network(source) else {
            return self.identify_outside(mac, peer_is_trusted);
        };
        let by_mac = mac.map(|mac| household.device_by_mac(mac));
        let (device, source) = match by_mac.flatten() {
            Some(device) => (Some(device), IdentitySource::Mac),
            None => match household.device_by_address(source) {
                Some(device) => (Some(device), IdentitySource::Address),
                None => (None, IdentitySource::Network),
            },
        };
        let event = matches!(by_mac, Some(None)).then_some(IdentityEvent::UnknownMac);
        Identity { asker: Asker { household, device }, source, event }
    }

    fn identify_outside(&self, mac: Option<Mac>, peer_is_trusted: bool) -> Identity {
        let unknown = |event| Identity { asker: self.unknown_line(), source: IdentitySource::Unknown, event };
        match mac {
            None => unknown(None),
            Some(_) if !peer_is_trusted => unknown(Some(IdentityEvent::UntrustedPeer)),
            Some(mac) => {
                let household = self.macs.pin().get(&mac).map(|slot| slot.rules.load_full());
                let device = household.as_ref().and_then(|household| household.device_by_mac(mac));
                match (household, device) {
                    (Some(household), Some(device)) => {
                        Identity { asker: Asker { household, device: Some(device) }, source: IdentitySource::Mac, event: None }
                    }
                    _ => unknown(Some(IdentityEvent::UnknownMac)),
                }
            }
        }
    }

    fn find_network(&self, source: IpAddr) -> Option<Arc<HouseholdRules>> {
        let networks = self.networks.pin();
        let found = self.lengths.longest_first(source.is_ipv4()).find_map(|length| {
            let network = IpNet::new(source, length).expect("only lengths of this family are recorded").trunc();
            networks.get(&network)
        });
        found.map(|slot| slot.rules.load_full())
    }

    /// The asker that a line of no household is.
    #[must_use]
    pub fn unknown_line(&self) -> Asker {
        Asker { household: Arc::clone(&self.unknown), device: None }
    }

    /// The rules of a household.
    #[must_use]
    pub fn household(&self, id: &Id) -> Option<Arc<HouseholdRules>> {
        self.households.pin().get(id).map(|slot| slot.rules.load_full())
    }

    /// How many households there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.households.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.households.is_empty()
    }

    /// Makes a household's rules and networks live. When this returns, every later query obeys them.
    ///
    /// # Panics
    /// When the rules belong to no household.
    pub fn install(&self, rules: HouseholdRules, networks: &BTreeSet<IpNet>) {
        let id = rules.id.clone().expect("rules to install are a household's");
        let networks: BTreeSet<IpNet> = networks.iter().map(IpNet::trunc).collect();
        let mut book = self.book.lock().expect("no change panics while it holds the lock");
        let macs_after: Vec<Mac> = rules.macs().collect();
        let households = self.households.pin();
        let (slot, macs_before) = match households.get(&id) {
            Some(slot) => {
                let before = slot.rules.swap(Arc::new(rules));
                (Arc::clone(slot), before.macs().collect())
            }
            None => {
                let slot = Arc::new(Slot { rules: ArcSwap::from_pointee(rules) });
                households.insert(id.clone(), Arc::clone(&slot));
                (slot, Vec::new())
            }
        };
        let before = book.networks.insert(id.clone(), networks.clone()).unwrap_or_default();
        before.difference(&networks).for_each(|network| self.unlink(&mut book, network));
        networks.difference(&before).for_each(|network| self.link(&mut book, *network, &slot));
        self.record_macs(&mut book, &id, &macs_before, &macs_after);
    }

    /// Takes a household out: its lines belong to no household from now on.
    pub fn remove(&self, id: &Id) {
        let mut book = self.book.lock().expect("no change panics while it holds the lock");
        let networks = book.networks.remove(id).unwrap_or_default();
        networks.iter().for_each(|network| self.unlink(&mut book, network));
        let macs: Vec<Mac> = self.household(id).map(|household| household.macs().collect()).unwrap_or_default();
        self.record_macs(&mut book, id, &macs, &[]);
        self.households.pin().remove(id);
    }

    fn link(&self, book: &mut Book, network: IpNet, slot: &Arc<Slot>) {
        self.networks.pin().insert(network, Arc::clone(slot));
        let (is_v4, length) = (network.addr().is_ipv4(), network.prefix_len());
        *book.length_counts.entry((is_v4, length)).or_default() += 1;
        self.lengths.record(is_v4, length);
    }

    fn unlink(&self, book: &mut Book, network: &IpNet) {
        self.networks.pin().remove(network);
        let (is_v4, length) = (network.addr().is_ipv4(), network.prefix_len());
        if let Some(count) = book.length_counts.get_mut(&(is_v4, length)) {
            *count -= 1;
            if *count == 0 {
                book.length_counts.remove(&(is_v4, length));
                self.lengths.forget(is_v4, length);
            }
        }
    }

    fn record_macs(&self, book: &mut Book, id: &Id, before: &[Mac], after: &[Mac]) {
        for mac in before {
            if let Some(owners) = book.mac_owners.get_mut(mac) {
                owners.retain(|owner| owner != id);
            }
        }
        for &mac in after {
            let owners = book.mac_owners.entry(mac).or_default();
            if !owners.contains(id) {
                owners.push(id.clone());
            }
        }
        let macs = self.macs.pin();
        for mac in before.iter().chain(after) {
            let owners = book.mac_owners.get(mac).map_or(&[][..], Vec::as_slice);
            match owners {
                [owner] => {
                    if let Some(slot) = self.households.pin().get(owner) {
                        macs.insert(*mac, Arc::clone(slot));
                    }
                }
                _ => {
                    macs.remove(mac);
                }
            }
            if owners.is_empty() {
                book.mac_owners.remove(mac);
            }
        }
    }
}

/// Which prefix lengths are in use, a bit each: lengths 0 to 128 of both families.
#[derive(Default)]
struct PrefixLengths {
    v4: [AtomicU64; 3],
    v6: [AtomicU64; 3],
}

impl PrefixLengths {
    fn words(&self, is_v4: bool) -> &[AtomicU64; 3] {
        if is_v4 { &self.v4 } else { &self.v6 }
    }

    fn record(&self, is_v4: bool, length: u8) {
        self.words(is_v4)[usize::from(length) / 64].fetch_or(1 << (length % 64), Ordering::SeqCst);
    }

    fn forget(&self, is_v4: bool, length: u8) {
        self.words(is_v4)[usize::from(length) / 64].fetch_and(!(1 << (length % 64)), Ordering::SeqCst);
    }

    fn longest_first(&self, is_v4: bool) -> impl Iterator<Item = u8> {
        let words = self.words(is_v4);
        (0..3_u8).rev().flat_map(move |word| {
            let mut bits = words[usize::from(word)].load(Ordering::SeqCst);
            std::iter::from_fn(move || {
                let highest = u8::try_from(63_u32.checked_sub(bits.leading_zeros())?).expect("below 64");
                bits &= !(1 << highest);
                Some(word * 64 + highest)
            })
        })
    }
}
