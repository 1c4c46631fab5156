//! The catalogue of a generation: the header of its artefact, or of its last delta, with the tables
//! of feeds, categories and arrival times that entries refer to by index.

use jiff::Timestamp;

use crate::lists::{
    artefact::{ARRIVALS_MAX, ArtefactError, Header},
    delta::Delta,
};

/// See the head of this file.
#[derive(Clone)]
pub(super) struct Catalog {
    /// Without the answers, which the generation keeps.
    pub(super) header: Header,
    /// Of the artefact or the last delta, in hexadecimal; empty before the first artefact.
    pub(super) sha256: String,
}

impl Catalog {
    /// A number that stands for the content of the lists, without mandates: 0 before the first
    /// artefact.
    pub(super) fn stamp(&self) -> u64 {
        if self.sha256.is_empty() {
            return 0;
        }
        u64::from_str_radix(&self.sha256[..16], 16).expect("sixteen hexadecimal digits")
    }

    /// Checks that a delta continues these lists: its parent is this generation, and its tables of
    /// feeds and categories mean the same.
    pub(super) fn check(&self, delta: &Delta) -> Result<(), ArtefactError> {
        let parent = delta.header.parent.unwrap_or_default();
        if parent != self.header.generation {
            return Err(ArtefactError::NoParent {
                path: delta.path.clone(),
                parent,
            });
        }
        if !self.header.is_continued_by(&delta.header) {
            return Err(ArtefactError::Damaged {
                path: delta.path.clone(),
                what: "its feeds or categories are not those of what it continues",
            });
        }
        Ok(())
    }

    /// Becomes the catalogue of the generation that a delta leads to.
    pub(super) fn advance(&mut self, delta: &Delta, arrivals: Vec<Timestamp>) {
        let mut feeds = delta.header.feeds.clone();
        // A feed that was withdrawn once stays so in all generations that continue this one.
        for (feed, before) in feeds.iter_mut().zip(&self.header.feeds) {
            feed.withdrawn |= before.withdrawn;
        }
        self.header = Header {
            feeds,
            answers: Vec::new(),
            arrivals,
            fst_octets: self.header.fst_octets,
            ..delta.header.clone()
        };
        self.sha256.clone_from(&delta.sha256);
    }

    /// Whether the same feeds are withdrawn in another catalogue of the same feeds.
    pub(super) fn withdraws_as(&self, other: &Self) -> bool {
        let withdrawn = |catalog: &Self| -> Vec<bool> {
            let feeds = catalog.header.feeds.iter();
            feeds.map(|feed| feed.withdrawn).collect()
        };
        withdrawn(self) == withdrawn(other)
    }
}

/// The arrival times of lists with a delta applied.
pub(super) struct Arrivals {
    pub(super) times: Vec<Timestamp>,
    /// For each index of the delta's table its index in `times`; empty where the indices stay.
    moved: Vec<u16>,
}

impl Arrivals {
    /// Merges the table of a delta into that of the lists.
    ///
    /// The tables can differ: a delta that was made while its parent was folded has the parent's
    /// table from before the fold, which joins some times into one.
    pub(super) fn merge(known: &[Timestamp], new: &[Timestamp]) -> Self {
        if new.starts_with(known) {
            return Self {
                times: new.to_vec(),
                moved: Vec::new(),
            };
        }
        let mut times = known.to_vec();
        let mut index_of = |&at: &Timestamp| {
            // The first known time that is not earlier: the entry came by then at the latest.
            let index = times.partition_point(|&known| known < at);
            if index == times.len() && index < ARRIVALS_MAX {
                times.push(at);
            }
            u16::try_from(index.min(times.len() - 1))
                .expect("tables have at most ARRIVALS_MAX rows")
        };
        let moved = new.iter().map(&mut index_of).collect();
        Self { times, moved }
    }

    /// The index in `times` of an index in the delta's table.
    pub(super) fn index(&self, of_delta: u16) -> u16 {
        let moved = self.moved.get(usize::from(of_delta)).copied();
        moved.unwrap_or(of_delta)
    }
}
