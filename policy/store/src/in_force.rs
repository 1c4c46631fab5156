//! Active keys, for callers that cannot query the store for each request: fingerprints, and
//! revocations by any process.

use sha2::{Digest, Sha256};
use sqlx::Row;

use crate::{Store, error::StoreError, error::step, keys};

/// Rows that each reading repeats, because SQLite can give the number of a deleted last row to the
/// next one.
const READ_AGAIN: i64 = 32;
/// The action of a revocation in the audit.
const REVOKED: &str = "revoke";

/// The first eight octets of a secret's SHA-256, of which the store keeps all. `None` for text
/// without the form of a key.
///
/// A fingerprint grants nothing, because two secrets may share one. It shows whether a look-up is
/// worth its cost.
#[must_use]
pub fn fingerprint(secret: &str) -> Option<u64> {
    keys::is_formed(secret).then(|| leading(&Sha256::digest(secret)))
}

pub(crate) fn leading(hash: &[u8]) -> u64 {
    hash.first_chunk()
        .map_or(0, |octets| u64::from_be_bytes(*octets))
}

/// Revocations of keys since some row of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations {
    /// The actors of the revoked keys, as in the audit: `key:ID`.
    pub actors: Vec<String>,
    /// The row after which the next reading begins.
    pub next: u64,
}

impl Store {
    /// The fingerprints of active keys created after row `after`, and the last row. 0 reads all
    /// keys.
    pub async fn fingerprints(&self, after: i64) -> Result<(Vec<u64>, i64), StoreError> {
        let query = sqlx::query(
            "SELECT rowid, sha256 FROM api_key WHERE rowid > ? AND revoked_at IS NULL ORDER BY rowid",
        );
        let rows = query
            .bind(after.saturating_sub(READ_AGAIN))
            .fetch_all(&self.pool)
            .await
            .map_err(step("reading keys"))?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok((leading(row.try_get("sha256")?), row.try_get("rowid")?))
        };
        let rows: Vec<(u64, i64)> = rows
            .iter()
            .map(read)
            .collect::<Result<_, sqlx::Error>>()
            .map_err(step("reading a key"))?;
        let last = rows.last().map_or(after, |(_, row)| after.max(*row));
        Ok((
            rows.into_iter()
                .map(|(fingerprint, _)| fingerprint)
                .collect(),
            last,
        ))
    }

    /// The keys that any process revoked after row `after` of the audit. `None` returns no key and
    /// the end of the audit.
    pub async fn revocations(&self, after: Option<u64>) -> Result<Revocations, StoreError> {
        let Some(after) = after else {
            let row = sqlx::query("SELECT coalesce(max(sequence), 0) AS last FROM audit")
                .fetch_one(&self.pool)
                .await;
            let last: i64 = row
                .and_then(|row| row.try_get("last"))
                .map_err(step("reading the audit"))?;
            return Ok(Revocations {
                actors: Vec::new(),
                next: last.unsigned_abs(),
            });
        };
        let query = sqlx::query(
            "SELECT sequence, action, subject FROM audit WHERE sequence > ? ORDER BY sequence",
        );
        let rows = query
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await;
        let rows = rows.map_err(step("reading the audit"))?;
        let mut revocations = Revocations {
            actors: Vec::new(),
            next: after,
        };
        for row in &rows {
            let read = || {
                Ok::<_, sqlx::Error>((
                    row.try_get::<i64, _>("sequence")?,
                    row.try_get::<&str, _>("action")?,
                    row.try_get("subject")?,
                ))
            };
            let (sequence, action, subject) = read().map_err(step("reading the audit"))?;
            revocations.next = sequence.unsigned_abs();
            if action == REVOKED {
                revocations.actors.push(subject);
            }
        }
        Ok(revocations)
    }

    /// Whether the key with this identifier is active.
    pub async fn is_in_force(&self, id: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT EXISTS (SELECT 1 FROM api_key WHERE id = ? AND revoked_at IS NULL) AS is_in_force").bind(id);
        let row = query.fetch_one(&self.pool).await;
        row.and_then(|row| row.try_get("is_in_force"))
            .map_err(step("looking up a key"))
    }
}
