//! The result of a decision: the layer that decided, and how the query is to be answered.

use crate::{
    category::CategorySet,
    lists::mandate_basis::MandateRef,
    name::Name,
    rules::{builtin_names::BuiltinNames, safe_search::SearchLevel},
};

/// The layer that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// A mandate, or a feed of the mandatory tier.
    Mandatory,
    /// The operator's never-block list.
    NeverBlock,
    /// The device's custom list allows the name.
    DeviceAllow,
    /// The custom list of the device's person allows the name.
    PersonAllow,
    /// The household's custom list allows the name.
    HouseholdAllow,
    /// A grant allows the name.
    Grant,
    /// The device's custom list blocks the name.
    DeviceDeny,
    /// The custom list of the device's person blocks the name.
    PersonDeny,
    /// The household's custom list blocks the name.
    HouseholdDeny,
    /// The Internet is paused.
    Paused,
    /// The operator's security lists.
    Security,
    /// A category that is blocked for the client.
    Category,
    /// A bypass name, by which software asks whether the network wants a filter.
    Bypass,
    /// A host of a search engine without a safe address.
    SafeSearchDeny,
    /// A domain that the thing which asks may not reach.
    Thing,
    /// A search engine, rewritten to its safe address.
    SafeSearch,
    /// No other layer matches.
    Default,
}

impl Layer {
    /// All layers, in the order in which they decide.
    pub const ALL: [Self; 17] = [
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
        Self::Thing,
        Self::SafeSearch,
        Self::Default,
    ];

    /// The word in JSON, logs and metrics.
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
            Self::Thing => "thing",
            Self::SafeSearch => "safe-search",
            Self::Default => "default",
        }
    }

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
                | Self::Thing
        )
    }

    /// Whether this layer allows by name: such an allow covers the whole alias chain of the name.
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

/// How a query is to be answered. Eight octets, `Copy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No answer of its own: a blocked name is answered as the operator's policy says, any other
    /// name as it resolves.
    OperatorPolicy,
    /// NXDOMAIN, whatever the operator's policy.
    Nxdomain,
    /// NOERROR without records.
    Nodata,
    /// No answer (RPZ `rpz-drop`).
    Drop,
    /// A truncated answer over UDP; over TCP the name is not blocked (RPZ `rpz-tcp-only`).
    TcpOnly,
    /// The feed's own records (RPZ local data), by their index in
    /// [`crate::lists::blocklist::Blocklist::answers`].
    LocalData(u32),
    /// Paths of this host are listed, not the host: address queries are sent to the proxy that
    /// filters paths. Without a proxy, safe search applies where `search` says so.
    RedirectToProxy {
        /// How many paths the deciding feed lists.
        paths: u32,
        /// The safe search of the name.
        search: Option<SafeSearch>,
    },
    /// An alias to the search engine's address with safe search.
    SafeSearch(SafeSearch),
    /// The mandate's landing, or the operator's policy for blocked names.
    Mandate(MandateRef),
}

impl Action {
    /// The word in JSON and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OperatorPolicy => "policy",
            Self::Nxdomain => "nxdomain",
            Self::Nodata => "nodata",
            Self::Drop => "drop",
            Self::TcpOnly => "tcp-only",
            Self::LocalData(_) => "records",
            Self::RedirectToProxy { .. } => "proxied",
            Self::SafeSearch(_) => "led",
            Self::Mandate(_) => "ordered",
        }
    }
}

/// The safe search that applies to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafeSearch {
    /// The engine's index in [`BuiltinNames::engines`].
    pub engine: u8,
    /// Never [`SearchLevel::Off`].
    pub level: SearchLevel,
}

impl SafeSearch {
    /// The name that the engine's names become an alias of.
    #[must_use]
    pub fn target(self) -> Option<&'static Name> {
        BuiltinNames::shipped()
            .engines()
            .get(usize::from(self.engine))?
            .target(self.level)
    }
}

/// The outcome for one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The layer that decided.
    pub layer: Layer,
    /// The categories that the name is blocked for; empty where the layer is not about categories.
    pub categories: CategorySet,
    /// How the query is to be answered. [`Action::RedirectToProxy`] where the name is not blocked
    /// but some of its paths are.
    pub action: Action,
    /// The feed that decided, by its index in the lists' header.
    pub feed: Option<u16>,
    /// The layer that allowed a search engine's name whose safe search applies nevertheless.
    pub allowed_by: Option<Layer>,
}

impl Verdict {
    /// A verdict without a feed.
    #[must_use]
    pub fn of_layer(layer: Layer) -> Self {
        Self {
            layer,
            categories: CategorySet::EMPTY,
            action: Action::OperatorPolicy,
            feed: None,
            allowed_by: None,
        }
    }

    /// Whether the name is blocked.
    #[must_use]
    pub fn is_block(self) -> bool {
        self.layer.blocks()
    }

    /// The mandate that decided.
    #[must_use]
    pub fn mandate(self) -> Option<MandateRef> {
        match self.action {
            Action::Mandate(mandate) => Some(mandate),
            _ => None,
        }
    }

    /// The name that a search engine's name becomes an alias of.
    #[must_use]
    pub fn safe_search_target(self) -> Option<&'static Name> {
        match self.action {
            Action::SafeSearch(search) => search.target(),
            _ => None,
        }
    }

    /// The same verdict for a resolver without a proxy for paths: listed paths have no effect.
    #[must_use]
    pub fn without_proxy(self) -> Self {
        let action = match self.action {
            Action::RedirectToProxy { search, .. } => {
                search.map_or(Action::OperatorPolicy, Action::SafeSearch)
            }
            action => action,
        };
        Self { action, ..self }
    }

    /// Orders the verdicts of two rule sets by strictness: a block, a block that TCP lifts, strict
    /// safe search, moderate safe search, the proxy for paths, no restriction.
    pub(crate) fn strictness(self) -> (u8, u8) {
        match self.action {
            Action::TcpOnly if self.is_block() => (3, 0),
            _ if self.is_block() => (4, 0),
            Action::SafeSearch(search) => (2, search.level as u8),
            Action::RedirectToProxy { .. } => (1, 0),
            _ => (0, 0),
        }
    }
}
