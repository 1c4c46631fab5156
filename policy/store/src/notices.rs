//! The outbox of notices to account holders: written in the transaction of the event, and kept
//! until delivered or given up.

use jiff::Timestamp;
use policy::rules::household::Id;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{FromRow, SqliteConnection};

use crate::{
    Store,
    audit::hexadecimal,
    error::{StoreError, step},
    time::second,
};

/// The notices of a household that are kept, beside those that wait for their delivery.
const KEPT_MAX: u32 = 100;
/// Members of a document that each notice has of its own. `times` and `first_at` tell of notices that
/// were taken up.
const OF_EACH: [&str; 5] = ["id", "at", "text", "times", "first_at"];

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

/// Queues a notice, in the transaction of the event. One that says the same and waits for its next
/// attempt takes it up. Of those that do not wait, the newest stay.
pub(crate) async fn queue(
    connection: &mut SqliteConnection,
    notice: &NewNotice,
) -> Result<(), StoreError> {
    let content = content(notice);
    if take_up(connection, notice, &content).await? {
        return Ok(());
    }
    let insert = "INSERT INTO notice (id, household, at, document, content) VALUES (?, ?, ?, ?, ?)";
    let insert = sqlx::query(insert)
        .bind(&notice.id)
        .bind(notice.household.as_str())
        .bind(notice.at.as_second());
    let inserted = insert
        .bind(notice.document.to_string())
        .bind(content)
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
    let delete = "DELETE FROM notice WHERE household = ?1
        AND sequence <= (SELECT sequence FROM notice WHERE household = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)
        AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.notice = notice.sequence AND state = 'queued')";
    let delete = sqlx::query(delete)
        .bind(notice.household.as_str())
        .bind(KEPT_MAX);
    delete
        .execute(connection)
        .await
        .map(drop)
        .map_err(step("forgetting notices"))
}

/// What a notice says and to whom, without what each notice has of its own, as a hash.
fn content(notice: &NewNotice) -> String {
    let mut document = notice.document.clone();
    if let Some(members) = document.as_object_mut() {
        members.retain(|name, _| !OF_EACH.contains(&name.as_str()));
    }
    let said = json!([document, notice.to]).to_string();
    hexadecimal(&Sha256::digest(said))
}

/// Adds a notice to the newest one of the household that says the same, if all deliveries of that one
/// wait for a later second: none of them is under way. Returns whether there is one.
async fn take_up(
    connection: &mut SqliteConnection,
    notice: &NewNotice,
    content: &str,
) -> Result<bool, StoreError> {
    let select = "SELECT sequence, document FROM notice WHERE household = ? AND content = ?
        AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.notice = notice.sequence AND (state <> 'queued' OR due <= ?))
        ORDER BY sequence DESC LIMIT 1";
    let select = sqlx::query_as(select)
        .bind(notice.household.as_str())
        .bind(content)
        .bind(notice.at.as_second());
    let waiting: Option<(i64, String)> = select
        .fetch_optional(&mut *connection)
        .await
        .map_err(step("reading the notices"))?;
    let Some((sequence, before)) = waiting else {
        return Ok(false);
    };
    let before: Value = serde_json::from_str(&before).unwrap_or_default();
    let mut document = notice.document.clone();
    if let Some(members) = document.as_object_mut() {
        let first = before.get("first_at").or_else(|| before.get("at"));
        let times = before.get("times").and_then(Value::as_u64).unwrap_or(1) + 1;
        members.insert("id".to_owned(), before["id"].clone());
        members.insert("first_at".to_owned(), first.cloned().unwrap_or_default());
        members.insert("times".to_owned(), times.into());
    }
    let update = sqlx::query("UPDATE notice SET at = ?, document = ? WHERE sequence = ?")
        .bind(notice.at.as_second())
        .bind(document.to_string())
        .bind(sequence);
    update
        .execute(connection)
        .await
        .map_err(step("queueing a notice"))?;
    Ok(true)
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

    /// Deletes notices before this time that were delivered or had no channel. Of the given-up
    /// ones, the newest of each household stay.
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
