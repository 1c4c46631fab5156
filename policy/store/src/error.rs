//! Errors of the store, by the step that failed.

use std::{
    fmt, io,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use ipnet::IpNet;
use jiff::Timestamp;
use policy::rules::{holdings::TooMuch, household::Id};

use crate::failure::FailureReason;

/// The most active keys of one household: enough for each parent and each device. Bounds what an
/// attacker can create.
pub const KEYS_MAX: usize = 512;

/// A step of the store that failed. Stored data is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL of another engine. Only the scheme is shown, because the rest may hold a password.
    #[error(
        "a store of the kind {scheme:?} is not built yet in this version, which keeps households in SQLite: sqlite:PATH"
    )]
    Engine {
        /// The text before the URL's first colon.
        scheme: String,
    },
    /// A URL without a file.
    #[error(
        "{0:?} names no file: a store that forgets would lose acknowledged writes; write sqlite:PATH"
    )]
    NoFile(String),
    /// A newer version of this program has migrated the store.
    #[error(
        "{path} was written by a newer version of this program (its tables are at {version}); it was left as it is"
    )]
    Newer {
        path: PathBuf,
        /// The migration that this version does not know.
        version: i64,
    },
    /// An intact database of another program, or the other store of this one.
    #[error("{path} is a database of another program, or for something else; it was left as it is")]
    Foreign { path: PathBuf },
    /// The folder of the file cannot be created.
    #[error("the folder {path} cannot be made")]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There is no store, and only the daemon creates one.
    #[error(
        "there is no store at {path}{}; `ox-protect serve` makes one, and store.url says where it is (relative to the configuration file)",
        if *is_empty { ": the file is empty" } else { "" }
    )]
    Missing {
        path: PathBuf,
        /// Whether there is an empty file.
        is_empty: bool,
    },
    /// The path is a folder or a device.
    #[error("{path} is no file")]
    NotAFile { path: PathBuf },
    /// The system refuses access to the file, or to files beside it.
    #[error(
        "{path} cannot be read and written by this process, which needs that of the store, its folder and the files beside it"
    )]
    Access {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// SQLite could not open the file.
    #[error("opening the store {path}: {fault}; it was left as it is")]
    Open {
        path: PathBuf,
        fault: OpenFault,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another daemon uses the store.
    #[error("another `ox-protect serve`{} has the store {path} open; one store has one daemon",
        process.map(|id| format!(" (process {id})")).unwrap_or_default())]
    Locked {
        path: PathBuf,
        /// The process of that daemon.
        process: Option<u32>,
    },
    /// The node had a store before and has none now.
    #[error(
        "the store {path} is {}, but {evidence} shows that this node had one, with households, keys and mandates. Put the file back, or a copy of \
        it; or begin anew, without all of these: `ox-protect serve --new-store`",
        if *is_empty { "empty" } else { "missing" }
    )]
    Lost {
        path: PathBuf,
        /// Whether there is an empty file.
        is_empty: bool,
        /// What proves that the node had a store.
        evidence: String,
    },
    /// A new store was requested where one exists.
    #[error(
        "{path} is a store already; `--new-store` begins one where there is none: move the file away, or start without it"
    )]
    AlreadyThere { path: PathBuf },
    /// The store is not the one that this node had.
    #[error(
        "the store {path} has the identity {found}, but {marker} says that this node's store is {expected}: it is another node's, or another \
        store was made in its place. Put the right file there, or remove {marker} where the change is meant"
    )]
    OtherNode {
        path: PathBuf,
        /// The identity of this store.
        found: String,
        expected: String,
        /// The marker with the expected identity.
        marker: PathBuf,
    },
    /// The file was removed, replaced or truncated while it was open.
    #[error(
        "nothing is written any more: {detail}; put it back, or stop the program, restore the store and start"
    )]
    Vanished { detail: String },
    /// A statement failed.
    #[error("{step}")]
    Database {
        step: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// A household's document cannot be read.
    #[error("the stored document of household {household:?} cannot be read")]
    Document {
        household: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The state of that time cannot be told, because later changes were moved to an archive.
    #[error(
        "changes up to {until} were exported from the audit; the state before is not known here"
    )]
    Archived { until: Timestamp },
    /// The state of that time is too many changes ago.
    #[error("since then the household was changed more than {changes} times")]
    TooLongAgo { changes: u32 },
    /// A feed's definition cannot be read.
    #[error("the stored definition of feed {feed:?} cannot be read")]
    FeedDocument {
        feed: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A mandate cannot be read.
    #[error("the stored mandate {mandate:?} cannot be read")]
    MandateDocument {
        mandate: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A negative trust anchor cannot be read.
    #[error("the stored negative trust anchor {name:?} cannot be read")]
    NegativeAnchor {
        name: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A key file or a signed head cannot be used.
    #[error("{path}: {detail}")]
    Unusable { path: PathBuf, detail: String },
    /// The system has no randomness for a key.
    #[error("drawing a key")]
    Random(#[source] io::Error),
}

/// Why SQLite could not open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenFault {
    /// It does not begin like a database.
    NotADatabase,
    /// It begins like a database but is damaged.
    Damaged,
    /// There is no room for the journal.
    Full,
    /// Another process holds its lock.
    Busy,
    /// The system failed to read or write the file.
    Io,
    /// Its tables are not those that this version expects.
    Tables,
}

impl fmt::Display for OpenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotADatabase => "it is no SQLite database",
            Self::Damaged => "it is damaged",
            Self::Full => "its file system has no room left",
            Self::Busy => "another process holds its lock",
            Self::Io => "the system cannot read or write it",
            Self::Tables => "its tables are not those of this version",
        })
    }
}

impl StoreError {
    /// Whether the program is about to end and has closed the store.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(
            self,
            Self::Database {
                source: sqlx::Error::PoolClosed,
                ..
            }
        )
    }
}

/// Statements of this process that failed because of a file.
static FILE_FAULTS: AtomicU64 = AtomicU64::new(0);

/// The number of statements of this process that failed because of a file.
pub(crate) fn file_faults() -> u64 {
    FILE_FAULTS.load(Ordering::Relaxed)
}

/// Adds the failed step to an error of the engine.
pub(crate) fn step(step: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| {
        if FailureReason::of(&source).is_some() {
            FILE_FAULTS.fetch_add(1, Ordering::Relaxed);
        }
        StoreError::Database { step, source }
    }
}

/// Why a household, a feed, a mandate or a negative trust anchor was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<E> {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored version differs from the expected one.
    #[error("the version is {current}, not {expected}")]
    Version {
        /// The version that the caller expected; 0 for none.
        expected: u64,
        /// The stored version; 0 for none.
        current: u64,
    },
    /// A network belongs to another household.
    #[error("{network} belongs to household {owner}")]
    NetworkTaken { network: IpNet, owner: Id },
    /// The household would hold too much.
    #[error("{0}")]
    TooMuch(TooMuch),
    /// The request was answered before.
    #[error("the request was answered before")]
    Settled,
    /// The prompt has other domains than those that the answer names.
    #[error("the thing has asked for more since")]
    Grown,
    /// The change itself was refused.
    #[error("the change was refused")]
    Refused(E),
}

/// Why a key was not created.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Role, household and device do not fit together, or the label is invalid.
    #[error("{field}: {detail}")]
    Unfit {
        field: &'static str,
        /// The expected value.
        detail: &'static str,
    },
    #[error("there is no household {0}")]
    NoHousehold(Id),
    #[error("the household has no device {0}")]
    NoDevice(Id),
    /// The household has [`KEYS_MAX`] keys.
    #[error("a household has at most {KEYS_MAX} keys in force")]
    TooMany,
    /// The link that makes the key was used before.
    #[error("the link was used before")]
    LinkUsed,
}
