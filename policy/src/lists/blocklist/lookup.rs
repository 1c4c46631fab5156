//! The lookup in one generation: which entries of feeds apply to a name.
//!
//! Several entries may apply. Inside one feed the entry of the highest rank decides, whatever the
//! order of lines: `$important` first, then the deeper name, then allow before deny. In a feed that
//! is declared most specific, a deeper entry replaces the shallower ones. Over feeds, categories
//! add up. Entries at the root never apply: no list means the whole Internet.

use jiff::Timestamp;

use crate::{
    category::CategoryId,
    lists::{
        blocklist::{base::Hits, generation::Generation, mark_set::RunningMark},
        classification::{Classification, LISTINGS_MAX},
        entry::{EntryAction, ListEntry, Polarity, Tier},
    },
    name::{Labels, NameRef},
};

/// One entry that applies to a name, for explanations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryMatch<'a> {
    /// The listed name.
    pub entry: NameRef<'a>,
    pub mark: ListEntry,
    /// The category in the running taxonomy; `None` in the tiers without categories.
    pub category: Option<CategoryId>,
    /// The feed's tier.
    pub tier: Tier,
    /// Whether it has effect; `false` where another entry of its feed outranks it.
    pub counts: bool,
    /// The latest time at which it can have come into the lists.
    pub since: Option<Timestamp>,
}

impl Generation {
    /// Classifies a name by the feeds alone.
    pub(super) fn classify(&self, name: NameRef<'_>, labels: &Labels<'_>) -> Classification {
        let mut hits = Hits::NONE;
        let hits = self.walk(labels, &mut hits);
        let mut classification = Classification::NOTHING;
        if hits.is_empty() {
            return classification;
        }
        let is_ranked = hits.iter().any(|&(_, set)| self.set(set).is_ranked);
        let mut ranks = [(false, 0); LISTINGS_MAX];
        self.for_each_mark(hits, name, |depth, mark| {
            if mark.mark.polarity == Polarity::Deny
                && !(is_ranked && self.is_outranked(hits, name, depth, mark))
            {
                classification.add(
                    &mark.mark,
                    mark.tier,
                    mark.category,
                    (mark.mark.important, depth),
                    &mut ranks,
                );
            }
        });
        classification
    }

    /// Every entry that applies to a name.
    pub(super) fn matches<'a>(&self, name: NameRef<'a>) -> Vec<EntryMatch<'a>> {
        let mut hits = Hits::NONE;
        let hits = self.walk(&Labels::of(name), &mut hits);
        let mut ancestors: Vec<NameRef<'a>> = name.ancestors().collect();
        ancestors.reverse();
        let arrivals = &self.catalog.header.arrivals;
        let mut matches = Vec::new();
        self.for_each_mark(hits, name, |depth, mark| {
            matches.push(EntryMatch {
                entry: ancestors[usize::from(depth) - 1],
                mark: mark.mark,
                category: mark.category,
                tier: mark.tier,
                counts: !self.is_outranked(hits, name, depth, mark),
                since: arrivals.get(usize::from(mark.mark.arrival)).copied(),
            });
        });
        matches
    }

    fn for_each_mark(
        &self,
        hits: &[(u8, u32)],
        name: NameRef<'_>,
        mut visit: impl FnMut(u8, RunningMark),
    ) {
        let labels = name.label_count();
        for &(depth, set) in hits {
            for &mark in &self.set(set).marks {
                if mark.mark.scope.covers(usize::from(depth) == labels)
                    && mark.mark.action != EntryAction::Path
                {
                    visit(depth, mark);
                }
            }
        }
    }

    /// Whether another entry of the same feed outranks this one; the head of this file has the rule.
    fn is_outranked(
        &self,
        hits: &[(u8, u32)],
        name: NameRef<'_>,
        depth: u8,
        entry: RunningMark,
    ) -> bool {
        // Entries about paths of a host and entries about the host do not affect each other.
        if entry.mark.polarity == Polarity::Allow
            || entry.mark.action == EntryAction::RedirectToProxy
        {
            return false;
        }
        let rank = (entry.mark.important, depth);
        let mut outranked = false;
        self.for_each_mark(hits, name, |other_depth, other| {
            let other_rank = (other.mark.important, other_depth);
            let excepts = other.mark.polarity == Polarity::Allow && other_rank >= rank;
            let replaces = entry.most_specific
                && other.mark.action != EntryAction::RedirectToProxy
                && other_rank > rank;
            outranked |= other.mark.feed == entry.mark.feed && (excepts || replaces);
        });
        outranked
    }
}
