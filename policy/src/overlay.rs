//! What differs from the base: for each name that a delta touched, all that the lists say of it now. It lies in front of the base's
//! transducer; a name that stands here is not asked of the base.
//!
//! ```text
//! name -> hash of its labels from the top -> filter over the upper two labels: nearly always "nothing here", and done
//!                                        -> table -> slot -> key -> set of marks (perhaps none)
//! ```
//!
//! An overlay is immutable. The next one is a copy with more in it: its parts are four vectors, and copying a million names takes some
//! ten milliseconds, away from the workers.

use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};

use crate::name::{KEY_ESCAPE, KEY_LABEL_END, NameRef};

/// Bits of the filter for each name, so that three in a hundred of the names that are not here are looked for all the same.
const FILTER_BITS_A_NAME: usize = 32;
/// The smallest table and filter, in places and in words.
const PLACES_MIN: usize = 64;
/// Labels that the filter knows: what is below one registered name is near it.
const FILTERED_LABELS: usize = 2;

#[derive(Clone, Copy)]
struct Slot {
    offset: u32,
    length: u16,
    set: u32,
}

/// Names and their places among the sets of marks.
#[derive(Clone, Default)]
pub(crate) struct Overlay {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    /// The upper half of a hash, and the slot and one; 0 is free.
    table: Vec<u64>,
    filter: Vec<u64>,
    /// Whether there is an entry at a single label, which the filter cannot know.
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
}

impl Overlay {
    /// Names in it.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Octets it holds.
    pub(crate) fn octets(&self) -> usize {
        self.arena.len() + self.slots.len() * size_of::<Slot>() + (self.table.len() + self.filter.len()) * size_of::<u64>()
    }

    /// A copy with room for more.
    pub(crate) fn grown(&self, more: usize) -> Self {
        let wanted = self.slots.len() + more;
        let places = (wanted * 2).next_power_of_two().max(PLACES_MIN);
        if places <= self.table.len() {
            return self.clone();
        }
        let words = (wanted * FILTER_BITS_A_NAME / 64).next_power_of_two().max(PLACES_MIN);
        let mut grown = Self {
            arena: self.arena.clone(),
            slots: Vec::with_capacity(wanted),
            table: vec![0; places],
            filter: vec![0; words],
            has_tops: false,
        };
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
        let offset = u32::try_from(self.arena.len()).expect("an overlay is folded long before it has 4 GiB of names");
        self.arena.extend_from_slice(key);
        let length = u16::try_from(key.len()).expect("keys are that short");
        self.link(path, Slot { offset, length, set });
    }

    /// The set of a key, if it stands here.
    pub(crate) fn get(&self, key: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut path = Path::TOP;
        for_each_label(key, |_, label| path = path.down(label));
        self.find(path, |slot_key| slot_key == key).map(|place| self.slots[place].set)
    }

    /// The ancestors of a name that stand here, the name included, from the top: how many labels, and which set.
    pub(crate) fn walk(&self, name: NameRef<'_>, mut visit: impl FnMut(u8, u32)) {
        let (starts, count) = name.label_starts();
        let mut path = Path::TOP;
        for (above, &start) in starts[..count].iter().rev().enumerate() {
            path = path.down(name.label_at(start));
            let depth = above + 1;
            if depth == FILTERED_LABELS && !self.may_be_below(path) {
                return;
            }
            if depth > 1 || self.has_tops {
                // The key of this ancestor, compared without writing it down.
                let is_it = |key: &[u8]| is_key_of(key, depth, |at| name.label_at(starts[count - 1 - at]));
                if let Some(place) = self.find(path, is_it) {
                    visit(u8::try_from(depth).expect("at most 127 labels"), self.slots[place].set);
                }
            }
        }
    }

    /// All keys in order, with their sets.
    pub(crate) fn sorted(&self) -> Vec<(&[u8], u32)> {
        let mut all: Vec<(&[u8], u32)> = self.slots.iter().map(|&slot| (self.key(slot), slot.set)).collect();
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

    /// The hash of a key, whose upper labels the filter knows from now on.
    fn mark_path(&mut self, key: &[u8]) -> Path {
        let (mut path, mut depth) = (Path::TOP, 0);
        let mut filtered = None;
        for_each_label(key, |at, label| {
            path = path.down(label);
            depth = at + 1;
            if depth == FILTERED_LABELS {
                filtered = Some(path);
            }
        });
        match filtered {
            Some(upper) => {
                let (word, bit) = self.filter_place(upper);
                self.filter[word] |= bit;
            }
            None => self.has_tops = true,
        }
        path
    }

    fn may_be_below(&self, upper: Path) -> bool {
        !self.filter.is_empty() && {
            let (word, bit) = self.filter_place(upper);
            self.filter[word] & bit != 0
        }
    }

    fn filter_place(&self, upper: Path) -> (usize, u64) {
        let bit = (upper.0 >> 20) as usize & (self.filter.len() * 64 - 1);
        (bit / 64, 1 << (bit % 64))
    }
}

/// Calls with each label of a key, from the top.
fn for_each_label(key: &[u8], mut visit: impl FnMut(usize, &[u8])) {
    let mut unescaped = Vec::new();
    let labels = key.strip_suffix(&[KEY_LABEL_END]).unwrap_or(key).split(|&octet| octet == KEY_LABEL_END);
    for (at, label) in labels.enumerate() {
        if label.contains(&KEY_ESCAPE) {
            unescaped.clear();
            let mut octets = label.iter();
            while let Some(&octet) = octets.next() {
                unescaped.push(if octet == KEY_ESCAPE { octets.next().map_or(0, |next| next.wrapping_sub(1)) } else { octet });
            }
            visit(at, &unescaped);
        } else {
            visit(at, label);
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
    use crate::name::Name;

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
                overlay = overlay.grown(chunk.len());
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
                overlay.walk(name.borrow(), |depth, set| found.push((depth, set)));
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
        let labels = text.split_terminator('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
        let wire: Vec<u8> = labels.chain([0]).collect();
        NameRef::from_wire(&wire).unwrap().to_owned()
    }
}
