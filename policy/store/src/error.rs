//! What can go wrong with the store, by step.

use std::path::PathBuf;

use ipnet::IpNet;
use policy::household::Id;

/// A step of the store that failed; what was stored before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A URL of another engine. Only its scheme is shown: what follows may hold a password.
    #[error("a store of the kind {scheme:?} is not built yet in this version, which keeps households in SQLite: sqlite:PATH")]
    Engine {
        /// What stands before the URL's first colon.
        scheme: String,
    },
    /// A URL that names no file.
    #[error("{0:?} names no file: a store that forgets would lose acknowledged writes; write sqlite:PATH")]
    NoFile(String),
    /// A store that a newer version of this program has brought up to date.
    #[error("{path} was written by a newer version of this program (its tables are at {version}); it was left as it is")]
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
    #[error("creating {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file is no database, is damaged, or was written by a newer version.
    #[error("opening the store {url}: it is damaged, no database, or of a newer version; it was left as it is")]
    Open {
        /// The store.
        url: String,
        /// The engine's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
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
    /// No randomness for a key.
    #[error("drawing a key")]
    Random(#[source] std::io::Error),
}

/// Names the step at which the engine failed.
pub(crate) fn step(step: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { step, source }
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
    #[error("a household has at most {} keys in force", crate::keys::KEYS_MAX)]
    TooMany,
}
