//! Deletes activity: because its retention is over, or because the household wants it erased.
//! Erased means erased from the file as well: deleted octets are overwritten, and the journal,
//! which holds them once more, is checkpointed and truncated. The keys of deleted rows (household
//! and hour) may remain between rows for a while, their content never (see `MARGIN`). Earlier
//! copies of blocks on the disk are out of reach.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use policy::rules::household::Id;

use super::{
    ActivityStore, BATCH_ROWS_MAX, ErasureScope,
    hours::{hour_of, last_hour},
    read_row,
    reading::HOUSEHOLDS,
};
use crate::error::{StoreError, step};

/// Rows of a household that are read at a time when a part of them is erased.
const ROWS_AT_ONCE: u32 = 100;

/// The key of the last row of the batch after another key.
const LAST: &str = "SELECT household, hour FROM activity WHERE (household, hour) > (?1, ?2) ORDER BY household, hour LIMIT 1 OFFSET ?3 - 1";
/// Sets the rows of that batch due after this number of days; with 0 at once.
const BOUND: &str = "UPDATE activity SET until = CASE ?4 WHEN 0 THEN 0 ELSE hour + 1 + 24 * ?4 END
    WHERE (household, hour) IN (
        SELECT household, hour FROM activity WHERE (household, hour) > (?1, ?2) ORDER BY household, hour LIMIT ?3
    ) AND until > CASE ?4 WHEN 0 THEN 0 ELSE hour + 1 + 24 * ?4 END";
/// Deletes due rows.
const DUE: &str = "DELETE FROM activity WHERE (household, hour) IN
    (SELECT household, hour FROM activity WHERE until <= ?1 ORDER BY until LIMIT ?2)";
/// Deletes rows after an hour, of the households in a JSON list.
const BEHIND: &str = "DELETE FROM activity WHERE (household, hour) IN (
        SELECT there.household, there.hour FROM json_each(?1) AS home
            CROSS JOIN activity AS there ON there.household = home.value AND there.hour > ?2 LIMIT ?3
    )";

impl ActivityStore {
    /// Sets the retention of a household in days: older counts are deleted, with 0 all. Counts
    /// recorded under a shorter retention keep it.
    ///
    /// # Errors
    /// The rows in the file may still exist then; the pending counts are deleted.
    pub async fn keep(&self, household: &Id, days: u16, now: Timestamp) -> Result<(), StoreError> {
        let _turn = self.turn.write().await;
        let is_unfolded = self.unfold();
        self.waiting().keep(household, days, now);
        let mut transaction = self.database.begin("beginning to forget").await?;
        let delete = "DELETE FROM activity WHERE household = ?1 AND (?2 = 0 OR min(until, hour + 1 + 24 * ?2) <= ?3)";
        let delete = sqlx::query(delete)
            .bind(household.as_str())
            .bind(i64::from(days))
            .bind(hour_of(now));
        let deleted = delete
            .execute(&mut *transaction)
            .await
            .map_err(step("forgetting counts"))?;
        let shorten = "UPDATE activity SET until = hour + 1 + 24 * ?2 WHERE household = ?1 AND until > hour + 1 + 24 * ?2";
        let shorten = sqlx::query(shorten)
            .bind(household.as_str())
            .bind(i64::from(days));
        shorten
            .execute(&mut *transaction)
            .await
            .map_err(step("shortening how long counts are kept"))?;
        transaction.commit("forgetting counts").await?;
        self.fold(is_unfolded || deleted.rows_affected() > 0).await
    }

    /// Limits the retention of all households to a number of days: rows kept longer become due,
    /// with 0 all of them, and [`Self::expire`] deletes them. Goes through the whole file in
    /// batches and sets no cutoffs: the caller must already limit what it records. Queries recorded
    /// earlier keep their retention.
    ///
    /// # Errors
    /// Some rows may have been changed then. The call can be repeated.
    pub async fn bound(&self, days: u16) -> Result<(), StoreError> {
        let mut household = String::new();
        let mut hour = i64::MIN;
        let mut is_first = true;
        loop {
            let _turn = self.turn.write().await;
            if std::mem::take(&mut is_first) {
                self.waiting().bound(days);
            }
            let last = sqlx::query_as(LAST)
                .bind(&household)
                .bind(hour)
                .bind(BATCH_ROWS_MAX as i64)
                .fetch_optional(&self.pool)
                .await;
            let last: Option<(String, i64)> =
                last.map_err(step("looking for what is kept too long"))?;
            let bound = sqlx::query(BOUND)
                .bind(&household)
                .bind(hour)
                .bind(BATCH_ROWS_MAX as i64)
                .bind(i64::from(days));
            self.database
                .execute(bound, "shortening how long counts are kept")
                .await?;
            let Some(last) = last else { return Ok(()) };
            (household, hour) = last;
        }
    }

    /// Erases a part of a household's activity up to now. Later queries count again, where the
    /// household wants it.
    ///
    /// # Errors
    /// The rows in the file may still exist then; the pending counts are deleted.
    pub async fn forget(
        &self,
        household: &Id,
        what: ErasureScope,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _turn = self.turn.write().await;
        let is_unfolded = self.unfold();
        self.waiting().forget(household, &what, now);
        let is_changed = if what == ErasureScope::All {
            let delete =
                sqlx::query("DELETE FROM activity WHERE household = ?").bind(household.as_str());
            self.database
                .execute(delete, "forgetting counts")
                .await?
                .rows_affected()
                > 0
        } else {
            self.thin_out(household, &what).await?
        };
        self.fold(is_unfolded || is_changed).await
    }

    /// Deletes due rows, and rows of future hours that a wrong clock left. Returns the number of
    /// rows. Writes and erasures get a turn between two batches.
    pub async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        let is_ahead = {
            // Nothing is between memory and file: what this pass does not find cannot be written
            // after it.
            let _turn = self.turn.write().await;
            self.waiting().expire(now)
        };
        let mut deleted = if is_ahead {
            Ahead::new(self).expire(now).await?
        } else {
            0
        };
        let batch = BATCH_ROWS_MAX as u64;
        loop {
            let _turn = self.turn.write().await;
            let is_unfolded = self.unfold();
            let due = sqlx::query(DUE)
                .bind(hour_of(now))
                .bind(batch.cast_signed());
            let rows = self
                .database
                .execute(due, "deleting counts whose time is over")
                .await?
                .rows_affected();
            deleted += rows;
            if rows < batch {
                self.fold(is_unfolded || rows > 0).await?;
                return Ok(deleted);
            }
        }
    }

    /// Erases a part from all rows of a household, or from none. Returns whether it had any counts.
    async fn thin_out(&self, household: &Id, what: &ErasureScope) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin("beginning to forget").await?;
        let select = "SELECT hour, CAST(document AS BLOB) FROM activity WHERE household = ? AND hour > ? ORDER BY hour LIMIT ?";
        let mut is_changed = false;
        let mut behind = i64::MIN;
        loop {
            let rows = sqlx::query_as(select)
                .bind(household.as_str())
                .bind(behind)
                .bind(ROWS_AT_ONCE);
            let rows: Vec<(i64, Vec<u8>)> = rows
                .fetch_all(&mut *transaction)
                .await
                .map_err(step("reading counts"))?;
            let Some((last, _)) = rows.last() else { break };
            behind = *last;
            for (hour, document) in rows {
                // A row that cannot be read may contain it, so the row is deleted.
                let mut counts = read_row(household, hour, &document).unwrap_or_default();
                if !counts.forget(what) && !counts.0.is_empty() {
                    continue;
                }
                is_changed = true;
                let change = if counts.0.is_empty() {
                    sqlx::query("DELETE FROM activity WHERE household = ?1 AND hour = ?2")
                        .bind(household.as_str())
                        .bind(hour)
                } else {
                    let update = sqlx::query(
                        "UPDATE activity SET document = ?3 WHERE household = ?1 AND hour = ?2",
                    );
                    update
                        .bind(household.as_str())
                        .bind(hour)
                        .bind(counts.to_document())
                };
                change
                    .execute(&mut *transaction)
                    .await
                    .map_err(step("forgetting counts"))?;
            }
        }
        transaction.commit("forgetting counts").await?;
        Ok(is_changed)
    }

    /// Marks the journal as possibly holding deleted octets, before anything is deleted. Returns
    /// whether it was marked before. The mark stays if the deletion is cancelled or fails, so that
    /// the next one continues.
    fn unfold(&self) -> bool {
        self.is_unfolded.swap(true, Ordering::Relaxed)
    }

    /// Truncates the journal after a deletion, now or earlier. This fails while another process
    /// reads the file; the next deletion then repeats it. The caller holds `turn` alone, so that no
    /// reader of this process is in the way.
    async fn fold(&self, is_unfolded: bool) -> Result<(), StoreError> {
        let mut is_busy = false;
        if is_unfolded {
            let checkpoint = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(&self.pool)
                .await;
            let row: (bool, i64, i64) =
                checkpoint.map_err(step("emptying the journal of counts"))?;
            is_busy = row.0;
        }
        self.is_unfolded.store(is_busy, Ordering::Relaxed);
        Ok(())
    }
}

/// Looks for rows of future hours. A search that is stopped or fails is repeated by the next one.
struct Ahead<'a> {
    activity: &'a ActivityStore,
    is_over: bool,
}

impl<'a> Ahead<'a> {
    fn new(activity: &'a ActivityStore) -> Self {
        Self {
            activity,
            is_over: false,
        }
    }

    /// Deletes these rows. No index leads to them, so it checks each household, some ten thousand a
    /// second. Such rows exist only if a clock was ahead, so this runs after opening and when the
    /// clock was set back.
    async fn expire(mut self, now: Timestamp) -> Result<u64, StoreError> {
        let ActivityStore {
            database,
            pool,
            turn,
            is_unfolded,
            ..
        } = self.activity;
        let mut deleted = 0;
        let mut after = String::new();
        loop {
            let households = sqlx::query_scalar(HOUSEHOLDS)
                .bind(&after)
                .bind(BATCH_ROWS_MAX as i64)
                .fetch_all(pool)
                .await;
            let mut households: Vec<String> =
                households.map_err(step("listing households with counts"))?;
            let list = serde_json::to_string(&households).expect("texts are plain data");
            let Some(last) = households.pop() else { break };
            after = last;
            loop {
                let _turn = turn.write().await;
                let was_unfolded = self.activity.unfold();
                let ahead = sqlx::query(BEHIND)
                    .bind(&list)
                    .bind(last_hour(now))
                    .bind(BATCH_ROWS_MAX as i64);
                let rows = database
                    .execute(ahead, "deleting counts of hours to come")
                    .await?
                    .rows_affected();
                is_unfolded.store(was_unfolded || rows > 0, Ordering::Relaxed);
                deleted += rows;
                if rows < BATCH_ROWS_MAX as u64 {
                    break;
                }
            }
        }
        self.is_over = true;
        Ok(deleted)
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.activity.waiting().look_ahead();
        }
    }
}
