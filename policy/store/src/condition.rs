//! Whether a file can be written: keeps the last failure until a write succeeds.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{error::StoreError, failure::FailureReason, file::OpenFiles};

/// A lasting failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    pub reason: FailureReason,
    /// The explanation for the operator.
    pub detail: String,
    pub since: Timestamp,
}

/// The condition of one file.
#[derive(Debug)]
pub(crate) struct StoreCondition {
    pub(crate) path: PathBuf,
    /// The open files; set once the database is open.
    pub(crate) files: OnceLock<OpenFiles>,
    failure: Mutex<Option<WriteFailure>>,
    /// Whether a write should be tried, because one failed halfway or one succeeded again.
    pub(crate) is_in_doubt: AtomicBool,
    pub(crate) doubted: Notify,
}

impl StoreCondition {
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

    pub(crate) fn failure(&self) -> MutexGuard<'_, Option<WriteFailure>> {
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

    /// Records that beginning or ending a write failed, if the file is the cause.
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

    /// Records a successful write. After failures, it counts only when [`crate::Health::look`] has
    /// written more.
    pub(crate) fn worked(&self) {
        if self.failure().is_some() {
            self.doubt();
        }
    }

    /// Records that a file failed in the middle of a write.
    pub(crate) fn doubt(&self) {
        self.is_in_doubt.store(true, Ordering::Relaxed);
        self.doubted.notify_one();
    }
}
