//! The entries of feeds: the terms that the loader writes and the blocklist reads.

use serde::{Deserialize, Serialize};

use crate::verdict::Action;

/// Which names an entry speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// The feed lists the name.
    Deny,
    /// The feed excepts the name from its own entries.
    Allow,
}

/// Who decides about a feed, and who can lift it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Required by a court or by sanctions: no subscriber can lift it.
    Mandatory,
    /// The operator's protection of everybody; a household's own allow list lifts it.
    Security,
    /// The family's choice, by category.
    Choice,
    /// Names the operator never blocks but by order: helplines, the operator's own.
    NeverBlock,
}

/// Stands in a mark of a feed that is not about categories: orders, and names that are never
/// blocked.
pub const NO_CATEGORY: u8 = u8::MAX;

/// How an entry wants the name answered, as an artefact codes it. What an action needs to know
/// beside this is [`ListEntry::data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum EntryAction {
    /// As the operator's policy answers a blocked name.
    #[default]
    OperatorPolicy,
    /// NXDOMAIN, whatever the operator's policy.
    Nxdomain,
    /// NOERROR without records.
    Nodata,
    /// No answer (RPZ `rpz-drop`).
    Drop,
    /// A truncated answer over UDP; over TCP the name is not blocked (RPZ `rpz-tcp-only`).
    TcpOnly,
    /// The feed's own records (RPZ local data). The data is their index in
    /// [`crate::lists::blocklist::Blocklist::answers`].
    LocalData,
    /// Paths of this host are listed, not the host: clients are sent to the proxy that filters
    /// paths. The data is the number of paths.
    RedirectToProxy,
    /// The key is one path of a host, kept so that a later version of the feed can remove it.
    Path,
}

impl EntryAction {
    /// In the order of their codes in an artefact.
    pub(crate) const ALL: [Self; 8] = [
        Self::OperatorPolicy,
        Self::Nxdomain,
        Self::Nodata,
        Self::Drop,
        Self::TcpOnly,
        Self::LocalData,
        Self::RedirectToProxy,
        Self::Path,
    ];

    /// The action of a verdict that this entry decides; `None` for [`Self::Path`], which decides
    /// none.
    pub(crate) fn with_data(self, data: u32) -> Option<Action> {
        Some(match self {
            Self::OperatorPolicy => Action::OperatorPolicy,
            Self::Nxdomain => Action::Nxdomain,
            Self::Nodata => Action::Nodata,
            Self::Drop => Action::Drop,
            Self::TcpOnly => Action::TcpOnly,
            Self::LocalData => Action::LocalData(data),
            Self::RedirectToProxy => Action::RedirectToProxy {
                paths: data,
                search: None,
            },
            Self::Path => return None,
        })
    }

    /// The word in JSON and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self.with_data(0) {
            Some(action) => action.as_str(),
            None => "path",
        }
    }
}

impl Serialize for EntryAction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing one feed says of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListEntry {
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
    /// What the name is answered with.
    pub action: EntryAction,
    /// What the action needs to know.
    pub data: u32,
    /// When the entry came: its place in the lists' table of arrivals.
    pub arrival: u16,
}

/// Octets of a mark in an artefact.
pub(crate) const MARK_OCTETS: usize = 10;

impl ListEntry {
    /// An entry that lists a name in the plainest way, to be refined by struct update.
    #[must_use]
    pub fn deny(feed: u16, category: u8, scope: Scope) -> Self {
        let polarity = Polarity::Deny;
        let action = EntryAction::OperatorPolicy;
        Self {
            feed,
            category,
            scope,
            polarity,
            important: false,
            action,
            data: 0,
            arrival: 0,
        }
    }

    /// Whether another mark says the same, whenever it came and whatever its action needs to know.
    #[must_use]
    pub fn says_what(&self, other: &Self) -> bool {
        Self {
            data: 0,
            arrival: 0,
            ..*self
        } == Self {
            data: 0,
            arrival: 0,
            ..*other
        }
    }

    pub(crate) fn to_octets(self) -> [u8; MARK_OCTETS] {
        let ([f0, f1], [a0, a1], [d0, d1, d2, d3]) = (
            self.feed.to_be_bytes(),
            self.arrival.to_be_bytes(),
            self.data.to_be_bytes(),
        );
        let scope = match self.scope {
            Scope::Exact => 0,
            Scope::Subtree => 1,
            Scope::Descendants => 2,
        };
        let flags = scope
            | u8::from(self.polarity == Polarity::Allow) << 2
            | u8::from(self.important) << 3
            | (self.action as u8) << 4;
        [f0, f1, self.category, flags, a0, a1, d0, d1, d2, d3]
    }

    pub(crate) fn from_octets(
        [f0, f1, category, flags, a0, a1, d0, d1, d2, d3]: [u8; MARK_OCTETS],
    ) -> Option<Self> {
        let scope = match flags & 3 {
            0 => Scope::Exact,
            1 => Scope::Subtree,
            2 => Scope::Descendants,
            _ => return None,
        };
        Some(Self {
            feed: u16::from_be_bytes([f0, f1]),
            category,
            scope,
            polarity: if flags & 4 == 0 {
                Polarity::Deny
            } else {
                Polarity::Allow
            },
            important: flags & 8 != 0,
            action: *EntryAction::ALL.get(usize::from(flags >> 4))?,
            data: u32::from_be_bytes([d0, d1, d2, d3]),
            arrival: u16::from_be_bytes([a0, a1]),
        })
    }
}

/// The records that a feed answers a name with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LocalData(pub Vec<LocalRecord>);

/// One of them; its owner is the name that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LocalRecord {
    /// The type's number.
    pub record_type: u16,
    /// In seconds.
    pub ttl_s: u32,
    /// In wire format, names in it not compressed.
    pub rdata: Vec<u8>,
}
