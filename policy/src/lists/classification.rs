//! The classification of one name: what feeds, services and mandates say about it. `Copy`, without
//! heap memory, valid for one generation of the lists.

use crate::{
    category::{CategoryId, CategorySet},
    lists::{
        entry::{EntryAction, ListEntry, Tier},
        mandate_basis::MandateRef,
    },
    rules::builtin_names::BuiltinName,
    verdict::Action,
};

/// The most listings kept of one name: one for each tier and category. Few names have more.
pub(crate) const LISTINGS_MAX: usize = 4;

/// What the lists say about one name.
///
/// The fields about paths say which paths of this host are listed. They never block the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classification {
    /// Categories of the choice tier.
    pub choice: CategorySet,
    /// Categories of the operator's security tier.
    pub security: CategorySet,
    /// Categories of the choice tier that paths are listed for.
    pub path_choice: CategorySet,
    /// The feeds behind the fields above, one for each tier and category, in no particular order.
    /// Where a name has more than [`LISTINGS_MAX`], those of the strongest tiers are kept.
    pub listings: [Option<Listing>; LISTINGS_MAX],
    /// The mandate that covers the name.
    pub mandate: Option<MandateRef>,
    /// Whether a mandate or a feed of the mandatory tier blocks the name.
    pub mandatory: bool,
    /// Whether the name is on the operator's never-block list.
    pub never_block: bool,
    /// Whether a feed of the mandatory tier lists paths.
    pub path_mandatory: bool,
    /// Whether a feed of the security tier lists paths.
    pub path_security: bool,
    /// The built-in meaning of the name; no list says it.
    pub builtin: BuiltinName,
}

/// What one feed says about a name, as far as the answer and the metrics need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    /// The feed's index in the header.
    pub feed: u16,
    pub tier: Tier,
    /// `None` in the tiers without categories.
    pub category: Option<CategoryId>,
    pub action: Action,
}

impl Listing {
    fn is_of_paths(&self) -> bool {
        matches!(self.action, Action::RedirectToProxy { .. })
    }

    /// The subject of the listing; the smaller of two is kept where there is no room for both.
    /// Listings of the name come before listings of its paths, stronger tiers before weaker ones.
    fn subject(&self) -> (bool, u8, Option<CategoryId>) {
        let tier = match self.tier {
            Tier::Mandatory => 0,
            Tier::NeverBlock => 1,
            Tier::Security => 2,
            Tier::Choice => 3,
        };
        (self.is_of_paths(), tier, self.category)
    }
}

/// The rank of an entry inside its feed: whether it is `$important`, and its number of labels.
pub(crate) type EntryRank = (bool, u8);

impl Classification {
    /// The classification of a name that is not listed.
    pub const NOTHING: Self = Self {
        choice: CategorySet::EMPTY,
        security: CategorySet::EMPTY,
        path_choice: CategorySet::EMPTY,
        listings: [None; LISTINGS_MAX],
        mandate: None,
        mandatory: false,
        never_block: false,
        path_mandatory: false,
        path_security: false,
        builtin: BuiltinName::None,
    };

    /// Whether paths of this host are listed.
    #[must_use]
    #[inline]
    pub fn has_paths(&self) -> bool {
        self.path_mandatory || self.path_security || !self.path_choice.is_empty()
    }

    /// The listing of a tier whose feed is the first in the configuration; with `categories`, only
    /// listings of one of these.
    #[must_use]
    pub fn listing(&self, tier: Tier, categories: Option<CategorySet>) -> Option<Listing> {
        self.find(tier, categories, false)
    }

    /// As [`Self::listing`], of the listings of paths.
    #[must_use]
    pub fn path_listing(&self, tier: Tier, categories: Option<CategorySet>) -> Option<Listing> {
        self.find(tier, categories, true)
    }

    fn find(&self, tier: Tier, categories: Option<CategorySet>, of_paths: bool) -> Option<Listing> {
        let has_category = |listing: &&Listing| {
            categories.is_none_or(|categories| {
                listing
                    .category
                    .is_some_and(|category| categories.contains(category))
            })
        };
        let matches = |listing: &&Listing| {
            listing.tier == tier && listing.is_of_paths() == of_paths && has_category(listing)
        };
        self.listings
            .iter()
            .flatten()
            .filter(matches)
            .min_by_key(|listing| (listing.feed, listing.category))
            .copied()
    }

    /// The classification for a query over TCP: listings with the action [`Action::TcpOnly`] have
    /// no effect.
    #[must_use]
    pub fn over_tcp(mut self) -> Self {
        let is_mandatory = |listings: &[Option<Listing>]| {
            listings
                .iter()
                .flatten()
                .any(|listing| listing.tier == Tier::Mandatory && !listing.is_of_paths())
        };
        let mut is_lifted = false;
        for slot in &mut self.listings {
            let Some(Listing { tier, category, .. }) =
                slot.take_if(|listing| listing.action == Action::TcpOnly)
            else {
                continue;
            };
            match (tier, category) {
                (Tier::Security, Some(category)) => self.security.remove(category),
                (Tier::Choice, Some(category)) => self.choice.remove(category),
                (Tier::Mandatory, _) => is_lifted = true,
                _ => {}
            }
        }
        self.mandatory &= !is_lifted || self.mandate.is_some() || is_mandatory(&self.listings);
        self
    }

    /// Adds one entry. `ranks` holds the rank of the entry behind each listing.
    pub(crate) fn add(
        &mut self,
        entry: &ListEntry,
        tier: Tier,
        category: Option<CategoryId>,
        rank: EntryRank,
        ranks: &mut [EntryRank; LISTINGS_MAX],
    ) {
        let Some(action) = entry.action.with_data(entry.data) else {
            return;
        };
        let is_of_paths = entry.action == EntryAction::RedirectToProxy;
        match (tier, is_of_paths) {
            (Tier::Mandatory, true) => self.path_mandatory = true,
            (Tier::Security, true) => self.path_security = true,
            (Tier::Choice, true) => self.path_choice.extend(category),
            (Tier::NeverBlock, true) => return,
            (Tier::Mandatory, false) => self.mandatory = true,
            (Tier::NeverBlock, false) => self.never_block = true,
            (Tier::Security, false) => self.security.extend(category),
            (Tier::Choice, false) => self.choice.extend(category),
        }
        let listing = Listing {
            feed: entry.feed,
            tier,
            category,
            action,
        };
        if let Some(slot) = self.slot_for(&listing, rank, ranks) {
            self.listings[slot] = Some(listing);
            ranks[slot] = rank;
        }
    }

    /// The slot that a listing is to be stored in; `None` where the stored listings outrank it.
    fn slot_for(
        &self,
        listing: &Listing,
        rank: EntryRank,
        ranks: &[EntryRank; LISTINGS_MAX],
    ) -> Option<usize> {
        let same = self
            .listings
            .iter()
            .position(|slot| slot.is_none_or(|other| other.subject() == listing.subject()));
        if let Some(slot) = same {
            // The first feed of the configuration decides, and of its entries the one with the
            // highest rank, whatever the order in which they come.
            let outranks = |other: Listing| {
                other.feed < listing.feed || other.feed == listing.feed && ranks[slot] >= rank
            };
            return (!self.listings[slot].is_some_and(outranks)).then_some(slot);
        }
        // All slots are taken by other subjects. A mandatory listing must not be lost to a category.
        let last = (0..LISTINGS_MAX)
            .max_by_key(|&slot| self.listings[slot].map(|other| other.subject()))?;
        self.listings[last]
            .is_some_and(|other| other.subject() > listing.subject())
            .then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classification_is_two_cache_lines() {
        assert!(size_of::<Classification>() <= 128);
        assert!(size_of::<Action>() <= 8);
    }
}
