//! Interface between the REST API and the list manager: the operations, and the data that the API
//! answers with.
//!
//! A feed's definition passes through as JSON and comes back canonical, or refused with the field
//! that is wrong. The API redacts secrets; everything else is answered as it is here.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
pub use blocklist_loader::Feed as FeedDefinition;
use jiff::Timestamp;
use policy::lists::{
    artefact::{FeedReport, RejectedVersion},
    blocklist::Blocklist,
    entry::Tier,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// Reads and changes the lists of this node.
///
/// The caller serialises writes, and runs each in a task that a disconnected client does not
/// cancel.
#[async_trait]
pub trait ListControl: Send + Sync {
    /// All feeds, of the configuration and of the API.
    async fn feeds(&self) -> Vec<FeedState>;

    async fn feed(&self, name: &str) -> Option<FeedState>;

    /// Checks a definition and makes it canonical. Nothing is refused later.
    async fn check_definition(&self, definition: Value) -> Result<Value, DefinitionError>;

    /// Takes a definition that was checked and stored. It cannot be refused any more: later failures
    /// are part of the feed's state. When this returns, [`Self::feed`] finds the feed.
    async fn define(&self, name: &str, definition: Value, is_new: bool);

    /// Removes a feed, and its entries from the lists. When this returns, [`Self::feed`] no longer
    /// finds the feed.
    async fn remove(&self, name: &str);

    /// Starts a fetch of the feed, and does not wait for it.
    async fn refresh(&self, name: &str) -> Result<(), ListError>;

    /// What the refused version of a feed would change.
    async fn what_if(&self, name: &str) -> Result<WhatIf, ListError>;

    /// Lets the refused version of this name through, or without a name a held feed go on. Live when
    /// this returns.
    async fn approve(&self, name: &str, version: Option<&str>, by: &str) -> Result<(), ListError>;

    /// Gives a feed the entries that it had in generation `to`, and holds it. Default: the latest
    /// generation in which the feed had another version. Live when this returns.
    async fn roll_back_feed(
        &self,
        name: &str,
        to: Option<u64>,
        by: &str,
    ) -> Result<RolledBack, ListError>;

    /// The kept generations, newest first.
    async fn generations(&self) -> Result<Vec<GenerationState>, ListError>;

    /// The lists at an instant: the last generation built before it, if it is kept.
    async fn at(&self, at: Timestamp) -> Result<Arc<Blocklist>, ListError>;

    /// The difference between two kept generations, with at most `limit` names added and removed
    /// each.
    async fn diff(&self, from: u64, to: u64, limit: usize) -> Result<Difference, ListError>;

    /// Makes the kept generation `to` live again, and holds the feeds that it changes. Default: the
    /// latest one whose content differs from the live one. Live when this returns.
    async fn roll_back(&self, to: Option<u64>, by: &str) -> Result<RolledBack, ListError>;

    /// The state of the overlay, and of the last build.
    fn overlay(&self) -> OverlayState;

    /// Subscribes to events from now on. The subscription ends at the shutdown.
    fn subscribe(&self) -> broadcast::Receiver<ListEvent>;
}

/// Why a definition is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionError {
    /// The key at fault, if there is one.
    pub field: Option<String>,
    /// The problem's code: `definition`, or why its source is out of bounds.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Why an operation failed. The live lists are unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListError {
    UnknownFeed,
    /// No version of the feed waits for an approval.
    NothingRefused,
    /// Another version than the named one waits for an approval.
    AnotherVersion {
        waiting: String,
    },
    /// The gate that stopped the version cannot be overridden: the content is not what the provider
    /// sent.
    NotApprovable {
        gate: String,
    },
    /// The generation is not kept.
    UnknownGeneration(u64),
    /// No kept generation was live at this instant.
    NotKept(Timestamp),
    /// There is nothing to roll back to: the generation is live, or no earlier one is kept.
    NothingBefore(String),
    /// A step failed.
    Failed(String),
}

/// Where a feed is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// In the configuration, where it can be changed.
    Config,
    /// Over the API.
    Api,
    /// On another node, or in another configuration. The feed is in the lists, and cannot be changed
    /// here.
    Elsewhere,
}

/// The condition of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The last fetched version is live.
    Live,
    /// A gate stopped the last version. The one before it is live.
    Refused,
    /// The feed was rolled back, and stays so until an operator lets it go on.
    Held,
    /// Nothing was fetched yet.
    Waiting,
    /// The last fetch failed, or its content could not be built. The version before is live.
    Failing,
}

/// The state of a feed.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FeedState {
    /// The name, as in `[[feeds]]`.
    pub name: String,
    /// Its source. User names, passwords and query strings are never shown.
    pub source: String,
    /// Its format, as in `[[feeds]]`.
    pub format: String,
    /// The tier of its entries.
    pub tier: Tier,
    /// Where the feed is defined.
    pub origin: Origin,
    /// The condition of the feed.
    pub state: Condition,
    /// The live version. Null before the first one.
    pub version: Option<String>,
    /// The generation in which that version became live.
    pub generation: Option<u64>,
    /// The last successful fetch, RFC 3339.
    pub fetched_at: Option<Timestamp>,
    /// When the provider published the live version, if it says so, RFC 3339.
    pub published_at: Option<Timestamp>,
    /// Seconds since the last successful fetch.
    pub age_s: Option<u64>,
    /// The age in seconds from which the feed is stale.
    pub max_age_s: Option<u64>,
    /// Whether the last successful fetch is longer ago than `max_age_s`.
    pub is_stale: bool,
    /// Live entries.
    pub entries: u64,
    /// Counts of parsed and of rejected lines of the live version.
    pub report: FeedReport,
    /// A fault that an operator must look into. Null if there is none.
    pub alarm: Option<Alarm>,
    /// The version that a gate stopped. Null if there is none.
    pub refused: Option<RefusedVersion>,
    /// Failures since the start, by gate.
    pub failures: BTreeMap<String, u64>,
    /// Queries that an entry of this feed decided, since the start.
    pub hits: u64,
    /// The definition, with the keys of `[[feeds]]`. Secrets are shown as `(hidden)`.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub definition: Value,
}

/// A fault that an operator must look into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Alarm {
    /// The gate, as a stable identifier.
    pub gate: String,
    /// The same, for people.
    pub detail: String,
    /// Since when, RFC 3339.
    pub since: Timestamp,
    /// The version at fault, if there is one.
    pub version: Option<String>,
}

/// A version that a gate stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RefusedVersion {
    /// The version, as the feed names it.
    pub version: String,
    /// The gate, as a stable identifier.
    pub gate: String,
    /// The same, for people.
    pub detail: String,
    /// RFC 3339.
    pub at: Timestamp,
    /// Its number of entries, if it could be read.
    pub entries: Option<u64>,
    /// Whether an operator may let it through. A damaged or forged version never goes through.
    pub may_be_approved: bool,
}

/// What a refused version would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WhatIf {
    /// The name of the feed.
    pub feed: String,
    /// The version that waits.
    pub version: String,
    /// Names that would be blocked and are not, by category.
    pub newly_blocked: BTreeMap<String, u64>,
    /// Names that would no longer be blocked, by category.
    pub newly_unblocked: BTreeMap<String, u64>,
    /// Some names that would be blocked, at most 100.
    pub sample_blocked: Vec<ListedName>,
    /// Some names that would no longer be blocked, at most 100.
    pub sample_unblocked: Vec<ListedName>,
    /// Yesterday's queries for these names.
    pub queries_yesterday: Touched,
}

/// Queries for changed names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Touched {
    /// The number of queries.
    pub queries: u64,
    /// The number of different names.
    pub names: u64,
    /// The names with the most queries, at most 100.
    pub top: Vec<TouchedName>,
}

/// A name with its number of queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TouchedName {
    /// The name, as A-labels.
    pub name: String,
    /// The number of queries.
    pub queries: u64,
}

/// A kept generation of the lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GenerationState {
    /// The number of the generation.
    pub generation: u64,
    /// The generation to which it is a delta. Null for a whole one.
    pub parent: Option<u64>,
    /// When it was built, RFC 3339.
    pub built_at: Timestamp,
    /// Distinct names. Of a delta, the names that it changes.
    pub names: u64,
    /// Entries. Of a delta, the entries that it changes.
    pub entries: u64,
    /// Length of its file, in octets.
    pub bytes: u64,
    /// SHA-256 of its file, hexadecimal.
    pub sha256: String,
    /// Whether queries are answered by it.
    pub is_live: bool,
    /// The version of each feed.
    pub versions: BTreeMap<String, String>,
}

/// The difference between two generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Difference {
    /// The earlier generation.
    pub from: u64,
    /// The later generation.
    pub to: u64,
    /// Entries added and removed, by feed and category.
    pub changes: Vec<Change>,
    /// Some names that only `to` lists.
    pub added: Vec<ListedName>,
    /// Some names that only `from` lists.
    pub removed: Vec<ListedName>,
}

/// Entries added to and removed from one feed, in one category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Change {
    /// The name of the feed.
    pub feed: String,
    /// Null for entries without a category, such as orders.
    pub category: Option<String>,
    /// Entries that only the later generation has.
    pub added: u64,
    /// Entries that only the earlier generation has.
    pub removed: u64,
}

/// A listed name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListedName {
    /// The name, as A-labels.
    pub name: String,
    /// The feed that lists it.
    pub feed: String,
    /// Null for an entry without a category.
    pub category: Option<String>,
}

/// The outcome of a rollback.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RolledBack {
    /// The generation that was live before.
    pub from: u64,
    /// The generation whose content is live again.
    pub to: u64,
    /// The live generation: `to`, or a new one.
    pub live: u64,
    /// Milliseconds until all new queries used it.
    pub took_ms: f64,
}

/// The overlay in front of the base, and the outcome of the last build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayState {
    /// Refused versions, by feed.
    pub refused: BTreeMap<String, RejectedVersion>,
    /// Entries in the overlay.
    pub entries: u64,
    /// Memory of the overlay, in octets.
    pub bytes: u64,
    /// The generation of the base.
    pub base_generation: u64,
    /// The generation to which the live one is a delta. `None` if it is whole.
    pub parent: Option<u64>,
    /// Why the last build failed, or what it refused.
    pub last_error: Option<String>,
}

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A gate stopped a version.
    FeedRefused,
    /// A version is live.
    FeedLive,
    /// An operator let a version through.
    FeedApproved,
    /// A feed was rolled back, and is held until an operator lets it go on.
    FeedHeld,
    /// A feed is older than its `max_age_s`.
    FeedStale,
    /// A fetch or a build failed.
    FeedFailing,
    /// An earlier generation is live again.
    RolledBack,
    /// A store cannot be written: changes are refused, queries are answered.
    StoreFailing,
    /// A store can be written again.
    StoreWritable,
    /// A file system of the node is filling up: at 100 % changes are refused.
    DiskFilling,
    /// It has room again.
    DiskHasRoom,
    /// The audit is not as it was written.
    AuditBroken,
    /// Certificate files cannot be used: the earlier certificate stays.
    CertificateFailing,
    /// A certificate was not renewed in time, and ends soon.
    CertificateExpiring,
    /// Another certificate is in use.
    CertificateRenewed,
    /// The node has been short of memory for a minute, although its caches shrank.
    MemoryShort,
    /// Memory is enough again.
    MemoryEnough,
    /// Ten names or more in a minute are bogus (DNSSEC) because of one zone.
    ZoneBogus,
    /// None is any more, or other zones are worse.
    ZoneNotBogus,
    /// A client, a zone or a network is limited, a hundred times or more.
    Limited,
    /// It was not for a minute, or others are limited more.
    NotLimited,
    /// A zone with trust anchors has a new key that signs its keys.
    TrustAnchorNew,
    /// Such a key is trusted from now on.
    TrustAnchorTrusted,
    /// Such a key is not among the zone's keys any more.
    TrustAnchorMissing,
    /// A trusted key was revoked.
    TrustAnchorRevoked,
    /// The time of a negative trust anchor is over: its names are validated again.
    NegativeAnchorEnded,
}

impl EventKind {
    /// The word for the kind in JSON, and the name of the event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FeedRefused => "feed_refused",
            Self::FeedLive => "feed_live",
            Self::FeedApproved => "feed_approved",
            Self::FeedHeld => "feed_held",
            Self::FeedStale => "feed_stale",
            Self::FeedFailing => "feed_failing",
            Self::RolledBack => "rolled_back",
            Self::StoreFailing => "store_failing",
            Self::StoreWritable => "store_writable",
            Self::DiskFilling => "disk_filling",
            Self::DiskHasRoom => "disk_has_room",
            Self::AuditBroken => "audit_broken",
            Self::CertificateFailing => "certificate_failing",
            Self::CertificateExpiring => "certificate_expiring",
            Self::CertificateRenewed => "certificate_renewed",
            Self::MemoryShort => "memory_short",
            Self::MemoryEnough => "memory_enough",
            Self::ZoneBogus => "zone_bogus",
            Self::ZoneNotBogus => "zone_not_bogus",
            Self::Limited => "limited",
            Self::NotLimited => "not_limited",
            Self::TrustAnchorNew => "trust_anchor_new",
            Self::TrustAnchorTrusted => "trust_anchor_trusted",
            Self::TrustAnchorMissing => "trust_anchor_missing",
            Self::TrustAnchorRevoked => "trust_anchor_revoked",
            Self::NegativeAnchorEnded => "negative_anchor_ended",
        }
    }
}

/// An event of the lists or the stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListEvent {
    /// RFC 3339.
    pub at: Timestamp,
    /// The kind, also the name of the event.
    pub kind: EventKind,
    /// The feed. Null if the event is about all of them.
    pub feed: Option<String>,
    /// The version of the feed.
    pub version: Option<String>,
    /// The live generation.
    pub generation: Option<u64>,
    /// The gate, as a stable identifier.
    pub gate: Option<String>,
    /// The same, for people.
    pub detail: Option<String>,
}
