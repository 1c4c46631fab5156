//! The health of a file: whether it can be written.

use std::sync::atomic::Ordering;

use crate::{
    condition::WriteFailure, database::Database, error::StoreError, file::has_little_room,
};

/// The health of one file, for monitoring.
#[derive(Debug, Clone)]
pub struct Health(pub(crate) Database);

impl Health {
    /// Why writes fail; `None` while they succeed.
    #[must_use]
    pub fn failure(&self) -> Option<WriteFailure> {
        self.0.condition().failure().clone()
    }

    /// Waits until there is a reason to call [`Self::look`].
    pub async fn doubted(&self) {
        self.0.condition().doubted.notified().await;
    }

    /// Checks whether writes succeed, and returns why they do not. In doubt it writes 64 KiB: more
    /// than most changes need, so that room left in the allocated journal does not count as room on
    /// the disk.
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
        // The outcome of this attempt is known now.
        condition.is_in_doubt.store(false, Ordering::Relaxed);
        self.failure()
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // Random, because SQLite does not rewrite a page with the same content.
        let write = "INSERT INTO probe (one, filler) VALUES (1, randomblob(65536))
            ON CONFLICT (one) DO UPDATE SET filler = excluded.filler";
        self.0
            .execute(sqlx::query(write), "trying to write")
            .await
            .map(drop)
    }
}
