//! The verdict. The order of the layers stands here and nowhere else.
//!
//! Deciding is a pure function of who asks, the name, and what the lists say of it: no clock, lock, disk or allocation.

use std::sync::Arc;

use crate::{
    blocklist::{Classification, Listing},
    category::CategorySet,
    household::State,
    listing::{Action, Tier},
    mandates::Ordered,
    name::NameRef,
    rules::HouseholdRules,
};

/// Who is asking: loaded once for a query, so that one query is judged by one version of the rules. A mask, and for those few
/// who have an own list the record that it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    blocked: CategorySet,
    own: Option<(Arc<HouseholdRules>, Option<u16>)>,
}

impl Asker {
    /// A device of a household by its place, or one that nobody named.
    #[must_use]
    pub fn of(rules: &Arc<HouseholdRules>, device: Option<u16>) -> Self {
        let has_list = rules.names(None).is_some() || (device.is_some() && rules.names(device).is_some());
        Self { blocked: rules.blocked(device), own: has_list.then(|| (Arc::clone(rules), device)) }
    }

    /// One without an own list.
    pub(crate) fn of_mask(blocked: CategorySet) -> Self {
        Self { blocked, own: None }
    }

    /// The categories that are blocked for this asker.
    #[must_use]
    pub fn blocked(&self) -> CategorySet {
        self.blocked
    }

    /// What the device's own list says of a name, and what the household's says.
    fn own_lists(&self, name: NameRef<'_>) -> (Option<State>, Option<State>) {
        let Some((rules, device)) = &self.own else {
            return (None, None);
        };
        let find = |whose| rules.names(whose).and_then(|names| names.find(name)).map(|(_, state)| state);
        (device.and_then(|device| find(Some(device))), find(None))
    }
}

/// Which layer decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// A court's order or sanctions: a mandate, or a feed of them.
    Mandatory,
    /// The operator's never-block list.
    NeverBlock,
    /// The device's own list allows it.
    DeviceAllow,
    /// The household's own list allows it.
    HouseholdAllow,
    /// The device's own list blocks it.
    DeviceDeny,
    /// The household's own list blocks it.
    HouseholdDeny,
    /// The operator's security lists.
    Security,
    /// A category that is blocked for the asker.
    Category,
    /// Nothing speaks against it.
    Default,
}

impl Layer {
    /// The word for it in JSON, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mandatory => "mandatory",
            Self::NeverBlock => "never-block",
            Self::DeviceAllow => "device-allow",
            Self::HouseholdAllow => "household-allow",
            Self::DeviceDeny => "device-deny",
            Self::HouseholdDeny => "household-deny",
            Self::Security => "security",
            Self::Category => "category",
            Self::Default => "default",
        }
    }

    /// Whether this layer blocks.
    #[must_use]
    pub fn blocks(self) -> bool {
        matches!(self, Self::Mandatory | Self::DeviceDeny | Self::HouseholdDeny | Self::Security | Self::Category)
    }

    /// Whether this layer allows by name: such an allow covers the name's whole chain.
    #[must_use]
    pub fn allows_chain(self) -> bool {
        matches!(self, Self::NeverBlock | Self::DeviceAllow | Self::HouseholdAllow)
    }
}

/// The outcome for one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The layer that decided.
    pub layer: Layer,
    /// The categories for which it blocks; empty where it is not about categories.
    pub categories: CategorySet,
    /// What the deciding feed wants the name answered with; [`Action::Proxied`] where the name is not blocked but some of its paths are.
    pub action: Action,
    /// What the action needs to know.
    pub data: u32,
    /// The feed that decided, by its place in the lists' header, where a feed did.
    pub feed: Option<u16>,
}

impl Verdict {
    /// The mandate that decided, where one did.
    #[must_use]
    pub fn ordered(self) -> Option<Ordered> {
        (self.action == Action::Ordered).then(|| Ordered::from_bits(self.data))
    }

    /// Whether the name is blocked.
    #[must_use]
    pub fn is_block(self) -> bool {
        self.layer.blocks()
    }

    /// A verdict that no feed has a word in.
    #[must_use]
    pub fn by(layer: Layer) -> Self {
        Self { layer, categories: CategorySet::EMPTY, action: Action::Policy, data: 0, feed: None }
    }

    /// The same in the words of the feed that decided.
    fn of(self, listing: Option<Listing>) -> Self {
        listing.map_or(self, |Listing { action, data, feed, .. }| Self { action, data, feed: Some(feed), ..self })
    }
}

/// Judges one name. First decisive layer wins, from the top:
///
/// 1. mandatory deny: a mandate in force, then feeds
/// 2. operator never-block
/// 3. the device's allow, then the household's
/// 4. the device's deny, then the household's
/// 5. operator security
/// 6. category mask
/// 7. default allow
///
/// Inside one own list the most specific entry speaks, see [`crate::own::OwnNames::find`]. A name of which only paths are listed is
/// never blocked for that: it goes to the proxy, by order whatever else holds, otherwise where nothing above speaks for or against it.
#[must_use]
#[inline]
pub fn decide(asker: &Asker, name: NameRef<'_>, classification: &Classification) -> Verdict {
    let verdict = decide_name(asker, name, classification);
    if classification.paths.is_empty() || verdict.is_block() { verdict } else { decide_paths(asker, verdict, classification) }
}

/// What becomes of a name that is not blocked and has listed paths: few names do, and the others do not pay for them.
#[cold]
#[inline(never)]
fn decide_paths(asker: &Asker, verdict: Verdict, classification: &Classification) -> Verdict {
    let paths = classification.paths;
    let (choice, is_free) = (paths.choice.intersection(asker.blocked()), verdict.layer == Layer::Default);
    let listing = if paths.mandatory {
        classification.path_listing(Tier::Mandatory, None)
    } else if is_free && paths.security {
        classification.path_listing(Tier::Security, None)
    } else if is_free && !choice.is_empty() {
        classification.path_listing(Tier::Choice, Some(choice))
    } else {
        return verdict;
    };
    Verdict { action: Action::Proxied, ..verdict.of(listing) }
}

#[inline]
fn decide_name(asker: &Asker, name: NameRef<'_>, classification: &Classification) -> Verdict {
    let by_feed = |layer, tier| Verdict::by(layer).of(classification.listing(tier, None));
    if classification.mandatory {
        return match classification.ordered {
            Some(ordered) => Verdict { action: Action::Ordered, data: ordered.to_bits(), ..Verdict::by(Layer::Mandatory) },
            None => by_feed(Layer::Mandatory, Tier::Mandatory),
        };
    }
    if classification.never_block {
        return Verdict { action: Action::Policy, ..by_feed(Layer::NeverBlock, Tier::NeverBlock) };
    }
    match asker.own_lists(name) {
        (Some(State::Allow), _) => return Verdict::by(Layer::DeviceAllow),
        (_, Some(State::Allow)) => return Verdict::by(Layer::HouseholdAllow),
        (Some(State::Block), _) => return Verdict::by(Layer::DeviceDeny),
        (_, Some(State::Block)) => return Verdict::by(Layer::HouseholdDeny),
        (None, None) => {}
    }
    if !classification.security.is_empty() {
        let categories = classification.security;
        return Verdict { categories, ..Verdict::by(Layer::Security).of(classification.listing(Tier::Security, Some(categories))) };
    }
    let categories = classification.choice.intersection(asker.blocked());
    if !categories.is_empty() {
        return Verdict { categories, ..Verdict::by(Layer::Category).of(classification.listing(Tier::Choice, Some(categories))) };
    }
    Verdict::by(Layer::Default)
}

/// Judges an answer: the name's own verdict, then each name of its chain and each of its addresses in order. The first block speaks;
/// an allow of the queried name covers what is behind it, and so does nothing else. Says which hop decided: 0 is the queried name.
#[must_use]
pub fn review<'n>(asker: &Asker, queried: Verdict, chain: impl Iterator<Item = (NameRef<'n>, &'n Classification)>) -> (Verdict, usize) {
    // An order stands above every allow, also for the names behind a name that somebody allowed.
    let covers = queried.layer.allows_chain();
    if !queried.is_block() {
        for (hop, (name, classification)) in (1..).zip(chain) {
            if covers && !classification.mandatory {
                continue;
            }
            let verdict = decide(asker, name, classification);
            if verdict.is_block() {
                return (verdict, hop);
            }
        }
    }
    (queried, 0)
}
