//! Answers to writes of settings. Fields stand in alphabetical order, as clients have always read
//! them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::Timestamp;
use policy::{
    lists::entry::Scope,
    name::Name,
    rules::{
        household::{Id, SearchLevel, SwitchState},
        schedule::{ClockTime, DayOfWeek, GrantTarget},
    },
};
use serde::Serialize;
use utoipa::ToSchema;

/// What a switch says after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WrittenState {
    Block,
    Allow,
    /// Not set here: the level above decides.
    Inherit,
}

impl From<SwitchState> for WrittenState {
    fn from(state: SwitchState) -> Self {
        match state {
            SwitchState::Block => Self::Block,
            SwitchState::Allow => Self::Allow,
        }
    }
}

/// What an entry of an own list covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WrittenScope {
    /// The name alone.
    Exact,
    /// The name and all below it.
    Subtree,
}

impl From<Scope> for WrittenScope {
    /// An own list takes these two alone.
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Exact => Self::Exact,
            _ => Self::Subtree,
        }
    }
}

/// The outcome of a write that has nothing else to say.
#[derive(Debug, Serialize, ToSchema)]
pub struct Written {
    /// The household's version; also the `ETag`.
    pub version: u64,
}

/// A network that was given to a household, or taken from it.
#[derive(Debug, Serialize, ToSchema)]
pub struct NetworkWritten {
    /// The network, in CIDR notation.
    #[schema(value_type = String)]
    pub network: IpNet,
    /// The household's version; also the `ETag`.
    pub version: u64,
}

/// A category that was switched.
#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryWritten {
    /// The category's slug.
    pub category: String,
    pub state: WrittenState,
    /// The household's version; also the `ETag`.
    pub version: u64,
}

/// A name that was put on an own list or taken off it.
#[derive(Debug, Serialize, ToSchema)]
pub struct NameWritten {
    /// The name, as A-labels without trailing dot.
    #[schema(value_type = String)]
    pub name: Name,
    /// Absent for a name that was taken off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<WrittenScope>,
    /// `inherit` for a name that was taken off.
    pub state: WrittenState,
    /// The household's version; also the `ETag`.
    pub version: u64,
}

/// The safe search that is set on a level.
#[derive(Debug, Serialize, ToSchema)]
pub struct SafeSearchWritten {
    /// The level of each engine that is set there; others are inherited.
    pub safe_search: BTreeMap<String, SearchLevel>,
    /// The household's version; also the `ETag`.
    pub version: u64,
}

/// Whether an allow or a grant of a search engine also lifts its safe search.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchUnlockWritten {
    pub search_unlock: WrittenState,
    /// The household's version; also the `ETag`.
    pub version: u64,
}

/// What becomes of names by which software bypasses the filter.
#[derive(Debug, Serialize, ToSchema)]
pub struct BypassWritten {
    pub bypass: WrittenState,
    /// The household's version; also the `ETag`.
    pub version: u64,
}

/// A schedule that was written.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduleWritten {
    /// The days on which it begins.
    pub days: BTreeSet<DayOfWeek>,
    /// When it begins.
    #[schema(value_type = String)]
    pub from: ClockTime,
    /// Its name.
    #[schema(value_type = String)]
    pub schedule: Id,
    /// When it ends.
    #[schema(value_type = String)]
    pub to: ClockTime,
    /// The household's version; also the `ETag`.
    pub version: u64,
}

/// What a grant allows, as one of three fields.
pub fn target_fields(what: GrantTarget) -> (Option<String>, Option<Name>, Option<bool>) {
    match what {
        GrantTarget::Category(slug) => (Some(slug), None, None),
        GrantTarget::Domain(name) => (None, Some(name), None),
        GrantTarget::Everything(is_all) => (None, None, Some(is_all)),
    }
}

/// A grant that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantWritten {
    /// The open category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The open name, with all below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub domain: Option<Name>,
    /// Whether everything is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub everything: Option<bool>,
    /// Its identifier, by which it can be ended early.
    #[schema(value_type = String)]
    pub grant: Id,
    /// When it ends, RFC 3339.
    pub until: Timestamp,
    /// The household's version; also the `ETag`.
    pub version: u64,
}

impl GrantWritten {
    pub fn new(grant: Id, what: GrantTarget, until: Timestamp, version: u64) -> Self {
        let (category, domain, everything) = target_fields(what);
        Self {
            category,
            domain,
            everything,
            grant,
            until,
            version,
        }
    }
}

/// A pause that was set or lifted.
#[derive(Debug, Serialize, ToSchema)]
pub struct PauseWritten {
    /// Until when the Internet is off, RFC 3339. Null if it is on.
    pub until: Option<Timestamp>,
    /// The household's version; also the `ETag`.
    pub version: u64,
}
