//! What homes asked for, as counts by hour.
//!
//! - `counts`: what is counted, and how it is added up.
//! - `pending`: counts in memory.
//! - `writing`: from memory into the file; `reading`: from both.
//! - `forgetting`: what goes, because its retention is over or the household wants it erased.
//!
//! It has a file of its own. The roll-ups of many homes would hold up the one writer of the policy
//! store, who has promised families that a toggle is live at once; here a crash may take the last
//! five minutes, there nothing; and what is deleted here is overwritten, which a store that keeps
//! its past has no use for.
//!
//! **Nothing that was forgotten comes back.** A count is in one of three places: on its way here,
//! waiting in memory, or in the file.
//!
//! - From memory to the file it goes under `turn`, held alone from the taking out to the commit or
//!   the putting back. An erasure holds it, too: nothing is between the two places meanwhile, so
//!   that clearing both clears all.
//! - What is on its way arrives under the lock of `waiting`. In the same moment under that lock in
//!   which forgetting clears the memory, it leaves a mark there; what arrives before is cleared,
//!   and what arrives behind and is not younger than the mark is not counted.
//! - The mark goes after [`MARKS_KEPT`], and a clock may be set back. So [`ActivityStore::note`] asks
//!   besides, under the same lock, whether a query is still wanted; the caller answers from the
//!   live directory, which is changed before it forgets.
//!
//! A reader shares `turn`, so that what it reads is neither in both places nor in none. Who waits
//! longest has it next. Who works for all homes gives it back after [`BATCH_ROWS_MAX`] rows or so,
//! a reader after a page of its household's. Who forgets something of one household has it until
//! that is done, because half forgotten would be neither: for as many rows as a household has, some
//! two thousand in a quarter of a year.
//!
//! **For how many homes?** `benches/activity.rs` adds to 6,000 rows a second that are there, of
//! homes with five devices and fifty names: in the five minutes of [`WRITE_AFTER`] 1.8 million
//! homes, where each asks now and then. Where all ask all the time, memory is the narrower: it is
//! crowded with half of [`WAITING_MAX`], which takes 17 s to write, while which the other half
//! fills up; a node is good for some 200,000 such homes. What is beyond either is not counted, and
//! [`ActivityStore::dropped`] says how much that was.

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

/// sqlx's migrations and not a number in `user_version`: the same words then tell a newer file, a
/// foreign one and a torn one as for the policy store, and one of the two stores is never taken for
/// the other.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/activity");

const KIND: Kind = Kind {
    table: "activity",
    migrations: &MIGRATIONS,
    options,
};

fn options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        // Counts may go with the power. That something is gone is synced nevertheless, because the
        // journal is folded in after it.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .page_size(PAGE_SIZE)
        // Four megabytes, as with pages of the usual size.
        .pragma("wal_autocheckpoint", "4000")
        // Deleted octets are overwritten on every connection, and SQLite writes no temporary files.
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
}

/// What homes asked for, as counts by hour: only of those that want it, and no longer than they
/// want it.
#[derive(Debug)]
pub struct ActivityStore {
    database: Database,
    /// For readers.
    pool: SqlitePool,
    turn: RwLock<()>,
    waiting: Mutex<PendingCounts>,
    /// Whether the journal may still hold what is deleted.
    is_unfolded: AtomicBool,
}

impl ActivityStore {
    /// Opens the store, makes it where it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// See [`StoreError`]; a file that is no such store of ours is left as it is.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let database = Database::open(url, &KIND, true).await?;
        let pool = database.pool().clone();
        // A crash may have left a journal with what was deleted before it.
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

    /// Counts queries, in memory. Each is shown to `is_wanted` first, under the lock under which
    /// forgetting happens: it says whether the household still wants it, and may take out of it
    /// what is not wanted any more, or shorten its days. It must be quick and may not come back
    /// here.
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

    /// Whether half of the room in memory is taken: then [`Self::write`] should not wait for its
    /// time, and writes everything.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.waiting().is_crowded()
    }

    /// How many queries were not counted because there was no room in memory: more homes asked than
    /// can be written, or nothing could be. Besides those of devices beyond [`HOUR_DEVICES_MAX`].
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.waiting().dropped()
    }

    /// Writes what waits, and closes the file in order.
    pub async fn close(&self) {
        if let Err(error) = self.write_all(Timestamp::MIN).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the last counts of what homes asked for were not written"
            );
        }
        self.database.close().await;
    }

    /// Never held while anything is waited for.
    fn waiting(&self) -> MutexGuard<'_, PendingCounts> {
        // A panic of `is_wanted` leaves it between two queries.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a row's counts; none, and a word in the log, where it cannot be read any more.
fn read_row(household: &Id, hour: i64, document: &[u8]) -> Option<counts::Counts> {
    let counts = counts::Counts::read(document);
    counts.map_err(|error| tracing::error!(%household, hour, error, "counts of an hour cannot be read and are left out")).ok()
}
