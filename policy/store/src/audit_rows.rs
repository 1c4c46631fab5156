//! The rows of the audit, read page by page.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Store,
    audit::{AuditEntry, AuditRow, Author, append, hexadecimal},
    error::{StoreError, step},
};

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// 1 for the first, then one more each time.
    pub sequence: u64,
    /// When, by this node's clock.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// What.
    pub action: String,
    /// To what.
    pub subject: String,
    /// What was so before.
    pub before: Option<Value>,
    /// What is so after.
    pub after: Option<Value>,
    /// Hash of the row before, hexadecimal.
    pub previous: String,
    /// Hash of this row, hexadecimal.
    pub hash: String,
}

/// In which order the audit is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As written: for a reader that keeps a copy.
    #[default]
    Oldest,
    /// The last row first.
    Newest,
}

/// A page of the audit.
#[derive(Debug)]
pub struct AuditPage {
    /// The rows.
    pub records: Vec<Record>,
    /// The sequence of the last row of this page, where there is more.
    pub next: Option<u64>,
}

impl Record {
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
    /// Writes down something that is not itself a change of this store, and returns its sequence.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn append_audit(&self, by: &Author, deed: AuditEntry<'_>) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let sequence = append(&mut transaction, by, &deed).await?;
        transaction.commit().await?;
        Ok(sequence)
    }

    /// Rows in an order, from behind the row `after`, or from its beginning; only those about
    /// `subject` where it is given.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn audit(
        &self,
        subject: Option<&str>,
        order: Order,
        after: Option<u64>,
        limit: u32,
    ) -> Result<AuditPage, StoreError> {
        let (statement, of_subject, beginning) = match order {
            Order::Oldest => (OLDEST, OLDEST_OF_SUBJECT, 0),
            Order::Newest => (NEWEST, NEWEST_OF_SUBJECT, i64::MAX),
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
            .map(Record::of)
            .collect::<Result<Vec<_>, _>>()?;
        let next = has_more
            .then(|| records.last().map(|record| record.sequence))
            .flatten();
        Ok(AuditPage { records, next })
    }
}
