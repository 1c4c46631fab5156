//! What is read: the file's rows and what waits in memory, added up.

use jiff::Timestamp;
use policy::household::Id;

use super::{
    Activity, DeviceKey, Hour,
    hours::{beginning, hour_behind, hour_of},
    read_row,
    waiting::Waited,
};
use crate::error::{StoreError, step};

/// Rows that are read into counts before another task may run.
const ROWS_AT_ONCE: usize = 50;

/// One step in the index for each household, however many hours it has.
const HOUSEHOLDS: &str = "WITH RECURSIVE home (id) AS (
        SELECT min(household) FROM activity WHERE household > ?1
        UNION ALL SELECT (SELECT min(household) FROM activity WHERE household > home.id) FROM home WHERE home.id IS NOT NULL
        LIMIT ?2
    ) SELECT id FROM home WHERE id IS NOT NULL";

impl Activity {
    /// The hours of a household of which a part lies between two times, in order, as far as they are not due to go; of one device, where one is given. What waits to
    /// be written is in it. An hour in which nothing was asked is not there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn read(
        &self,
        household: &Id,
        device: Option<&DeviceKey>,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Hour>, StoreError> {
        let range = hour_of(from)..hour_behind(to);
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let select =
            "SELECT hour, until, CAST(document AS BLOB) FROM activity WHERE household = ? AND hour >= ? AND hour < ? AND until > ?";
        let select = sqlx::query_as(select).bind(household.as_str()).bind(range.start).bind(range.end).bind(hour_of(now));
        let (rows, mut hours) = {
            let _turn = self.turn.read().await;
            let rows: Vec<(i64, i64, Vec<u8>)> = select.fetch_all(&self.pool).await.map_err(step("reading counts"))?;
            (rows, self.waiting().hours(household, range, now))
        };
        for (number, (hour, until, document)) in rows.into_iter().enumerate() {
            if number % ROWS_AT_ONCE == ROWS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let Some(mut counts) = read_row(household, hour, &document) else { continue };
            if let Some(waited) = hours.get(&hour) {
                counts.add(&waited.counts);
            }
            hours.insert(hour, Waited { until, counts });
        }
        let read = hours.into_iter().filter_map(|(hour, Waited { mut counts, .. })| {
            if let Some(device) = device {
                counts.0.retain(|key, _| key == device);
            }
            let devices = (!counts.0.is_empty()).then_some(counts.0)?;
            Some(Hour { hour: beginning(hour)?, devices })
        });
        Ok(read.collect())
    }

    /// Households of which something is in the file, in the order of their identifiers, from behind `after`: whoever sweeps compares them with those
    /// that there are.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn households(&self, after: Option<&Id>, limit: u32) -> Result<Vec<Id>, StoreError> {
        let rows = sqlx::query_scalar(HOUSEHOLDS).bind(after.map_or("", Id::as_str)).bind(i64::from(limit));
        let rows: Vec<String> = rows.fetch_all(&self.pool).await.map_err(step("listing households with counts"))?;
        rows.into_iter()
            .map(|text| {
                text.parse().map_err(|error: policy::household::IdError| StoreError::Document { household: text, source: error.into() })
            })
            .collect()
    }
}
