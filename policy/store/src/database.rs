//! An open SQLite file: readers share a pool, and every write goes through [`Database::begin`].
//!
//! ```text
//! turn -> begin (the files are there) -> statements -> commit (the files are still there) -> acknowledged
//! ```
//!
//! - Writes have a connection of their own and take turns by household (`write_queue`), so that no
//!   write waits for reads, and no household for the queue of another.
//! - A connection returns to the pool only outside of a transaction. SQLite ends a transaction by
//!   itself on some errors (no room, I/O, no memory, `RAISE(ROLLBACK)`, `ON CONFLICT ROLLBACK`:
//!   `https://sqlite.org/lang_transaction.html`, section 3); the driver still counts it, and would
//!   refuse every `BEGIN` on that connection. Such a connection is closed, and the next write opens
//!   another one.
//! - One connection, the anchor, stays open and idle. The journal is therefore one file from
//!   opening to closing, and its removal is noticed.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    query::Query,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions,
        SqliteQueryResult,
    },
};

use crate::{
    condition::StoreCondition,
    error::{OpenFault, StoreError, file_faults, step},
    failure::primary_code,
    file::{self, FileContent, OpenFiles},
    write_queue::{WritePermit, WriteQueue},
};

/// How long a statement waits for another writer of the same file. A disk that is busy with other
/// work can delay a write for many seconds.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Readers beside the one writer: SQLite gives each a thread.
const READERS_MAX: u32 = 4;

/// What distinguishes the two stores.
pub(crate) struct Kind {
    /// A table that the store has from its first migration on.
    pub table: &'static str,
    pub migrations: &'static Migrator,
    /// Sets the options of its connections.
    pub options: fn(SqliteConnectOptions) -> SqliteConnectOptions,
}

/// An opened file.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    readers: SqlitePool,
    writer: SqlitePool,
    queue: Arc<WriteQueue>,
    condition: Arc<StoreCondition>,
    anchor: Arc<tokio::sync::Mutex<Option<SqliteConnection>>>,
}

/// Checks what a file holds, and refuses a file that is no such store. Reads only.
pub(crate) async fn look(url: &str, kind: &Kind) -> Result<FileContent, StoreError> {
    let path = file::file_of(url)?;
    let content = file::look(path)?;
    if content != FileContent::Filled {
        return Ok(content);
    }
    let failed = |error| opening_failed(path, error);
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.connect().await.map_err(failed)?;
    let query = "SELECT count(*), coalesce(sum(name = ?), 0), coalesce(sum(name NOT LIKE '@_sqlx@_%' ESCAPE '@'), 0)
        FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'";
    let (tables, named, ours): (i64, i64, i64) = sqlx::query_as(query)
        .bind(kind.table)
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    connection.close().await.map_err(failed)?;
    match (ours, named) {
        // Before the first migration there are no tables, or only that of the migrations.
        (0, _) => Ok(FileContent::Empty),
        (_, 1) if tables > ours => Ok(FileContent::Filled),
        _ => Err(StoreError::Foreign {
            path: path.to_owned(),
        }),
    }
}

impl Database {
    /// Opens a file and migrates its tables. Creates it if it does not exist and `makes` is set.
    pub(crate) async fn open(url: &str, kind: &Kind, makes: bool) -> Result<Self, StoreError> {
        let path = file::file_of(url)?;
        if makes {
            file::make_folder(path)?;
        }
        // Checked before SQLite reads a page, because it reports all of these cases as "cannot
        // open".
        let content = file::look(path)?;
        match content {
            FileContent::Missing if makes => file::make_file(path)?,
            FileContent::Missing | FileContent::Empty if !makes => {
                return Err(StoreError::Missing {
                    path: path.to_owned(),
                    is_empty: content == FileContent::Empty,
                });
            }
            _ => {}
        }
        file::may_write(path)?;
        // Opening sets the journal's mode, which writes; so the file is checked first.
        if look(url, kind).await? == FileContent::Empty && !makes {
            return Err(StoreError::Missing {
                path: path.to_owned(),
                is_empty: true,
            });
        }
        if makes {
            file::tighten(path);
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            // A later connection finds the file that was opened first, or none.
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true);
        let options = (kind.options)(options);
        let mut anchor = options
            .connect()
            .await
            .map_err(|error| opening_failed(path, error))?;
        kind.migrations
            .run(&mut anchor)
            .await
            .map_err(|error| match error {
                MigrateError::VersionMissing(version) => StoreError::Newer {
                    path: path.to_owned(),
                    version,
                },
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                    opening_failed(path, error)
                }
                error => StoreError::Open {
                    path: path.to_owned(),
                    fault: OpenFault::Tables,
                    source: error.into(),
                },
            })?;
        let condition = Arc::new(StoreCondition::new(path));
        let files = OpenFiles::of(path).map_err(|source| StoreError::Access {
            path: path.to_owned(),
            source,
        })?;
        condition.files.set(files).expect("nothing else sets it");
        let pool = |connections_max| {
            pool(&condition)
                .max_connections(connections_max)
                .connect_lazy_with(options.clone())
        };
        Ok(Self {
            readers: pool(READERS_MAX),
            writer: pool(1),
            queue: Arc::default(),
            condition,
            anchor: Arc::new(Some(anchor).into()),
        })
    }

    /// For readers; writes go through [`Self::begin`].
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.readers
    }

    pub(crate) fn condition(&self) -> &StoreCondition {
        &self.condition
    }

    /// Begins a write of the node itself, see [`Self::begin_for`].
    pub(crate) async fn begin(&self, what: &'static str) -> Result<Writing<'_>, StoreError> {
        self.begin_for("", what).await
    }

    /// Begins a write for a household, in its turn. It holds the file's write lock until it is
    /// committed, or dropped, which undoes it.
    pub(crate) async fn begin_for(
        &self,
        whose: &str,
        what: &'static str,
    ) -> Result<Writing<'_>, StoreError> {
        let permit = self.queue.turn(whose).await;
        self.condition.check()?;
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let transaction = begun
            .inspect_err(|error| self.condition.failed(error))
            .map_err(step(what))?;
        Ok(Writing {
            condition: &self.condition,
            transaction: Some(transaction),
            faults: file_faults(),
            _permit: permit,
        })
    }

    /// Writes with one statement.
    pub(crate) async fn execute(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
        what: &'static str,
    ) -> Result<SqliteQueryResult, StoreError> {
        self.execute_for("", query, what).await
    }

    /// Writes with one statement for a household, in its turn.
    pub(crate) async fn execute_for(
        &self,
        whose: &str,
        query: Query<'_, Sqlite, SqliteArguments>,
        what: &'static str,
    ) -> Result<SqliteQueryResult, StoreError> {
        let mut writing = self.begin_for(whose, what).await?;
        let done = query.execute(&mut *writing).await.map_err(step(what))?;
        writing.commit(what).await?;
        Ok(done)
    }

    /// Closes the file, the anchor last, so that the journal is checkpointed.
    pub(crate) async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
        if let Some(anchor) = self.anchor.lock().await.take()
            && let Err(error) = anchor.close().await
        {
            tracing::warn!(file = %self.condition.path.display(), %error, "the file could not be closed in order");
        }
    }
}

fn pool(condition: &Arc<StoreCondition>) -> SqlitePoolOptions {
    let condition = Arc::clone(condition);
    SqlitePoolOptions::new()
        // A connection does not age: the file that it has open may be the only one that exists.
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |_, _| {
            let condition = Arc::clone(&condition);
            // The path may lead to another file by now.
            Box::pin(async move {
                condition
                    .check()
                    .map_err(|error| sqlx::Error::Configuration(error.into()))
            })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                // The rollback of an uncommitted write is in the connection's queue; the ping comes
                // after it.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
}

/// A write in progress.
pub(crate) struct Writing<'d> {
    condition: &'d StoreCondition,
    transaction: Option<Transaction<'static, Sqlite>>,
    /// The failures of all files when the write began.
    faults: u64,
    /// Dropped last: the next write begins when this one has ended.
    _permit: WritePermit,
}

impl Writing<'_> {
    /// Commits the write. It is acknowledged only if the files exist before and after.
    pub(crate) async fn commit(mut self, what: &'static str) -> Result<(), StoreError> {
        self.condition.check()?;
        let transaction = self.transaction.take().expect(THERE);
        transaction
            .commit()
            .await
            .inspect_err(|error| self.condition.failed(error))
            .map_err(step(what))?;
        self.condition.check()?;
        self.condition.worked();
        Ok(())
    }
}

const THERE: &str = "a transaction is there until it is committed";

impl Deref for Writing<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.transaction.as_ref().expect(THERE)
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.transaction.as_mut().expect(THERE)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        // Another file may have failed meanwhile; then this one is checked without need.
        if self.transaction.is_some() && self.faults != file_faults() {
            self.condition.doubt();
        }
    }
}

/// Determines why a file could not be opened. SQLite reports many causes alike, so the system is
/// asked then.
fn opening_failed(path: &Path, error: sqlx::Error) -> StoreError {
    let fault = match primary_code(&error) {
        Some(26) => OpenFault::NotADatabase,
        Some(11) => OpenFault::Damaged,
        Some(13) => OpenFault::Full,
        Some(5 | 6) => OpenFault::Busy,
        Some(1) => OpenFault::Tables,
        _ => match file::may_write(path) {
            Err(error) => return error,
            Ok(()) if file::has_little_room(path) => OpenFault::Full,
            Ok(()) => OpenFault::Io,
        },
    };
    StoreError::Open {
        path: path.to_owned(),
        fault,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_whose_transaction_the_engine_ended_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/store.db", folder.path().display());
        let database = Database::open(&url, &crate::store::KIND, true)
            .await
            .unwrap();
        // Each connection has a limit of its own that makes SQLite report a full disk; a new
        // connection has none.
        let mut connection = database.writer.acquire().await.unwrap();
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(&mut *connection)
            .await
            .unwrap();
        drop(connection);
        let mut full = 0;
        for _ in 0..2 {
            let write = sqlx::query(
                "INSERT INTO probe (one, filler) VALUES (1, randomblob(1000000)) ON CONFLICT DO NOTHING",
            );
            match database.execute(write, "testing").await {
                Ok(_) => break,
                Err(StoreError::Database { source, .. }) => {
                    assert_eq!(primary_code(&source), Some(13), "{source}");
                    full += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(full, 1);
        for number in 0..READERS_MAX * 2 {
            database
                .begin("testing")
                .await
                .unwrap()
                .commit("testing")
                .await
                .unwrap_or_else(|error| panic!("{number}: {error}"));
        }
        database.close().await;
    }
}
