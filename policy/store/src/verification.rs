//! The verification of the audit: its rows against each other, its signed heads against its rows,
//! and its triggers.

use serde::Serialize;
use sqlx::SqliteConnection;

use crate::{
    Store,
    audit::{AuditRow, GENESIS, hexadecimal, wrong_triggers},
    audit_cut::{Cut, cut},
    audit_rows::OLDEST,
    chain::kept_heads,
    error::{StoreError, step},
    heads::SignedHead,
};

/// Rows read at a time, so that memory stays at some megabytes, whatever the audit's length.
const VERIFY_BATCH: u32 = 1_000;

/// The result of the verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// The number of the last row that fits; all from the first on do, or from the cut on.
    pub rows: u64,
    /// The last row that was exported and removed; 0 for none.
    pub archived: u64,
    /// The hash of the last row that fits, in hexadecimal; zeros without one. Kept elsewhere, it
    /// later proves that no row before it is missing.
    pub head: String,
    /// The last row that a right signed head covers: no row up to it was changed or removed since.
    /// `None` without such a head.
    pub signed: Option<u64>,
    /// The first row that does not fit; `None` where all do.
    pub fault: Option<ChainFault>,
}

/// A row that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainFault {
    /// The number of the row.
    pub sequence: u64,
    /// The explanation for the operator.
    pub detail: String,
}

/// A signed head that the chain is compared with.
struct KnownHead {
    head: SignedHead,
    /// The number of rows when the head was kept in the database; `None` for heads from elsewhere.
    rows_then: Option<u64>,
}

/// The rows of the chain, read in order and compared with the heads.
struct CheckedRows {
    /// The number of the last row that fits.
    rows: u64,
    /// The hash of the last row that fits.
    hash: Vec<u8>,
    /// For each head in order, whether it has the hash of its row. Shorter than the list of heads
    /// where rows are missing or do not fit.
    matches: Vec<bool>,
    fault: Option<ChainFault>,
}

impl Store {
    /// Verifies the whole chain: each row against the row before it, against the signed heads in
    /// the database and its folder, and the triggers that keep the audit append-only.
    ///
    /// # Errors
    /// The database cannot be read. A row that does not fit is no error; the report names it.
    pub async fn verify_audit(&self) -> Result<ChainReport, StoreError> {
        self.verify_audit_with(&[], None).await
    }

    /// As [`Self::verify_audit`], with heads that were kept elsewhere and the public key of their
    /// signatures. Without a key, heads must be signed with the node's own key, where it can be
    /// read.
    ///
    /// # Errors
    /// As [`Self::verify_audit`].
    pub async fn verify_audit_with(
        &self,
        elsewhere: &[SignedHead],
        key: Option<&str>,
    ) -> Result<ChainReport, StoreError> {
        // One transaction: rows, heads and triggers are of one moment, even during writes.
        let mut reading = self.pool.begin().await.map_err(step("reading the audit"))?;
        let mut heads = self.known_heads(&mut reading, elsewhere).await?;
        let cut = cut(&mut reading).await?;
        let cut_fault = cut.as_ref().and_then(|cut| self.cut_fault(cut, key));
        let archived = cut.as_ref().map_or(0, |cut| cut.sequence.unsigned_abs());
        let has_heads = !heads.is_empty() || cut.is_some();
        // A head of an older row can be compared with its archive alone.
        heads.retain(|known| known.head.sequence >= archived);
        // A head of no rows covers none.
        heads.retain(|known| known.head.sequence > 0);
        heads.sort_by_key(|known| known.head.sequence);
        let mut checked = check_rows(&mut reading, cut, &heads).await?;
        let signed = checked.check_heads(&heads, |head| self.is_signed_by(head, key));
        let CheckedRows {
            rows, hash, fault, ..
        } = checked;
        let mut fault = cut_fault.or(fault);
        // The node signs each change, so rows and a key without any head mean that heads were
        // removed.
        if fault.is_none() && !has_heads && rows > 0 && self.chain.signs() {
            fault = Some(ChainFault {
                sequence: rows + 1,
                detail: "no signed head is left, although the node signs each change: rows may be \
                         missing at the end"
                    .to_owned(),
            });
        }
        // A store that was opened without its markers and key has only its rows verified.
        if fault.is_none()
            && !self.chain.store.is_empty()
            && let Some((name, _)) = wrong_triggers(&mut reading).await?.first()
        {
            let detail = format!(
                "the trigger {name}, which keeps the audit append-only, is missing, changed, or not this program's"
            );
            fault = Some(ChainFault {
                sequence: rows + 1,
                detail,
            });
        }
        Ok(ChainReport {
            rows,
            archived,
            head: hexadecimal(&hash),
            signed: Some(signed).filter(|signed| *signed > 0),
            fault,
        })
    }

    /// What is wrong with the head at which older rows were removed.
    fn cut_fault(&self, cut: &Cut, key: Option<&str>) -> Option<ChainFault> {
        let fits = cut.signed.parse::<SignedHead>().is_ok_and(|head| {
            head.is_genuine()
                && self.is_signed_by(&head, key)
                && head.sequence == cut.sequence.unsigned_abs()
                && head.hash == hexadecimal(&cut.hash)
        });
        (!fits).then(|| ChainFault {
            sequence: cut.sequence.unsigned_abs(),
            detail:
                "the head of this row, up to which rows were exported and removed, is not this \
                     node's: rows may be missing"
                    .to_owned(),
        })
    }

    /// The heads in the database, in the file beside it, and those that the caller has. Reads them
    /// before the rows, because a head is newer than its rows.
    async fn known_heads(
        &self,
        connection: &mut SqliteConnection,
        elsewhere: &[SignedHead],
    ) -> Result<Vec<KnownHead>, StoreError> {
        let kept = kept_heads(connection).await?;
        let others = self.signed_heads()?.into_iter();
        let others = others.chain(elsewhere.iter().cloned());
        Ok(kept
            .into_iter()
            .chain(others.map(|head| (head, None)))
            .map(|(head, rows_then)| KnownHead { head, rows_then })
            .collect())
    }

    /// Whether a head is of this store, and signed with `key`; without it, with the node's own key.
    fn is_signed_by(&self, head: &SignedHead, key: Option<&str>) -> bool {
        let is_of_store = self.chain.store.is_empty() || head.store == self.chain.store;
        is_of_store
            && key.map_or_else(
                || self.is_ours(head),
                |key| head.key.eq_ignore_ascii_case(key),
            )
    }
}

/// Reads the rows from the first one on, or from the cut on, until one does not fit the row before
/// it. `heads` is sorted by sequence.
async fn check_rows(
    connection: &mut SqliteConnection,
    cut: Option<Cut>,
    heads: &[KnownHead],
) -> Result<CheckedRows, StoreError> {
    let (mut last, mut hash) =
        cut.map_or_else(|| (0, GENESIS.to_vec()), |cut| (cut.sequence, cut.hash));
    let of_cut = heads
        .iter()
        .take_while(|known| known.head.sequence == last.unsigned_abs());
    let mut matches: Vec<bool> = of_cut
        .map(|known| known.head.hash == hexadecimal(&hash))
        .collect();
    let mut fault = None;
    'rows: loop {
        let batch = sqlx::query_as(OLDEST)
            .bind(last)
            .bind(i64::from(VERIFY_BATCH))
            .fetch_all(&mut *connection)
            .await;
        let batch: Vec<AuditRow> = batch.map_err(step("reading the audit"))?;
        if batch.is_empty() {
            break;
        }
        for row in batch {
            if let Some(detail) = row.fault(last + 1, &hash) {
                fault = Some(ChainFault {
                    sequence: row.sequence.unsigned_abs(),
                    detail: detail.to_owned(),
                });
                break 'rows;
            }
            last = row.sequence;
            hash = row.hash;
            while let Some(next) = heads
                .get(matches.len())
                .filter(|next| next.head.sequence == last.unsigned_abs())
            {
                matches.push(next.head.hash == hexadecimal(&hash));
            }
        }
    }
    Ok(CheckedRows {
        rows: last.unsigned_abs(),
        hash,
        matches,
        fault,
    })
}

impl CheckedRows {
    /// Compares the heads with the rows. Keeps the first fault, and returns the last row that a
    /// right head covers; 0 for none.
    fn check_heads(
        &mut self,
        heads: &[KnownHead],
        is_signed_by_key: impl Fn(&SignedHead) -> bool,
    ) -> u64 {
        let mut signed = 0;
        let mut has_wrong_head = false;
        for (index, known) in heads.iter().enumerate() {
            let is_match = self.matches.get(index).copied();
            let wrong = signature_fault(&known.head, &is_signed_by_key)
                .or_else(|| self.head_fault(known, is_match, signed));
            match wrong {
                // Heads after a wrong one may have been signed after the change.
                None if is_match == Some(true) && !has_wrong_head => signed = known.head.sequence,
                None => {}
                Some(wrong) => {
                    has_wrong_head = true;
                    let first = self.fault.take();
                    self.fault = first
                        .filter(|fault| fault.sequence <= wrong.sequence)
                        .or(Some(wrong));
                }
            }
        }
        signed
    }

    /// The row that a head with a right signature proves to be changed or missing. `signed`: the
    /// last row that the heads before it cover.
    fn head_fault(
        &self,
        known: &KnownHead,
        is_match: Option<bool>,
        signed: u64,
    ) -> Option<ChainFault> {
        let SignedHead { sequence, at, .. } = &known.head;
        let fault = |sequence, detail| Some(ChainFault { sequence, detail });
        let then = known.rows_then.filter(|then| then < sequence);
        match (is_match, then) {
            (Some(true), _) => None,
            // Other rows can be in their place by now.
            (_, Some(then)) => fault(
                then + 1,
                format!(
                    "rows are missing: row {sequence} was signed at {at}, and later there were {then}"
                ),
            ),
            (Some(false), None) => fault(
                signed + 1,
                format!("row {sequence} is not the one that was signed at {at}: a row was changed"),
            ),
            // After a row that does not fit, nothing was compared.
            (None, None) if self.fault.is_some() => None,
            (None, None) => fault(
                self.rows + 1,
                format!("rows are missing: row {sequence} was signed at {at}"),
            ),
        }
    }
}

/// A head with a wrong signature, or with that of another key or store.
fn signature_fault(
    head: &SignedHead,
    is_signed_by_key: impl Fn(&SignedHead) -> bool,
) -> Option<ChainFault> {
    let detail = if !head.is_genuine() {
        "the signed head of this row was changed".to_owned()
    } else if !is_signed_by_key(head) {
        format!(
            "the head of this row, of {}, is signed with another key or is another store's",
            head.at
        )
    } else {
        return None;
    };
    Some(ChainFault {
        sequence: head.sequence,
        detail,
    })
}
