//! What the lists say of one name: small, copied, and valid for one generation.

use crate::{
    category::{CategoryId, CategorySet},
    listing::{Action, Mark, Tier},
};

/// Listings of one name that are told apart when it is answered and counted; one for each tier and category, and few names have more.
const LISTINGS_MAX: usize = 4;

/// What the lists say of one name: small, copied, and valid for one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classification {
    /// Categories of the choice tier.
    pub choice: CategorySet,
    /// Categories of the operator's security tier.
    pub security: CategorySet,
    /// Listed by order.
    pub mandatory: bool,
    /// On the operator's never-block list.
    pub never_block: bool,
    /// Paths of this host that are listed.
    pub paths: Paths,
    /// The feeds behind it, in the order of the configuration.
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

    fn is_about_the_same(&self, other: &Self) -> bool {
        (self.tier, self.category, self.is_of_paths()) == (other.tier, other.category, other.is_of_paths())
    }
}

impl Classification {
    /// Listed nowhere.
    pub const NOTHING: Self = Self {
        choice: CategorySet::EMPTY,
        security: CategorySet::EMPTY,
        mandatory: false,
        never_block: false,
        paths: Paths { choice: CategorySet::EMPTY, security: false, mandatory: false },
        listings: [None; LISTINGS_MAX],
    };

    /// The first feed of a tier that lists the name, for one of these categories where it is a question of categories.
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
        let is_asked = |listing: &Listing| categories.is_none_or(|asked| listing.category.is_some_and(|category| asked.contains(category)));
        let is_it = |listing: &Listing| listing.tier == tier && listing.is_of_paths() == of_paths && is_asked(listing);
        self.listings.iter().flatten().copied().find(is_it)
    }

    /// What is left of it for a client that came over TCP: entries that ask for no more than that are content.
    #[must_use]
    pub fn over_tcp(mut self) -> Self {
        for place in &mut self.listings {
            let Some(Listing { tier, category, .. }) = place.take_if(|listing| listing.action == Action::TcpOnly) else { continue };
            match (tier, category) {
                (Tier::Security, Some(category)) => self.security.remove(category),
                (Tier::Choice, Some(category)) => self.choice.remove(category),
                _ => {}
            }
        }
        self.mandatory &= self.listing(Tier::Mandatory, None).is_some();
        self
    }

    /// Takes in what one entry says.
    pub(crate) fn note(&mut self, mark: &Mark, tier: Tier, category: Option<CategoryId>) {
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
        let listing = Listing { feed: mark.feed, tier, category, action: mark.action, data: mark.data };
        for place in &mut self.listings {
            match place {
                // The feed that stands first in the configuration speaks, whichever entry was met first, and of its entries the deepest, which
                // is met last.
                Some(other) if other.is_about_the_same(&listing) => {
                    if listing.feed <= other.feed {
                        *other = listing;
                    }
                    return;
                }
                Some(_) => {}
                None => {
                    *place = Some(listing);
                    return;
                }
            }
        }
        // There is no room for all: how the name is answered matters more than whom its paths are counted for.
        if !listing.is_of_paths()
            && let Some(place) = self.listings.iter_mut().flatten().find(|other| other.is_of_paths())
        {
            *place = listing;
        }
    }
}
