//! Errors of the store, by step.

use std::{
    fmt, io,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use ipnet::IpNet;
use policy::rules::household::Id;

use crate::failure::FailureReason;

/// The most keys in force of one household: each parent and each device has one, and an attacker's
/// loop ends here.
pub const KEYS_MAX: usize = 512;

/// A step of the store that failed; what was stored before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A URL of another engine. Only its scheme is shown: what follows may hold a password.
    #[error(
        "a store of the kind {scheme:?} is not built yet in this version, which keeps households in SQLite: sqlite:PATH"
    )]
    Engine {
        /// What stands before the URL's first colon.
        scheme: String,
    },
    /// A URL that names no file.
    #[error(
        "{0:?} names no file: a store that forgets would lose acknowledged writes; write sqlite:PATH"
    )]
    NoFile(String),
    /// A store that a newer version of this program has brought up to date.
    #[error(
        "{path} was written by a newer version of this program (its tables are at {version}); it was left as it is"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The migration that this version does not know.
        version: i64,
    },
    /// A sound database, but of another program, or another store of this one.
    #[error("{path} is a database of another program, or for something else; it was left as it is")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The folder of the file cannot be made.
    #[error("the folder {path} cannot be made")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// There is no store, and this is not what makes one.
    #[error(
        "there is no store at {path}{}; `ox-protect serve` makes one, and store.url says where it is (relative to the configuration file)",
        if *is_empty { ": the file is empty" } else { "" }
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// Whether there is a file without anything in it.
        is_empty: bool,
    },
    /// A folder or a device where the file should be.
    #[error("{path} is no file")]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// The system refuses the file, or files beside it.
    #[error(
        "{path} cannot be read and written by this process, which needs that of the store, its folder and the files beside it"
    )]
    Access {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// SQLite could not open the file.
    #[error("opening the store {path}: {fault}; it was left as it is")]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: OpenFault,
        /// The engine's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another daemon has it.
    #[error("another `ox-protect serve`{} has the store {path} open; one store has one daemon",
        process.map(|id| format!(" (process {id})")).unwrap_or_default())]
    Locked {
        /// The file.
        path: PathBuf,
        /// The other one.
        process: Option<u32>,
    },
    /// A node that had a store has none.
    #[error(
        "the store {path} is {}, but {evidence} shows that this node had one, with households, keys and orders. Put the file back, or a copy of \
        it; or begin anew, without all of these: `ox-protect serve --new-store`",
        if *is_empty { "empty" } else { "missing" }
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// Whether there is a file without anything in it.
        is_empty: bool,
        /// What shows that there was one.
        evidence: String,
    },
    /// A new store is wanted where there is one.
    #[error(
        "{path} is a store already; `--new-store` begins one where there is none: move the file away, or start without it"
    )]
    AlreadyThere {
        /// The file.
        path: PathBuf,
    },
    /// The store is not the one that this node had.
    #[error(
        "the store {path} has the identity {found}, but {marker} says that this node's store is {expected}: it is another node's, or another \
        store was made in its place. Put the right file there, or remove {marker} where the change is meant"
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Its identity.
        found: String,
        /// The identity that was expected.
        expected: String,
        /// The file that says so.
        marker: PathBuf,
    },
    /// The file was removed, replaced or cut short while it was open.
    #[error(
        "nothing is written any more: {detail}; put it back, or stop the program, restore the store and start"
    )]
    Vanished {
        /// What happened.
        detail: String,
    },
    /// A statement failed.
    #[error("{step}")]
    Database {
        /// What was being done.
        step: &'static str,
        /// The engine's reason.
        #[source]
        source: sqlx::Error,
    },
    /// A document that cannot be read back.
    #[error("the stored document of household {household:?} cannot be read")]
    Document {
        /// The household.
        household: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A feed's definition that cannot be read back.
    #[error("the stored definition of feed {feed:?} cannot be read")]
    FeedDocument {
        /// The feed.
        feed: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A mandate that cannot be read back.
    #[error("the stored mandate {mandate:?} cannot be read")]
    MandateDocument {
        /// The mandate.
        mandate: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A key or a signed head that cannot be used.
    #[error("{path}: {detail}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// No randomness for a key.
    #[error("drawing a key")]
    Random(#[source] io::Error),
}

/// Why SQLite could not open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenFault {
    /// It begins otherwise than a database does.
    NotADatabase,
    /// It begins as a database does and does not go on so.
    Damaged,
    /// There is no room for the journal.
    Full,
    /// Another process holds its lock.
    Busy,
    /// The system failed to read or write it.
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

/// Statements of this process that failed by a file's fault.
static FILE_FAULTS: AtomicU64 = AtomicU64::new(0);

/// How many statements of this process have failed by a file's fault.
pub(crate) fn file_faults() -> u64 {
    FILE_FAULTS.load(Ordering::Relaxed)
}

/// Names the step at which the engine failed.
pub(crate) fn step(step: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| {
        if FailureReason::of(&source).is_some() {
            FILE_FAULTS.fetch_add(1, Ordering::Relaxed);
        }
        StoreError::Database { step, source }
    }
}

/// Why a change of a household, a feed or a mandate did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<E> {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is there has another version than the writer believes.
    #[error("the version is {current}, not {expected}")]
    Version {
        /// What the writer believes; 0 for what is not there.
        expected: u64,
        /// What is so; 0 for what is not there.
        current: u64,
    },
    /// A network belongs to another household.
    #[error("{network} belongs to household {owner}")]
    NetworkTaken {
        /// The network.
        network: IpNet,
        /// Whose it is.
        owner: Id,
    },
    /// The request that it answers was answered before.
    #[error("the request was answered before")]
    Settled,
    /// The change itself said no.
    #[error("the change was refused")]
    Refused(E),
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A role and a place that do not go together, or a label that cannot be kept.
    #[error("{field}: {detail}")]
    Unfit {
        /// What is wrong.
        field: &'static str,
        /// What would be right.
        detail: &'static str,
    },
    /// There is no such household.
    #[error("there is no household {0}")]
    NoHousehold(Id),
    /// The household has no such device.
    #[error("the household has no device {0}")]
    NoDevice(Id),
    /// The household has as many keys as it may have.
    #[error("a household has at most {KEYS_MAX} keys in force")]
    TooMany,
}
