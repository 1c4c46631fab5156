//! All that the lists hold, name by name: for folding, differences, and a look at what is there.

use crate::lists::{
    blocklist::{Blocklist, OF_OVERLAY},
    entry::ListEntry,
};

impl Blocklist {
    /// All listed names with their marks, in the order of their keys.
    #[must_use]
    pub fn names(&self) -> NameCursor<'_> {
        let mut names = NameCursor {
            lists: self,
            base: self.base.fst.stream(),
            next: None,
            changed: self.overlay.sorted().into(),
            key: Vec::new(),
            marks: Vec::new(),
        };
        names.step_base();
        names
    }

    /// The same, for those who need no cursor.
    pub fn for_each_name(&self, mut visit: impl FnMut(&[u8], &mut dyn Iterator<Item = ListEntry>)) {
        let mut names = self.names();
        while let Some((key, marks)) = names.next() {
            visit(key, &mut marks.iter().copied());
        }
    }
}

/// A walk through all listed names in the order of their keys.
pub struct NameCursor<'l> {
    lists: &'l Blocklist,
    base: fst::raw::Stream<'l>,
    /// The next name of the base.
    next: Option<(Vec<u8>, u64)>,
    /// What is left of the overlay.
    changed: std::collections::VecDeque<(&'l [u8], u32)>,
    key: Vec<u8>,
    marks: Vec<ListEntry>,
}

impl NameCursor<'_> {
    /// The next name and what is said of it; none at the end.
    // A cursor that lends what it holds cannot be an iterator.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<(&[u8], &[ListEntry])> {
        loop {
            let base_key = self.next.as_ref().map(|(key, _)| key.as_slice());
            let set = match (base_key, self.changed.front()) {
                (None, None) => return None,
                (base, Some(&(key, set))) if base.is_none_or(|base| key <= base) => {
                    let is_same = base == Some(key);
                    key.clone_into(&mut self.key);
                    self.changed.pop_front();
                    if is_same {
                        self.step_base();
                    }
                    Some(set | OF_OVERLAY)
                }
                _ => {
                    let (key, value) = self.next.as_mut()?;
                    std::mem::swap(&mut self.key, key);
                    let value = *value;
                    self.step_base();
                    u32::try_from(value)
                        .ok()
                        .filter(|&set| (set as usize) < self.lists.base.sets)
                }
            };
            self.marks.clear();
            self.marks.extend(
                set.into_iter()
                    .flat_map(|set| self.lists.set(set).marks.iter().map(|mark| mark.mark)),
            );
            // A name that a delta took everything away from is listed no more.
            if !self.marks.is_empty() {
                return Some((&self.key, &self.marks));
            }
        }
    }

    fn step_base(&mut self) {
        match fst::Streamer::next(&mut self.base) {
            Some((key, value)) => {
                let (next, at) = self.next.get_or_insert_default();
                key.clone_into(next);
                *at = value.value();
            }
            None => self.next = None,
        }
    }
}
