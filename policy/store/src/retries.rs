//! Idempotent writes: the answer of each is stored, so that a repetition gets the same answer and
//! has no effect.
//!
//! ```text
//! begin -> do it -> keep the answer, or forget that it was tried
//! ```
//!
//! The attempt is on disk before the write begins, so a write whose process died is known to have
//! an unknown outcome.

use std::{
    collections::HashSet,
    sync::{MutexGuard, PoisonError},
};

use jiff::Timestamp;
use policy::rules::household::Id;
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};

use crate::{
    Store,
    error::{StoreError, step},
};

/// How long a repetition is recognised.
const KEPT_S: i64 = 24 * 60 * 60;
/// The most stored answers of one principal: far more than a client can have outstanding. The
/// oldest are deleted first. The octets of all answers are limited as well.
const ANSWERS_MAX: i64 = 10_000;
const OCTETS_MAX: i64 = 16 << 20;
/// The limits of a principal are checked once in this number of attempts, because counting takes
/// longer than an attempt.
const COUNT_EVERY: i64 = 64;
/// Attempts that are kept in memory because they could not be deleted from the file: a full disk
/// can last long, and clients retry.
const UNFORGOTTEN_MAX: usize = 10_000;
/// Old rows that one attempt deletes.
const EXPIRED_AT_A_TIME: i64 = 64;

/// A write with an idempotency key.
#[derive(Debug, Clone)]
pub struct WriteAttempt {
    /// The household whose turn it takes; empty for principals of none.
    whose: String,
    principal: String,
    key: String,
    target: Vec<u8>,
    request: Vec<u8>,
    is_repeatable: bool,
}

impl WriteAttempt {
    /// The write that `principal` calls `key`. `target` and `content` are the parts that identify
    /// it. A repeatable write has the same effect when it is done again.
    #[must_use]
    pub fn new(
        principal: String,
        key: String,
        target: &[&[u8]],
        request: &[&[u8]],
        is_repeatable: bool,
    ) -> Self {
        Self {
            whose: String::new(),
            principal,
            key,
            target: digest(target),
            request: digest(request),
            is_repeatable,
        }
    }

    /// The same write, in the turns of a household.
    #[must_use]
    pub fn in_turn_of(self, household: Option<&Id>) -> Self {
        Self {
            whose: household.map(Id::to_string).unwrap_or_default(),
            ..self
        }
    }

    fn name(&self) -> (String, String) {
        (self.principal.clone(), self.key.clone())
    }
}

/// Hashes parts, each preceded by its length, so that no two requests give the same octets.
fn digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

/// The stored answer of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that are repeated.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The state of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptState {
    /// Unknown before; it is in progress from now on.
    Fresh,
    /// Done, with this answer.
    Done(StoredAnswer),
    /// Done; answered with the secret of this key, which is not stored.
    Secret(String),
    /// The key was used for another write.
    Other,
    /// In progress.
    UnderWay,
    /// It was in progress in a process that has ended.
    Lost,
}

impl Store {
    /// Begins a write, or returns its state.
    pub async fn begin_once(&self, attempt: &WriteAttempt) -> Result<AttemptState, StoreError> {
        let now = Timestamp::now().as_second();
        let mut transaction = self.begin_for(&attempt.whose).await?;
        forget_old(&mut transaction, attempt, now - KEPT_S).await?;
        let known = "SELECT target, request, maker, status, headers, body, secret_of FROM idempotency WHERE principal = ? AND key = ?";
        let known = sqlx::query(known)
            .bind(&attempt.principal)
            .bind(&attempt.key);
        let known = known
            .fetch_optional(&mut *transaction)
            .await
            .map_err(step("looking up an answer"))?;
        if let Some(row) = known {
            let begun = self
                .known(attempt, &row)
                .map_err(step("reading an answer"))?;
            let is_forgotten = self.unforgotten().contains(&attempt.name());
            if !is_forgotten && (begun != AttemptState::Lost || !attempt.is_repeatable) {
                return Ok(begun);
            }
        }
        let insert = "INSERT INTO idempotency (principal, key, target, request, maker, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT (principal, key) DO UPDATE SET target = ?3, request = ?4, maker = ?5, at = ?6";
        let insert = sqlx::query(insert)
            .bind(&attempt.principal)
            .bind(&attempt.key)
            .bind(&attempt.target)
            .bind(&attempt.request);
        let insert = insert.bind(&*self.process_id).bind(now);
        let inserted = insert
            .execute(&mut *transaction)
            .await
            .map_err(step("beginning a write"))?;
        if inserted.last_insert_rowid() % COUNT_EVERY == 0 {
            bound(&mut transaction, &attempt.principal).await?;
        }
        transaction.commit().await?;
        self.unforgotten().remove(&attempt.name());
        Ok(AttemptState::Fresh)
    }

    fn known(
        &self,
        attempt: &WriteAttempt,
        row: &sqlx::sqlite::SqliteRow,
    ) -> Result<AttemptState, sqlx::Error> {
        if row.try_get::<Vec<u8>, _>("target")? != attempt.target
            || row.try_get::<Vec<u8>, _>("request")? != attempt.request
        {
            return Ok(AttemptState::Other);
        }
        let Some(status) = row.try_get::<Option<i64>, _>("status")? else {
            let is_ours = row.try_get::<String, _>("maker")? == *self.process_id;
            return Ok(if is_ours {
                AttemptState::UnderWay
            } else {
                AttemptState::Lost
            });
        };
        if let Some(key) = row.try_get::<Option<String>, _>("secret_of")? {
            return Ok(AttemptState::Secret(key));
        }
        let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
        Ok(AttemptState::Done(StoredAnswer {
            status: u16::try_from(status).map_err(|error| decode(error.into()))?,
            headers: serde_json::from_str(&row.try_get::<String, _>("headers")?)
                .map_err(|error| decode(error.into()))?,
            body: row.try_get("body")?,
        }))
    }

    /// Stores the answer of a write.
    ///
    /// # Errors
    /// The write then remains in progress.
    pub async fn keep_answer(
        &self,
        attempt: &WriteAttempt,
        kept: &StoredAnswer,
    ) -> Result<(), StoreError> {
        let headers = serde_json::to_string(&kept.headers).expect("pairs of text are plain data");
        let update = "UPDATE idempotency SET status = ?3, headers = ?4, body = ?5 WHERE principal = ?1 AND key = ?2";
        let update = sqlx::query(update)
            .bind(&attempt.principal)
            .bind(&attempt.key)
            .bind(i64::from(kept.status));
        let update = update.bind(headers).bind(&kept.body);
        self.database
            .execute_for(&attempt.whose, update, "keeping an answer")
            .await
            .map(drop)
    }

    /// Records that a write was answered with the secret of a key, without the secret.
    ///
    /// # Errors
    /// The write then remains in progress.
    pub async fn keep_secret(
        &self,
        attempt: &WriteAttempt,
        status: u16,
        key: &str,
    ) -> Result<(), StoreError> {
        let update =
            "UPDATE idempotency SET status = ?3, secret_of = ?4 WHERE principal = ?1 AND key = ?2";
        let update = sqlx::query(update)
            .bind(&attempt.principal)
            .bind(&attempt.key)
            .bind(i64::from(status))
            .bind(key);
        self.database
            .execute_for(&attempt.whose, update, "keeping an answer")
            .await
            .map(drop)
    }

    /// Deletes an attempt, so that the write can be tried again.
    pub async fn forget_attempt(&self, attempt: &WriteAttempt) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM idempotency WHERE principal = ? AND key = ?")
            .bind(&attempt.principal)
            .bind(&attempt.key);
        let forgotten = self
            .database
            .execute_for(&attempt.whose, delete, "forgetting a write")
            .await
            .map(drop);
        if forgotten.is_err() {
            // The write had no effect, so the next attempt with this key begins anew, even if the
            // disk was too full to delete this row.
            let mut unforgotten = self.unforgotten();
            if unforgotten.len() < UNFORGOTTEN_MAX {
                unforgotten.insert(attempt.name());
            }
        }
        forgotten
    }

    fn unforgotten(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.unforgotten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deletes rows older than `before`: those of this key, and some others.
async fn forget_old(
    connection: &mut SqliteConnection,
    attempt: &WriteAttempt,
    before: i64,
) -> Result<(), StoreError> {
    let own = sqlx::query("DELETE FROM idempotency WHERE principal = ? AND key = ? AND at < ?");
    let own = own.bind(&attempt.principal).bind(&attempt.key).bind(before);
    own.execute(&mut *connection)
        .await
        .map_err(step("forgetting old answers"))?;
    let others = "DELETE FROM idempotency WHERE rowid IN (SELECT rowid FROM idempotency WHERE at < ? ORDER BY at LIMIT ?)";
    let others = sqlx::query(others).bind(before).bind(EXPIRED_AT_A_TIME);
    others
        .execute(connection)
        .await
        .map(drop)
        .map_err(step("forgetting old answers"))
}

/// Deletes a principal's oldest answers beyond the limits.
async fn bound(connection: &mut SqliteConnection, principal: &str) -> Result<(), StoreError> {
    let excess = "DELETE FROM idempotency WHERE rowid IN (
        SELECT rowid FROM (
            SELECT rowid, status, row_number() OVER newest AS place, sum(coalesce(length(body), 0)) OVER newest AS octets
            FROM idempotency WHERE principal = ?1 WINDOW newest AS (ORDER BY at DESC, rowid DESC)
        ) WHERE status IS NOT NULL AND (place > ?2 OR octets > ?3))";
    let excess = sqlx::query(excess)
        .bind(principal)
        .bind(ANSWERS_MAX)
        .bind(OCTETS_MAX);
    excess
        .execute(connection)
        .await
        .map(drop)
        .map_err(step("forgetting old answers"))
}
