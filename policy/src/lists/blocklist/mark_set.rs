//! Mark sets: the entries of all feeds at one name, translated from the tables of the header to the
//! running taxonomy when a generation is opened.

use std::path::Path;

use crate::{
    category::{CategoryId, Taxonomy},
    lists::{
        artefact::{ArtefactError, FeedSummary, Header},
        entry::{ListEntry, Polarity, Tier},
    },
};

/// Bit in the number of a mark set that belongs to the overlay; without it the set is the base's.
pub(super) const OF_OVERLAY: u32 = 1 << 31;

/// One mark set, translated to the running taxonomy.
pub(super) struct MarkSet {
    pub(super) marks: Box<[RunningMark]>,
    /// Whether any mark excepts or replaces others. Only then must ranks be compared; otherwise the
    /// marks add up.
    pub(super) is_ranked: bool,
}

/// One entry, with what its feed and its category mean in this process.
#[derive(Clone, Copy)]
pub(super) struct RunningMark {
    pub(super) mark: ListEntry,
    pub(super) tier: Tier,
    pub(super) category: Option<CategoryId>,
    pub(super) most_specific: bool,
}

impl MarkSet {
    /// The entries as the artefact or delta holds them.
    pub(super) fn entries(&self) -> impl Iterator<Item = ListEntry> {
        self.marks.iter().map(|mark| mark.mark)
    }
}

#[derive(Clone, Copy)]
struct FeedTraits {
    tier: Tier,
    most_specific: bool,
    withdrawn: bool,
}

/// The tables of feeds and categories of a header, translated once for all mark sets.
pub(super) struct Translation {
    feeds: Vec<FeedTraits>,
    categories: Vec<CategoryId>,
}

impl Translation {
    /// # Errors
    /// The header names a category that the taxonomy does not have.
    pub(super) fn of(
        header: &Header,
        path: &Path,
        taxonomy: &Taxonomy,
    ) -> Result<Self, ArtefactError> {
        let category = |slug: &String| {
            let category = taxonomy.find(slug);
            category.ok_or_else(|| ArtefactError::UnknownCategory {
                path: path.to_owned(),
                slug: slug.clone(),
            })
        };
        let traits = |feed: &FeedSummary| FeedTraits {
            tier: feed.tier,
            most_specific: feed.most_specific,
            withdrawn: feed.withdrawn,
        };
        Ok(Self {
            feeds: header.feeds.iter().map(traits).collect(),
            categories: header
                .categories
                .iter()
                .map(category)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Translates one set. Entries of withdrawn feeds are left out.
    pub(super) fn set(&self, entries: impl IntoIterator<Item = ListEntry>) -> MarkSet {
        let running = |mark: ListEntry| {
            let feed = self.feeds[usize::from(mark.feed)];
            (!feed.withdrawn).then(|| RunningMark {
                mark,
                tier: feed.tier,
                category: self.categories.get(usize::from(mark.category)).copied(),
                most_specific: feed.most_specific,
            })
        };
        let marks: Box<[RunningMark]> = entries.into_iter().filter_map(running).collect();
        MarkSet {
            is_ranked: marks
                .iter()
                .any(|mark| mark.mark.polarity == Polarity::Allow || mark.most_specific),
            marks,
        }
    }
}
