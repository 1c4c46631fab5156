//! The overlay: all entries of each name that a delta changed. The lookup asks it before the base's
//! FST; a name in the overlay is not looked up in the base.
//!
//! ```text
//! name -> hash of its labels from the top -> filter, from two labels on: nearly always "nothing here or below"
//!                                        -> table -> slot -> key -> set of marks (perhaps none)
//! ```
//!
//! An overlay is immutable. The next one is a copy with more names: four vectors, so that copying a
//! million names takes some ten milliseconds, outside the workers.

use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};

use crate::name::{KEY_ESCAPE, KEY_LABEL_END, Labels};

/// Bits of the filter for each name; its parents are in the filter as well. At 16 bits, about one
/// in a hundred absent names passes the filter. The filter of a million names has 2 MB, which fits
/// into a core's cache.
const FILTER_BITS_A_NAME: usize = 16;
/// The smallest table, in slots, and the smallest filter, in words.
const PLACES_MIN: usize = 64;
/// The number of labels from which the filter holds names. Most walks end here, at a registered
/// name with nothing below.
const FILTERED_LABELS: usize = 2;
/// Vectors of at least this size are mapped by glibc one by one and returned as a whole, because
/// they exceed `DEFAULT_MMAP_THRESHOLD_MAX`. Smaller ones would leave holes of their size in the
/// heap with each delta. Untouched pages use no memory.
const MAPPED_OCTETS: usize = 33 << 20;
/// Vectors below this are left to the heap.
const MAPPED_FROM_OCTETS: usize = 128 << 10;

#[derive(Clone, Copy)]
struct Slot {
    offset: u32,
    length: u16,
    set: u32,
}

/// Names and the numbers of their mark sets.
#[derive(Default)]
pub(crate) struct Overlay {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    /// Open addressing: the upper half of a hash, and the index in `slots` plus one; 0 is free.
    table: Vec<u64>,
    /// A Bloom filter. The bits of one name are in one word, so that a test reads memory once.
    filter: Vec<u64>,
    /// Whether a name of a single label is here; the filter does not hold those.
    has_tops: bool,
}

/// The hash of a name, extended label by label from the top.
#[derive(Clone, Copy)]
struct Path(u64);

impl Path {
    const TOP: Self = Self(0);

    /// Feeds choose these names, not clients, so the seed need not be secret.
    fn down(self, label: &[u8]) -> Self {
        let mut hasher = FixedState::with_seed(self.0).build_hasher();
        hasher.write(label);
        Self(hasher.finish())
    }

    /// The index of a filter's word, and the bits in it.
    fn bits(self, words: usize) -> (usize, u64) {
        let bit = |shift: u32| 1 << (self.0 >> shift & 63);
        (
            (self.0 >> 20) as usize & (words - 1),
            bit(0) | bit(6) | bit(12),
        )
    }
}

/// The result of the test that precedes a walk through the overlay.
pub(crate) struct Look {
    path: Path,
    is_there: bool,
}

impl Overlay {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Memory in octets.
    pub(crate) fn octets(&self) -> usize {
        self.arena.len()
            + self.slots.len() * size_of::<Slot>()
            + (self.table.len() + self.filter.len()) * size_of::<u64>()
    }

    /// Returns a copy with room for more names, and for the octets of their keys.
    pub(crate) fn grown(&self, names: usize, octets: usize) -> Self {
        let wanted = self.slots.len() + names;
        let places = (wanted * 2).next_power_of_two().max(PLACES_MIN);
        let is_rehashed = places > self.table.len();
        // Grows at the same steps as the table.
        let words = (places / 2 * FILTER_BITS_A_NAME / 64)
            .next_power_of_two()
            .max(PLACES_MIN);
        let mut grown = Self {
            arena: room(self.arena.len() + octets),
            slots: room(wanted),
            ..Self::default()
        };
        grown.arena.extend_from_slice(&self.arena);
        if !is_rehashed {
            grown.slots.extend_from_slice(&self.slots);
            (grown.table, grown.filter, grown.has_tops) =
                (copy(&self.table), copy(&self.filter), self.has_tops);
            return grown;
        }
        (grown.table, grown.filter) = (zeros(places), zeros(words));
        for &slot in &self.slots {
            let path = grown.mark_path(self.key(slot));
            grown.link(path, slot);
        }
        grown
    }

    /// Sets the mark set of a key. The caller has made room with [`Self::grown`].
    pub(crate) fn set(&mut self, key: &[u8], set: u32) {
        let path = self.mark_path(key);
        if let Some(place) = self.find(path, |slot_key| slot_key == key) {
            self.slots[place].set = set;
            return;
        }
        let offset = u32::try_from(self.arena.len())
            .expect("an overlay is folded long before it has 4 GiB of names");
        self.arena.extend_from_slice(key);
        let length = u16::try_from(key.len()).expect("keys are that short");
        self.link(
            path,
            Slot {
                offset,
                length,
                set,
            },
        );
    }

    /// The mark set of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut path = Path::TOP;
        for_each_label(key, |label| path = path.down(label));
        self.find(path, |slot_key| slot_key == key)
            .map(|place| self.slots[place].set)
    }

    /// Tests whether a walk through the overlay can find anything. Call it before the walk through
    /// the base, so that its cache misses overlap with that walk.
    pub(crate) fn look(&self, name: &Labels<'_>) -> Look {
        let labels = name.len().min(FILTERED_LABELS);
        let path = (0..labels).fold(Path::TOP, |path, at| path.down(name.label_from_top(at)));
        let is_there = self.has_tops || labels == FILTERED_LABELS && self.may_have(path);
        Look { path, is_there }
    }

    /// Visits the ancestors of a name that are here, the name included, from the top: number of
    /// labels and mark set.
    pub(crate) fn walk(&self, name: &Labels<'_>, look: Look, mut visit: impl FnMut(u8, u32)) {
        if !look.is_there {
            return;
        }
        let mut path = Path::TOP;
        for at in 0..name.len() {
            let depth = at + 1;
            path = if depth == FILTERED_LABELS {
                look.path
            } else {
                path.down(name.label_from_top(at))
            };
            // The filter holds every ancestor of a name that is here.
            if depth >= FILTERED_LABELS && !self.may_have(path) {
                return;
            }
            if depth >= FILTERED_LABELS || self.has_tops {
                // Compares the key of this ancestor without writing it.
                let is_it = |key: &[u8]| is_key_of(key, depth, |at| name.label_from_top(at));
                if let Some(place) = self.find(path, is_it) {
                    visit(
                        u8::try_from(depth).expect("at most 127 labels"),
                        self.slots[place].set,
                    );
                }
            }
        }
    }

    /// All keys in order, with their mark sets.
    pub(crate) fn sorted(&self) -> Vec<(&[u8], u32)> {
        let mut all: Vec<(&[u8], u32)> = self
            .slots
            .iter()
            .map(|&slot| (self.key(slot), slot.set))
            .collect();
        all.sort_unstable();
        all
    }

    fn key(&self, slot: Slot) -> &[u8] {
        &self.arena[slot.offset as usize..slot.offset as usize + usize::from(slot.length)]
    }

    fn find(&self, path: Path, mut is_it: impl FnMut(&[u8]) -> bool) -> Option<usize> {
        let mask = self.table.len().checked_sub(1)?;
        let mut place = path.0 as usize & mask;
        loop {
            let entry = self.table[place];
            if entry == 0 {
                return None;
            }
            let slot = (entry as u32 - 1) as usize;
            if entry >> 32 == path.0 >> 32 && is_it(self.key(self.slots[slot])) {
                return Some(slot);
            }
            place = (place + 1) & mask;
        }
    }

    fn link(&mut self, path: Path, slot: Slot) {
        let mask = self.table.len() - 1;
        let mut place = path.0 as usize & mask;
        while self.table[place] != 0 {
            place = (place + 1) & mask;
        }
        self.slots.push(slot);
        self.table[place] = path.0 >> 32 << 32 | self.slots.len() as u64;
    }

    /// Hashes a key, and adds it and its ancestors to the filter.
    fn mark_path(&mut self, key: &[u8]) -> Path {
        let mut path = Path::TOP;
        let mut labels = 0;
        for_each_label(key, |label| {
            path = path.down(label);
            labels += 1;
            if labels >= FILTERED_LABELS {
                let (word, bits) = path.bits(self.filter.len());
                self.filter[word] |= bits;
            }
        });
        self.has_tops |= labels == 1;
        path
    }

    fn may_have(&self, path: Path) -> bool {
        !self.filter.is_empty() && {
            let (word, bits) = path.bits(self.filter.len());
            self.filter[word] & bits == bits
        }
    }
}

/// A vector with at least this capacity.
fn room<T>(length: usize) -> Vec<T> {
    let is_mapped = length * size_of::<T>() >= MAPPED_FROM_OCTETS;
    Vec::with_capacity(if is_mapped {
        length.max(MAPPED_OCTETS / size_of::<T>())
    } else {
        length
    })
}

fn zeros(length: usize) -> Vec<u64> {
    let mut zeros = room(length);
    zeros.resize(length, 0);
    zeros
}

fn copy(of: &[u64]) -> Vec<u64> {
    let mut copy = room(of.len());
    copy.extend_from_slice(of);
    copy
}

/// Visits the labels of a key, from the top.
fn for_each_label(key: &[u8], mut visit: impl FnMut(&[u8])) {
    let mut unescaped = Vec::new();
    // The root has no labels.
    let Some(key) = key.strip_suffix(&[KEY_LABEL_END]) else {
        return;
    };
    for label in key.split(|&octet| octet == KEY_LABEL_END) {
        if label.contains(&KEY_ESCAPE) {
            unescaped.clear();
            let mut octets = label.iter();
            while let Some(&octet) = octets.next() {
                unescaped.push(if octet == KEY_ESCAPE {
                    octets.next().map_or(0, |next| next.wrapping_sub(1))
                } else {
                    octet
                });
            }
            visit(&unescaped);
        } else {
            visit(label);
        }
    }
}

/// Whether `key` is that of the name with these labels, from the top.
fn is_key_of<'n>(key: &[u8], labels: usize, label: impl Fn(usize) -> &'n [u8]) -> bool {
    let mut key = key.iter();
    for at in 0..labels {
        for &octet in label(at) {
            let is_same = match key.next() {
                Some(&KEY_ESCAPE) => key.next() == Some(&(octet + 1)) && octet <= KEY_ESCAPE,
                Some(&other) => other == octet && octet > KEY_ESCAPE,
                None => false,
            };
            if !is_same {
                return false;
            }
        }
        if key.next() != Some(&KEY_LABEL_END) {
            return false;
        }
    }
    key.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::name::{Name, NameRef};

    fn key(name: &Name) -> Vec<u8> {
        let mut key = Vec::new();
        name.borrow().write_key(&mut key);
        key
    }

    proptest! {
        #[test]
        fn an_overlay_finds_what_was_set_last_for_each_ancestor_and_nothing_else(
            changes in prop::collection::vec((r"([a-c\x00-\x02]{1,2}\.){1,4}", any::<u32>()), 0..200),
            asked in prop::collection::vec(r"([a-c]{1,2}\.){1,5}", 0..50),
        ) {
            let mut model = BTreeMap::new();
            let mut overlay = Overlay::default();
            for chunk in changes.chunks(7) {
                overlay = overlay.grown(chunk.len(), 0);
                for (text, set) in chunk {
                    let name = name_of(text);
                    overlay.set(&key(&name), *set);
                    model.insert(name, *set);
                }
            }
            prop_assert_eq!(overlay.len(), model.len());
            let sorted = overlay.sorted().into_iter().map(|(key, set)| (key.to_vec(), set)).collect::<Vec<_>>();
            let mut expected = model.iter().map(|(name, &set)| (key(name), set)).collect::<Vec<_>>();
            expected.sort();
            prop_assert_eq!(sorted, expected);
            for name in asked.iter().map(|text| name_of(text)).chain(model.keys().cloned()) {
                let mut found = Vec::new();
                let labels = Labels::of(name.borrow());
                overlay.walk(&labels, overlay.look(&labels), |depth, set| found.push((depth, set)));
                let mut ancestors: Vec<_> = name.borrow().ancestors().map(|ancestor| ancestor.to_owned()).collect();
                ancestors.reverse();
                let expected: Vec<_> = ancestors
                    .iter()
                    .filter_map(|ancestor| Some((u8::try_from(ancestor.borrow().label_count()).unwrap(), *model.get(ancestor)?)))
                    .collect();
                prop_assert_eq!(found, expected);
                prop_assert_eq!(overlay.get(&key(&name)), model.get(&name).copied());
            }
        }
    }

    /// A name with labels of any octets, which the presentation format could not express.
    fn name_of(text: &str) -> Name {
        let labels = text
            .split_terminator('.')
            .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
        let wire: Vec<u8> = labels.chain([0]).collect();
        NameRef::from_wire(&wire).unwrap().to_owned()
    }
}
