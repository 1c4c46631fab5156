//! The rows of the audit, read page by page.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Store,
    audit::{AuditEntry, AuditRow, Author, append, hexadecimal},
    error::{StoreError, step},
};

/// A row of the audit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditRecord {
    /// The number of the row, from 1.
    pub sequence: u64,
    /// RFC 3339, by the clock of the node.
    pub at: Timestamp,
    /// The author: `key:ID`, or `jwt:SUBJECT` for a token.
    pub actor: String,
    /// The role of the author.
    pub role: String,
    /// The action: `create`, `change`, `undo`, `delete`, `revoke`, `refresh`, `approve`, `rollback`; with
    /// `_failed` if it failed, with `_done` if its outcome has a row of its own.
    pub action: String,
    /// The subject: `household:ID`, `key:ID`, `feed:NAME`, `mandate:ID`,
    /// `negative_trust_anchor:NAME` or `lists`.
    pub subject: String,
    /// The state before. Of a household, only what changed.
    pub before: Option<Value>,
    /// The state after.
    pub after: Option<Value>,
    /// Hash of the row before, hexadecimal. Zeros for the first row.
    pub previous: String,
    /// SHA-256 over the whole row and the hash before it, hexadecimal.
    pub hash: String,
}

/// The order in which the audit is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SortOrder {
    /// As written, for readers that keep a copy.
    #[default]
    Oldest,
    /// The last row first.
    Newest,
}

/// A page of the audit.
#[derive(Debug)]
pub struct AuditPage {
    pub records: Vec<AuditRecord>,
    /// The sequence of the last row of this page, if there are more.
    pub next: Option<u64>,
}

impl AuditRecord {
    fn of(row: AuditRow) -> Result<Self, StoreError> {
        let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
            step("reading the audit")(sqlx::Error::Decode(error))
        };
        let json = |text: Option<String>| {
            text.map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| unreadable(error.into()))
        };
        Ok(Self {
            sequence: row.sequence.unsigned_abs(),
            at: row
                .at
                .parse()
                .map_err(|error: jiff::Error| unreadable(error.into()))?,
            actor: row.actor,
            role: row.role,
            action: row.action,
            subject: row.subject,
            before: json(row.before)?,
            after: json(row.after)?,
            previous: hexadecimal(&row.previous),
            hash: hexadecimal(&row.hash),
        })
    }
}

// Four statements, because an OR would keep the indexes from being used.
pub(crate) const OLDEST: &str =
    "SELECT * FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
const NEWEST: &str = "SELECT * FROM audit WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2";
const OLDEST_OF_SUBJECT: &str =
    "SELECT * FROM audit WHERE subject = ?3 AND sequence > ?1 ORDER BY sequence LIMIT ?2";
const NEWEST_OF_SUBJECT: &str =
    "SELECT * FROM audit WHERE subject = ?3 AND sequence < ?1 ORDER BY sequence DESC LIMIT ?2";

impl Store {
    /// Appends a row about something that is not a change of this store, and returns its sequence.
    pub async fn append_audit(&self, by: &Author, deed: AuditEntry<'_>) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let sequence = append(&mut transaction, by, &deed).await?;
        transaction.commit().await?;
        Ok(sequence)
    }

    /// Rows in an order, after the row `after` or from the beginning; with `subject`, only those
    /// about it.
    pub async fn audit(
        &self,
        subject: Option<&str>,
        order: SortOrder,
        after: Option<u64>,
        limit: u32,
    ) -> Result<AuditPage, StoreError> {
        let (statement, of_subject, beginning) = match order {
            SortOrder::Oldest => (OLDEST, OLDEST_OF_SUBJECT, 0),
            SortOrder::Newest => (NEWEST, NEWEST_OF_SUBJECT, i64::MAX),
        };
        let after = after.map_or(beginning, |after| i64::try_from(after).unwrap_or(i64::MAX));
        let limit_and_one = i64::from(limit) + 1;
        let query = match subject {
            None => sqlx::query_as(statement).bind(after).bind(limit_and_one),
            Some(subject) => sqlx::query_as(of_subject)
                .bind(after)
                .bind(limit_and_one)
                .bind(subject),
        };
        let mut rows: Vec<AuditRow> = query
            .fetch_all(&self.pool)
            .await
            .map_err(step("reading the audit"))?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let records = rows
            .into_iter()
            .map(AuditRecord::of)
            .collect::<Result<Vec<_>, _>>()?;
        let next = has_more
            .then(|| records.last().map(|record| record.sequence))
            .flatten();
        Ok(AuditPage { records, next })
    }
}
