//! What survives: households, feeds, keys and the audit. SQLite today; nothing outside this crate knows.
//!
//! - `households`: documents, changed one transaction at a time.
//! - `feeds`: the feeds that were defined over REST.
//! - `mandates`: what is ordered, beside the feeds.
//! - `choices`: what households chose, counted; `requests`: what children ask for.
//! - `notices`: what holders of accounts must learn of; `reports`: what the public says is blocked by mistake.
//! - `audit`: who did what, in a chain of hashes.
//! - `keys`: who may do what; `in_force`: which keys still may.
//! - `retries`: writes that may come twice.
//! - [`activity`]: what homes asked for, counted, in a file of its own.
//! - `duties`: what of that is to be forgotten.
//! - [`error`]: what can go wrong.
//!
//! An acknowledged write is on disk: the journal is synced before `commit` returns, so neither `kill -9` nor a power cut
//! takes it back.

pub mod activity;
mod audit;
mod choices;
mod duties;
pub mod error;
mod feeds;
mod households;
mod in_force;
mod keys;
mod mandates;
mod notices;
mod past;
mod reports;
mod requests;
mod retries;

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use activity::Activity;
pub use audit::{AuditPage, Author, ChainFault, ChainReport, Deed, Order, Record};
pub use choices::{ChoiceCount, ChoiceDay};
pub use duties::{Duty, OpenDuty};
pub use error::{ChangeError, KeyError, StoreError};
pub use feeds::{FeedChanged, StoredFeed};
pub use households::{Batch, Change, Changed, Page, Position};
pub use in_force::{Revocations, fingerprint};
pub use keys::{KEYS_MAX, Key, NewKey, Role};
pub use mandates::{MandateChanged, MandatePage, StoredMandate};
pub use notices::{Delivery, Due, NewNotice, OutboxCounts};
pub use reports::{Closing, Outcome, REPORTS_OPEN_MAX, Report, ReportAge, ReportPage};
pub use requests::{Answer, Asked, REQUESTS_OPEN_MAX, REQUESTS_PER_DAY_MAX, Request, RequestError, RequestState};
pub use retries::{Attempt, Begun, Kept};

/// How long a statement waits for another process on the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Readers beside the one writer: SQLite gives each a thread.
const CONNECTIONS_MAX: u32 = 4;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The store of one node.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    /// Tells what this process began from what one before it did.
    maker: Arc<str>,
}

impl Store {
    /// Opens the store, makes it where it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// See [`StoreError`]; a file that is no store of ours is left as it is.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let path = ready(url, "household").await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // WAL's usual NORMAL would lose acknowledged writes with the power.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await;
        let pool = pool.map_err(|error| StoreError::Open { url: url.to_owned(), source: error.into() })?;
        bring_up_to_date(&pool, &MIGRATIONS, url, path).await?;
        Ok(Self { pool, maker: keys::random_hex(8)?.into() })
    }

    /// Whether there is a store already, so that who only reads need not make one.
    #[must_use]
    pub fn is_there(url: &str) -> bool {
        file_of(url).is_ok_and(Path::exists)
    }

    /// A number that nobody guesses and nothing else has, as text.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn fresh_id() -> Result<String, StoreError> {
        keys::random_hex(12)
    }

    /// Closes it in order, so that the journal is folded in.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The file that a URL names.
fn file_of(url: &str) -> Result<&Path, StoreError> {
    let (scheme, path) = url.split_once(':').unwrap_or((url, ""));
    if scheme != "sqlite" {
        return Err(StoreError::Engine { scheme: scheme.to_owned() });
    }
    let path = path.strip_prefix("//").unwrap_or(path);
    // SQLite's `:memory:` would be another database in each connection.
    if path.is_empty() || path.starts_with(':') { Err(StoreError::NoFile(url.to_owned())) } else { Ok(Path::new(path)) }
}

/// The file that a URL names, in a folder that is there; it has `table`, or nothing yet.
async fn ready<'a>(url: &'a str, table: &str) -> Result<&'a Path, StoreError> {
    let path = file_of(url)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
    }
    // Opening for real sets the journal's mode, which writes: so the file is looked at first.
    match is_ours(path, table).await {
        Ok(true) => Ok(path),
        Ok(false) => Err(StoreError::Foreign { path: path.to_owned() }),
        Err(error) => Err(StoreError::Open { url: url.to_owned(), source: error.into() }),
    }
}

/// Brings a store's tables up to date.
async fn bring_up_to_date(pool: &SqlitePool, migrations: &Migrator, url: &str, path: &Path) -> Result<(), StoreError> {
    migrations.run(pool).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => StoreError::Newer { path: path.to_owned(), version },
        error => StoreError::Open { url: url.to_owned(), source: error.into() },
    })
}

/// Whether a file is a store of ours with this table, or nothing yet. Reads and never writes.
async fn is_ours(path: &Path, table: &str) -> Result<bool, sqlx::Error> {
    // A file without octets is one whose maker died before the first page.
    if std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0 {
        return Ok(true);
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.connect().await?;
    let query = "SELECT count(*), coalesce(sum(name = ?), 0), coalesce(sum(name NOT LIKE '@_sqlx@_%' ESCAPE '@'), 0)
        FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'";
    let (tables, named, ours): (i64, i64, i64) = sqlx::query_as(query).bind(table).fetch_one(&mut connection).await?;
    connection.close().await?;
    // Ours from the first migration on; before it there is nothing, or the migrations' own table.
    Ok(ours == 0 || (named == 1 && tables > ours))
}
