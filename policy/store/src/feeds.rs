//! Feeds defined over REST. The loader interprets a definition; here it is a JSON document with a
//! version.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;

use crate::{
    Author, Store,
    audit::{AuditEntry, append},
    error::{ChangeError, StoreError, step},
};

/// A stored feed.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFeed {
    /// The name of the feed.
    pub name: String,
    /// Raised with every change, a deletion included.
    pub version: u64,
    /// Its definition, secrets included.
    pub document: Value,
    /// When it was first defined.
    pub created_at: Timestamp,
    /// The author of the first definition.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The author of the last change.
    pub updated_by: String,
}

/// The result of a change of a feed's definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedChanged {
    /// The version after the change.
    pub version: u64,
    /// Whether the feed did not exist before.
    pub is_new: bool,
}

#[derive(FromRow)]
struct Row {
    name: String,
    version: i64,
    document: Option<String>,
    created_at: String,
    created_by: String,
    updated_at: String,
    updated_by: String,
}

impl Row {
    /// The feed; `None` for a deleted feed, of which only the version is kept.
    fn feed(self) -> Result<Option<StoredFeed>, StoreError> {
        let unreadable =
            |source: Box<dyn std::error::Error + Send + Sync>| StoreError::FeedDocument {
                feed: self.name.clone(),
                source,
            };
        let Some(document) = &self.document else {
            return Ok(None);
        };
        let time = |text: &str| {
            text.parse::<Timestamp>()
                .map_err(|error| unreadable(error.into()))
        };
        Ok(Some(StoredFeed {
            document: serde_json::from_str(document).map_err(|error| unreadable(error.into()))?,
            created_at: time(&self.created_at)?,
            updated_at: time(&self.updated_at)?,
            version: self.version.unsigned_abs(),
            created_by: self.created_by,
            updated_by: self.updated_by,
            name: self.name,
        }))
    }
}

impl Store {
    pub async fn feed(&self, name: &str) -> Result<Option<StoredFeed>, StoreError> {
        let row: Option<Row> = sqlx::query_as("SELECT * FROM feed WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .map_err(step("reading a feed"))?;
        Ok(row.map(Row::feed).transpose()?.flatten())
    }

    /// All feeds by name, with an error for each that cannot be read.
    pub async fn feeds(&self) -> Result<Vec<Result<StoredFeed, StoreError>>, StoreError> {
        let rows = sqlx::query_as("SELECT * FROM feed WHERE document IS NOT NULL ORDER BY name")
            .fetch_all(&self.pool)
            .await;
        let rows: Vec<Row> = rows.map_err(step("reading the feeds"))?;
        Ok(rows
            .into_iter()
            .filter_map(|row| row.feed().transpose())
            .collect())
    }

    /// Defines a feed, or deletes it where `after` is `None`, and writes that to the audit in the
    /// same transaction. `expected` is the version that the caller knows, 0 for none. `show`
    /// removes secrets from a definition for the audit, which more people can read.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub async fn change_feed<E>(
        &self,
        by: &Author,
        name: &str,
        expected: Option<u64>,
        after: Option<&Value>,
        show: impl Fn(&Value) -> Value + Send,
    ) -> Result<FeedChanged, ChangeError<E>> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query_as("SELECT * FROM feed WHERE name = ?")
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await;
        let row: Option<Row> = row.map_err(step("reading a feed"))?;
        let version = row.as_ref().map_or(0, |row| row.version);
        let before = row.map(Row::feed).transpose()?.flatten();
        let current = before.as_ref().map_or(0, |feed| feed.version);
        if let Some(expected) = expected.filter(|expected| *expected != current) {
            return Err(ChangeError::Version { expected, current });
        }
        let is_new = before.is_none();
        let now = Timestamp::now().to_string();
        let upsert = "INSERT INTO feed (name, version, document, created_at, created_by, updated_at, updated_by)
            VALUES (?1, ?2, ?3, ?4, ?5, ?4, ?5)
            ON CONFLICT (name) DO UPDATE SET version = ?2, document = ?3, updated_at = ?4, updated_by = ?5,
                created_at = iif(document IS NULL, ?4, created_at), created_by = iif(document IS NULL, ?5, created_by)";
        let upsert = sqlx::query(upsert)
            .bind(name)
            .bind(version + 1)
            .bind(after.map(Value::to_string))
            .bind(now)
            .bind(&by.actor);
        upsert
            .execute(&mut *transaction)
            .await
            .map_err(step("writing a feed"))?;
        let action = match (is_new, after) {
            (_, None) => "delete",
            (true, _) => "create",
            (false, _) => "change",
        };
        let shown_before = before.map(|feed| show(&feed.document));
        let shown_after = after.map(show);
        let subject = format!("feed:{name}");
        let deed = AuditEntry {
            action,
            subject: &subject,
            before: shown_before.as_ref(),
            after: shown_after.as_ref(),
        };
        append(&mut transaction, by, &deed).await?;
        transaction.commit().await?;
        Ok(FeedChanged {
            version: (version + 1).unsigned_abs(),
            is_new,
        })
    }
}
