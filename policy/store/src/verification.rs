//! The verification of the audit: its rows against each other, its signed heads against its rows,
//! its triggers.

use serde::Serialize;

use crate::{
    Store,
    audit::{AuditRow, GENESIS, hexadecimal, wrong_triggers},
    audit_rows::OLDEST,
    chain::kept_heads,
    error::{StoreError, step},
    heads::SignedHead,
};

/// Rows read at a time while the chain is verified: some megabytes at most, whatever the audit's
/// length.
const VERIFY_BATCH: u32 = 1_000;

/// What the verification of the chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Rows that fit, counted from the first.
    pub rows: u64,
    /// Hash of the last row that fits, hexadecimal; of nothing where no row does. Kept elsewhere,
    /// it proves later that nothing before it is missing.
    pub head: String,
    /// The last row that a signed head covers: no row up to it was changed or taken away since.
    /// None where no head is known.
    pub signed: Option<u64>,
    /// The first row that does not fit; none where all do.
    pub fault: Option<ChainFault>,
}

/// The first row that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainFault {
    /// Its sequence.
    pub sequence: u64,
    /// What is wrong with it.
    pub detail: String,
}

impl Store {
    /// Goes through the whole chain and says which row is the first that does not fit: the row
    /// before it, a head that was signed, or the database's own refusal to change it.
    ///
    /// # Errors
    /// See [`StoreError`]; a row that does not fit is no error, it is what this is for.
    pub async fn verify_audit(&self) -> Result<ChainReport, StoreError> {
        self.verify_audit_with(&[], None).await
    }

    /// The same, with heads that were kept elsewhere, and the public key with which heads must be
    /// signed; without it the node's own key counts, where it can be read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn verify_audit_with(
        &self,
        elsewhere: &[SignedHead],
        key: Option<&str>,
    ) -> Result<ChainReport, StoreError> {
        // One connection in one transaction: rows, heads and triggers are of one moment, whatever
        // is written meanwhile.
        let mut reading = self.pool.begin().await.map_err(step("reading the audit"))?;
        let mut heads = kept_heads(&mut reading).await?;
        // Read before the rows: a head is newer than its rows.
        heads.extend(
            self.signed_heads()?
                .into_iter()
                .chain(elsewhere.iter().cloned())
                .map(|head| (head, None)),
        );
        let has_heads = !heads.is_empty();
        // A head of no rows covers none.
        heads.retain(|(head, _)| head.sequence > 0);
        heads.sort_by_key(|(head, _)| head.sequence);
        let mut rows = 0_i64;
        let mut head = GENESIS.to_vec();
        let mut fault = None;
        let mut signed = 0;
        let mut is_unfit = false;
        let mut checked = Vec::new();
        'rows: loop {
            let batch = sqlx::query_as(OLDEST)
                .bind(rows)
                .bind(i64::from(VERIFY_BATCH))
                .fetch_all(&mut *reading)
                .await;
            let batch: Vec<AuditRow> = batch.map_err(step("reading the audit"))?;
            if batch.is_empty() {
                break;
            }
            for row in batch {
                if let Some(detail) = row.fault(rows + 1, &head) {
                    fault = Some(ChainFault {
                        sequence: row.sequence.unsigned_abs(),
                        detail: detail.to_owned(),
                    });
                    break 'rows;
                }
                (rows, head) = (row.sequence, row.hash);
                while let Some(next) = heads
                    .get(checked.len())
                    .filter(|(next, _)| next.sequence == rows.unsigned_abs())
                {
                    checked.push(next.0.hash == hexadecimal(&head));
                }
            }
        }
        for (place, (signed_head, rows_then)) in heads.iter().enumerate() {
            let at = signed_head.at;
            let wrong = match checked.get(place) {
                _ if !signed_head.is_genuine() => Some((
                    signed_head.sequence,
                    "the signed head of this row was changed".to_owned(),
                )),
                _ if !self.is_signed_by(signed_head, key) => Some((
                    signed_head.sequence,
                    format!(
                        "the head of this row, of {at}, is signed with another key or is another store's"
                    ),
                )),
                Some(true) => None,
                // Other rows may stand in their place by now.
                _ if rows_then.is_some_and(|then| then < signed_head.sequence) => {
                    let then = rows_then.unwrap_or_default();
                    Some((
                        then + 1,
                        format!(
                            "rows are missing: row {} was signed at {at}, and later there were {then}",
                            signed_head.sequence
                        ),
                    ))
                }
                Some(false) => Some((
                    signed + 1,
                    format!(
                        "row {} is not the one that was signed at {at}: a row was changed",
                        signed_head.sequence
                    ),
                )),
                // Behind a row that does not fit nothing was compared.
                None if fault.is_some() => None,
                None => Some((
                    rows.unsigned_abs() + 1,
                    format!(
                        "rows are missing: row {} was signed at {at}",
                        signed_head.sequence
                    ),
                )),
            };
            match wrong {
                // Behind a head that does not fit, those that do were signed later.
                None if checked.get(place) == Some(&true) && !is_unfit => {
                    signed = signed_head.sequence
                }
                None => {}
                Some((sequence, detail)) => {
                    is_unfit = true;
                    fault = fault
                        .filter(|fault| fault.sequence <= sequence)
                        .or(Some(ChainFault { sequence, detail }));
                }
            }
        }
        // The node signs each change, so rows and the key without any head are not as they were left.
        if fault.is_none() && !has_heads && rows > 0 && self.chain.signs() {
            fault = Some(ChainFault {
                sequence: rows.unsigned_abs() + 1,
                detail: "no signed head is left, although the node signs each change: rows may be \
                         missing at the end"
                    .to_owned(),
            });
        }
        // A store that was opened without its markers and its key is looked at for its rows alone.
        if fault.is_none()
            && !self.chain.store.is_empty()
            && let Some((name, _)) = wrong_triggers(&mut reading).await?.first()
        {
            let detail = format!(
                "the trigger {name}, which keeps the audit append-only, is missing, changed, or not this program's"
            );
            fault = Some(ChainFault {
                sequence: rows.unsigned_abs() + 1,
                detail,
            });
        }
        let rows = rows.unsigned_abs();
        Ok(ChainReport {
            rows,
            head: hexadecimal(&head),
            signed: Some(signed).filter(|signed| *signed > 0),
            fault,
        })
    }

    /// Whether a head is one of this store, signed with the key that counts.
    fn is_signed_by(&self, head: &SignedHead, key: Option<&str>) -> bool {
        let is_of_store = self.chain.store.is_empty() || head.store == self.chain.store;
        is_of_store
            && key.map_or_else(
                || self.is_ours(head),
                |key| head.key.eq_ignore_ascii_case(key),
            )
    }
}
