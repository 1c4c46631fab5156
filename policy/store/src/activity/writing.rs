//! Writes pending counts to the file.

use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{ActivityStore, BATCH_ROWS_MAX, read_row};
use crate::{
    activity::pending::Entry,
    database::Writing,
    error::{StoreError, step},
};

/// Rows of one statement. Adding them up between two statements takes a thread of the runtime about
/// a millisecond.
const STATEMENT_ROWS: usize = 100;

/// The existing rows for the hours in a JSON list of pairs, each with its index in the list.
const THERE: &str = "SELECT wanted.key, there.until, CAST(there.document AS BLOB) FROM json_each(?1) AS wanted
    CROSS JOIN activity AS there ON there.household = wanted.value ->> 0 AND there.hour = wanted.value ->> 1";

impl ActivityStore {
    /// Writes counts that have waited for [`super::WRITE_AFTER`], or all of them if memory [is
    /// crowded](Self::is_crowded). Returns the number of rows.
    ///
    /// # Errors
    /// The first error, if there are several. Entries that could not be written wait behind all
    /// others. The others are written nevertheless, because a file may be damaged in one place,
    /// unless no transaction can begin at all.
    pub async fn write(&self, now: Timestamp) -> Result<usize, StoreError> {
        let is_all = self.is_crowded();
        self.write_some(now, is_all).await
    }

    /// Writes all pending counts. Returns the number of rows.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_all(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.write_some(now, true).await
    }

    async fn write_some(&self, now: Timestamp, is_all: bool) -> Result<usize, StoreError> {
        // Entries that arrive meanwhile or are put back are left for the next time; otherwise this
        // could run forever.
        let mut places = self.waiting().places();
        let mut written = 0;
        let mut failed = None;
        loop {
            let _turn = self.turn.write().await;
            let taken = Taken {
                activity: self,
                now,
                entries: self
                    .waiting()
                    .take(now, is_all, BATCH_ROWS_MAX, &mut places),
            };
            let count = taken.entries.len();
            if count == 0 {
                return failed.map_or(Ok(written), Err);
            }
            // If no transaction can begin, the others need not try.
            let transaction = self.database.begin("beginning to write counts").await?;
            match self.write_batch(taken, transaction).await {
                Ok(()) => written += count,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
    }

    async fn write_batch(
        &self,
        mut taken: Taken<'_>,
        mut transaction: Writing<'_>,
    ) -> Result<(), StoreError> {
        let mut dropped = 0;
        for entries in taken.entries.chunks(STATEMENT_ROWS) {
            dropped = add(&mut transaction, entries)
                .await?
                .saturating_add(dropped);
        }
        // From here on a cancelled write may have committed: the counts are then lost rather than
        // counted twice. A commit that continues in the background keeps the file's write lock, so
        // that the next erasure finds what it wrote.
        let entries = std::mem::take(&mut taken.entries);
        let committed = transaction.commit("writing counts").await;
        match committed {
            Ok(()) => self.waiting().add_dropped(dropped),
            Err(_) => taken.entries = entries,
        }
        committed
    }
}

/// Adds entries to the rows in the file. Returns the number of queries for which their rows had no
/// room.
async fn add(connection: &mut SqliteConnection, entries: &[Entry]) -> Result<u64, StoreError> {
    let keys: Vec<(&str, i64)> = entries
        .iter()
        .map(|entry| (entry.household.as_str(), entry.hour))
        .collect();
    let keys = serde_json::to_string(&keys).expect("texts and numbers are plain data");
    let there = sqlx::query_as(THERE)
        .bind(keys)
        .fetch_all(&mut *connection)
        .await;
    let there: Vec<(i64, i64, Vec<u8>)> = there.map_err(step("reading counts"))?;
    let mut rows: Vec<_> = entries
        .iter()
        .map(|entry| (entry, entry.waited.until, None))
        .collect();
    let mut dropped = 0_u64;
    for (place, until, document) in there {
        let Some((entry, least, sum)) = usize::try_from(place)
            .ok()
            .and_then(|place| rows.get_mut(place))
        else {
            continue;
        };
        *least = until.min(*least);
        // An unreadable row is replaced by the new counts.
        if let Some(mut counts) = read_row(&entry.household, entry.hour, &document) {
            dropped = counts.add(&entry.waited.counts).saturating_add(dropped);
            *sum = Some(counts.to_document());
        }
    }
    let mut insert =
        QueryBuilder::<Sqlite>::new("INSERT INTO activity (household, hour, until, document) ");
    insert.push_values(rows, |mut row, (entry, until, sum)| {
        let document = sum.unwrap_or_else(|| entry.waited.counts.to_document());
        row.push_bind(entry.household.as_str().to_owned())
            .push_bind(entry.hour)
            .push_bind(until)
            .push_bind(document);
    });
    insert.push(" ON CONFLICT (household, hour) DO UPDATE SET until = excluded.until, document = excluded.document");
    insert
        .build()
        .execute(connection)
        .await
        .map_err(step("writing counts"))?;
    Ok(dropped)
}

/// Entries between memory and the file. On drop the rest is put back, also when the write is
/// cancelled.
struct Taken<'a> {
    activity: &'a ActivityStore,
    now: Timestamp,
    entries: Vec<Entry>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            self.activity
                .waiting()
                .put_back(std::mem::take(&mut self.entries), self.now);
        }
    }
}
