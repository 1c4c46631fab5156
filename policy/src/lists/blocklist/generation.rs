//! One generation of the lists: the base artefact, and the overlay of the deltas applied since.
//! Immutable; the parts are shared with the generations that continue this one.

use std::{collections::HashMap, path::Path, sync::Arc};

use jiff::Timestamp;

use crate::{
    category::Taxonomy,
    lists::{
        artefact::{self, ArtefactError, Header},
        blocklist::{
            base::{Base, Hits},
            catalog::{Arrivals, Catalog},
            mark_set::{MarkSet, OF_OVERLAY, Translation},
        },
        delta::Delta,
        entry::{EntryAction, ListEntry, LocalData},
        index_key::address_tops,
        overlay::Overlay,
    },
    name::Labels,
};

/// See the head of this file. The lookup itself stands in [`super::lookup`].
#[derive(Clone)]
pub(super) struct Generation {
    pub(super) catalog: Arc<Catalog>,
    pub(super) base: Arc<Base>,
    base_sets: Arc<[MarkSet]>,
    pub(super) overlay: Arc<Overlay>,
    overlay_sets: Arc<Vec<MarkSet>>,
    /// The base's, then those of the deltas.
    pub(super) answers: Arc<Vec<LocalData>>,
    /// Whether any entry is about addresses.
    pub(super) has_addresses: bool,
}

impl Generation {
    /// Generation 0: no feeds, before the first artefact.
    pub(super) fn empty() -> Self {
        let (base, fst_octets) = Base::empty();
        let header = Header {
            fst_octets,
            ..Header::of(0, Timestamp::UNIX_EPOCH)
        };
        Self::on(base, Arc::default(), header, String::new())
    }

    /// Opens an artefact, after checking all of it.
    pub(super) fn open(path: &Path, taxonomy: &Taxonomy) -> Result<Self, ArtefactError> {
        let mut contents = artefact::read(path)?;
        let translation = Translation::of(&contents.header, path, taxonomy)?;
        let base = Base::of(&mut contents, path)?;
        let sets = contents.mark_sets.into_iter();
        let sets = sets.map(|entries| translation.set(entries)).collect();
        Ok(Self::on(base, sets, contents.header, contents.sha256))
    }

    fn on(base: Base, base_sets: Arc<[MarkSet]>, mut header: Header, sha256: String) -> Self {
        let answers = Arc::new(std::mem::take(&mut header.answers));
        let has_addresses = address_tops().iter().any(|top| base.has_prefix(top));
        Self {
            catalog: Arc::new(Catalog { header, sha256 }),
            base: Arc::new(base),
            base_sets,
            overlay: Arc::default(),
            overlay_sets: Arc::default(),
            answers,
            has_addresses,
        }
    }

    /// This generation with deltas applied in their order: the base is shared, the overlay is a new
    /// one.
    pub(super) fn with_deltas(
        &self,
        deltas: &[Delta],
        taxonomy: &Taxonomy,
    ) -> Result<Self, ArtefactError> {
        let mut catalog = Catalog::clone(&self.catalog);
        let mut answers = Arc::clone(&self.answers);
        let mut overlay = OverlayBuilder::new(self, deltas);
        for delta in deltas {
            catalog.check(delta)?;
            let new_answers = &delta.header.answers;
            let arrivals = Arrivals::merge(&catalog.header.arrivals, &delta.header.arrivals);
            overlay.apply(delta, &arrivals, answers.len() + new_answers.len())?;
            if !new_answers.is_empty() {
                Arc::make_mut(&mut answers).extend_from_slice(new_answers);
            }
            catalog.advance(delta, arrivals.times);
        }
        let path = deltas
            .last()
            .map(|delta| delta.path.clone())
            .unwrap_or_default();
        let translation = Translation::of(&catalog.header, &path, taxonomy)?;
        let base_sets = if catalog.withdraws_as(&self.catalog) {
            Arc::clone(&self.base_sets)
        } else {
            let sets = self.base_sets.iter();
            sets.map(|set| translation.set(set.entries())).collect()
        };
        let overlay_sets = overlay.sets.into_iter().map(|set| translation.set(set));
        Ok(Self {
            catalog: Arc::new(catalog),
            base: Arc::clone(&self.base),
            base_sets,
            overlay_sets: Arc::new(overlay_sets.collect()),
            overlay: Arc::new(overlay.overlay),
            answers,
            has_addresses: self.has_addresses || overlay.has_addresses,
        })
    }

    #[inline]
    pub(super) fn set(&self, number: u32) -> &MarkSet {
        if number & OF_OVERLAY == 0 {
            &self.base_sets[number as usize]
        } else {
            &self.overlay_sets[(number & !OF_OVERLAY) as usize]
        }
    }

    /// The number of the mark set of a key.
    pub(super) fn set_of_key(&self, key: &[u8]) -> Option<u32> {
        match self.overlay.get(key) {
            Some(set) => Some(set | OF_OVERLAY),
            None => self.base.get(key),
        }
    }

    /// Finds the listed ancestors of a name, the name included. An entry of the overlay replaces
    /// that of the base at the same name.
    pub(super) fn walk<'h>(&self, name: &Labels<'_>, hits: &'h mut Hits) -> &'h [(u8, u32)] {
        if self.overlay.len() == 0 {
            self.base.walk(name, hits);
        } else {
            let look = self.overlay.look(name);
            self.base.walk(name, hits);
            self.overlay.walk(name, look, |depth, set| {
                hits.replace(depth, set | OF_OVERLAY)
            });
        }
        hits.as_slice()
    }
}

/// The overlay of the next generation while deltas are applied to it.
struct OverlayBuilder {
    overlay: Overlay,
    sets: Vec<Vec<ListEntry>>,
    /// The number of each set, so that equal sets are stored once.
    numbers: HashMap<Vec<ListEntry>, u32>,
    /// Whether any of the deltas changes an entry about addresses.
    has_addresses: bool,
}

impl OverlayBuilder {
    /// Starts with the overlay of `parent` and room for the names of `deltas`.
    fn new(parent: &Generation, deltas: &[Delta]) -> Self {
        let keys = || {
            let changes = deltas.iter().flat_map(|delta| &delta.changes);
            changes.map(|(key, _)| key.len())
        };
        let sets = parent.overlay_sets.iter();
        let sets: Vec<Vec<ListEntry>> = sets.map(|set| set.entries().collect()).collect();
        Self {
            overlay: parent.overlay.grown(keys().count(), keys().sum()),
            numbers: (0..)
                .zip(&sets)
                .map(|(number, set)| (set.clone(), number))
                .collect(),
            sets,
            has_addresses: false,
        }
    }

    /// Applies the changes of one delta. `answer_count`: answers of the lists with this delta.
    fn apply(
        &mut self,
        delta: &Delta,
        arrivals: &Arrivals,
        answer_count: usize,
    ) -> Result<(), ArtefactError> {
        let has_answer = |entry: &ListEntry| {
            entry.action != EntryAction::LocalData || (entry.data as usize) < answer_count
        };
        for (key, entries) in &delta.changes {
            if !entries.iter().all(has_answer) {
                return Err(ArtefactError::Damaged {
                    path: delta.path.clone(),
                    what: "it names an answer that is not there",
                });
            }
            let mut entries = entries.clone();
            for entry in &mut entries {
                entry.arrival = arrivals.index(entry.arrival);
            }
            entries.sort_unstable();
            let number = self.number_of(entries);
            self.overlay.set(key, number);
            self.has_addresses |= address_tops().iter().any(|top| key.starts_with(top));
        }
        Ok(())
    }

    fn number_of(&mut self, set: Vec<ListEntry>) -> u32 {
        let sets = &mut self.sets;
        *self.numbers.entry(set).or_insert_with_key(|set| {
            sets.push(set.clone());
            u32::try_from(sets.len() - 1).expect("fewer sets than names in the overlay")
        })
    }
}
