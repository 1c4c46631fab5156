//! The lists that names are classified by: one generation of the feeds, the names of services, and
//! the mandates in force. Immutable, and cheap to copy: the three are shared.
//!
//! ```text
//!           ┌ generation: artefact (FST), behind the overlay of deltas
//! name ─────┼ services: names that the taxonomy gives to categories      ──> classification
//!           └ mandates: in force since they were installed
//! ```
//!
//! Mandates and services stay when the feeds change, and the feeds when the mandates change.

use std::{net::IpAddr, path::Path, sync::Arc};

use crate::{
    category::Taxonomy,
    lists::{
        artefact::{ArtefactError, Header},
        delta::Delta,
        entry::{ListEntry, LocalData},
        index_key::{is_of_addresses, name_of_address},
        mandates::ActiveMandates,
        services::{ServiceMatch, ServiceNames},
    },
    name::{Labels, NameRef},
    rules::builtin_names::BuiltinNames,
};
use generation::Generation;

pub use self::{lookup::EntryMatch, names::NameCursor};
pub use crate::lists::classification::{Classification, Listing};

mod base;
mod catalog;
mod generation;
mod lookup;
mod mark_set;
mod names;

/// See the head of this file.
pub struct Blocklist {
    generation: Generation,
    /// The taxonomy's. All lists of a process have the same, so the stamp leaves them out.
    services: Arc<ServiceNames>,
    mandates: Arc<ActiveMandates>,
    stamp: u64,
}

impl Blocklist {
    fn new(
        generation: Generation,
        services: Arc<ServiceNames>,
        mandates: Arc<ActiveMandates>,
    ) -> Self {
        Self {
            stamp: generation.catalog.stamp() ^ mandates.stamp(),
            generation,
            services,
            mandates,
        }
    }

    /// Lists without feeds: generation 0, before the first artefact.
    #[must_use]
    pub fn empty(taxonomy: &Taxonomy) -> Self {
        let services = Arc::clone(taxonomy.services());
        Self::new(Generation::empty(), services, Arc::default())
    }

    /// Opens an artefact, after checking all of it.
    ///
    /// # Errors
    /// The file is damaged, or of another format or taxonomy.
    pub fn open(path: &Path, taxonomy: &Taxonomy) -> Result<Arc<Self>, ArtefactError> {
        let generation = Generation::open(path, taxonomy)?;
        let services = Arc::clone(taxonomy.services());
        Ok(Arc::new(Self::new(generation, services, Arc::default())))
    }

    /// Returns these lists with deltas applied in their order. The mandates stay.
    ///
    /// # Errors
    /// A delta continues another generation, or its feeds or categories are not those of its parent.
    pub fn with_deltas(
        &self,
        deltas: &[Delta],
        taxonomy: &Taxonomy,
    ) -> Result<Arc<Self>, ArtefactError> {
        Ok(Arc::new(Self::new(
            self.generation.with_deltas(deltas, taxonomy)?,
            Arc::clone(&self.services),
            Arc::clone(&self.mandates),
        )))
    }

    /// Returns the same lists under these mandates.
    #[must_use]
    pub fn with_mandates(self: &Arc<Self>, mandates: &Arc<ActiveMandates>) -> Arc<Self> {
        if self.mandates.stamp() == mandates.stamp() {
            return Arc::clone(self);
        }
        Arc::new(Self::new(
            self.generation.clone(),
            Arc::clone(&self.services),
            Arc::clone(mandates),
        ))
    }

    /// The mandates that were in force when these lists became current.
    #[must_use]
    pub fn mandates(&self) -> &ActiveMandates {
        &self.mandates
    }

    /// The generation of the base artefact, below the overlay.
    #[must_use]
    pub fn base_generation(&self) -> u64 {
        self.generation.base.generation
    }

    /// The number of names in the overlay, and its memory in octets.
    #[must_use]
    pub fn overlay_size(&self) -> (usize, usize) {
        let overlay = &self.generation.overlay;
        (overlay.len(), overlay.octets())
    }

    /// The records that entries answer with, by [`ListEntry::data`].
    #[must_use]
    pub fn answers(&self) -> &[LocalData] {
        &self.generation.answers
    }

    /// How many of [`Self::answers`] belong to the base artefact; those of deltas follow.
    #[must_use]
    pub fn base_answers(&self) -> usize {
        self.generation.base.answer_count
    }

    /// Whether any entry or mandate is about addresses. If none is, the addresses in an answer need
    /// not be classified.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        self.generation.has_addresses || self.mandates.has_addresses()
    }

    /// The header of the artefact, or of the last delta.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.generation.catalog.header
    }

    /// The generation's number.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.header().generation
    }

    /// The SHA-256 of the artefact, or of the last delta, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.generation.catalog.sha256
    }

    /// A number that stands for this content, mandates included. A classification stays valid under
    /// the same stamp.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Memory for the names, in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.generation.base.octets() + self.generation.overlay.octets()
    }

    /// Classifies a queried name. Names with the form of an address key are never listed.
    #[must_use]
    pub fn classify(&self, name: NameRef<'_>) -> Classification {
        if is_of_addresses(name) {
            return Classification::NOTHING;
        }
        Classification {
            builtin: BuiltinNames::shipped().find(name),
            ..self.classify_key(name)
        }
    }

    /// Classifies an address in an answer. Allocates: call it only where [`Self::has_addresses`].
    #[must_use]
    pub fn classify_address(&self, address: IpAddr) -> Classification {
        if self.has_addresses() {
            self.classify_key(name_of_address(address).borrow())
        } else {
            Classification::NOTHING
        }
    }

    fn classify_key(&self, name: NameRef<'_>) -> Classification {
        let labels = Labels::of(name);
        let mut classification = self.generation.classify(name, &labels);
        classification.choice = classification.choice.union(self.services.find(&labels));
        self.mandates.classify(name, &mut classification);
        classification
    }

    /// Every entry of a feed that applies to a name, for explanations. Allocates; queries use
    /// [`Self::classify`].
    #[must_use]
    pub fn matches<'a>(&self, name: NameRef<'a>) -> Vec<EntryMatch<'a>> {
        self.generation.matches(name)
    }

    /// Every service whose names cover a name, from the top, for explanations. Allocates.
    #[must_use]
    pub fn service_matches<'a>(&self, name: NameRef<'a>) -> Vec<ServiceMatch<'a>> {
        self.services.entries(name)
    }

    /// All entries at exactly this key.
    #[must_use]
    pub fn marks(&self, key: &[u8]) -> Vec<ListEntry> {
        let set = self.generation.set_of_key(key);
        set.map(|set| self.generation.set(set).entries().collect())
            .unwrap_or_default()
    }

    /// All listed names with their entries, in the order of their keys.
    #[must_use]
    pub fn names(&self) -> NameCursor<'_> {
        NameCursor::of(&self.generation)
    }

    /// Visits all of [`Self::names`].
    pub fn for_each_name(&self, mut visit: impl FnMut(&[u8], &mut dyn Iterator<Item = ListEntry>)) {
        let mut names = self.names();
        while let Some((key, marks)) = names.next() {
            visit(key, &mut marks.iter().copied());
        }
    }
}

impl std::fmt::Debug for Blocklist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let header = self.header();
        f.debug_struct("Blocklist")
            .field("generation", &header.generation)
            .field("names", &header.names)
            .finish_non_exhaustive()
    }
}
