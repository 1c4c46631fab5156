//! The part of a household that most queries read: one cache line.
//!
//! A slot holds a digest of the household's record and the pointer to the record. For nearly every
//! query the digest is enough. Where it is not (a MAC address, a device known by its address, a
//! custom list, a third network), and while a change is being written, the reader uses the record
//! instead: it never waits for the writer.
//!
//! Slots lie in chunks that are never moved or freed, so a reader needs no lock. Slots are reused:
//! a reader that followed a stale index entry must check that the network still belongs to this
//! household.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering, fence},
};

use arc_swap::{ArcSwapOption, Guard};

use crate::{
    category::CategorySet,
    identity::network::Network,
    rules::{compiled::HouseholdRules, flags::PolicyFlags},
    unix_seconds::UnixSeconds,
};

/// Slots of a chunk: 4 MiB.
const CHUNK_SLOTS: usize = 1 << 16;
/// The most chunks: 268 million households, more than fit into memory.
const CHUNKS_MAX: usize = 1 << 12;
/// The longest IPv6 prefix that fits into a digest.
const V6_LENGTH_MAX: u8 = 64;

/// Flag of a household with a device known by its address, a custom list, a grant or an activity
/// history: the digest is not enough.
const NEEDS_RECORD: u64 = 1;

/// One household. 56 octets of the cache line are used.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Slot {
    /// Odd while the words below are being written.
    sequence: AtomicU64,
    /// A [`Digest`].
    words: [AtomicU64; 5],
    /// The whole record; `None` in a free slot.
    rules: ArcSwapOption<HouseholdRules>,
}

/// The words of a slot, all of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest {
    /// The blocked categories of an unnamed device, lower half and upper half.
    blocked: [u64; 2],
    /// The prefix of the IPv6 network.
    v6: u64,
    /// The IPv4 network (32 bits), its prefix length plus one (8 bits), the prefix length of the
    /// IPv6 network plus one (8 bits), flags. A length field of 0 means no network.
    rest: u64,
    /// Until when the words above are valid (the lower 32 bits), and the policy flags.
    time: u64,
}

impl Digest {
    fn of(rules: &HouseholdRules) -> Self {
        let effective = rules.effective_rules(None, UnixSeconds::FIRST);
        let blocked = effective.blocked.to_bits();
        let mut networks = rules.packed_networks().map(|(_, network)| network);
        let v4 = networks.by_ref().find(|network| network.is_v4());
        let mut networks = rules.packed_networks().map(|(_, network)| network);
        let v6 = networks.find(|network| !network.is_v4() && network.length() <= V6_LENGTH_MAX);
        let needs_record = rules.has_addresses()
            || rules.has_names(None)
            || effective.grants != 0
            || effective.flags.is_recorded();
        Self {
            blocked: [blocked as u64, (blocked >> 64) as u64],
            v6: v6.map_or(0, Network::upper_bits),
            rest: v4.map_or(0, v4_bits)
                | v6.map_or(0, v6_bits)
                | if needs_record { NEEDS_RECORD } else { 0 },
            time: u64::from(rules.until().to_bits()) | u64::from(effective.flags.to_bits()) << 32,
        }
    }

    /// Whether the network is one of the two in the digest.
    pub fn has(self, network: Network) -> bool {
        if network.is_v4() {
            self.rest & V4_BITS == v4_bits(network)
        } else {
            network.length() <= V6_LENGTH_MAX
                && self.v6 == network.upper_bits()
                && self.rest & V6_BITS == v6_bits(network)
        }
    }

    /// Whether the record must be read to identify the device or its rules.
    pub fn needs_record(self, now: UnixSeconds) -> bool {
        self.rest & NEEDS_RECORD != 0 || now >= UnixSeconds::from_bits(self.time as u32)
    }

    /// The policy flags of an unnamed device.
    pub fn flags(self) -> PolicyFlags {
        PolicyFlags::from_bits((self.time >> 32) as u32)
    }

    /// The blocked categories of an unnamed device.
    pub fn blocked(self) -> CategorySet {
        CategorySet::from_bits(u128::from(self.blocked[1]) << 64 | u128::from(self.blocked[0]))
    }

    fn words(self) -> [u64; 5] {
        [
            self.blocked[0],
            self.blocked[1],
            self.v6,
            self.rest,
            self.time,
        ]
    }
}

const V4_BITS: u64 = 0xffff_ffff_ff00_0000;
const V6_BITS: u64 = 0x0000_0000_00ff_0000;

fn v4_bits(network: Network) -> u64 {
    network.upper_bits() & 0xffff_ffff_0000_0000 | u64::from(network.length() + 1) << 24
}

fn v6_bits(network: Network) -> u64 {
    u64::from(network.length() + 1) << 16
}

impl Slot {
    /// The digest, or `None` while it is being written: the record then has the same content.
    ///
    /// Never torn. Suppose a word below was read from a certain write. The writer made the sequence
    /// odd before it, with a release fence in between; the acquire fence here pairs with that
    /// fence, so `after` is that odd number or a later one. Then `before` can only equal it if it
    /// is even and at least the number that *ends* this write; that number was read by an acquire
    /// load of a release store, so all words of that write were visible when the first one was
    /// read. Every word is therefore of the write that `before` ended, or of one that began after,
    /// and `after` would reveal the latter.
    pub fn digest(&self) -> Option<Digest> {
        let before = self.sequence.load(Ordering::Acquire);
        let [lower, upper, v6, rest, time] =
            std::array::from_fn(|index| self.words[index].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then_some(Digest {
            blocked: [lower, upper],
            v6,
            rest,
            time,
        })
    }

    /// Reads the cache line; the value has no meaning.
    pub fn touch(&self) -> u64 {
        self.words[3].load(Ordering::Relaxed)
    }

    /// The household's record.
    pub fn rules(&self) -> Guard<Option<Arc<HouseholdRules>>> {
        self.rules.load()
    }

    /// Replaces record and digest, and returns the previous record. The caller ensures that there
    /// is one writer at a time.
    ///
    /// The record is swapped while the sequence is odd. Readers of the digest see the old one
    /// before, the record meanwhile, the new one after: for all readers the change happens at the
    /// swap.
    pub fn write(&self, rules: Option<Arc<HouseholdRules>>) -> Option<Arc<HouseholdRules>> {
        let digest = rules.as_deref().map_or_else(Digest::default, Digest::of);
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let before = self.rules.swap(rules);
        for (word, value) in self.words.iter().zip(digest.words()) {
            word.store(value, Ordering::Relaxed);
        }
        self.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
        before
    }
}

/// All slots of a directory, by number.
pub(crate) struct Slots {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            chunks: (0..CHUNKS_MAX).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl Slots {
    /// The slot with a number that was allocated.
    pub fn get(&self, number: u32) -> &Slot {
        let number = number as usize;
        let chunk = self.chunks[number / CHUNK_SLOTS]
            .get()
            .expect("a number is allocated after its chunk");
        &chunk[number % CHUNK_SLOTS]
    }

    /// Allocates the chunk of a number, unless it exists.
    pub fn allocate(&self, number: u32) {
        let chunk = self
            .chunks
            .get(number as usize / CHUNK_SLOTS)
            .expect("memory ends before the room for chunks does");
        chunk.get_or_init(|| (0..CHUNK_SLOTS).map(|_| Slot::default()).collect());
    }
}
