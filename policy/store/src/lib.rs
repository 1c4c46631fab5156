//! What survives: households and keys. SQLite today; nothing outside this crate knows.
//!
//! - `households`: documents, changed one transaction at a time.
//! - `keys`: who may do what.
//! - [`error`]: what can go wrong.
//!
//! An acknowledged write is on disk: the journal is synced before `commit` returns, so neither `kill -9` nor a power cut
//! takes it back.

pub mod error;
mod households;
mod keys;

use std::{path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use error::{ChangeError, StoreError};
pub use households::{Changed, Page};
pub use keys::{Key, Role};

/// How long a statement waits for another process on the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Readers beside the one writer: SQLite gives each a thread.
const CONNECTIONS_MAX: u32 = 4;

/// The store of one node.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the store, makes it where it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// See [`StoreError`]; a file that is no store of ours is left as it is.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let path = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        let path = Path::new(path.ok_or_else(|| StoreError::Engine(url.to_owned()))?);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open { url: url.to_owned(), source };
        let pool =
            SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await.map_err(|error| failed(error.into()))?;
        sqlx::migrate!().run(&pool).await.map_err(|error| failed(error.into()))?;
        Ok(Self { pool })
    }

    /// Closes it in order, so that the journal is folded in.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
