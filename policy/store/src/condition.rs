//! Whether a file can be written: what the last failure said, until a write works again.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{
    database::Database,
    error::{StoreError, primary_code},
    file::{OpenFiles, has_little_room},
};

/// Why writes fail, in a word that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The file system has no room left.
    Full,
    /// The file, or its file system, may only be read.
    ReadOnly,
    /// The file was removed, replaced or cut short under the running program.
    Vanished,
    /// The file is damaged.
    Damaged,
    /// The system failed to read or write it.
    Io,
}

impl FailureReason {
    /// As it stands in events and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Vanished => "vanished",
            Self::Damaged => "damaged",
            Self::Io => "io",
        }
    }

    /// What an error of SQLite says about the file; none where it says something about the
    /// statement.
    pub(crate) fn of(error: &sqlx::Error) -> Option<Self> {
        Some(match primary_code(error)? {
            13 => Self::Full,         // SQLITE_FULL
            8 => Self::ReadOnly,      // SQLITE_READONLY
            11 | 26 => Self::Damaged, // SQLITE_CORRUPT, SQLITE_NOTADB
            7 | 10 | 14 => Self::Io,  // SQLITE_NOMEM, SQLITE_IOERR, SQLITE_CANTOPEN
            _ => return None,
        })
    }
}

/// A failure that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    /// Why.
    pub reason: FailureReason,
    /// The same for people.
    pub detail: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is known of one file.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) path: PathBuf,
    /// The files that are open; known once the database is.
    pub(crate) files: OnceLock<OpenFiles>,
    failure: Mutex<Option<WriteFailure>>,
    /// Whether a write should be tried, because one failed in the middle or one works again.
    is_in_doubt: AtomicBool,
    doubted: Notify,
}

impl Condition {
    pub(crate) fn new(path: &Path) -> Self {
        let files = OnceLock::new();
        let failure = Mutex::default();
        Self {
            path: path.to_owned(),
            files,
            failure,
            is_in_doubt: AtomicBool::new(false),
            doubted: Notify::new(),
        }
    }

    fn failure(&self) -> MutexGuard<'_, Option<WriteFailure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the files are still those that were opened.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let Some(Err(detail)) = self.files.get().map(OpenFiles::check) else {
            return Ok(());
        };
        self.fail(FailureReason::Vanished, detail.clone());
        Err(StoreError::Vanished { detail })
    }

    /// Notes that beginning or ending a write failed, where that is the file's fault.
    pub(crate) fn failed(&self, error: &sqlx::Error) {
        if let Some(reason) = FailureReason::of(error) {
            self.fail(reason, error.to_string());
        }
    }

    fn fail(&self, reason: FailureReason, detail: String) {
        let mut failure = self.failure();
        let since = failure
            .as_ref()
            .map_or_else(Timestamp::now, |failure| failure.since);
        *failure = Some(WriteFailure {
            reason,
            detail,
            since,
        });
        drop(failure);
        self.doubt();
    }

    /// Notes that a write was done. While writes failed before, that is not believed until
    /// [`Health::look`] has written more.
    pub(crate) fn worked(&self) {
        if self.failure().is_some() {
            self.doubt();
        }
    }

    /// Notes that a file failed in the middle of a write.
    pub(crate) fn doubt(&self) {
        self.is_in_doubt.store(true, Ordering::Relaxed);
        self.doubted.notify_one();
    }
}

/// How one file of a store is, for those who watch it.
#[derive(Debug, Clone)]
pub struct Health(pub(crate) Database);

impl Health {
    /// Why writes fail; none while they work.
    #[must_use]
    pub fn failure(&self) -> Option<WriteFailure> {
        self.0.condition().failure().clone()
    }

    /// Waits until there is a reason to look.
    pub async fn doubted(&self) {
        self.0.condition().doubted.notified().await;
    }

    /// Looks whether writes work, and returns why they do not. Where that is in doubt it writes 64
    /// KiB: more than most changes take, so that the end of a journal that has been allocated
    /// already does not pass for room.
    pub async fn look(&self) -> Option<WriteFailure> {
        let condition = self.0.condition();
        let is_in_doubt = condition.is_in_doubt.swap(false, Ordering::Relaxed);
        if condition.check().is_err()
            || !(is_in_doubt || condition.failure().is_some() || has_little_room(&condition.path))
        {
            return self.failure();
        }
        if let Err(error) = self.probe().await {
            if let StoreError::Database { source, .. } = &error {
                condition.failed(source);
            }
        } else if condition.check().is_ok() {
            *condition.failure() = None;
        }
        // What this attempt left in doubt is known now.
        condition.is_in_doubt.store(false, Ordering::Relaxed);
        self.failure()
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // Random, because SQLite does not write a page again that would hold the same.
        let write = "INSERT INTO probe (one, filler) VALUES (1, randomblob(65536))
            ON CONFLICT (one) DO UPDATE SET filler = excluded.filler";
        self.0
            .execute(sqlx::query(write), "trying to write")
            .await
            .map(drop)
    }
}
