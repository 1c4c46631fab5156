//! The store of one node: opened, checked, and written through [`Store::begin_for`].

use std::{
    collections::HashSet,
    ops::{Deref, DerefMut},
    path::Path,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use sqlx::{
    SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tokio::sync::Semaphore;

use crate::{
    chain::{Chain, Findings, NextHead},
    database::{self, Database, Kind, Writing},
    error::{StoreError, step},
    file::{self, FileContent, beside, file_of},
    heads::Signer,
    health::Health,
    identity::{KEY_SUFFIX, Markers, StorePaths},
    secret::random_hex,
    time::second,
};

static MIGRATIONS: Migrator = sqlx::migrate!();

pub(crate) const KIND: Kind = Kind {
    table: "household",
    migrations: &MIGRATIONS,
    options,
};

fn options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    // WAL's default NORMAL would lose acknowledged writes in a power cut.
    options
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(database::BUSY_TIMEOUT)
}

/// The store of one node.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) database: Database,
    /// For readers; writes go through [`Self::begin_for`].
    pub(crate) pool: SqlitePool,
    /// Places for the preparation of changes of large households: half of the cores.
    pub(crate) large: Arc<Semaphore>,
    pub(crate) chain: Arc<Chain>,
    /// Random id of this process; separates idempotent writes it started from those of an earlier
    /// run.
    pub(crate) process_id: Arc<str>,
    /// Attempts without effect that could not be deleted from the file.
    pub(crate) unforgotten: Arc<Mutex<HashSet<(String, String)>>>,
}

impl Store {
    /// Opens the store, creates it if it does not exist, and migrates its tables. Ignores markers
    /// and key: a daemon opens its store with [`Self::serve`].
    ///
    /// # Errors
    /// A file that is no such store is left unchanged.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::with(Database::open(url, &KIND, true).await?, Chain::default())
    }

    /// Opens the store of a node for a command, with or without a running daemon. Does not create
    /// one.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none.
    pub async fn open_existing(home: &StorePaths<'_>) -> Result<Self, StoreError> {
        let path = file_of(home.url)?;
        let database = Database::open(home.url, &KIND, false).await?;
        let (store, since) = identity(&database).await?;
        let markers = Markers::of(path, home.lists);
        check_identity(path, &store, &markers)?;
        let signer = Signer::read(&beside(path, KEY_SUFFIX))?;
        Self::with(database, Chain::new(store, since, signer, markers))
    }

    /// Opens the store of a node for its daemon. Creates it at the node's first start, when nothing
    /// in `evidence`, no marker and no journal without its database exists; or where the operator
    /// says that it `is_new`. Returns the findings about the audit.
    ///
    /// # Errors
    /// [`StoreError::Lost`] and [`StoreError::OtherNode`] where the store is not the one that this
    /// node had.
    pub async fn serve(
        home: &StorePaths<'_>,
        is_new: bool,
        evidence: &[&Path],
    ) -> Result<(Self, Findings), StoreError> {
        let path = file_of(home.url)?;
        let markers = Markers::of(path, home.lists);
        let content = database::look(home.url, &KIND).await?;
        let marked = markers.read()?;
        match content {
            FileContent::Filled if is_new => {
                return Err(StoreError::AlreadyThere {
                    path: path.to_owned(),
                });
            }
            FileContent::Filled => {}
            _ if is_new => markers.put_aside()?,
            FileContent::Missing | FileContent::Empty => {
                let journal = beside(path, "-wal");
                let key = beside(path, KEY_SUFFIX);
                let others = [journal.as_path(), key.as_path()]
                    .into_iter()
                    .chain(evidence.iter().copied());
                if let Some(evidence) = marked
                    .iter()
                    .map(|(path, _)| *path)
                    .chain(others)
                    .find(|path| path.exists())
                {
                    let is_empty = content == FileContent::Empty;
                    let evidence = evidence.display().to_string();
                    return Err(StoreError::Lost {
                        path: path.to_owned(),
                        is_empty,
                        evidence,
                    });
                }
            }
        }
        let database = Database::open(home.url, &KIND, true).await?;
        let (store, since) = identity(&database).await?;
        check_identity(path, &store, &markers)?;
        file::make_folder(&home.lists.join("-"))?;
        let key = beside(path, KEY_SUFFIX);
        let known_signer = Signer::read(&key)?;
        let has_signed = known_signer.is_some();
        let signer = match known_signer {
            Some(signer) => signer,
            None => Signer::make(&key, path)?,
        };
        file::tighten(&key);
        let store = Self::with(database, Chain::new(store, since, Some(signer), markers))?;
        let findings = store.guard_audit(has_signed).await?;
        Ok((store, findings))
    }

    fn with(database: Database, chain: Chain) -> Result<Self, StoreError> {
        let pool = database.pool().clone();
        let process_id = random_hex(8)?.into();
        Ok(Self {
            database,
            pool,
            chain: Arc::new(chain),
            large: Arc::new(Semaphore::new(large_at_a_time())),
            process_id,
            unforgotten: Arc::default(),
        })
    }

    /// Whether a store exists, so that a reader need not create one.
    #[must_use]
    pub fn is_there(url: &str) -> bool {
        file_of(url).is_ok_and(Path::exists)
    }

    /// A random identifier, unguessable and unique, in hexadecimal.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn fresh_id() -> Result<String, StoreError> {
        random_hex(12)
    }

    /// 256 random bits, in hexadecimal.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn fresh_secret() -> Result<String, StoreError> {
        random_hex(32)
    }

    #[must_use]
    pub fn health(&self) -> Health {
        Health(self.database.clone())
    }

    /// Closes the store, so that the journal is checkpointed.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Begins a change of the node itself, see [`Self::begin_for`].
    pub(crate) async fn begin(&self) -> Result<AuditedWrite<'_>, StoreError> {
        self.begin_for("").await
    }

    /// Begins a change for a household, in its turn, under the database's write lock.
    pub(crate) async fn begin_for(&self, whose: &str) -> Result<AuditedWrite<'_>, StoreError> {
        let mut writing = self.database.begin_for(whose, "beginning a change").await?;
        let is_after_loss = self.chain.check(&mut writing).await?;
        Ok(AuditedWrite {
            writing,
            chain: &self.chain,
            is_after_loss,
        })
    }
}

fn large_at_a_time() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// A change in progress. [`Self::commit`] applies all of it; dropping it applies nothing.
pub(crate) struct AuditedWrite<'s> {
    writing: Writing<'s>,
    chain: &'s Chain,
    is_after_loss: bool,
}

impl AuditedWrite<'_> {
    /// Commits the change, and covers its rows of the audit by a signed head.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        let head: Option<NextHead> = self
            .chain
            .next(&mut self.writing, self.is_after_loss)
            .await?;
        self.writing.commit("committing a change").await?;
        if let Some(head) = head {
            self.chain.keep(head);
        }
        Ok(())
    }
}

impl Deref for AuditedWrite<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.writing
    }
}

impl DerefMut for AuditedWrite<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.writing
    }
}

/// The identity of a store, and since when it has it.
async fn identity(database: &Database) -> Result<(String, Timestamp), StoreError> {
    let row = sqlx::query_as("SELECT id, since FROM identity")
        .fetch_one(database.pool())
        .await;
    let (id, since): (String, i64) = row.map_err(step("reading the identity of the store"))?;
    Ok((id, second(since)))
}

/// Checks that all markers name this store.
fn check_identity(path: &Path, store: &str, markers: &Markers) -> Result<(), StoreError> {
    match markers
        .read()?
        .into_iter()
        .find(|(_, marker)| marker.store != store)
    {
        None => Ok(()),
        Some((marker, says)) => Err(StoreError::OtherNode {
            path: path.to_owned(),
            found: store.to_owned(),
            expected: says.store,
            marker: marker.to_owned(),
        }),
    }
}
