//! What the lists say of one name: small, copied, and valid for one generation.

use crate::{
    category::{CategoryId, CategorySet},
    lists::{
        entry::{Action, Mark, Tier},
        mandates::Ordered,
    },
    rules::special::Special,
};

/// Listings of one name that are told apart when it is answered and counted; one for each tier and
/// category, and few names have more.
pub(crate) const LISTINGS_MAX: usize = 4;

/// What the lists say of one name: small, copied, and valid for one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classification {
    /// Categories of the choice tier.
    pub choice: CategorySet,
    /// Categories of the operator's security tier.
    pub security: CategorySet,
    /// Listed by order, or under a mandate.
    pub mandatory: bool,
    /// The mandate, where there is one.
    pub ordered: Option<Ordered>,
    /// On the operator's never-block list.
    pub never_block: bool,
    /// Paths of this host that are listed.
    pub paths: Paths,
    /// Not of the lists: whether the name is answered in a way of its own.
    pub special: Special,
    /// The feeds behind it, one for each tier and category, in no order that means anything; where
    /// there are too many, those that are left are the ones whose word weighs most.
    pub listings: [Option<Listing>; LISTINGS_MAX],
}

/// What the lists say of a host's paths: nothing that blocks the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paths {
    /// Categories of the choice tier.
    pub choice: CategorySet,
    /// Some are the operator's security.
    pub security: bool,
    /// Some are listed by order.
    pub mandatory: bool,
}

impl Paths {
    /// Whether no path is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One feed's word on a name, as far as the answer and the counters need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    /// The feed's place in the header.
    pub feed: u16,
    /// Its tier.
    pub tier: Tier,
    /// The category, where it is about one.
    pub category: Option<CategoryId>,
    /// What the name is answered with.
    pub action: Action,
    /// What the action needs to know.
    pub data: u32,
}

impl Listing {
    fn is_of_paths(&self) -> bool {
        self.action == Action::Proxied
    }

    /// What it is about; of two, the smaller one weighs more. How the name is answered matters more
    /// than whom its paths are counted for.
    fn subject(&self) -> (bool, u8, Option<CategoryId>) {
        let layer = match self.tier {
            Tier::Mandatory => 0,
            Tier::NeverBlock => 1,
            Tier::Security => 2,
            Tier::Choice => 3,
        };
        (self.is_of_paths(), layer, self.category)
    }
}

/// Whether an entry is important, and how deep it stands: by that entries of one feed outrank each
/// other.
pub(crate) type Rank = (bool, u8);

impl Classification {
    /// Listed nowhere.
    pub const NOTHING: Self = Self {
        choice: CategorySet::EMPTY,
        security: CategorySet::EMPTY,
        mandatory: false,
        ordered: None,
        never_block: false,
        paths: Paths {
            choice: CategorySet::EMPTY,
            security: false,
            mandatory: false,
        },
        special: Special::None,
        listings: [None; LISTINGS_MAX],
    };

    /// The feed of a tier that lists the name and stands first in the configuration, for one of
    /// these categories where it is a question of categories.
    #[must_use]
    pub fn listing(&self, tier: Tier, categories: Option<CategorySet>) -> Option<Listing> {
        self.find(tier, categories, false)
    }

    /// The same of the feeds that list paths of this host.
    #[must_use]
    pub fn path_listing(&self, tier: Tier, categories: Option<CategorySet>) -> Option<Listing> {
        self.find(tier, categories, true)
    }

    fn find(&self, tier: Tier, categories: Option<CategorySet>, of_paths: bool) -> Option<Listing> {
        let is_asked = |listing: &Listing| {
            categories.is_none_or(|asked| {
                listing
                    .category
                    .is_some_and(|category| asked.contains(category))
            })
        };
        let is_it = |listing: &Listing| {
            listing.tier == tier && listing.is_of_paths() == of_paths && is_asked(listing)
        };
        self.listings
            .iter()
            .flatten()
            .copied()
            .filter(is_it)
            .min_by_key(|listing| (listing.feed, listing.category))
    }

    /// What is left of it for a client that came over TCP: entries that ask for no more than that
    /// are content.
    #[must_use]
    pub fn over_tcp(mut self) -> Self {
        let is_ordered = |listings: &[Option<Listing>]| {
            listings
                .iter()
                .flatten()
                .any(|listing| listing.tier == Tier::Mandatory && !listing.is_of_paths())
        };
        let mut is_lifted = false;
        for place in &mut self.listings {
            let Some(Listing { tier, category, .. }) =
                place.take_if(|listing| listing.action == Action::TcpOnly)
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
        self.mandatory &= !is_lifted || self.ordered.is_some() || is_ordered(&self.listings);
        self
    }

    /// Takes in what one entry says. `ranks` are those of the entries that the listings are of.
    pub(crate) fn note(
        &mut self,
        mark: &Mark,
        tier: Tier,
        category: Option<CategoryId>,
        rank: Rank,
        ranks: &mut [Rank; LISTINGS_MAX],
    ) {
        if mark.action == Action::Proxied {
            match tier {
                Tier::Mandatory => self.paths.mandatory = true,
                Tier::Security => self.paths.security = true,
                Tier::Choice => self.paths.choice.extend(category),
                Tier::NeverBlock => return,
            }
        } else {
            match tier {
                Tier::Mandatory => self.mandatory = true,
                Tier::NeverBlock => self.never_block = true,
                Tier::Security => self.security.extend(category),
                Tier::Choice => self.choice.extend(category),
            }
        }
        let listing = Listing {
            feed: mark.feed,
            tier,
            category,
            action: mark.action,
            data: mark.data,
        };
        let same = self
            .listings
            .iter()
            .position(|place| place.is_none_or(|other| other.subject() == listing.subject()));
        let place = match same {
            Some(place) => {
                // The feed that stands first in the configuration speaks, and for it the entry of
                // the highest rank, whichever was met first.
                let is_outspoken = |other: Listing| {
                    other.feed < listing.feed || other.feed == listing.feed && ranks[place] >= rank
                };
                if self.listings[place].is_some_and(is_outspoken) {
                    return;
                }
                place
            }
            // There is no room for all. A name that is blocked by order must not lose the order for
            // its categories.
            None => {
                let lightest = (0..LISTINGS_MAX)
                    .max_by_key(|&place| self.listings[place].map(|other| other.subject()));
                let lighter = |&place: &usize| {
                    self.listings[place].is_some_and(|other| other.subject() > listing.subject())
                };
                let Some(place) = lightest.filter(lighter) else {
                    return;
                };
                place
            }
        };
        (self.listings[place], ranks[place]) = (Some(listing), rank);
    }
}
