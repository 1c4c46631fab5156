//! Mandates: documents with a version each, changed together with the audit in one transaction.

use jiff::Timestamp;
use policy::{
    lists::mandates::{Mandate, MandateDocument},
    rules::household::{Id, IdError},
};
use serde_json::Value;
use sqlx::FromRow;

use crate::{
    Author, Store,
    audit::{AuditEntry, append},
    error::{ChangeError, StoreError, step},
};

/// A stored mandate.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMandate {
    /// The mandate.
    pub mandate: Mandate,
    /// Raised with every change, a deletion included.
    pub version: u64,
    /// When it was first written.
    pub created_at: Timestamp,
    /// The author of the first version.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The author of the last change.
    pub updated_by: String,
}

/// A page of mandates by identifier.
#[derive(Debug)]
pub struct MandatePage {
    /// The mandates, with an error for each that cannot be read.
    pub mandates: Vec<Result<StoredMandate, StoreError>>,
    /// The last identifier of this page, if there are more.
    pub next: Option<String>,
}

/// The result of a change.
#[derive(Debug, Clone, PartialEq)]
pub struct MandateChanged {
    /// The mandate after the change; `None` once it is deleted.
    pub stored: Option<StoredMandate>,
    /// The version after the change.
    pub version: u64,
    /// Whether it did not exist before.
    pub is_new: bool,
}

#[derive(FromRow)]
struct Row {
    id: String,
    version: i64,
    document: Option<String>,
    created_at: String,
    created_by: String,
    updated_at: String,
    updated_by: String,
}

impl Row {
    /// The mandate; `None` for a deleted one, of which only the version is kept.
    fn mandate(self) -> Result<Option<StoredMandate>, StoreError> {
        type Fault = Box<dyn std::error::Error + Send + Sync>;
        let unreadable = |source: Fault| StoreError::MandateDocument {
            mandate: self.id.clone(),
            source,
        };
        let Some(document) = &self.document else {
            return Ok(None);
        };
        let document: MandateDocument =
            serde_json::from_str(document).map_err(|error| unreadable(error.into()))?;
        let id: Id = self
            .id
            .parse()
            .map_err(|error: IdError| unreadable(error.into()))?;
        let time = |text: &str| {
            text.parse::<Timestamp>()
                .map_err(|error| unreadable(error.into()))
        };
        Ok(Some(StoredMandate {
            mandate: Mandate::read(id, document).map_err(|error| unreadable(error.into()))?,
            created_at: time(&self.created_at)?,
            updated_at: time(&self.updated_at)?,
            version: self.version.unsigned_abs(),
            created_by: self.created_by,
            updated_by: self.updated_by,
        }))
    }
}

impl Store {
    pub async fn mandate(&self, id: &Id) -> Result<Option<StoredMandate>, StoreError> {
        let row = sqlx::query_as("SELECT * FROM mandate WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await;
        let row: Option<Row> = row.map_err(step("reading a mandate"))?;
        Ok(row.map(Row::mandate).transpose()?.flatten())
    }

    /// Mandates in the order of their identifiers, after `after`.
    pub async fn mandates(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<MandatePage, StoreError> {
        let list =
            "SELECT * FROM mandate WHERE document IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2";
        let rows = sqlx::query_as(list)
            .bind(after.unwrap_or_default())
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.pool)
            .await;
        let mut rows: Vec<Row> = rows.map_err(step("listing mandates"))?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| has_more).map(|row| row.id.clone());
        Ok(MandatePage {
            mandates: rows
                .into_iter()
                .filter_map(|row| row.mandate().transpose())
                .collect(),
            next,
        })
    }

    /// All mandates, with an error for each that cannot be read. For the start.
    pub async fn all_mandates(&self) -> Result<Vec<Result<Mandate, StoreError>>, StoreError> {
        let rows = sqlx::query_as("SELECT * FROM mandate WHERE document IS NOT NULL ORDER BY id")
            .fetch_all(&self.pool)
            .await;
        let rows: Vec<Row> = rows.map_err(step("reading the mandates"))?;
        let read = |row: Row| {
            row.mandate()
                .transpose()
                .map(|stored| stored.map(|stored| stored.mandate))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Writes a mandate, or deletes it where `after` is `None`, and writes the state before and
    /// after to the audit in the same transaction. `expected` is the version that the caller knows,
    /// 0 for none.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub async fn change_mandate<E>(
        &self,
        by: &Author,
        id: &Id,
        expected: Option<u64>,
        after: Option<&Mandate>,
    ) -> Result<MandateChanged, ChangeError<E>> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query_as("SELECT * FROM mandate WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&mut *transaction)
            .await;
        let row: Option<Row> = row.map_err(step("reading a mandate"))?;
        let version = row.as_ref().map_or(0, |row| row.version);
        let before = row.as_ref().and_then(|row| row.document.as_deref());
        let is_new = before.is_none();
        let current = before.map_or(0, |_| version.unsigned_abs());
        if let Some(expected) = expected.filter(|expected| *expected != current) {
            return Err(ChangeError::Version { expected, current });
        }
        // An unreadable mandate can be replaced; the audit then gets its text.
        let before =
            before.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)));
        let document = after.map(|mandate| {
            serde_json::to_value(mandate.document()).expect("a document is plain data")
        });
        let now = Timestamp::now().to_string();
        let upsert = "INSERT INTO mandate (id, version, document, created_at, created_by, updated_at, updated_by)
            VALUES (?1, ?2, ?3, ?4, ?5, ?4, ?5)
            ON CONFLICT (id) DO UPDATE SET version = ?2, document = ?3, updated_at = ?4, updated_by = ?5,
                created_at = iif(document IS NULL, ?4, created_at), created_by = iif(document IS NULL, ?5, created_by)
            RETURNING *";
        let text = document.as_ref().map(Value::to_string);
        let upsert = sqlx::query_as(upsert)
            .bind(id.as_str())
            .bind(version + 1)
            .bind(text)
            .bind(now)
            .bind(&by.actor);
        let written: Row = upsert
            .fetch_one(&mut *transaction)
            .await
            .map_err(step("writing a mandate"))?;
        let action = match (is_new, after) {
            (_, None) => "delete",
            (true, _) => "create",
            (false, _) => "change",
        };
        let subject = format!("mandate:{id}");
        append(
            &mut transaction,
            by,
            &AuditEntry {
                action,
                subject: &subject,
                before: before.as_ref(),
                after: document.as_ref(),
            },
        )
        .await?;
        transaction.commit().await?;
        Ok(MandateChanged {
            stored: written.mandate()?,
            version: (version + 1).unsigned_abs(),
            is_new,
        })
    }
}
