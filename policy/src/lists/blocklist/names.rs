//! A cursor over all listed names, for folding, differences and inspection.

use crate::lists::{
    blocklist::{generation::Generation, mark_set::OF_OVERLAY},
    entry::ListEntry,
};

/// A walk through all listed names in the order of their keys.
pub struct NameCursor<'l> {
    lists: &'l Generation,
    base: fst::raw::Stream<'l>,
    /// The next name of the base.
    next: Option<(Vec<u8>, u64)>,
    /// The names of the overlay that are still to come.
    changed: std::collections::VecDeque<(&'l [u8], u32)>,
    key: Vec<u8>,
    marks: Vec<ListEntry>,
}

impl<'l> NameCursor<'l> {
    pub(super) fn of(lists: &'l Generation) -> Self {
        let mut names = Self {
            lists,
            base: lists.base.stream(),
            next: None,
            changed: lists.overlay.sorted().into(),
            key: Vec::new(),
            marks: Vec::new(),
        };
        names.step_base();
        names
    }
}

impl NameCursor<'_> {
    /// The key of the next name and its entries; `None` at the end.
    // A cursor that lends its buffers cannot be an iterator.
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
                    self.lists.base.set_of(value)
                }
            };
            self.marks.clear();
            if let Some(set) = set {
                self.marks.extend(self.lists.set(set).entries());
            }
            // A delta can leave a name without entries: it is no longer listed.
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
