//! The policy store: households, feeds, keys and the audit. The engine is SQLite; no other crate
//! depends on that.
//!
//! - `store`: a node's store, opened and checked. `identity`: recognises the store of the node.
//! - `households`: documents, read; `household_change`: changed, each prepared aside and stored in
//!   one short transaction; `as_of`: earlier states.
//! - `feeds`: feeds defined over REST. `mandates`: mandates beside the feeds.
//! - `negative_anchors`: names that are not validated for a while.
//! - `undo`: a change of a household, taken back.
//! - `choices`: counts of the households' choices. `requests`: requests to unblock a name.
//! - `sightings`: devices without a name; `device_hints`: what others tell of them. `prompts`: what things want to reach.
//! - `notices`: the outbox to account holders. `reports`: public reports of wrong blocks.
//! - `audit`: the log, a chain of hashes; `audit_archive`, `audit_cut`: its old rows, exported and removed;
//!   `audit_rows`: its pages; [`heads`], `chain`,
//!   `audit_heads`: signatures over it; `verification`: whether all of it is intact.
//! - `keys`: API keys; `in_force`: the active ones; `secret`: random identifiers.
//! - `push`: browsers that want notices. `sessions`: sessions of the app in browsers; `logged_in`: who has one, and
//!   its end from afar; `links`: links that open the app once.
//! - `retries`: idempotent writes.
//! - [`activity`]: the activity of households as counts, in a file of its own; `pending_erasures`:
//!   erasures that are still to be done there.
//! - `database`: opens, reads and writes a file; `write_queue`: who writes next; `condition`, `failure`, `health`: whether it can
//!   be written; `file`: the file itself, and its lock.
//! - [`error`]: the errors.
//!
//! An acknowledged write is on disk: the journal is synced before `commit` returns, so neither
//! `kill -9` nor a power cut loses it.

pub mod activity;
mod as_of;
mod audit;
mod audit_archive;
mod audit_cut;
mod audit_heads;
mod audit_rows;
mod chain;
mod choices;
mod condition;
mod database;
mod device_hints;
pub mod error;
mod failure;
mod feeds;
mod file;
pub mod heads;
mod health;
mod household_change;
mod households;
mod identity;
mod in_force;
mod keys;
mod links;
mod logged_in;
mod mandates;
mod negative_anchors;
mod notices;
mod pending_erasures;
mod prompts;
mod push;
mod reports;
mod requests;
mod retries;
mod secret;
mod sessions;
mod sightings;
mod store;
mod time;
mod undo;
mod verification;
mod write_queue;

pub use activity::ActivityStore;
pub use audit::{AuditEntry, Author};
pub use audit_archive::{ArchivedRows, PrunedRows, verify_archive};
pub use audit_rows::{AuditPage, AuditRecord, SortOrder};
pub use chain::Findings;
pub use choices::{ChoiceCount, ChoiceDay};
pub use condition::WriteFailure;
pub use device_hints::{DHCP_NAME_OCTETS_MAX, DeviceHint};
pub use error::{ChangeError, KEYS_MAX, KeyError, OpenFault, StoreError};
pub use failure::FailureReason;
pub use feeds::{FeedChanged, StoredFeed};
pub use file::Lock;
pub use heads::SignedHead;
pub use health::Health;
pub use household_change::{HouseholdChange, HouseholdChanged};
pub use households::{HouseholdBatch, ScanPosition, StoredHouseholds};
pub use identity::StorePaths;
pub use in_force::{Revocations, fingerprint};
pub use keys::{Key, NewKey, Role};
pub use links::{LINK_AGE_MAX, LINKS_MAX, Link, LinkError, OpenLink};
pub use logged_in::{EndedSessions, ListedSession, SessionsToEnd};
pub use mandates::{MandateChanged, MandatePage, StoredMandate};
pub use negative_anchors::{NegativeAnchorChanged, NegativeAnchorTerms, StoredNegativeAnchor};
pub use notices::{Delivery, DueDelivery, NewNotice, OutboxCounts};
pub use pending_erasures::{Erasure, PendingErasure};
pub use prompts::{
    AnsweredPrompt, GivenAnswer, GrownPrompt, PROMPT_DOMAINS_MAX, PROMPT_NAMES_MAX, Prompt,
    PromptAnswer, PromptDomain, PromptState, ThingWants,
};
pub use push::PushSubscription;
pub use reports::{REPORTS_OPEN_MAX, Report, ReportAge, ReportDecision, ReportOutcome, ReportPage};
pub use requests::{
    AccessRequest, REQUESTS_OPEN_MAX, REQUESTS_PER_DAY_MAX, RequestAnswer, RequestDetails,
    RequestError, RequestState,
};
pub use retries::{AttemptState, StoredAnswer, WriteAttempt};
pub use sessions::{
    AGE_MAX as SESSION_AGE_MAX, BegunSession, IDLE_MAX as SESSION_IDLE_MAX, Session, SessionOwner,
    ToldBrowser, session_fingerprint,
};
pub use sightings::{DeviceGuess, SIGHTING_KEPT, SIGHTINGS_MAX, SeenDevice, Sighting};
pub use store::Store;
pub use undo::{
    ChangedSince, NotAsDone, UNDOES, UndoneChange, take_back, untouched_since, version_made,
};
pub use verification::{ChainFault, ChainReport};
