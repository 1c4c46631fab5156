//! What goes: because its time is over, or because somebody wants it gone. Gone is gone from the file as well: deleted octets are overwritten, and
//! the journal, where they stand once more, is folded in and emptied. Which household had a row for which hour may stand between the rows for a
//! while longer, never what was in it (`MARGIN` says why). What a disk keeps of blocks that were written before is the disk's affair.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use policy::household::Id;

use super::{Activity, BATCH_ROWS_MAX, Forgotten, hours::hour_of, read_row};
use crate::error::{StoreError, step};

/// Rows of a household that are read at a time to take something out of them.
const ROWS_AT_ONCE: u32 = 100;

impl Activity {
    /// From now on the household keeps so many days: what is older goes, with 0 all of it. What was counted under a shorter promise keeps
    /// that.
    ///
    /// # Errors
    /// See [`StoreError`]; what is in the file may then still be there, and what waited in memory is gone.
    pub async fn keep(&self, household: &Id, days: u16, now: Timestamp) -> Result<(), StoreError> {
        let _turn = self.turn.write().await;
        self.waiting().keep(household, days, now);
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(step("beginning to forget"))?;
        let delete = "DELETE FROM activity WHERE household = ?1 AND (?2 = 0 OR min(until, hour + 1 + 24 * ?2) <= ?3)";
        let delete = sqlx::query(delete).bind(household.as_str()).bind(i64::from(days)).bind(hour_of(now));
        let deleted = delete.execute(&mut *transaction).await.map_err(step("forgetting counts"))?;
        let shorten = "UPDATE activity SET until = hour + 1 + 24 * ?2 WHERE household = ?1 AND until > hour + 1 + 24 * ?2";
        let shorten = sqlx::query(shorten).bind(household.as_str()).bind(i64::from(days));
        shorten.execute(&mut *transaction).await.map_err(step("shortening how long counts are kept"))?;
        transaction.commit().await.map_err(step("forgetting counts"))?;
        self.fold(deleted.rows_affected() > 0).await
    }

    /// Forgets something of a household: what was asked up to now. What is asked later counts again, where it is wanted.
    ///
    /// # Errors
    /// See [`StoreError`]; what is in the file may then still be there, and what waited in memory is gone.
    pub async fn forget(&self, household: &Id, what: Forgotten, now: Timestamp) -> Result<(), StoreError> {
        let _turn = self.turn.write().await;
        self.waiting().forget(household, &what, now);
        let is_changed = if what == Forgotten::All {
            let delete = sqlx::query("DELETE FROM activity WHERE household = ?").bind(household.as_str());
            delete.execute(&self.pool).await.map_err(step("forgetting counts"))?.rows_affected() > 0
        } else {
            self.thin_out(household, &what).await?
        };
        self.fold(is_changed).await
    }

    /// Deletes what is due. Says how many rows that were.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.waiting().expire(now);
        let delete = "DELETE FROM activity WHERE (household, hour) IN
            (SELECT household, hour FROM activity WHERE until <= ?1 ORDER BY until LIMIT ?2)";
        let batch = BATCH_ROWS_MAX as u64;
        let mut deleted = 0;
        loop {
            let _turn = self.turn.write().await;
            let delete = sqlx::query(delete).bind(hour_of(now)).bind(batch.cast_signed());
            let rows = delete.execute(&self.pool).await.map_err(step("deleting counts whose time is over"))?.rows_affected();
            self.is_unfolded.fetch_or(rows > 0, Ordering::Relaxed);
            deleted += rows;
            if rows < batch {
                self.fold(false).await?;
                return Ok(deleted);
            }
        }
    }

    /// Takes something out of all rows of a household; says whether anything was there of it.
    async fn thin_out(&self, household: &Id, what: &Forgotten) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(step("beginning to forget"))?;
        let select = "SELECT hour, CAST(document AS BLOB) FROM activity WHERE household = ? AND hour > ? ORDER BY hour LIMIT ?";
        let (mut is_changed, mut behind) = (false, i64::MIN);
        loop {
            let rows = sqlx::query_as(select).bind(household.as_str()).bind(behind).bind(ROWS_AT_ONCE);
            let rows: Vec<(i64, Vec<u8>)> = rows.fetch_all(&mut *transaction).await.map_err(step("reading counts"))?;
            let Some((last, _)) = rows.last() else { break };
            behind = *last;
            for (hour, document) in rows {
                // Of what cannot be read nobody knows whether it is in there: it goes.
                let mut counts = read_row(household, hour, &document).unwrap_or_default();
                if !counts.forget(what) && !counts.0.is_empty() {
                    continue;
                }
                is_changed = true;
                let change = if counts.0.is_empty() {
                    sqlx::query("DELETE FROM activity WHERE household = ?1 AND hour = ?2").bind(household.as_str()).bind(hour)
                } else {
                    let update = sqlx::query("UPDATE activity SET document = ?3 WHERE household = ?1 AND hour = ?2");
                    update.bind(household.as_str()).bind(hour).bind(counts.to_document())
                };
                change.execute(&mut *transaction).await.map_err(step("forgetting counts"))?;
            }
        }
        transaction.commit().await.map_err(step("forgetting counts"))?;
        Ok(is_changed)
    }

    /// Empties the journal where something was deleted, now or earlier. Where another process reads the file, it can not be emptied, and the next time does
    /// it. Under `turn`, held alone, so that no reader of ours is in the way.
    async fn fold(&self, is_changed: bool) -> Result<(), StoreError> {
        if !self.is_unfolded.fetch_or(is_changed, Ordering::Relaxed) && !is_changed {
            return Ok(());
        }
        let checkpoint = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.pool).await;
        let (is_busy, ..): (bool, i64, i64) = checkpoint.map_err(step("emptying the journal of counts"))?;
        self.is_unfolded.store(is_busy, Ordering::Relaxed);
        Ok(())
    }
}
