//! The entries of feeds, as the loader writes them and the blocklist reads them.

use serde::{Deserialize, Serialize};

use crate::verdict::Action;

/// The names that an entry applies to.
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
    /// Whether an entry of this scope applies to a name: the entry's own, or one below it.
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

/// The tier of a feed: who decides about it, and who can lift it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Required by a court or by sanctions. No subscriber can lift it.
    Mandatory,
    /// The operator's protection of all subscribers. A household's own allow list lifts it.
    Security,
    /// The family's choice, by category.
    Choice,
    /// Names that the operator never blocks except by mandate: helplines, the operator's own.
    NeverBlock,
}

/// The category of marks without one: those of the mandatory and the never-block tier.
pub const NO_CATEGORY: u8 = u8::MAX;

/// How an entry wants the name answered, as coded in an artefact. [`ListEntry::data`] holds the
/// action's parameter.
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

/// What one feed says about one name. In an artefact it is called a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListEntry {
    /// The feed's index in the header.
    pub feed: u16,
    /// The category's index in the header, or [`NO_CATEGORY`].
    pub category: u8,
    pub scope: Scope,
    pub polarity: Polarity,
    /// Adblock's `$important`: outranks every entry of its feed without it.
    pub important: bool,
    pub action: EntryAction,
    /// The parameter of the action.
    pub data: u32,
    /// The index of the arrival time in the header.
    pub arrival: u16,
}

/// Octets of a mark in an artefact.
pub(crate) const MARK_OCTETS: usize = 10;

impl ListEntry {
    /// A plain entry that lists a name, for struct update.
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

    /// Whether another entry says the same, apart from its arrival and the parameter of its action.
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

/// The records that a feed answers a name with (RPZ local data).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LocalData(pub Vec<LocalRecord>);

/// One record; its owner is the queried name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LocalRecord {
    pub record_type: u16,
    pub ttl_s: u32,
    /// In wire format, names in it uncompressed.
    pub rdata: Vec<u8>,
}
