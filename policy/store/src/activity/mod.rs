//! The activity of households: the queries of each hour as counts.
//!
//! - `counts`: the counts of an hour, and how they are added up.
//! - `pending`: counts in memory.
//! - `writing`: from memory to the file; `reading`: from both.
//! - `forgetting`: deletion, because the retention is over or the household wants it.
//!
//! Activity has a file of its own, for three reasons. Its bulk writes would delay the policy store,
//! whose changes must take effect at once. A crash may lose the last five minutes here, and nothing
//! there. And deleted rows are overwritten here, while the policy store keeps its history.
//!
//! **Erased activity never comes back.** A count is in one of three places: on its way to
//! [`ActivityStore::note`], pending in memory, or in the file.
//!
//! - Counts move from memory to the file under `turn`, held exclusively from taking them out until
//!   they are committed or put back. An erasure holds it as well, so that nothing is between the
//!   two places, and clearing both clears everything.
//! - Queries on their way arrive under the lock of `waiting`. Under the same lock, an erasure
//!   clears the memory and leaves a mark. Queries that arrive before are cleared; queries that
//!   arrive later and are not younger than the mark are not counted.
//! - The mark expires after [`MARKS_KEPT`], and a clock can be set back. [`ActivityStore::note`]
//!   therefore also asks, under the same lock, whether a query is still wanted. The caller answers
//!   from the live directory, which is changed before the erasure.
//!
//! A reader shares `turn`, so that it sees each count exactly once. `turn` is fair. Work on all
//! households releases it after about [`BATCH_ROWS_MAX`] rows, a reader after a page of its
//! household's. An erasure holds it until it is complete, for all rows of a household: some two
//! thousand in a quarter of a year.
//!
//! **Capacity.** `benches/activity.rs` adds to 6,000 existing rows a second, of households with
//! five devices and fifty names: 1.8 million households in the five minutes of [`WRITE_AFTER`], if
//! each queries now and then. If all query all the time, memory is the limit: it is crowded at half
//! of [`WAITING_MAX`], which takes 17 s to write, while the other half fills; a node can serve some
//! 200,000 such households. Beyond either limit queries are not counted, and
//! [`ActivityStore::dropped`] returns their number.

mod counts;
mod erasure;
mod forgetting;
mod hours;
mod limits;
pub(crate) mod pending;
mod reading;
mod writing;

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool};

use jiff::Timestamp;
use policy::rules::household::Id;
use sqlx::{
    SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tokio::sync::RwLock;

pub use counts::{
    BlockedName, BlockedQuery, BypassSign, CountedQuery, DeviceHour, DeviceKey, HOUR_DEVICES_MAX,
    HOUR_NAMES_MAX, HouseholdHour, NAMES_MAX, QueryCount, Sighting,
};

pub use erasure::ErasureScope;
pub use limits::{BATCH_ROWS_MAX, MARKS_KEPT, PIECES_WAITING_MAX, WAITING_MAX, WRITE_AFTER};

use crate::{
    StoreError,
    database::{Database, Kind},
    health::Health,
};
use limits::PAGE_SIZE;
use pending::PendingCounts;

/// How long a statement waits for another process on the same file. Counts can be written later;
/// readers behind them should not wait.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// sqlx's migrations and not a number in `user_version`: a newer, a foreign and a damaged file then
/// give the same errors as for the policy store, and neither of the two stores is taken for the
/// other.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/activity");

const KIND: Kind = Kind {
    table: "activity",
    migrations: &MIGRATIONS,
    options,
};

fn options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        // A power cut may lose counts. Deletions are synced nevertheless, because the journal is
        // checkpointed after them.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .page_size(PAGE_SIZE)
        // Four megabytes, as with pages of the default size.
        .pragma("wal_autocheckpoint", "4000")
        // Deleted octets are overwritten on every connection, and SQLite writes no temporary files.
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
}

/// The activity of households as counts by hour: only of households that want it, and no longer
/// than they want it.
#[derive(Debug)]
pub struct ActivityStore {
    database: Database,
    /// For readers.
    pool: SqlitePool,
    turn: RwLock<()>,
    waiting: Mutex<PendingCounts>,
    /// Whether the journal may still hold deleted octets.
    is_unfolded: AtomicBool,
}

impl ActivityStore {
    /// Opens the store; creates it if it does not exist, and migrates its tables.
    ///
    /// # Errors
    /// A file that is not such a store is left unchanged.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let database = Database::open(url, &KIND, true).await?;
        let pool = database.pool().clone();
        // A crash may have left a journal with octets that were deleted before it.
        Ok(Self {
            database,
            pool,
            turn: RwLock::default(),
            waiting: Mutex::default(),
            is_unfolded: AtomicBool::new(true),
        })
    }

    /// Whether the file can be written.
    #[must_use]
    pub fn health(&self) -> Health {
        Health(self.database.clone())
    }

    /// Counts queries in memory. Each is first passed to `is_wanted`, under the lock that erasures
    /// hold: it returns whether the household still wants it, and may remove parts of it or shorten
    /// its days. It must be quick and must not call this store.
    pub fn note(
        &self,
        told: impl IntoIterator<Item = CountedQuery>,
        mut is_wanted: impl FnMut(&mut CountedQuery) -> bool,
        now: Timestamp,
    ) {
        let mut waiting = self.waiting();
        for mut told in told {
            if is_wanted(&mut told) {
                waiting.count(told, now);
            }
        }
    }

    /// Whether half of the room in memory is used. [`Self::write`] then should be called at once,
    /// and writes everything.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.waiting().is_crowded()
    }

    /// The number of queries that were not counted for lack of room in memory: more households than
    /// can be written, or a failing disk. Queries of devices beyond [`HOUR_DEVICES_MAX`] are
    /// included.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.waiting().dropped()
    }

    /// Writes pending counts, and closes the file.
    pub async fn close(&self) {
        if let Err(error) = self.write_all(Timestamp::MIN).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the last counts of what homes asked for were not written"
            );
        }
        self.database.close().await;
    }

    /// Never held across an await.
    fn waiting(&self) -> MutexGuard<'_, PendingCounts> {
        // A panic of `is_wanted` leaves it in the state between two queries.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a row's counts; logs and returns `None` if it cannot be read.
fn read_row(household: &Id, hour: i64, document: &[u8]) -> Option<counts::Counts> {
    let counts = counts::Counts::read(document);
    counts.map_err(|error| tracing::error!(%household, hour, error, "counts of an hour cannot be read and are left out")).ok()
}
