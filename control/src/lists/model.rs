//! What the API asks of whoever keeps the lists, and in which words it is told.
//!
//! The daemon implements [`ListControl`]; this crate knows neither formats nor fetching. A
//! definition of a feed passes through as JSON and comes back canonical, or refused with the field
//! that is wrong. Everything here is data that goes out as it stands, but for secrets, which `veil`
//! takes out on the way.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use policy::lists::{
    artefact::{FeedReport, Refused},
    blocklist::Blocklist,
    entry::Tier,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// Whoever keeps the lists of this node.
///
/// Writes come one at a time, each in a task that a client who goes away does not end.
#[async_trait]
pub trait ListControl: Send + Sync {
    /// All feeds, those of the configuration and those of the API.
    async fn feeds(&self) -> Vec<FeedState>;

    /// One feed.
    async fn feed(&self, name: &str) -> Option<FeedState>;

    /// Checks a definition and makes it canonical. All that can be refused is refused here.
    async fn check_definition(&self, definition: Value) -> Result<Value, Refusal>;

    /// Takes a definition that was checked and is stored. It cannot be refused any more: what goes
    /// wrong from now on is the feed's state. [`Self::feed`] knows the feed when this returns.
    async fn define(&self, name: &str, definition: Value, is_new: bool);

    /// Takes a feed away, and its entries out of the lists. [`Self::feed`] no longer knows it when
    /// this returns.
    async fn remove(&self, name: &str);

    /// Has the source asked now. Returns when that is under way, not when it is done.
    async fn refresh(&self, name: &str) -> Result<(), ListError>;

    /// What the refused version, or the one that a held feed does not take, would change.
    async fn what_if(&self, name: &str) -> Result<WhatIf, ListError>;

    /// Lets the refused version through, which has this name; without a name, lets a held feed go
    /// on. Live when this returns.
    async fn approve(&self, name: &str, version: Option<&str>, by: &str) -> Result<(), ListError>;

    /// Gives a feed the entries that it had in a generation, by default in the last one in which
    /// they were others, and holds it. Live when this returns.
    async fn roll_back_feed(
        &self,
        name: &str,
        to: Option<u64>,
        by: &str,
    ) -> Result<RolledBack, ListError>;

    /// The generations that are kept, newest first.
    async fn generations(&self) -> Result<Vec<GenerationState>, ListError>;

    /// The lists as they were at a time: the last generation that was built before it, where it is
    /// kept.
    async fn at(&self, at: Timestamp) -> Result<Arc<Blocklist>, ListError>;

    /// What differs between two kept generations, with at most `limit` names each way.
    async fn diff(&self, from: u64, to: u64, limit: usize) -> Result<Difference, ListError>;

    /// Makes a kept generation live again, by default the one before the live one, and holds the
    /// feeds that it takes back. Live when this returns.
    async fn roll_back(&self, to: Option<u64>, by: &str) -> Result<RolledBack, ListError>;

    /// What `/v1/lists` says beside the artefact's own header.
    fn overlay(&self) -> OverlayState;

    /// Events from now on. The stream of a client ends when the sender is dropped, as the daemon
    /// does when it ends.
    fn subscribe(&self) -> broadcast::Receiver<ListEvent>;
}

/// Why a definition cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key that is wrong, where it is about one.
    pub field: Option<String>,
    /// The problem's code: `definition`, or what a definition of the API must not name.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Why something was not done. What was live is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListError {
    /// There is no such feed.
    UnknownFeed,
    /// No version waits for an approval.
    NothingRefused,
    /// Another version than the named one waits for an approval.
    AnotherVersion {
        /// The one that does.
        waiting: String,
    },
    /// The gate that stopped the version is one that nobody can open: what came is not what was
    /// sent.
    NotApprovable {
        /// The gate.
        gate: String,
    },
    /// A generation that is not kept.
    UnknownGeneration(u64),
    /// No generation is kept that was live then.
    NotKept(Timestamp),
    /// There is nothing to go back to: the named generation is live, or nothing before is kept.
    NothingBefore(String),
    /// A step failed.
    Failed(String),
}

/// Who defined a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The configuration: it is changed there.
    Config,
    /// The API.
    Api,
    /// Another node, or a configuration that is not this node's: it is in the lists, and cannot be
    /// changed here.
    Elsewhere,
}

/// How a feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// What was fetched last is live.
    Live,
    /// A gate stopped the last version; the one before is live.
    Refused,
    /// It was rolled back and stays so until it is approved to go on.
    Held,
    /// Nothing was fetched yet.
    Waiting,
    /// The last fetch brought nothing, or what it brought could not be built; what was there before
    /// is live.
    Failing,
}

/// One feed as it is now.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FeedState {
    /// Its name.
    pub name: String,
    /// Where it comes from; user names, passwords and query strings are never shown.
    pub source: String,
    /// Its format, as in `[[feeds]]`.
    pub format: String,
    /// `mandatory`, `security`, `choice` or `never-block`.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub tier: Tier,
    /// Who defined it.
    pub origin: Origin,
    /// How it is.
    pub state: Condition,
    /// The version that is live; none before the first.
    pub version: Option<String>,
    /// The generation in which that version became live.
    pub generation: Option<u64>,
    /// When its source was last asked with success, RFC 3339.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub fetched_at: Option<Timestamp>,
    /// When the provider published the live version, as far as it says, RFC 3339.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = DateTime))]
    pub published_at: Option<Timestamp>,
    /// Seconds since its source was last asked with success.
    pub age_s: Option<u64>,
    /// Seconds after which it counts as stale.
    pub max_age_s: Option<u64>,
    /// Whether it is older than that.
    pub is_stale: bool,
    /// Entries that are live.
    pub entries: u64,
    /// What was understood of the live version and what was not.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub report: FeedReport,
    /// What somebody must look into; none where all is well.
    pub alarm: Option<Alarm>,
    /// The version that a gate stopped; none where none is.
    pub refused: Option<RefusedVersion>,
    /// Failures since the start, by gate.
    pub failures: BTreeMap<String, u64>,
    /// Queries since the start in which an entry of this feed decided.
    pub hits: u64,
    /// Its definition, with the keys of `[[feeds]]`; secrets stand there as `(hidden)`.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub definition: Value,
}

/// What somebody must look into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Alarm {
    /// The gate, in a word that stays.
    pub gate: String,
    /// The same for people.
    pub detail: String,
    /// Since when, RFC 3339.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// The version that it is about, where it is about one.
    pub version: Option<String>,
}

/// A version that a gate stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RefusedVersion {
    /// Which one.
    pub version: String,
    /// The gate, in a word that stays.
    pub gate: String,
    /// The same for people.
    pub detail: String,
    /// When, RFC 3339.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Entries in it, where it could be read.
    pub entries: Option<u64>,
    /// Whether an operator may let it through. What came damaged or from somebody else never goes
    /// through.
    pub may_be_approved: bool,
}

/// What a version that is not live would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WhatIf {
    /// The feed.
    pub feed: String,
    /// The version.
    pub version: String,
    /// Names that would be blocked and are not, by category.
    pub newly_blocked: BTreeMap<String, u64>,
    /// Names that would no longer be blocked, by category.
    pub newly_unblocked: BTreeMap<String, u64>,
    /// Some names that would be blocked, at most 100.
    pub sample_blocked: Vec<ListedName>,
    /// Some names that would no longer be blocked, at most 100.
    pub sample_unblocked: Vec<ListedName>,
    /// What of yesterday's queries it would have touched.
    pub queries_yesterday: Touched,
}

/// Which queries something touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Touched {
    /// How many queries.
    pub queries: u64,
    /// For how many names.
    pub names: u64,
    /// The names that were asked for most, at most 100.
    pub top: Vec<TouchedName>,
}

/// A name that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TouchedName {
    /// The name.
    pub name: String,
    /// How many queries.
    pub queries: u64,
}

/// A generation of the lists that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GenerationState {
    /// Its number.
    pub generation: u64,
    /// The generation that it is a delta to; none for a whole one.
    pub parent: Option<u64>,
    /// When it was built, RFC 3339.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub built_at: Timestamp,
    /// Distinct names; of a delta, those that it changes.
    pub names: u64,
    /// Entries; of a delta, those that it changes.
    pub entries: u64,
    /// Length of its file, in octets.
    pub bytes: u64,
    /// SHA-256 of its file, hexadecimal.
    pub sha256: String,
    /// Whether it is live.
    pub is_live: bool,
    /// The version of each feed in it.
    pub versions: BTreeMap<String, String>,
}

/// What differs between two generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Difference {
    /// The generation from which it is seen.
    pub from: u64,
    /// The generation to which.
    pub to: u64,
    /// How many entries came and went, by feed and category; only where some did.
    pub changes: Vec<Change>,
    /// Some names that are listed in `to` and not in `from`.
    pub added: Vec<ListedName>,
    /// Some names that are listed in `from` and not in `to`.
    pub removed: Vec<ListedName>,
}

/// What changed in one feed for one category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Change {
    /// The feed.
    pub feed: String,
    /// The category; none for an entry of no category, such as an order.
    pub category: Option<String>,
    /// Entries that came.
    pub added: u64,
    /// Entries that went.
    pub removed: u64,
}

/// A listed name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListedName {
    /// The name.
    pub name: String,
    /// The feed that lists it.
    pub feed: String,
    /// For which category; none for an entry of no category.
    pub category: Option<String>,
}

/// What a rollback did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RolledBack {
    /// The generation that was live before.
    pub from: u64,
    /// The generation whose content came back.
    pub to: u64,
    /// The generation that is live now: `to`, or a new one where only one feed went back.
    pub live: u64,
    /// How long it took until every new query was judged by it, in milliseconds.
    pub took_ms: f64,
}

/// What stands in front of the base, and how the last build went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayState {
    /// Versions that gates stopped, by feed.
    pub refused: BTreeMap<String, Refused>,
    /// Entries in the overlay.
    pub entries: u64,
    /// Memory of the overlay, in octets.
    pub bytes: u64,
    /// The generation of the base.
    pub base_generation: u64,
    /// The generation that the live one is a delta to; none where it is whole.
    pub parent: Option<u64>,
    /// Why the last build went wrong or what it refused; none where all went well.
    pub last_error: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A gate stopped a version.
    FeedRefused,
    /// A version became live.
    FeedLive,
    /// An operator let a version through.
    FeedApproved,
    /// A feed stays where it was put until it is approved to go on.
    FeedHeld,
    /// A feed is older than it may be.
    FeedStale,
    /// A fetch brought nothing.
    FeedFailing,
    /// An earlier generation is live again.
    RolledBack,
    /// A store cannot be written: changes are refused, queries are answered.
    StoreFailing,
    /// It can be written again.
    StoreWritable,
    /// The audit is not as it was written.
    AuditBroken,
}

impl EventKind {
    /// As it stands in JSON and as the event's name.
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
            Self::AuditBroken => "audit_broken",
        }
    }
}

/// Something that happened to the lists, or that an operator must know of the stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListEvent {
    /// When, RFC 3339.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// To which feed; none where it is about all.
    pub feed: Option<String>,
    /// To which version of it.
    pub version: Option<String>,
    /// The generation that is live after it.
    pub generation: Option<u64>,
    /// The gate, in a word that stays.
    pub gate: Option<String>,
    /// The same for people.
    pub detail: Option<String>,
}
