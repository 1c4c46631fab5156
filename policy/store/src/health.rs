//! Whether a file can be written, for its watchers.

use std::sync::atomic::Ordering;

use crate::{
    condition::WriteFailure, database::Database, error::StoreError, file::has_little_room,
};

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
