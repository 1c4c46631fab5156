//! Records that entries answer with, by index: those of the lists, then those that changed rows
//! add.

use std::collections::HashMap;

use policy::lists::{
    artefact::ArtefactError,
    entry::{EntryAction, ListEntry, LocalData},
};

/// All records that one delta can refer to.
pub(super) struct Answers<'l> {
    old: &'l [LocalData],
    new: Vec<LocalData>,
    /// Indexes of the old records; filled at the first lookup.
    old_places: Option<HashMap<&'l LocalData, u32>>,
    new_places: HashMap<LocalData, u32>,
}

impl<'l> Answers<'l> {
    pub(super) fn after(old: &'l [LocalData]) -> Self {
        Self {
            old,
            new: Vec::new(),
            old_places: None,
            new_places: HashMap::new(),
        }
    }

    /// The records at an index.
    pub(super) fn at(&self, place: u32) -> LocalData {
        let place = place as usize;
        self.old
            .get(place)
            .or_else(|| self.new.get(place.checked_sub(self.old.len())?))
            .cloned()
            .unwrap_or_default()
    }

    /// The index of records. Thousands of entries share the same records, in one delta after
    /// another.
    pub(super) fn place(&mut self, records: LocalData) -> Result<u32, ArtefactError> {
        let old_places = self
            .old_places
            .get_or_insert_with(|| self.old.iter().zip(0..).collect());
        if let Some(&place) = old_places
            .get(&records)
            .or_else(|| self.new_places.get(&records))
        {
            return Ok(place);
        }
        let place = u32::try_from(self.old.len() + self.new.len())
            .map_err(|_| ArtefactError::TooMany(u32::MAX as usize, "answers"))?;
        self.new.push(records.clone());
        self.new_places.insert(records, place);
        Ok(place)
    }

    /// The new records that the changes still use. The indexes in the entries are adjusted to these.
    pub(super) fn needed_by(&self, changes: &mut [(Box<[u8]>, Vec<ListEntry>)]) -> Vec<LocalData> {
        let mut needed = Vec::new();
        let mut places = HashMap::new();
        let marks = changes
            .iter_mut()
            .flat_map(|(_, marks)| marks)
            .filter(|mark| mark.action == EntryAction::LocalData);
        for mark in marks.filter(|mark| mark.data as usize >= self.old.len()) {
            mark.data = *places.entry(mark.data).or_insert_with(|| {
                needed.push(self.at(mark.data));
                u32::try_from(self.old.len() + needed.len() - 1).expect("no more than there were")
            });
        }
        needed
    }
}
