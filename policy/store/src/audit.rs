//! The audit: the author, time, action and subject of each change, with the state before and after.
//! Rows are appended and never changed.
//!
//! ```text
//! hash(n) = SHA-256(domain, sequence, at, actor, role, action, subject, before, after, hash(n - 1))
//! ```
//!
//! The database refuses to change or delete a row. Bypassing the database breaks the chain, and
//! `Store::verify_audit` names the first row that does not fit. A recomputed chain, or one without
//! its last rows, fits; against these, heads are signed (`heads`), kept elsewhere (`chain`) and
//! compared (`verification`). This file does not interpret rows; `before` and `after` are JSON of
//! the writer.

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, SqliteConnection};

use crate::error::{StoreError, step};

/// Hashed first, so that the hash of a row is never the hash of something else.
const DOMAIN: &[u8] = b"ox-protect audit 1\n";
/// The hash before the first row.
pub(crate) const GENESIS: [u8; 32] = [0; 32];
/// The migration with the triggers that refuse to change or delete a row.
const TRIGGERS: &str = include_str!("../migrations/0002_feeds_and_audit.sql");

/// The author of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// `key:ID` for the holder of a key, `jwt:SUBJECT` for the bearer of a token; another word for
    /// the program itself.
    pub actor: String,
    /// The role of the author.
    pub role: String,
}

/// The content of a new row.
#[derive(Debug)]
pub struct AuditEntry<'d> {
    /// The action, a stable word: `create`, `change`, `delete`, `approve`, `rollback`, …
    pub action: &'d str,
    /// The subject: `household:home`, `feed:gambling`, `lists`.
    pub subject: &'d str,
    /// The state before; `None` for a creation.
    pub before: Option<&'d Value>,
    /// The state after; `None` for a deletion.
    pub after: Option<&'d Value>,
}

/// The content of a new row as it is written: made before the transaction begins, where that takes
/// long.
pub(crate) struct RenderedEntry {
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// A row of the table: all text as it was hashed.
#[derive(FromRow)]
pub(crate) struct AuditRow {
    pub(crate) sequence: i64,
    pub(crate) at: String,
    pub(crate) actor: String,
    pub(crate) role: String,
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) previous: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

impl AuditRow {
    /// Computes the hash of the row. Every field is preceded by its length, so that no two rows
    /// give the same octets.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        let mut field = |octets: &[u8]| {
            hash.update((octets.len() as u64).to_be_bytes());
            hash.update(octets);
        };
        field(&self.sequence.to_be_bytes());
        for text in [
            &self.at,
            &self.actor,
            &self.role,
            &self.action,
            &self.subject,
        ] {
            field(text.as_bytes());
        }
        for json in [&self.before, &self.after] {
            // JSON is never empty, so an empty field means no value.
            field(json.as_deref().unwrap_or_default().as_bytes());
        }
        field(&self.previous);
        hash.finalize().into()
    }

    /// Returns what is wrong with the row as the successor of a row with that sequence and hash.
    pub(crate) fn fault(&self, sequence: i64, previous: &[u8]) -> Option<&'static str> {
        if self.sequence != sequence {
            Some("a row before it is missing")
        } else if self.previous != previous {
            Some("it does not follow the row before it")
        } else if self.hash != self.digest() {
            Some("it was changed after it was written")
        } else {
            None
        }
    }
}

pub(crate) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Appends a row inside the transaction of the change, which must hold the database's write lock:
/// both are stored, or neither is.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    by: &Author,
    entry: &AuditEntry<'_>,
) -> Result<u64, StoreError> {
    let rendered = RenderedEntry {
        action: entry.action.to_owned(),
        subject: entry.subject.to_owned(),
        before: entry.before.map(Value::to_string),
        after: entry.after.map(Value::to_string),
    };
    append_rendered(connection, by, rendered).await
}

/// As [`append`], with what was made before.
pub(crate) async fn append_rendered(
    connection: &mut SqliteConnection,
    by: &Author,
    entry: RenderedEntry,
) -> Result<u64, StoreError> {
    let head = sqlx::query_as("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1");
    let head: Option<(i64, Vec<u8>)> = head
        .fetch_optional(&mut *connection)
        .await
        .map_err(step("reading the audit"))?;
    let (sequence, previous) = head.unwrap_or((0, GENESIS.to_vec()));
    let mut row = AuditRow {
        sequence: sequence + 1,
        at: Timestamp::now().to_string(),
        actor: by.actor.clone(),
        role: by.role.clone(),
        action: entry.action,
        subject: entry.subject,
        before: entry.before,
        after: entry.after,
        previous,
        hash: Vec::new(),
    };
    row.hash = row.digest().to_vec();
    let insert = "INSERT INTO audit (sequence, at, actor, role, action, subject, before, after, previous, hash)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let insert = sqlx::query(insert)
        .bind(row.sequence)
        .bind(row.at)
        .bind(row.actor)
        .bind(row.role)
        .bind(row.action)
        .bind(row.subject);
    let insert = insert
        .bind(row.before)
        .bind(row.after)
        .bind(row.previous)
        .bind(row.hash);
    let inserted = insert
        .execute(connection)
        .await
        .map_err(step("writing the audit"))?;
    // A foreign trigger can discard a row silently (`RAISE(IGNORE)`).
    if inserted.rows_affected() != 1 {
        return Err(step("writing the audit")(sqlx::Error::RowNotFound));
    }
    Ok(row.sequence.unsigned_abs())
}

/// The triggers of the audit by name, as the migration creates them.
fn triggers() -> impl Iterator<Item = (&'static str, &'static str)> {
    TRIGGERS
        .split("CREATE TRIGGER ")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find("END;")? + "END".len();
            Some((rest.split_whitespace().next()?, &rest[..end]))
        })
}

/// The names of triggers that are missing, changed, or not ours.
pub(crate) async fn wrong_triggers(
    connection: &mut SqliteConnection,
) -> Result<Vec<(String, bool)>, StoreError> {
    let select = sqlx::query_as(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'audit' COLLATE NOCASE",
    );
    let there: Vec<(String, String)> = select
        .fetch_all(connection)
        .await
        .map_err(step("reading the triggers of the audit"))?;
    let is_right = |name: &str, sql: &str| {
        triggers().any(|(right, text)| right == name && sql == format!("CREATE TRIGGER {text}"))
    };
    let missing = triggers()
        .filter(|(name, _)| !there.iter().any(|(known, _)| known == name))
        .map(|(name, _)| (name.to_owned(), false));
    let wrong = there
        .iter()
        .filter(|(name, sql)| !is_right(name, sql))
        .map(|(name, _)| (name.clone(), true));
    Ok(missing.chain(wrong).collect())
}

/// Restores the triggers. Returns the names of those that were wrong.
pub(crate) async fn restore_triggers(
    connection: &mut SqliteConnection,
) -> Result<Vec<String>, StoreError> {
    let wrong = wrong_triggers(connection).await?;
    let failed = || step("restoring the triggers of the audit");
    for (name, _) in wrong.iter().filter(|(_, is_there)| *is_there) {
        let drop_it = format!("DROP TRIGGER \"{}\"", name.replace('"', "\"\""));
        sqlx::query(sqlx::AssertSqlSafe(drop_it))
            .execute(&mut *connection)
            .await
            .map_err(failed())?;
    }
    for (name, text) in triggers() {
        if wrong.iter().any(|(known, _)| known == name) {
            sqlx::query(sqlx::AssertSqlSafe(format!("CREATE TRIGGER {text}")))
                .execute(&mut *connection)
                .await
                .map_err(failed())?;
        }
    }
    Ok(wrong.into_iter().map(|(name, _)| name).collect())
}
