//! Negative trust anchors (RFC 7646): a name each, with an end and a reason, changed together with
//! the audit in one transaction.

use jiff::Timestamp;
use policy::name::{Name, NameError};
use serde_json::{Value, json};
use sqlx::FromRow;

use crate::{
    Author, Store,
    audit::{AuditEntry, append},
    error::{ChangeError, StoreError, step},
};

/// The end of a negative trust anchor, and why there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegativeAnchorTerms {
    pub until: Timestamp,
    pub reason: String,
}

/// A stored negative trust anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNegativeAnchor {
    pub name: Name,
    pub terms: NegativeAnchorTerms,
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

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegativeAnchorChanged {
    /// The anchor after the change; `None` once it is deleted.
    pub stored: Option<StoredNegativeAnchor>,
    /// The version after the change.
    pub version: u64,
    /// Whether there was none in force before.
    pub is_new: bool,
}

#[derive(FromRow)]
struct Row {
    name: String,
    version: i64,
    until: Option<String>,
    reason: Option<String>,
    created_at: String,
    created_by: String,
    updated_at: String,
    updated_by: String,
}

impl Row {
    /// The anchor; `None` for a deleted one, of which only the version is kept.
    fn anchor(self) -> Result<Option<StoredNegativeAnchor>, StoreError> {
        type Fault = Box<dyn std::error::Error + Send + Sync>;
        let unreadable = |source: Fault| StoreError::NegativeAnchor {
            name: self.name.clone(),
            source,
        };
        let (Some(until), Some(reason)) = (&self.until, &self.reason) else {
            return Ok(None);
        };
        let time = |text: &str| {
            text.parse::<Timestamp>()
                .map_err(|error| unreadable(error.into()))
        };
        let name = Name::parse(&self.name);
        Ok(Some(StoredNegativeAnchor {
            name: name.map_err(|error: NameError| unreadable(error.into()))?,
            terms: NegativeAnchorTerms {
                until: time(until)?,
                reason: reason.clone(),
            },
            created_at: time(&self.created_at)?,
            updated_at: time(&self.updated_at)?,
            version: self.version.unsigned_abs(),
            created_by: self.created_by,
            updated_by: self.updated_by,
        }))
    }

    /// The anchor, if it had not ended at a time. One that cannot be read counts as none: it can be
    /// written anew.
    fn in_force(self, now: Timestamp) -> Option<StoredNegativeAnchor> {
        let anchor = self.anchor().ok().flatten()?;
        (now < anchor.terms.until).then_some(anchor)
    }
}

/// The terms as the audit shows them.
fn shown(terms: &NegativeAnchorTerms) -> Value {
    json!({"until": terms.until.to_string(), "reason": terms.reason})
}

impl Store {
    /// All negative trust anchors by name, those whose time is over included, with an error for each
    /// that cannot be read.
    pub async fn negative_anchors(
        &self,
    ) -> Result<Vec<Result<StoredNegativeAnchor, StoreError>>, StoreError> {
        let list = "SELECT * FROM negative_trust_anchor WHERE until IS NOT NULL ORDER BY name";
        let rows = sqlx::query_as(list).fetch_all(&self.pool).await;
        let rows: Vec<Row> = rows.map_err(step("reading the negative trust anchors"))?;
        Ok(rows
            .into_iter()
            .filter_map(|row| row.anchor().transpose())
            .collect())
    }

    /// The negative trust anchor at a name, also where its time is over.
    pub async fn negative_anchor(
        &self,
        name: &Name,
    ) -> Result<Option<StoredNegativeAnchor>, StoreError> {
        let row = sqlx::query_as("SELECT * FROM negative_trust_anchor WHERE name = ?")
            .bind(name.to_string())
            .fetch_optional(&self.pool)
            .await;
        let row: Option<Row> = row.map_err(step("reading a negative trust anchor"))?;
        Ok(row.map(Row::anchor).transpose()?.flatten())
    }

    /// Writes a negative trust anchor, or deletes it where `after` is `None`, and writes the state
    /// before and after to the audit in the same transaction. `expected` is the version that the
    /// caller knows, 0 for none. One whose time is over at `now` counts as none.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub async fn change_negative_anchor<E>(
        &self,
        by: &Author,
        name: &Name,
        expected: Option<u64>,
        after: Option<&NegativeAnchorTerms>,
        now: Timestamp,
    ) -> Result<NegativeAnchorChanged, ChangeError<E>> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query_as("SELECT * FROM negative_trust_anchor WHERE name = ?")
            .bind(name.to_string())
            .fetch_optional(&mut *transaction)
            .await;
        let row: Option<Row> = row.map_err(step("reading a negative trust anchor"))?;
        let version = row.as_ref().map_or(0, |row| row.version);
        let before = row.and_then(|row| row.in_force(now));
        let is_new = before.is_none();
        let current = before.as_ref().map_or(0, |anchor| anchor.version);
        if let Some(expected) = expected.filter(|expected| *expected != current) {
            return Err(ChangeError::Version { expected, current });
        }
        let upsert = "INSERT INTO negative_trust_anchor (name, version, until, reason, created_at, created_by, updated_at, updated_by)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5, ?6)
            ON CONFLICT (name) DO UPDATE SET version = ?2, until = ?3, reason = ?4, updated_at = ?5, updated_by = ?6,
                created_at = iif(?7, ?5, created_at), created_by = iif(?7, ?6, created_by)
            RETURNING *";
        let upsert = sqlx::query_as(upsert)
            .bind(name.to_string())
            .bind(version + 1)
            .bind(after.map(|terms| terms.until.to_string()))
            .bind(after.map(|terms| &terms.reason))
            .bind(now.to_string())
            .bind(&by.actor)
            .bind(is_new);
        let written: Row = upsert
            .fetch_one(&mut *transaction)
            .await
            .map_err(step("writing a negative trust anchor"))?;
        let action = match (is_new, after) {
            (_, None) => "delete",
            (true, _) => "create",
            (false, _) => "change",
        };
        let subject = format!("negative_trust_anchor:{name}");
        let before = before.map(|anchor| shown(&anchor.terms));
        let after = after.map(shown);
        let entry = AuditEntry {
            action,
            subject: &subject,
            before: before.as_ref(),
            after: after.as_ref(),
        };
        append(&mut transaction, by, &entry).await?;
        transaction.commit().await?;
        Ok(NegativeAnchorChanged {
            stored: written.anchor()?,
            version: (version + 1).unsigned_abs(),
            is_new,
        })
    }
}
