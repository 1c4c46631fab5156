//! What differs from the base: for each name that a delta touched, all that the lists say of it
//! now. It lies in front of the base's transducer; a name that stands here is not asked of the
//! base.
//!
//! ```text
//! name -> hash of its labels from the top -> filter, from two labels on: nearly always "nothing here or below", and done
//!                                        -> table -> slot -> key -> set of marks (perhaps none)
//! ```
//!
//! An overlay is immutable. The next one is a copy with more in it: its parts are four vectors, and
//! copying a million names takes some ten milliseconds, away from the workers.

use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};

use crate::name::{KEY_ESCAPE, KEY_LABEL_END, Labels};

/// Bits of the filter for each name, which is in it with its parents: one in some hundred of the
/// names that are not here is looked for all the same, and a million names' filter has two
/// megabytes, which a core's cache holds.
const FILTER_BITS_A_NAME: usize = 16;
/// The smallest table and filter, in places and in words.
const PLACES_MIN: usize = 64;
/// Labels from which on the filter knows names: where nothing is below one registered name, most
/// walks end.
const FILTERED_LABELS: usize = 2;
/// Octets that glibc maps by themselves and gives back as a whole, whatever was asked of it before
/// (more than its `DEFAULT_MMAP_THRESHOLD_MAX`). Parts of less room would leave holes in the heap
/// with each delta, as much as they are themselves; room that is never touched takes no memory.
const MAPPED_OCTETS: usize = 33 << 20;
/// Parts below this are not worth it.
const MAPPED_FROM_OCTETS: usize = 128 << 10;

#[derive(Clone, Copy)]
struct Slot {
    offset: u32,
    length: u16,
    set: u32,
}

/// Names and their places among the sets of marks.
#[derive(Default)]
pub(crate) struct Overlay {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    /// The upper half of a hash, and the slot and one; 0 is free.
    table: Vec<u64>,
    /// A Bloom filter whose bits for one name lie in one word, so that it costs one look into
    /// memory.
    filter: Vec<u64>,
    /// Whether there is an entry at a single label, which the filter does not know.
    has_tops: bool,
}

/// A name's hash, grown label by label from the top.
#[derive(Clone, Copy)]
struct Path(u64);

impl Path {
    const TOP: Self = Self(0);

    /// Feeds choose these names, not the clients that ask, so the seed needs no secret.
    fn down(self, label: &[u8]) -> Self {
        let mut hasher = FixedState::with_seed(self.0).build_hasher();
        hasher.write(label);
        Self(hasher.finish())
    }

    /// The word of a filter, and its bits there.
    fn bits(self, words: usize) -> (usize, u64) {
        let bit = |shift: u32| 1 << (self.0 >> shift & 63);
        (
            (self.0 >> 20) as usize & (words - 1),
            bit(0) | bit(6) | bit(12),
        )
    }
}

/// What is known of a name before the walk through the overlay: where the walk goes on, if it does.
pub(crate) struct Look {
    path: Path,
    is_there: bool,
}

impl Overlay {
    /// Names in it.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Octets it holds.
    pub(crate) fn octets(&self) -> usize {
        self.arena.len()
            + self.slots.len() * size_of::<Slot>()
            + (self.table.len() + self.filter.len()) * size_of::<u64>()
    }

    /// A copy with room for more names and the octets of their keys.
    pub(crate) fn grown(&self, names: usize, octets: usize) -> Self {
        let wanted = self.slots.len() + names;
        let places = (wanted * 2).next_power_of_two().max(PLACES_MIN);
        let is_rehashed = places > self.table.len();
        // Grown with the table, at the same steps.
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

    /// Says which set a key has from now on. The caller has made room.
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

    /// The set of a key, if it stands here.
    pub(crate) fn get(&self, key: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut path = Path::TOP;
        for_each_label(key, |label| path = path.down(label));
        self.find(path, |slot_key| slot_key == key)
            .map(|place| self.slots[place].set)
    }

    /// Whether a walk through the overlay may find anything. To be asked before the walk through
    /// the base, so that what it waits for from memory comes in the meantime.
    pub(crate) fn look(&self, name: &Labels<'_>) -> Look {
        let labels = name.len().min(FILTERED_LABELS);
        let path = (0..labels).fold(Path::TOP, |path, at| path.down(name.label_from_top(at)));
        let is_there = self.has_tops || labels == FILTERED_LABELS && self.may_have(path);
        Look { path, is_there }
    }

    /// The ancestors of a name that stand here, the name included, from the top: how many labels,
    /// and which set.
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
            // Whatever stands below has this ancestor in the filter.
            if depth >= FILTERED_LABELS && !self.may_have(path) {
                return;
            }
            if depth >= FILTERED_LABELS || self.has_tops {
                // The key of this ancestor, compared without writing it down.
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

    /// All keys in order, with their sets.
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

    /// The hash of a key, which the filter knows from now on, with its ancestors.
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

/// A vector with so much room at least.
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

/// Calls with each label of a key, from the top.
fn for_each_label(key: &[u8], mut visit: impl FnMut(&[u8])) {
    let mut unescaped = Vec::new();
    // The root has none.
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

/// Whether a key is that of a name of so many labels, which are given from the top.
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

    /// Labels of any octets, which the presentation format could not carry.
    fn name_of(text: &str) -> Name {
        let labels = text
            .split_terminator('.')
            .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
        let wire: Vec<u8> = labels.chain([0]).collect();
        NameRef::from_wire(&wire).unwrap().to_owned()
    }
}
