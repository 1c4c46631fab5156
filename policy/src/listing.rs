//! What a feed says of a name: the words that the loader writes and the blocklist reads.

use serde::{Deserialize, Serialize};

/// Which names an entry speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The name alone.
    Exact,
    /// The name and everything below it.
    Subtree,
    /// Everything below the name, not the name.
    Descendants,
}

impl Scope {
    /// Whether an entry of this scope speaks for a name: the entry's own, or one below it.
    #[must_use]
    pub fn covers(self, is_own_name: bool) -> bool {
        match self {
            Self::Exact => is_own_name,
            Self::Subtree => true,
            Self::Descendants => !is_own_name,
        }
    }
}

/// Whether an entry lists a name or excepts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// The feed lists the name.
    Deny,
    /// The feed excepts the name from its own entries.
    Allow,
}

/// Who decides about a feed, and who can lift it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Ordered by a court or by sanctions: nobody can lift it.
    Mandatory,
    /// The operator's protection of everybody; a household's own allow list lifts it.
    Security,
    /// The family's choice, by category.
    Choice,
    /// Names the operator never blocks but by order: helplines, the operator's own.
    NeverBlock,
}

/// Stands in a mark of a feed that is not about categories: orders, and names that are never blocked.
pub const NO_CATEGORY: u8 = u8::MAX;

/// One thing one feed says of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The feed's place in the artefact's table of feeds.
    pub feed: u16,
    /// The category's place in the artefact's table of categories, or [`NO_CATEGORY`].
    pub category: u8,
    /// Which names it speaks for.
    pub scope: Scope,
    /// Lists or excepts.
    pub polarity: Polarity,
    /// Adblock's `$important`: beats every entry of its feed that is not.
    pub important: bool,
}

/// Octets of a mark in an artefact.
pub(crate) const MARK_OCTETS: usize = 4;

impl Mark {
    pub(crate) fn to_octets(self) -> [u8; MARK_OCTETS] {
        let [high, low] = self.feed.to_be_bytes();
        let scope = match self.scope {
            Scope::Exact => 0,
            Scope::Subtree => 1,
            Scope::Descendants => 2,
        };
        [high, low, self.category, scope | u8::from(self.polarity == Polarity::Allow) << 2 | u8::from(self.important) << 3]
    }

    pub(crate) fn from_octets([high, low, category, flags]: [u8; MARK_OCTETS]) -> Option<Self> {
        let scope = match flags & 3 {
            0 => Scope::Exact,
            1 => Scope::Subtree,
            2 => Scope::Descendants,
            _ => return None,
        };
        let polarity = if flags & 4 == 0 { Polarity::Deny } else { Polarity::Allow };
        (flags < 16).then_some(Self { feed: u16::from_be_bytes([high, low]), category, scope, polarity, important: flags & 8 != 0 })
    }
}
