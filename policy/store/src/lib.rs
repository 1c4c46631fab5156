//! What survives: households, feeds, keys and the audit. SQLite today; nothing outside this crate
//! knows.
//!
//! - `households`: documents, changed one transaction at a time.
//! - `feeds`: the feeds that were defined over REST.
//! - `mandates`: what is ordered, beside the feeds.
//! - `choices`: what households chose, counted; `requests`: what children ask for.
//! - `notices`: what holders of accounts must learn of; `reports`: what the public says is blocked
//!   by mistake.
//! - `audit`: who did what, in a chain of hashes; [`heads`]: signatures over it; `chain`: who keeps
//!   them; `verification`: whether all fits.
//! - `keys`: who may do what; `in_force`: which keys still may.
//! - `retries`: writes that may come twice.
//! - [`activity`]: what homes asked for, counted, in a file of its own.
//! - `duties`: what of that is to be forgotten.
//! - `database`: how a file is opened, read and written; [`condition`]: whether it can be; `file`:
//!   the file itself, and who has it.
//! - `identity`: which store this is, and that a node had one.
//! - [`error`]: what can go wrong.
//!
//! An acknowledged write is on disk: the journal is synced before `commit` returns, so neither
//! `kill -9` nor a power cut takes it back.

pub mod activity;
mod as_of;
mod audit;
mod audit_heads;
mod audit_rows;
mod chain;
mod choices;
mod condition;
mod database;
pub mod error;
mod failure;
mod feeds;
mod file;
pub mod heads;
mod health;
mod households;
mod identity;
mod in_force;
mod keys;
mod mandates;
mod notices;
mod pending_erasures;
mod reports;
mod requests;
mod retries;
mod secret;
mod store;
mod time;
mod verification;

pub use activity::Activity;
pub use audit::{Author, Deed};
pub use audit_rows::{AuditPage, Order, Record};
pub use chain::Findings;
pub use choices::{ChoiceCount, ChoiceDay};
pub use condition::WriteFailure;
pub use error::{ChangeError, KEYS_MAX, KeyError, OpenFault, StoreError};
pub use failure::FailureReason;
pub use feeds::{FeedChanged, StoredFeed};
pub use file::Lock;
pub use heads::SignedHead;
pub use health::Health;
pub use households::{Batch, Change, Changed, Page, Position};
pub use identity::Home;
pub use in_force::{Revocations, fingerprint};
pub use keys::{Key, NewKey, Role};
pub use mandates::{MandateChanged, MandatePage, StoredMandate};
pub use notices::{Delivery, Due, NewNotice, OutboxCounts};
pub use pending_erasures::{Duty, OpenDuty};
pub use reports::{Closing, Outcome, REPORTS_OPEN_MAX, Report, ReportAge, ReportPage};
pub use requests::{
    Answer, Asked, REQUESTS_OPEN_MAX, REQUESTS_PER_DAY_MAX, Request, RequestError, RequestState,
};
pub use retries::{Attempt, Begun, Kept};
pub use store::Store;
pub use verification::{ChainFault, ChainReport};
