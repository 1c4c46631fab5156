//! Guards the audit in a running program. Each row is covered by a signed head before the write is
//! answered, the markers hold the newest head, and deviations are found at the start and at the
//! next write.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;

use crate::{
    audit::{self, AuditEntry, Author, GENESIS, hexadecimal},
    audit_cut::cut,
    error::{StoreError, step},
    heads::{SignedHead, Signer},
    identity::{Marker, Markers},
};

/// The author of findings.
pub(crate) fn guard() -> Author {
    Author {
        actor: "audit guard".to_owned(),
        role: "operator".to_owned(),
    }
}

/// The findings of the check at the start, one sentence each, for the operator.
pub type Findings = Vec<String>;

/// The state of the audit's chain beside its rows.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The identity of the store.
    pub(crate) store: String,
    pub(crate) since: Timestamp,
    /// `None` in a program that may not read the key, and where no daemon made one.
    pub(crate) signer: Option<Signer>,
    pub(crate) markers: Markers,
    last: Mutex<Option<SignedHead>>,
    /// Whether the markers could not be written the last time; this is logged once.
    is_unmarked: AtomicBool,
    /// Whether a write found missing or changed rows that no caller has asked about yet.
    pub(crate) has_loss: AtomicBool,
}

/// The head after a write.
pub(crate) struct NextHead {
    head: SignedHead,
    /// Whether it replaces a head with a higher sequence, because rows are missing.
    is_after_loss: bool,
}

impl Chain {
    pub(crate) fn new(
        store: String,
        since: Timestamp,
        signer: Option<Signer>,
        markers: Markers,
    ) -> Self {
        Self {
            store,
            since,
            signer,
            markers,
            ..Self::default()
        }
    }

    pub(crate) fn last(&self) -> MutexGuard<'_, Option<SignedHead>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this program has the key that signs heads.
    pub(crate) fn signs(&self) -> bool {
        self.signer.is_some()
    }

    /// The newest head that this program signed or found.
    pub(crate) fn newest(&self) -> Option<SignedHead> {
        self.last().clone()
    }

    /// Checks at the beginning of a write whether the rows still fit the newest head. If they do
    /// not, keeps the head as evidence, writes that to the audit, and returns `true`.
    pub(crate) async fn check(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<bool, StoreError> {
        match self.newest() {
            Some(last) if !fits(connection, &last).await? => {
                note_loss(connection, &last).await.map(|_| true)
            }
            _ => Ok(false),
        }
    }

    /// Signs the head of the chain at the end of a write; `None` if the write added no row.
    pub(crate) async fn next(
        &self,
        connection: &mut SqliteConnection,
        is_after_loss: bool,
    ) -> Result<Option<NextHead>, StoreError> {
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        let (sequence, hash) = head_of(connection).await?;
        let is_same = |last: SignedHead| {
            last.sequence == sequence.unsigned_abs() && last.hash == hexadecimal(&hash)
        };
        if sequence == 0 || self.newest().is_some_and(is_same) {
            return Ok(None);
        }
        let head = signer.sign(
            &self.store,
            sequence.unsigned_abs(),
            &hash,
            Timestamp::now(),
        );
        Ok(Some(NextHead {
            head,
            is_after_loss,
        }))
    }

    /// Keeps a head after its rows were synced.
    pub(crate) fn keep(&self, next: NextHead) {
        let mut last = self.last();
        self.has_loss
            .fetch_or(next.is_after_loss, Ordering::Relaxed);
        if next.is_after_loss
            || last
                .as_ref()
                .is_none_or(|last| last.sequence < next.head.sequence)
        {
            *last = Some(next.head);
            // Under the lock, so that the newest head is written last.
            self.mark(last.as_ref(), false);
        }
    }

    /// Writes the markers. A full disk does not undo the write that they follow.
    pub(crate) fn mark(&self, head: Option<&SignedHead>, is_synced: bool) {
        let marker = Marker {
            store: self.store.clone(),
            since: self.since,
            head: head.map(ToString::to_string),
        };
        let written = self.markers.write(&marker, is_synced);
        let was_unmarked = self.is_unmarked.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written
            && !was_unmarked
        {
            tracing::warn!(%error, "the newest head of the audit could not be written beside the store");
        }
    }
}

/// Sequence and hash of the last row; [`GENESIS`] without any row.
pub(crate) async fn head_of(
    connection: &mut SqliteConnection,
) -> Result<(i64, Vec<u8>), StoreError> {
    let head = sqlx::query_as("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")
        .fetch_optional(connection)
        .await;
    Ok(head
        .map_err(step("reading the audit"))?
        .unwrap_or((0, GENESIS.to_vec())))
}

/// Whether the row of a head has its hash.
pub(crate) async fn fits(
    connection: &mut SqliteConnection,
    head: &SignedHead,
) -> Result<bool, StoreError> {
    let row = sqlx::query_scalar("SELECT hash FROM audit WHERE sequence = ?")
        .bind(head.sequence.cast_signed());
    let mut hash: Option<Vec<u8>> = row
        .fetch_optional(&mut *connection)
        .await
        .map_err(step("reading the audit"))?;
    if hash.is_none()
        && let Some(cut) = cut(connection).await?
    {
        if head.sequence.cast_signed() < cut.sequence {
            // Its row is in an archive, and only there it can be compared.
            return Ok(true);
        }
        hash = (head.sequence.cast_signed() == cut.sequence).then_some(cut.hash);
    }
    Ok(hash.is_some_and(|hash| hexadecimal(&hash) == head.hash))
}

/// Keeps a head that the rows do not fit, and writes that to the audit. Returns `false` if that was
/// done before.
pub(crate) async fn note_loss(
    connection: &mut SqliteConnection,
    head: &SignedHead,
) -> Result<bool, StoreError> {
    let (sequence, hash) = head_of(connection).await?;
    if !insert_head(connection, head, Some(sequence)).await? {
        return Ok(false);
    }
    tracing::error!(
        head = %head,
        rows = sequence,
        "the audit is not what it was: rows that were signed are missing or changed; `ox-protect audit verify` says which"
    );
    let before = json!({ "sequence": head.sequence, "hash": head.hash, "at": head.at, "head": head.to_string() });
    let after = json!({ "sequence": sequence, "hash": hexadecimal(&hash) });
    let entry = AuditEntry {
        action: "head_lost",
        subject: "audit",
        before: Some(&before),
        after: Some(&after),
    };
    audit::append(connection, &guard(), &entry).await?;
    Ok(true)
}

/// Keeps a head in the database. Returns `false` if it is there already, noticed or not.
pub(crate) async fn insert_head(
    connection: &mut SqliteConnection,
    head: &SignedHead,
    rows_then: Option<i64>,
) -> Result<bool, StoreError> {
    let insert = "INSERT INTO audit_head (sequence, signed, rows_then) VALUES (?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET rows_then = ?3 WHERE rows_then IS NULL AND ?3 IS NOT NULL";
    let insert = sqlx::query(insert)
        .bind(head.sequence.cast_signed())
        .bind(head.to_string())
        .bind(rows_then);
    Ok(insert
        .execute(connection)
        .await
        .map_err(step("keeping a head of the audit"))?
        .rows_affected()
        == 1)
}

/// The heads in the database that no operator has acknowledged, each with the number of rows when
/// it was found not to fit.
pub(crate) async fn kept_heads(
    connection: &mut SqliteConnection,
) -> Result<Vec<(SignedHead, Option<u64>)>, StoreError> {
    let select = sqlx::query_as(
        "SELECT signed, rows_then FROM audit_head WHERE acknowledged IS NULL ORDER BY sequence, signed",
    );
    let kept: Vec<(String, Option<i64>)> = select
        .fetch_all(connection)
        .await
        .map_err(step("reading the heads of the audit"))?;
    Ok(kept
        .iter()
        .filter_map(|(signed, rows)| Some((signed.parse().ok()?, rows.map(i64::unsigned_abs))))
        .collect())
}
