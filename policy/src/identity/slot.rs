//! What a query reads of a household: one cache line.
//!
//! A cell is the digest of a household's record, and the pointer to the record itself. For nearly
//! every query the digest is enough. Where it is not (a MAC address, a device known by its address,
//! an own list, a third network), and in the moment in which a change is being written, the reader
//! goes to the record instead: it never waits for the writer.
//!
//! Cells lie in chunks that are never moved or freed, so a reader needs no lock to get to one. A
//! cell is used again for another household; whoever comes by an old way must therefore look
//! whether the network is still this cell's.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering, fence},
};

use arc_swap::{ArcSwapOption, Guard};

use crate::{
    category::CategorySet,
    identity::network::Network,
    moment::Moment,
    rules::{compiled::HouseholdRules, special::Standards},
};

/// Cells of a chunk: 4 MiB.
const CHUNK_CELLS: usize = 1 << 16;
/// Chunks there may be: room for 268 million households, which no memory holds.
const CHUNKS_MAX: usize = 1 << 12;
/// The longest IPv6 prefix whose bits fit a digest.
const V6_LENGTH_MAX: u8 = 64;

/// A household known by a device's address, or one with an own list, a grant or a history: the
/// digest cannot tell who asks or what holds.
const NEEDS_RECORD: u64 = 1;

/// One household, as the data path finds it. 56 octets of the line are used; the rest is room.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Cell {
    /// Odd while the words below are being written.
    sequence: AtomicU64,
    /// See [`Digest`].
    words: [AtomicU64; 5],
    /// Everything else about the household; `None` in a cell that nobody has.
    rules: ArcSwapOption<HouseholdRules>,
}

/// The words of a cell, all of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest {
    /// The household's mask, lower half and upper half.
    blocked: [u64; 2],
    /// The prefix of its IPv6 network.
    v6: u64,
    /// Its IPv4 network (32 bits), the length of that and one (8 bits), the length of its IPv6
    /// network and one (8 bits), flags. A length and one, so that 0 says that there is no such
    /// network.
    rest: u64,
    /// When the words above end to be true (32 bits, the lower half), and what holds beside
    /// categories.
    time: u64,
}

impl Digest {
    fn of(rules: &HouseholdRules) -> Self {
        let standing = rules.standing(None, Moment::FIRST);
        let blocked = standing.blocked.to_bits();
        let mut networks = rules.packed_networks().map(|(_, network)| network);
        let v4 = networks.by_ref().find(|network| network.is_v4());
        let mut networks = rules.packed_networks().map(|(_, network)| network);
        let v6 = networks.find(|network| !network.is_v4() && network.length() <= V6_LENGTH_MAX);
        let needs_record = rules.has_addresses()
            || rules.has_names(None)
            || standing.grants != 0
            || standing.standards.is_recorded();
        Self {
            blocked: [blocked as u64, (blocked >> 64) as u64],
            v6: v6.map_or(0, Network::upper_bits),
            rest: v4.map_or(0, v4_bits)
                | v6.map_or(0, v6_bits)
                | if needs_record { NEEDS_RECORD } else { 0 },
            time: u64::from(rules.until().to_bits())
                | u64::from(standing.standards.to_bits()) << 32,
        }
    }

    /// Whether this is one of the networks that the digest holds.
    pub fn has(self, network: Network) -> bool {
        if network.is_v4() {
            self.rest & V4_BITS == v4_bits(network)
        } else {
            network.length() <= V6_LENGTH_MAX
                && self.v6 == network.upper_bits()
                && self.rest & V6_BITS == v6_bits(network)
        }
    }

    /// Whether only the record can tell who asks from here, or what holds for them now.
    pub fn needs_record(self, now: Moment) -> bool {
        self.rest & NEEDS_RECORD != 0 || now >= Moment::from_bits(self.time as u32)
    }

    /// What holds beside categories for a device that nobody named.
    pub fn standards(self) -> Standards {
        Standards::from_bits((self.time >> 32) as u32)
    }

    /// The categories blocked for a device that nobody named.
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

impl Cell {
    /// The digest, or `None` while it is being written: the record says the same.
    ///
    /// Never torn. Say that a word below was read from a certain write. The writer made the
    /// sequence odd before it, with a release fence in between; the acquire fence here pairs with
    /// that fence, so `after` is that odd number or a later one. Then `before` can only equal it if
    /// it is even and at least the number that *ends* this write; that number was read by an
    /// acquire load of a release store, so all words of that write were visible when the first one
    /// was read. Every word is therefore of the write that `before` ended, or of one that began
    /// after, and of the latter `after` would tell.
    pub fn digest(&self) -> Option<Digest> {
        let before = self.sequence.load(Ordering::Acquire);
        let [lower, upper, v6, rest, time] =
            std::array::from_fn(|place| self.words[place].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then_some(Digest {
            blocked: [lower, upper],
            v6,
            rest,
            time,
        })
    }

    /// Reads the line, whatever is in it.
    pub fn touch(&self) -> u64 {
        self.words[3].load(Ordering::Relaxed)
    }

    /// The record.
    pub fn rules(&self) -> Guard<Option<Arc<HouseholdRules>>> {
        self.rules.load()
    }

    /// Replaces record and digest; returns the record before. One writer at a time.
    ///
    /// The record is swapped while the sequence is odd. Readers of the digest see the old one
    /// before, the record meanwhile, the new one after: so for all readers alike the change happens
    /// at the swap.
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

/// All cells of a directory.
pub(crate) struct Cells {
    chunks: Box<[OnceLock<Box<[Cell]>>]>,
}

impl Default for Cells {
    fn default() -> Self {
        Self {
            chunks: (0..CHUNKS_MAX).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl Cells {
    /// The cell of a slot that was handed out.
    pub fn cell(&self, slot: u32) -> &Cell {
        let slot = slot as usize;
        let chunk = self.chunks[slot / CHUNK_CELLS]
            .get()
            .expect("a slot is handed out after its chunk was made");
        &chunk[slot % CHUNK_CELLS]
    }

    /// Makes the chunk of a slot, where it is not there yet.
    pub fn make(&self, slot: u32) {
        let chunk = self
            .chunks
            .get(slot as usize / CHUNK_CELLS)
            .expect("memory ends before the room for chunks does");
        chunk.get_or_init(|| (0..CHUNK_CELLS).map(|_| Cell::default()).collect());
    }
}
