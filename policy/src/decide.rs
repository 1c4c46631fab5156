//! The verdict. The order of the layers stands here and nowhere else.
//!
//! Deciding is a pure function of who asks, the name, and what the lists say of it: no clock, lock,
//! disk or allocation.

use std::sync::Arc;

use crate::{
    category::CategorySet,
    lists::{
        blocklist::{Classification, Listing},
        entry::{Action, Tier},
        mandates::Ordered,
    },
    moment::Moment,
    name::{Name, NameRef},
    rules::{
        compiled::HouseholdRules,
        custom_names::Whose,
        household::{SearchLevel, State},
        special::{Special, Specials, Standards},
    },
};

/// Who is asking: loaded once for a query, so that one query is judged by one version of the rules
/// at one instant. What holds, and for those who have an own list or a grant, or want their queries
/// counted, the record that tells of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    blocked: CategorySet,
    standards: Standards,
    own: Option<Own>,
    /// Whom the query asserts to be from, against what its source address proves: see [`judge`].
    asserted: Option<Box<Self>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Own {
    rules: Arc<HouseholdRules>,
    device: Option<u16>,
    grants: u32,
}

impl Asker {
    /// A device of a household by its place, or one that nobody named, at an instant.
    #[must_use]
    pub fn of(rules: &Arc<HouseholdRules>, device: Option<u16>, now: Moment) -> Self {
        let standing = rules.standing(device, now);
        let has_own =
            standing.grants != 0 || standing.standards.is_recorded() || rules.has_names(device);
        let own = has_own.then(|| Own {
            rules: Arc::clone(rules),
            device,
            grants: standing.grants,
        });
        Self {
            blocked: standing.blocked,
            standards: standing.standards,
            own,
            asserted: None,
        }
    }

    /// One without an own list and without a grant.
    pub(crate) fn of_mask(blocked: CategorySet, standards: Standards) -> Self {
        Self {
            blocked,
            standards,
            own: None,
            asserted: None,
        }
    }

    /// The same asker under the rules of another one as well, which the query asserts to be from:
    /// [`judge`] lets the stricter rules win.
    pub(crate) fn under(self, asserted: Self) -> Self {
        Self {
            asserted: Some(Box::new(asserted)),
            ..self
        }
    }

    /// The other asker whose rules hold too, if there is one.
    #[must_use]
    pub fn asserted(&self) -> Option<&Self> {
        self.asserted.as_deref()
    }

    /// The categories that are blocked for this asker.
    #[must_use]
    pub fn blocked(&self) -> CategorySet {
        self.blocked
    }

    /// What holds beside categories.
    #[must_use]
    pub fn standards(&self) -> Standards {
        self.standards
    }

    /// Whose activity the query counts for, where it does: the household, and the device's place in
    /// it, if somebody named it.
    #[must_use]
    pub fn recorded(&self) -> Option<(&Arc<HouseholdRules>, Option<u16>)> {
        self.own
            .as_ref()
            .filter(|_| self.standards.is_recorded())
            .map(|own| (&own.rules, own.device))
    }
}

impl Own {
    /// What own lists and grants say of a name: the first of their layers that decides.
    #[inline(never)]
    fn decide(
        &self,
        name: NameRef<'_>,
        choice: CategorySet,
        blocked: CategorySet,
    ) -> Option<Layer> {
        let find = |whose| {
            self.rules
                .names(whose)
                .and_then(|names| names.find(name))
                .map(|(_, state)| state)
        };
        let of_device =
            |whose: fn(u16) -> Whose| self.device.and_then(|device| find(whose(device)));
        let said = [
            of_device(Whose::Device),
            of_device(Whose::PersonOf),
            find(Whose::Household),
        ];
        let first = |state, layers: [Layer; 3]| {
            said.iter()
                .zip(layers)
                .find(|(said, _)| **said == Some(state))
                .map(|(_, layer)| layer)
        };
        first(
            State::Allow,
            [
                Layer::DeviceAllow,
                Layer::PersonAllow,
                Layer::HouseholdAllow,
            ],
        )
        .or_else(|| {
            let grants = self.rules.grants(self.grants);
            grants
                .is_some_and(|grants| grants.open(name, choice, blocked))
                .then_some(Layer::Grant)
        })
        .or_else(|| {
            first(
                State::Block,
                [Layer::DeviceDeny, Layer::PersonDeny, Layer::HouseholdDeny],
            )
        })
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
    /// Its person's own list allows it.
    PersonAllow,
    /// The household's own list allows it.
    HouseholdAllow,
    /// It is open for a while.
    Grant,
    /// The device's own list blocks it.
    DeviceDeny,
    /// Its person's own list blocks it.
    PersonDeny,
    /// The household's own list blocks it.
    HouseholdDeny,
    /// The Internet is off.
    Paused,
    /// The operator's security lists.
    Security,
    /// A category that is blocked for the asker.
    Category,
    /// A name by which software asks whether a filter is wanted here.
    Bypass,
    /// A host of a search engine that has no address for families.
    SafeSearchDeny,
    /// A search engine is led to its address for families.
    SafeSearch,
    /// Nothing speaks against it.
    Default,
}

impl Layer {
    /// All of them, in the order in which they decide.
    pub const ALL: [Self; 16] = [
        Self::Mandatory,
        Self::NeverBlock,
        Self::DeviceAllow,
        Self::PersonAllow,
        Self::HouseholdAllow,
        Self::Grant,
        Self::DeviceDeny,
        Self::PersonDeny,
        Self::HouseholdDeny,
        Self::Paused,
        Self::Security,
        Self::Category,
        Self::Bypass,
        Self::SafeSearchDeny,
        Self::SafeSearch,
        Self::Default,
    ];

    /// The word for it in JSON, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mandatory => "mandatory",
            Self::NeverBlock => "never-block",
            Self::DeviceAllow => "device-allow",
            Self::PersonAllow => "person-allow",
            Self::HouseholdAllow => "household-allow",
            Self::Grant => "grant",
            Self::DeviceDeny => "device-deny",
            Self::PersonDeny => "person-deny",
            Self::HouseholdDeny => "household-deny",
            Self::Paused => "paused",
            Self::Security => "security",
            Self::Category => "category",
            Self::Bypass => "bypass",
            Self::SafeSearchDeny => "safe-search-deny",
            Self::SafeSearch => "safe-search",
            Self::Default => "default",
        }
    }

    /// Whether this layer blocks.
    #[must_use]
    pub fn blocks(self) -> bool {
        matches!(
            self,
            Self::Mandatory
                | Self::DeviceDeny
                | Self::PersonDeny
                | Self::HouseholdDeny
                | Self::Paused
                | Self::Security
                | Self::Category
                | Self::Bypass
                | Self::SafeSearchDeny
        )
    }

    /// Whether this layer allows by name: such an allow covers the name's whole chain.
    #[must_use]
    pub fn allows_chain(self) -> bool {
        matches!(
            self,
            Self::NeverBlock
                | Self::DeviceAllow
                | Self::PersonAllow
                | Self::HouseholdAllow
                | Self::Grant
        )
    }
}

/// The outcome for one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The layer that decided.
    pub layer: Layer,
    /// The categories for which it blocks; empty where it is not about categories.
    pub categories: CategorySet,
    /// What the deciding feed wants the name answered with; [`Action::Proxied`] where the name is
    /// not blocked but some of its paths are.
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
        Self {
            layer,
            categories: CategorySet::EMPTY,
            action: Action::Policy,
            data: 0,
            feed: None,
        }
    }

    /// Where a search engine is led to, where that is the verdict.
    #[must_use]
    pub fn target(self) -> Option<&'static Name> {
        if self.action != Action::Led {
            return None;
        }
        let level = if self.data & 0xff == SearchLevel::Moderate as u32 {
            SearchLevel::Moderate
        } else {
            SearchLevel::Strict
        };
        Specials::shipped()
            .engines()
            .get((self.data >> ENGINE_AT & 0xff) as usize)?
            .target(level)
    }

    /// The layer that opened a search engine's name whose safe search holds all the same.
    #[must_use]
    pub fn opened_by(self) -> Option<Layer> {
        if !matches!(self.layer, Layer::SafeSearch | Layer::SafeSearchDeny) {
            return None;
        }
        Layer::ALL
            .get(((self.data >> OPENER_AT) as usize).checked_sub(1)?)
            .copied()
    }

    /// The same verdict for a resolver without a proxy for paths: what has listed paths is answered
    /// as if it had none.
    #[must_use]
    pub fn without_proxy(self) -> Self {
        match (self.action, self.layer) {
            (Action::Proxied, Layer::SafeSearch) => Self {
                action: Action::Led,
                ..self
            },
            (Action::Proxied, _) => Self {
                action: Action::Policy,
                ..self
            },
            _ => self,
        }
    }

    /// By this verdicts of two rule sets are compared: a block is stricter than safe search, strict
    /// safe search than moderate, and that than the proxy for paths. A block that asks for TCP is
    /// lifted there, so every other one is stricter.
    fn strictness(self) -> (u8, u32) {
        match self.action {
            Action::TcpOnly if self.is_block() => (3, 0),
            _ if self.is_block() => (4, 0),
            Action::Led => (2, self.data & 0xff),
            Action::Proxied => (1, 0),
            _ => (0, 0),
        }
    }

    /// The same in the words of the feed that decided.
    fn of(self, listing: Option<Listing>) -> Self {
        listing.map_or(
            self,
            |Listing {
                 action, data, feed, ..
             }| Self {
                action,
                data,
                feed: Some(feed),
                ..self
            },
        )
    }
}

/// Judges one name. First decisive layer wins, from the top:
///
/// 1. mandatory deny: a mandate in force, then feeds
/// 2. operator never-block
/// 3. the device's allow, then its person's, then the household's
/// 4. a running grant
/// 5. the device's deny, then its person's, then the household's
/// 6. paused
/// 7. operator security
/// 8. category mask
/// 9. names by which software asks for a filter
/// 10. safe search
/// 11. default allow
///
/// Layers 2 to 4 open a name and do not unlock it: where one of them decides for a search engine's
/// name, layer 10 is asked once more, and its safe search holds, unless the asker's `search_unlock`
/// says otherwise. A household that chose no filtering has no safe search.
///
/// Inside one own list the most specific entry speaks, see [`crate::rules::custom_names::OwnNames::find`]. A name
/// of which only paths are listed is never blocked for that: it goes to the proxy, by order
/// whatever else holds, otherwise where nothing above speaks for or against it.
#[must_use]
#[inline]
pub fn decide(asker: &Asker, name: NameRef<'_>, classification: &Classification) -> Verdict {
    let verdict = decide_name(asker, name, classification);
    if classification.paths.is_empty() || verdict.is_block() {
        verdict
    } else {
        decide_paths(asker, verdict, classification)
    }
}

/// What becomes of a name that is not blocked and has listed paths: few names do, and the others do
/// not pay for them.
#[cold]
#[inline(never)]
fn decide_paths(asker: &Asker, verdict: Verdict, classification: &Classification) -> Verdict {
    let paths = classification.paths;
    let choice = paths.choice.intersection(asker.blocked());
    let is_free = verdict.layer == Layer::Default;
    let listing = if paths.mandatory {
        classification.path_listing(Tier::Mandatory, None)
    } else if is_free && paths.security {
        classification.path_listing(Tier::Security, None)
    } else if is_free && !choice.is_empty() {
        classification.path_listing(Tier::Choice, Some(choice))
    } else {
        return verdict;
    };
    let of_paths = Verdict {
        action: Action::Proxied,
        ..verdict.of(listing)
    };
    // Where there is no proxy, the name is still led to its safe search: see
    // `Verdict::without_proxy`.
    if verdict.layer == Layer::SafeSearch {
        Verdict {
            data: verdict.data,
            ..of_paths
        }
    } else {
        of_paths
    }
}

#[inline]
fn decide_name(asker: &Asker, name: NameRef<'_>, classification: &Classification) -> Verdict {
    let by_feed = |layer, tier| Verdict::by(layer).of(classification.listing(tier, None));
    if classification.mandatory {
        return match classification.ordered {
            Some(ordered) => Verdict {
                action: Action::Ordered,
                data: ordered.to_bits(),
                ..Verdict::by(Layer::Mandatory)
            },
            None => by_feed(Layer::Mandatory, Tier::Mandatory),
        };
    }
    if classification.never_block {
        let verdict = Verdict {
            action: Action::Policy,
            ..by_feed(Layer::NeverBlock, Tier::NeverBlock)
        };
        return open(asker, classification.special, verdict);
    }
    if let Some(own) = &asker.own
        && let Some(layer) = own.decide(name, classification.choice, asker.blocked())
    {
        let verdict = Verdict::by(layer);
        return if layer.allows_chain() {
            open(asker, classification.special, verdict)
        } else {
            verdict
        };
    }
    if asker.standards.is_paused() {
        return Verdict::by(Layer::Paused);
    }
    if !classification.security.is_empty() {
        let categories = classification.security;
        return Verdict {
            categories,
            ..Verdict::by(Layer::Security)
                .of(classification.listing(Tier::Security, Some(categories)))
        };
    }
    let categories = classification.choice.intersection(asker.blocked());
    if !categories.is_empty() {
        return Verdict {
            categories,
            ..Verdict::by(Layer::Category)
                .of(classification.listing(Tier::Choice, Some(categories)))
        };
    }
    if classification.special == Special::None {
        Verdict::by(Layer::Default)
    } else {
        decide_special(asker, classification.special)
    }
}

/// What becomes of a name that is answered in a way of its own, where nothing above speaks for or
/// against it.
#[cold]
#[inline(never)]
fn decide_special(asker: &Asker, special: Special) -> Verdict {
    match special {
        Special::Search(engine) => match asker.standards.level(engine) {
            SearchLevel::Off => Verdict::by(Layer::Default),
            level => Verdict {
                action: Action::Led,
                data: lead(engine, level),
                ..Verdict::by(Layer::SafeSearch)
            },
        },
        Special::SearchClosed(engine) => match asker.standards.level(engine) {
            SearchLevel::Off => Verdict::by(Layer::Default),
            level => Verdict {
                data: lead(engine, level),
                ..Verdict::by(Layer::SafeSearchDeny)
            },
        },
        special if asker.standards.refuses(special) => Verdict {
            action: Action::Nxdomain,
            ..Verdict::by(Layer::Bypass)
        },
        _ => Verdict::by(Layer::Default),
    }
}

/// A verdict that opens a name: an allow, a grant, or the never-block list. Of a search engine's
/// name, safe search holds all the same.
#[inline]
fn open(asker: &Asker, special: Special, verdict: Verdict) -> Verdict {
    match special {
        Special::Search(_) | Special::SearchClosed(_) if !asker.standards.unlocks_search() => {
            open_search(asker, special, verdict)
        }
        _ => verdict,
    }
}

#[cold]
#[inline(never)]
fn open_search(asker: &Asker, special: Special, verdict: Verdict) -> Verdict {
    let search = decide_special(asker, special);
    match search.layer {
        Layer::Default => verdict,
        _ => {
            let opener = verdict.opened_by().unwrap_or(verdict.layer);
            Verdict {
                data: search.data | (opener as u32 + 1) << OPENER_AT,
                ..search
            }
        }
    }
}

/// Where the parts of [`Verdict::data`] stand in a verdict of safe search: the level in the lowest
/// octet, the engine's place, and the place of the layer that opened the name, and one.
const ENGINE_AT: u32 = 8;
const OPENER_AT: u32 = 16;

/// Engine and level as a verdict carries them.
fn lead(engine: u8, level: SearchLevel) -> u32 {
    u32::from(engine) << ENGINE_AT | level as u32
}

/// Judges an answer: the name's own verdict, then each name of its chain and each of its addresses
/// in order. The first block speaks; an allow of the queried name covers what is behind it, and so
/// does nothing else. Where nothing blocks, the first name of the chain that is a search engine's
/// leads to its safe search, under whatever other name it was asked for. Says which hop decided: 0
/// is the queried name.
#[must_use]
pub fn review<'n>(
    asker: &Asker,
    queried: Verdict,
    chain: impl Iterator<Item = (NameRef<'n>, &'n Classification)>,
) -> (Verdict, usize) {
    // An order stands above every allow, also for the names behind a name that somebody allowed.
    let covers = queried.layer.allows_chain() || queried.opened_by().is_some();
    let mut decided = (queried, 0);
    if !queried.is_block() {
        for (hop, (name, classification)) in (1..).zip(chain) {
            let verdict = if covers && !classification.mandatory {
                open(asker, classification.special, queried)
            } else {
                decide(asker, name, classification)
            };
            if verdict.is_block() {
                return (verdict, hop);
            }
            if verdict.action == Action::Led && decided.0.action == Action::Policy {
                decided = (verdict, hop);
            }
        }
    }
    decided
}

/// Judges a name and the answer to it, see [`decide`] and [`review`]. Where the query asserts to be
/// from another device than its source address proves, both rule sets judge the whole, and the
/// stricter verdict holds: an assertion never loosens.
#[must_use]
#[inline]
pub fn judge<'n>(
    asker: &Asker,
    name: NameRef<'_>,
    classification: &Classification,
    chain: impl Iterator<Item = (NameRef<'n>, &'n Classification)> + Clone,
) -> (Verdict, usize) {
    match &asker.asserted {
        None => review(asker, decide(asker, name, classification), chain),
        Some(asserted) => judge_both([asker, asserted], name, classification, chain),
    }
}

#[cold]
#[inline(never)]
fn judge_both<'n>(
    askers: [&Asker; 2],
    name: NameRef<'_>,
    classification: &Classification,
    chain: impl Iterator<Item = (NameRef<'n>, &'n Classification)> + Clone,
) -> (Verdict, usize) {
    let [proved, asserted] =
        askers.map(|asker| review(asker, decide(asker, name, classification), chain.clone()));
    if asserted.0.strictness() > proved.0.strictness() {
        asserted
    } else {
        proved
    }
}

#[cfg(test)]
mod tests;
