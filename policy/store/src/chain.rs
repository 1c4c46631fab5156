//! The guard of the audit in a running program: each row that is written is covered by a signed
//! head before the write is answered, the markers hold the newest head, and what does not fit is
//! noticed at the start and at the next write.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::{
    Author, Store,
    audit::{self, Deed, GENESIS, hexadecimal},
    error::{StoreError, step},
    heads::{SignedHead, Signer},
    identity::{Marker, Markers},
    notices,
};

/// Who writes down what is noticed.
fn guard() -> Author {
    Author {
        actor: "audit guard".to_owned(),
        role: "operator".to_owned(),
    }
}

/// What the store knows of its audit's chain beside the rows.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The identity of the store.
    pub(crate) store: String,
    since: Timestamp,
    /// None in a program that may not read the key, and where no daemon made one.
    signer: Option<Signer>,
    markers: Markers,
    last: Mutex<Option<SignedHead>>,
    /// Whether the markers could not be written the last time: that is said once.
    is_unmarked: AtomicBool,
    /// Whether a write found that rows are missing or changed, and nothing has asked since.
    has_loss: AtomicBool,
}

/// The head that a write makes.
pub(crate) struct NextHead {
    head: SignedHead,
    /// Whether it takes the place of one that lies before it, because rows are missing.
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

    fn last(&self) -> MutexGuard<'_, Option<SignedHead>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest head that this program signed or found.
    pub(crate) fn newest(&self) -> Option<SignedHead> {
        self.last().clone()
    }

    /// Looks at the beginning of a write whether the rows still fit the newest head. Where they do
    /// not, the head is kept as evidence and that is written down; true then.
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

    /// Signs the head of the chain at the end of a write that may have moved it; none where it did
    /// not.
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

    /// Keeps a head once its rows are on disk.
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

/// Sequence and hash of the last row; what stands before the first one where there is none.
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
async fn fits(connection: &mut SqliteConnection, head: &SignedHead) -> Result<bool, StoreError> {
    let row = sqlx::query_scalar("SELECT hash FROM audit WHERE sequence = ?")
        .bind(head.sequence.cast_signed());
    let hash: Option<Vec<u8>> = row
        .fetch_optional(connection)
        .await
        .map_err(step("reading the audit"))?;
    Ok(hash.is_some_and(|hash| hexadecimal(&hash) == head.hash))
}

/// Keeps a head that the rows do not fit, and writes that down; false where that was done before.
async fn note_loss(
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
    let deed = Deed {
        action: "head_lost",
        subject: "audit",
        before: Some(&before),
        after: Some(&after),
    };
    audit::append(connection, &guard(), &deed).await?;
    Ok(true)
}

/// Keeps a head in the database; false where it is kept already, noticed or not.
async fn insert_head(
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

/// Heads that are kept in the database and that no operator has acknowledged; with how many rows
/// there were when it was noticed that one does not fit.
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

/// What was noticed at the start, each a sentence for the operator.
pub type Findings = Vec<String>;

impl Store {
    /// Looks at the start whether the audit is what it was: restores its triggers, and compares its
    /// rows with the heads in the markers. What does not fit is written down and returned.
    pub(crate) async fn guard_audit(&self) -> Result<Findings, StoreError> {
        let mut findings = Findings::new();
        let mut change = self.begin().await?;
        let mut newest: Option<SignedHead> = None;
        for (path, marker) in self.chain.markers.read()? {
            let Some(head) = marker
                .head
                .as_deref()
                .and_then(|head| head.parse::<SignedHead>().ok())
            else {
                continue;
            };
            if self.is_ours(&head) && fits(&mut change, &head).await? {
                if newest
                    .as_ref()
                    .is_none_or(|newest| newest.sequence < head.sequence)
                {
                    newest = Some(head);
                }
            } else if note_loss(&mut change, &head).await? {
                findings.push(format!(
                    "{} holds a head of the audit, row {}, that its rows do not fit",
                    path.display(),
                    head.sequence
                ));
            }
        }
        let restored = audit::restore_triggers(&mut change).await?;
        if !restored.is_empty() {
            let after = Value::from(restored.clone());
            let deed = Deed {
                action: "triggers_restored",
                subject: "audit",
                before: None,
                after: Some(&after),
            };
            audit::append(&mut change, &guard(), &deed).await?;
            findings.push(format!(
                "triggers that keep the audit append-only were missing or changed, and are there again: {}",
                restored.join(", ")
            ));
        }
        *self.chain.last() = newest;
        change.commit().await?;
        let newest = self.chain.newest();
        self.chain.mark(newest.as_ref(), true);
        Ok(findings)
    }

    /// The newest signed head of the audit: that of the running program, or the newest in the
    /// markers.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn signed_head(&self) -> Result<Option<SignedHead>, StoreError> {
        Ok(self
            .signed_heads()?
            .into_iter()
            .max_by_key(|head| head.sequence))
    }

    /// The sequence of the newest row that this program signed or found; 0 where there is none.
    #[must_use]
    pub fn newest_row(&self) -> u64 {
        self.chain.newest().map_or(0, |head| head.sequence)
    }

    /// Whether a write has found, since this was asked last, that rows of the audit are missing or
    /// changed.
    #[must_use]
    pub fn take_audit_loss(&self) -> bool {
        self.chain.has_loss.swap(false, Ordering::Relaxed)
    }

    /// The heads that are kept outside of the database: in the markers, and in the memory of this
    /// program.
    pub(crate) fn signed_heads(&self) -> Result<Vec<SignedHead>, StoreError> {
        let marked = self
            .chain
            .markers
            .read()?
            .into_iter()
            .filter_map(|(_, marker)| marker.head?.parse().ok());
        Ok(marked.chain(self.chain.newest()).collect())
    }

    /// Keeps the newest head in the database, unless it is kept already, and queues a notice of it
    /// for the operator's channel where one is given. `document` makes the notice's content.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn announce_head(
        &self,
        channel: Option<&'static str>,
        document: impl FnOnce(&str, &SignedHead) -> Value + Send,
    ) -> Result<Option<SignedHead>, StoreError> {
        let mut change = self.begin().await?;
        let (Some(signer), (sequence, hash)) = (&self.chain.signer, head_of(&mut change).await?)
        else {
            return Ok(None);
        };
        let is_signed = |head: &SignedHead| {
            head.sequence == sequence.unsigned_abs() && head.hash == hexadecimal(&hash)
        };
        if sequence == 0
            || kept_heads(&mut change)
                .await?
                .last()
                .is_some_and(|(head, _)| is_signed(head))
        {
            return Ok(None);
        }
        let head = match self.chain.newest().filter(is_signed) {
            Some(head) => head,
            None => signer.sign(
                &self.chain.store,
                sequence.unsigned_abs(),
                &hash,
                Timestamp::now(),
            ),
        };
        insert_head(&mut change, &head, None).await?;
        if let Some(channel) = channel {
            let id = Self::fresh_id()?;
            let document = document(&id, &head);
            notices::queue_for_operator(&mut change, &id, head.at, &document, channel).await?;
        }
        change.commit().await?;
        self.chain.mark(Some(&head), true);
        Ok(Some(head))
    }

    /// Acknowledges all kept heads that the rows do not fit: an operator says why, and that is
    /// written down. Returns these heads.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn acknowledge_heads(
        &self,
        by: &Author,
        note: &str,
    ) -> Result<Vec<SignedHead>, StoreError> {
        let mut change = self.begin().await?;
        let mut unfit = Vec::new();
        for (head, _) in kept_heads(&mut change).await? {
            if !self.is_ours(&head) || !fits(&mut change, &head).await? {
                unfit.push(head);
            }
        }
        if unfit.is_empty() {
            return Ok(unfit);
        }
        let before = Value::from(unfit.iter().map(ToString::to_string).collect::<Vec<_>>());
        let after = json!({ "note": note });
        let deed = Deed {
            action: "acknowledge",
            subject: "audit",
            before: Some(&before),
            after: Some(&after),
        };
        let row = audit::append(&mut change, by, &deed).await?;
        for head in &unfit {
            let update = sqlx::query(
                "UPDATE audit_head SET acknowledged = ? WHERE sequence = ? AND signed = ?",
            );
            let update = update
                .bind(row.cast_signed())
                .bind(head.sequence.cast_signed())
                .bind(head.to_string());
            update
                .execute(&mut *change)
                .await
                .map_err(step("acknowledging a head of the audit"))?;
        }
        change.commit().await?;
        Ok(unfit)
    }

    /// Whether a head has a genuine signature of this node's key, as far as that is known here.
    pub(crate) fn is_ours(&self, head: &SignedHead) -> bool {
        head.is_genuine()
            && self
                .chain
                .signer
                .as_ref()
                .is_none_or(|signer| signer.public_key() == head.key)
    }
}
