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

/// A notice that is to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotice {
    /// What its receivers know it by, so that one that comes twice is seen to be the same.
    pub id: String,
    /// Whose.
    pub household: Id,
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    pub document: Value,
    /// Over which channels it goes, and to whom where the channel does not know that itself.
    pub to: Vec<(&'static str, Option<String>)>,
}

/// A notice that is to be delivered now, over one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct DueDelivery {
    /// Its place in the outbox.
    pub sequence: i64,
    /// What its receivers know it by.
    pub id: String,
    /// Whose.
    pub household: String,
    /// Over which channel.
    pub channel: String,
    /// To whom, where the channel does not know that itself.
    pub recipient: Option<String>,
    /// Attempts that failed.
    pub attempts: u32,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// What it says.
    pub document: Value,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It is there.
    Delivered,
    /// It is to be tried again then.
    Later(Timestamp, String),
    /// It is given up, and kept.
    Dead(String),
}

/// How the outbox stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Deliveries that wait.
    pub queued: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// When the oldest one that waits was queued.
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

/// Puts a notice into the outbox, inside the transaction that does what it tells of.
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

/// Puts a message to the operator alone into the outbox: it is no household's.
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
    /// What is to be delivered by now over a channel, the longest waiting first.
    ///
    /// # Errors
    /// See [`StoreError`].
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

    /// Writes down what became of an attempt.
    ///
    /// # Errors
    /// See [`StoreError`].
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

    /// How many wait, how many were given up, and since when the oldest one waits.
    ///
    /// # Errors
    /// See [`StoreError`].
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

    /// Forgets notices that were delivered, or had nowhere to go, before this time. What was given
    /// up stays.
    ///
    /// # Errors
    /// See [`StoreError`].
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
    ///
    /// # Errors
    /// See [`StoreError`].
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
