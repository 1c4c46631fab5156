//! The outbox of notices to account holders: written in the transaction of the event, and kept
//! until delivered or given up.

use jiff::Timestamp;
use policy::rules::household::Id;
use serde_json::Value;
use sqlx::{FromRow, SqliteConnection};

use crate::{
    Store,
    error::{StoreError, step},
    time::second,
};

/// A notice to be queued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotice {
    /// The identifier by which receivers detect duplicates.
    pub id: String,
    pub household: Id,
    /// When the event happened.
    pub at: Timestamp,
    /// The content.
    pub document: Value,
    /// The channels to use, each with a recipient where the channel itself has none.
    pub to: Vec<(&'static str, Option<String>)>,
}

/// A delivery that is due, over one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct DueDelivery {
    /// The row of the outbox.
    pub sequence: i64,
    /// The identifier by which receivers detect duplicates.
    pub id: String,
    pub household: String,
    pub channel: String,
    /// The recipient, where the channel itself has none.
    pub recipient: Option<String>,
    /// The number of failed attempts.
    pub attempts: u32,
    pub queued_at: Timestamp,
    /// The content.
    pub document: Value,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    Delivered,
    /// Try again at this time; the reason of the failure.
    Later(Timestamp, String),
    /// Given up, and kept; the reason of the failure.
    Dead(String),
}

/// The state of the outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Deliveries that wait.
    pub queued: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// When the oldest waiting delivery was queued.
    pub oldest: Option<Timestamp>,
}

#[derive(FromRow)]
struct Row {
    sequence: i64,
    id: String,
    household: String,
    channel: String,
    recipient: Option<String>,
    attempts: i64,
    at: i64,
    document: String,
}

/// Queues a notice, in the transaction of the event.
pub(crate) async fn queue(
    connection: &mut SqliteConnection,
    notice: &NewNotice,
) -> Result<(), StoreError> {
    let insert = "INSERT INTO notice (id, household, at, document) VALUES (?, ?, ?, ?)";
    let insert = sqlx::query(insert)
        .bind(&notice.id)
        .bind(notice.household.as_str())
        .bind(notice.at.as_second());
    let inserted = insert
        .bind(notice.document.to_string())
        .execute(&mut *connection)
        .await
        .map_err(step("queueing a notice"))?;
    for (channel, recipient) in &notice.to {
        let insert = "INSERT INTO delivery (notice, channel, recipient, state, attempts, due) VALUES (?, ?, ?, 'queued', 0, ?)";
        let insert = sqlx::query(insert)
            .bind(inserted.last_insert_rowid())
            .bind(*channel)
            .bind(recipient)
            .bind(notice.at.as_second());
        insert
            .execute(&mut *connection)
            .await
            .map_err(step("queueing a notice"))?;
    }
    Ok(())
}

/// Queues a message to the operator alone, without a household.
pub(crate) async fn queue_for_operator(
    connection: &mut SqliteConnection,
    id: &str,
    at: Timestamp,
    document: &Value,
    channel: &'static str,
) -> Result<(), StoreError> {
    let insert =
        sqlx::query("INSERT INTO notice (id, household, at, document) VALUES (?, '', ?, ?)")
            .bind(id)
            .bind(at.as_second());
    let inserted = insert
        .bind(document.to_string())
        .execute(&mut *connection)
        .await
        .map_err(step("queueing a notice"))?;
    let insert = sqlx::query(
        "INSERT INTO delivery (notice, channel, recipient, state, attempts, due) VALUES (?, ?, NULL, 'queued', 0, ?)",
    );
    let insert = insert
        .bind(inserted.last_insert_rowid())
        .bind(channel)
        .bind(at.as_second());
    insert
        .execute(connection)
        .await
        .map(drop)
        .map_err(step("queueing a notice"))
}

impl Store {
    /// The deliveries that are due over a channel, oldest first.
    pub async fn notices_due(
        &self,
        channel: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        let select = "SELECT sequence, id, household, channel, recipient, attempts, at, document
            FROM delivery JOIN notice ON notice.sequence = delivery.notice WHERE state = 'queued' AND due <= ? AND channel = ?
            ORDER BY due LIMIT ?";
        let rows = sqlx::query_as(select)
            .bind(now.as_second())
            .bind(channel)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await;
        let rows: Vec<Row> = rows.map_err(step("reading the notices"))?;
        let due = |row: Row| DueDelivery {
            sequence: row.sequence,
            id: row.id,
            household: row.household,
            channel: row.channel,
            recipient: row.recipient,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            queued_at: second(row.at),
            document: serde_json::from_str(&row.document).unwrap_or_default(),
        };
        Ok(rows.into_iter().map(due).collect())
    }

    /// Records the outcome of an attempt.
    pub async fn settle_notice(
        &self,
        due: &DueDelivery,
        delivery: &Delivery,
    ) -> Result<(), StoreError> {
        let (state, next, error) = match delivery {
            Delivery::Delivered => ("delivered", 0, None),
            Delivery::Later(next, error) => ("queued", next.as_second(), Some(error)),
            Delivery::Dead(error) => ("dead", 0, Some(error)),
        };
        let update = "UPDATE delivery SET state = ?, due = ?, error = ?, attempts = attempts + 1 WHERE notice = ? AND channel = ?";
        let update = sqlx::query(update)
            .bind(state)
            .bind(next)
            .bind(error)
            .bind(due.sequence)
            .bind(&due.channel);
        self.database
            .execute(update, "settling a notice")
            .await
            .map(drop)
    }

    /// Counts waiting and given-up deliveries, and finds the oldest waiting one.
    pub async fn count_notices(&self) -> Result<OutboxCounts, StoreError> {
        let select = "SELECT (SELECT count(*) FROM delivery WHERE state = 'queued'), (SELECT count(*) FROM delivery WHERE state = 'dead'),
            (SELECT min(at) FROM notice JOIN delivery ON notice.sequence = delivery.notice WHERE state = 'queued')";
        let row: (i64, i64, Option<i64>) = sqlx::query_as(select)
            .fetch_one(&self.pool)
            .await
            .map_err(step("counting the notices"))?;
        Ok(OutboxCounts {
            queued: row.0.unsigned_abs(),
            dead: row.1.unsigned_abs(),
            oldest: row.2.map(second),
        })
    }

    /// Deletes notices before this time that were delivered or had no channel. Given-up notices
    /// stay.
    pub async fn forget_notices(&self, before: Timestamp) -> Result<(), StoreError> {
        let delete = "DELETE FROM notice WHERE at < ? AND NOT EXISTS
            (SELECT 1 FROM delivery WHERE delivery.notice = notice.sequence AND state <> 'delivered')";
        self.database
            .execute(
                sqlx::query(delete).bind(before.as_second()),
                "forgetting notices",
            )
            .await
            .map(drop)
    }

    /// The label of the key that an actor used; `None` for an actor without a key.
    pub async fn label_of(&self, actor: &str) -> Result<Option<String>, StoreError> {
        let Some(id) = actor.strip_prefix("key:") else {
            return Ok(None);
        };
        let label: Option<(String,)> = sqlx::query_as("SELECT label FROM api_key WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(step("looking up a key"))?;
        Ok(label
            .map(|(label,)| label)
            .filter(|label| !label.is_empty()))
    }
}
