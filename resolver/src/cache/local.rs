//! A worker's own cache in front of the shared one, for popular names: a lookup takes no lock and
//! changes no shared counter.
//!
//! It holds entries of the shared cache. Entries never change but for their classification and their
//! end. A stale entry or a placeholder sends the worker to the shared cache, see
//! [`LocalCache::find_newer`]. When the shared cache forgets entries, this one forgets all of its own.

use std::{
    hash::{BuildHasher as _, Hasher},
    sync::Arc,
};

use foldhash::fast::RandomState;
use policy::{
    identity::directory::TOUCHED_MAX,
    name::{NameRef, WireName},
};

use crate::{
    cache::{entry::AnswerEntry, key::QuestionKeyRef, shared::AnswerCache},
    message::wire::HEADER_OCTETS,
};

/// Slots of one worker: 0.5 MiB, which fits a core's second-level cache.
const SLOTS: usize = 1 << 14;
/// The longest message, in octets: the entry may outlive the shared cache's, beside the budget.
const MESSAGE_OCTETS_MAX: usize = 1_232;
/// One of so many hits of a slot also asks the shared cache, whose eviction counts hits.
const HITS_PER_SHARED_LOOKUP: u8 = 64;

/// One worker's cache. Direct-mapped: a new entry replaces the one in its slot.
pub struct LocalCache {
    slots: Box<[Option<LocalSlot>]>,
    hasher: RandomState,
    /// The memory of all entries, and its bound. The shared cache may have evicted them.
    octets: usize,
    octets_max: usize,
    /// The generation of the shared cache that the entries are of.
    generation: u64,
}

struct LocalSlot {
    hash: u64,
    entry: Arc<AnswerEntry>,
    hits: u8,
}

impl LocalCache {
    /// A cache whose entries take at most `octets_max`.
    #[must_use]
    pub fn new(octets_max: u64) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| None).collect(),
            octets_max: usize::try_from(octets_max).unwrap_or(usize::MAX),
            ..Self::disabled()
        }
    }

    /// A cache without slots: each lookup goes to the shared cache.
    #[must_use]
    pub fn disabled() -> Self {
        Self {
            slots: Box::default(),
            hasher: RandomState::default(),
            octets: 0,
            octets_max: 0,
            generation: 0,
        }
    }

    /// The entry of a question, from here or from the shared cache. It may be stale.
    pub fn find(
        &mut self,
        shared: &AnswerCache,
        key: &QuestionKeyRef<'_>,
    ) -> Option<Arc<AnswerEntry>> {
        if self.slots.is_empty() {
            return shared.find(key);
        }
        let generation = shared.generation();
        if generation != self.generation {
            self.forget_all(generation);
        }
        let hash = self.hash(key.name, &key.tail);
        let slot = &mut self.slots[Self::slot(hash)];
        if let Some(local) = slot
            .as_mut()
            .filter(|local| local.hash == hash && local.entry.answers(key))
        {
            local.hits = (local.hits + 1) % HITS_PER_SHARED_LOOKUP;
            if local.hits == 0 && shared.find(key).is_none() {
                // The shared cache saw no hits and evicted the entry.
                shared.insert_of(generation, (*key).to_owned(), Arc::clone(&local.entry));
            }
            return Some(Arc::clone(&local.entry));
        }
        let entry = shared.find(key)?;
        let replaced = slot.take().map_or(0, |local| local.entry.heap_octets());
        self.octets -= replaced;
        let octets = entry.heap_octets();
        if entry.octets.len() <= MESSAGE_OCTETS_MAX && self.octets + octets <= self.octets_max {
            self.octets += octets;
            *slot = Some(LocalSlot {
                hash,
                entry: Arc::clone(&entry),
                hits: 0,
            });
        }
        Some(entry)
    }

    /// Begins anew, because the shared cache has forgotten entries.
    #[cold]
    #[inline(never)]
    fn forget_all(&mut self, generation: u64) {
        self.slots.fill_with(|| None);
        self.octets = 0;
        self.generation = generation;
    }

    /// The shared cache's entry of a question, if it is another one than `known`.
    pub fn find_newer(
        &mut self,
        shared: &AnswerCache,
        key: &QuestionKeyRef<'_>,
        known: &Arc<AnswerEntry>,
    ) -> Option<Arc<AnswerEntry>> {
        let newer = shared
            .find(key)
            .filter(|newer| !Arc::ptr_eq(newer, known))?;
        if !self.slots.is_empty() {
            let slot = &mut self.slots[Self::slot(self.hash(key.name, &key.tail))];
            if let Some(local) = slot
                .as_mut()
                .filter(|local| Arc::ptr_eq(&local.entry, known))
            {
                self.octets = self.octets - known.heap_octets() + newer.heap_octets();
                local.entry = Arc::clone(&newer);
            }
        }
        Some(newer)
    }

    /// Loads into the processor's cache what [`Self::find`] and an answer will read for the first
    /// [`TOUCHED_MAX`] of these packets, so that the memory accesses overlap (see
    /// `policy::identity::directory::Reader::touch`). Decides nothing: a packet that is no query
    /// loads something unneeded.
    #[must_use]
    pub fn load_memory<'p>(&self, packets: impl Iterator<Item = &'p [u8]>) -> u64 {
        let mut name_buffer = WireName::default();
        let mut slots = [0; TOUCHED_MAX];
        let mut count = 0;
        for (slot, packet) in slots.iter_mut().zip(packets) {
            let Ok(name) = name_buffer.read(packet, HEADER_OCTETS) else {
                continue;
            };
            let tail = packet
                .get(HEADER_OCTETS + name.wire().len()..)
                .unwrap_or_default();
            *slot = Self::slot(self.hash(name, tail));
            count += 1;
        }
        if self.slots.is_empty() {
            return 0;
        }
        let mut entries = [None; TOUCHED_MAX];
        let mut found = 0;
        for local in slots[..count]
            .iter()
            .filter_map(|&slot| self.slots[slot].as_ref())
        {
            entries[found] = Some(&local.entry);
            found += 1;
        }
        let octets = entries[..found].iter().flatten().map(|entry| &entry.octets);
        octets.fold(0, |loaded, octets| {
            loaded ^ octets.first().copied().map_or(0, u64::from)
        })
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// The memory of all entries.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let held = self.slots.iter().flatten();
        held.map(|local| local.entry.heap_octets()).sum()
    }

    /// The hash of name and type, the same for a key and for a packet's question.
    fn hash(&self, name: NameRef<'_>, tail: &[u8]) -> u64 {
        let mut state = self.hasher.build_hasher();
        state.write(name.wire());
        state.write(tail.get(..2).unwrap_or_default());
        state.finish()
    }

    /// The upper bits select the slot. The whole hash is compared before the name.
    fn slot(hash: u64) -> usize {
        (hash >> (u64::BITS - SLOTS.ilog2())) as usize
    }
}
