//! The signed heads of the audit: checked at the start, kept, announced and acknowledged.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::{
    Author, Store,
    audit::{self, AuditEntry, hexadecimal},
    chain::{Findings, fits, guard, head_of, insert_head, kept_heads, note_loss},
    error::{StoreError, step},
    heads::SignedHead,
    notices,
};

impl Store {
    /// Checks the audit at the start: restores its triggers, and compares its rows with the heads
    /// in the markers. Findings are written to the audit and returned. `has_signed` says that an
    /// earlier start had the key, so that rows must have a signed head.
    pub(crate) async fn guard_audit(&self, has_signed: bool) -> Result<Findings, StoreError> {
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
        if has_signed && findings.is_empty() && newest.is_none() {
            findings.extend(self.note_missing_heads(&mut change).await?);
        }
        let restored = audit::restore_triggers(&mut change).await?;
        if !restored.is_empty() {
            let after = Value::from(restored.clone());
            let entry = AuditEntry {
                action: "triggers_restored",
                subject: "audit",
                before: None,
                after: Some(&after),
            };
            audit::append(&mut change, &guard(), &entry).await?;
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

    /// If neither a marker nor the database has a signed head of the rows, rows may have been
    /// removed from the end. Writes that to the audit.
    async fn note_missing_heads(
        &self,
        change: &mut SqliteConnection,
    ) -> Result<Option<String>, StoreError> {
        let (sequence, hash) = head_of(change).await?;
        let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM audit_head")
            .fetch_one(&mut *change)
            .await
            .map_err(step("reading the heads of the audit"))?;
        if sequence == 0 || kept > 0 {
            return Ok(None);
        }
        let after = json!({ "sequence": sequence, "hash": hexadecimal(&hash) });
        let entry = AuditEntry {
            action: "heads_missing",
            subject: "audit",
            before: None,
            after: Some(&after),
        };
        audit::append(change, &guard(), &entry).await?;
        Ok(Some(format!(
            "the audit has {sequence} rows and no signed head, although this node signs each change: \
             rows may be missing at its end"
        )))
    }

    /// The newest signed head of the audit: that of the running program, or the newest in the
    /// markers.
    pub fn signed_head(&self) -> Result<Option<SignedHead>, StoreError> {
        Ok(self
            .signed_heads()?
            .into_iter()
            .max_by_key(|head| head.sequence))
    }

    /// The sequence of the newest row that this program signed or found; 0 for none.
    #[must_use]
    pub fn newest_row(&self) -> u64 {
        self.chain.newest().map_or(0, |head| head.sequence)
    }

    /// Whether a write has found, since the last call, that rows of the audit are missing or
    /// changed.
    #[must_use]
    pub fn take_audit_loss(&self) -> bool {
        self.chain.has_loss.swap(false, Ordering::Relaxed)
    }

    /// The heads outside of the database: in the markers, and in the memory of this program.
    pub(crate) fn signed_heads(&self) -> Result<Vec<SignedHead>, StoreError> {
        let marked = self
            .chain
            .markers
            .read()?
            .into_iter()
            .filter_map(|(_, marker)| marker.head?.parse().ok());
        Ok(marked.chain(self.chain.newest()).collect())
    }

    /// Stores the newest head in the database, unless it is there already, and queues a notice of
    /// it for the operator's channel if one is given. `document` makes the content of the notice.
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

    /// Acknowledges all kept heads that the rows do not fit. The operator's reason is written to
    /// the audit. Returns these heads.
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
        let entry = AuditEntry {
            action: "acknowledge",
            subject: "audit",
            before: Some(&before),
            after: Some(&after),
        };
        let row = audit::append(&mut change, by, &entry).await?;
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

    /// Whether a head has a genuine signature of this node's key, as far as the key is known here.
    pub(crate) fn is_ours(&self, head: &SignedHead) -> bool {
        head.is_genuine()
            && self
                .chain
                .signer
                .as_ref()
                .is_none_or(|signer| signer.public_key() == head.key)
    }
}
