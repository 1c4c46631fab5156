//! Reads activity: the rows of the file and the pending counts, added up.

use jiff::Timestamp;
use policy::rules::household::Id;

use super::{
    ActivityStore, DeviceKey, HouseholdHour,
    hours::{beginning, hour_behind, hour_of},
    read_row,
};
use crate::{
    activity::pending::PendingHour,
    error::{StoreError, step},
};

/// Hours that are read from the file at a time, so that a sum over three months is not in memory at
/// once.
const PAGE_ROWS: usize = 100;
/// Rows that are read into counts before the task yields.
const ROWS_AT_ONCE: usize = 50;

/// A page of the hours between two hours.
const PAGE: &str = "SELECT hour, until, CAST(document AS BLOB) FROM activity WHERE household = ? AND hour >= ? AND hour < ? AND until > ?
    ORDER BY hour LIMIT ?";

/// One index step for each household, independent of its number of hours.
pub(super) const HOUSEHOLDS: &str = "WITH RECURSIVE home (id) AS (
        SELECT min(household) FROM activity WHERE household > ?1
        UNION ALL SELECT (SELECT min(household) FROM activity WHERE household > home.id) FROM home WHERE home.id IS NOT NULL
        LIMIT ?2
    ) SELECT id FROM home WHERE id IS NOT NULL";

impl ActivityStore {
    /// The hours of a household that overlap a time span, in order, as far as they are not due for
    /// deletion; with `device`, only its counts. Pending counts are included. Hours without queries
    /// are left out. Everything is in memory at once; for many days use [`Self::visit`].
    pub async fn read(
        &self,
        household: &Id,
        device: Option<&DeviceKey>,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<HouseholdHour>, StoreError> {
        let mut hours = Vec::new();
        self.visit(household, device, from, to, now, |hour| hours.push(hour))
            .await?;
        Ok(hours)
    }

    /// Visits each hour that [`Self::read`] would return, once and oldest first, with only some in
    /// memory at a time. An hour is consistent in itself. Writes and erasures can happen between
    /// two hours, so a later hour can reflect changes that an earlier one does not.
    ///
    /// # Errors
    /// Some hours may have been visited before.
    pub async fn visit(
        &self,
        household: &Id,
        device: Option<&DeviceKey>,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
        mut visitor: impl FnMut(HouseholdHour),
    ) -> Result<(), StoreError> {
        let mut range = hour_of(from)..hour_behind(to);
        while !range.is_empty() {
            let page = sqlx::query_as(PAGE)
                .bind(household.as_str())
                .bind(range.start)
                .bind(range.end)
                .bind(hour_of(now));
            let page = page.bind(PAGE_ROWS as i64);
            let (rows, mut hours) = {
                let _turn = self.turn.read().await;
                let rows: Vec<(i64, i64, Vec<u8>)> = page
                    .fetch_all(&self.pool)
                    .await
                    .map_err(step("reading counts"))?;
                // A page ends with its last row; the last page ends with the span.
                let end = rows
                    .get(PAGE_ROWS - 1)
                    .map_or(range.end, |(hour, ..)| hour + 1);
                let waiting = self.waiting().hours(household, range.start..end, now);
                range.start = end;
                (rows, waiting)
            };
            for (number, (hour, until, document)) in rows.into_iter().enumerate() {
                if number % ROWS_AT_ONCE == ROWS_AT_ONCE - 1 {
                    tokio::task::yield_now().await;
                }
                let Some(mut counts) = read_row(household, hour, &document) else {
                    continue;
                };
                if let Some(waited) = hours.get(&hour) {
                    counts.add(&waited.counts);
                }
                hours.insert(hour, PendingHour { until, counts });
            }
            for (hour, PendingHour { mut counts, .. }) in hours {
                if let Some(device) = device {
                    counts.0.retain(|key, _| key == device);
                }
                if let Some(hour) = beginning(hour).filter(|_| !counts.0.is_empty()) {
                    visitor(HouseholdHour {
                        hour,
                        devices: counts.0,
                    });
                }
            }
        }
        Ok(())
    }

    /// Households with rows in the file, in the order of their identifiers, after `after`: the
    /// sweep compares them with the households that exist.
    pub async fn households(&self, after: Option<&Id>, limit: u32) -> Result<Vec<Id>, StoreError> {
        let rows = sqlx::query_scalar(HOUSEHOLDS)
            .bind(after.map_or("", Id::as_str))
            .bind(i64::from(limit));
        let rows: Vec<String> = rows
            .fetch_all(&self.pool)
            .await
            .map_err(step("listing households with counts"))?;
        rows.into_iter()
            .map(|text| {
                text.parse()
                    .map_err(
                        |error: policy::rules::household::IdError| StoreError::Document {
                            household: text,
                            source: error.into(),
                        },
                    )
            })
            .collect()
    }
}
