//! Old rows of the audit leave the store: exported to a file, then removed.
//!
//! ```text
//! rows 1 to n, each checked -> FILE, synced -> cut: the signed head of row n -> rows 1 to n are deleted
//! ```
//!
//! Rows are removed only after the file with them is on disk. The chain of the rows that are left
//! begins at the hash of the cut, which is signed. A file proves itself: its rows are a chain, its
//! last line is the signed head of its last row, and its first row follows the file before.

use std::{
    fs::File,
    io::{BufRead, BufWriter, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Author, Store,
    audit::{self, AuditEntry, AuditRow, GENESIS, hexadecimal},
    audit_cut::cut,
    audit_rows::OLDEST,
    error::{StoreError, step},
    file::create_private,
    heads::SignedHead,
    households::on_a_thread,
};

/// Rows that are read, written or deleted at a time. A change of a household waits for no more than
/// these.
const BATCH: i64 = 500;

/// The rows that were exported and removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunedRows {
    pub first: u64,
    pub last: u64,
    /// The signed head of the last row, as in the last line of the file.
    pub head: SignedHead,
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedRows {
    pub first: u64,
    /// The hash before the first row, hexadecimal: that of the last row of the archive before.
    pub previous: String,
    pub head: SignedHead,
}

/// A line of an archive: a row, with its texts as they were hashed.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    sequence: i64,
    at: String,
    actor: String,
    role: String,
    action: String,
    subject: String,
    before: Option<String>,
    after: Option<String>,
    previous: String,
    hash: String,
}

impl Line {
    fn of(row: &AuditRow) -> Self {
        Self {
            sequence: row.sequence,
            at: row.at.clone(),
            actor: row.actor.clone(),
            role: row.role.clone(),
            action: row.action.clone(),
            subject: row.subject.clone(),
            before: row.before.clone(),
            after: row.after.clone(),
            previous: hexadecimal(&row.previous),
            hash: hexadecimal(&row.hash),
        }
    }

    fn row(self) -> Option<AuditRow> {
        Some(AuditRow {
            sequence: self.sequence,
            at: self.at,
            actor: self.actor,
            role: self.role,
            action: self.action,
            subject: self.subject,
            before: self.before,
            after: self.after,
            previous: octets(&self.previous)?,
            hash: octets(&self.hash)?,
        })
    }
}

fn octets(hexadecimal: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hexadecimal.as_bytes().as_chunks::<2>();
    let octet = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(octet).collect())?
}

/// The last line of an archive.
#[derive(Debug, Serialize, Deserialize)]
struct LastLine {
    head: String,
}

impl Store {
    /// Exports the rows that were written before a time to a new file, and removes them. The newest
    /// row always stays. Returns `None` if there is nothing to remove.
    ///
    /// # Errors
    /// Nothing is removed then: the file exists or cannot be written, a row does not fit the chain,
    /// or this program does not have the key that signs heads.
    pub async fn prune_audit(
        &self,
        by: &Author,
        before: Timestamp,
        archive: &Path,
    ) -> Result<Option<PrunedRows>, StoreError> {
        let unusable = |detail: String| StoreError::Unusable {
            path: archive.to_owned(),
            detail,
        };
        let Some(signer) = &self.chain.signer else {
            let detail =
                "only a program with the key of the audit removes rows: the daemon makes it";
            return Err(unusable(detail.to_owned()));
        };
        self.finish_pruning().await?;
        let Some((first, last)) = self.rows_before(before).await? else {
            return Ok(None);
        };
        let file = create_private(archive).map_err(|error| unusable(error.to_string()))?;
        let exported = self.export(first, last, file, archive).await;
        let (hash, at) = exported.inspect_err(|_| {
            let _it_holds_nothing_of_use = std::fs::remove_file(archive);
        })?;
        let head = signer.sign(
            &self.chain.store,
            last.unsigned_abs(),
            &hash,
            Timestamp::now(),
        );
        let finishing = (archive.to_owned(), head.clone());
        on_a_thread(move || finish(&finishing.0, &finishing.1))
            .await?
            .map_err(|error| unusable(error.to_string()))?;
        let mut change = self.begin().await?;
        let insert = sqlx::query(
            "INSERT INTO audit_cut (sequence, hash, signed, at, archive) VALUES (?, ?, ?, ?, ?)",
        );
        let insert = insert
            .bind(last)
            .bind(hash)
            .bind(head.to_string())
            .bind(at)
            .bind(archive.display().to_string());
        insert
            .execute(&mut *change)
            .await
            .map_err(step("cutting the audit"))?;
        let rows = json!({ "first": first, "last": last });
        let kept = json!({ "archive": archive.display().to_string(), "head": head.to_string() });
        let entry = AuditEntry {
            action: "prune",
            subject: "audit",
            before: Some(&rows),
            after: Some(&kept),
        };
        audit::append(&mut change, by, &entry).await?;
        change.commit().await?;
        self.finish_pruning().await?;
        Ok(Some(PrunedRows {
            first: first.unsigned_abs(),
            last: last.unsigned_abs(),
            head,
        }))
    }

    /// Deletes the rows up to the cut, and the heads that only they fit. A program that was ended
    /// meanwhile goes on at the next pruning.
    async fn finish_pruning(&self) -> Result<(), StoreError> {
        loop {
            let mut change = self.begin().await?;
            let Some(cut) = cut(&mut change).await? else {
                return Ok(());
            };
            let delete = "DELETE FROM audit WHERE sequence IN (SELECT sequence FROM audit WHERE sequence <= ? ORDER BY sequence LIMIT ?)";
            let deleted = sqlx::query(delete)
                .bind(cut.sequence)
                .bind(BATCH)
                .execute(&mut *change)
                .await
                .map_err(step("removing old rows of the audit"))?;
            let heads = "DELETE FROM audit_head WHERE sequence < ? AND rows_then IS NULL";
            sqlx::query(heads)
                .bind(cut.sequence)
                .execute(&mut *change)
                .await
                .map_err(step("removing old heads of the audit"))?;
            change.commit().await?;
            if deleted.rows_affected() < BATCH.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// The first row, and the last one of those in front of a time, without the newest row.
    async fn rows_before(&self, before: Timestamp) -> Result<Option<(i64, i64)>, StoreError> {
        let mut reading = self.pool.begin().await.map_err(step("reading the audit"))?;
        let newest: Option<i64> = sqlx::query_scalar("SELECT max(sequence) FROM audit")
            .fetch_one(&mut *reading)
            .await
            .map_err(step("reading the audit"))?;
        let begin = cut(&mut reading).await?.map_or(0, |cut| cut.sequence);
        let Some(newest) = newest.filter(|newest| *newest > begin + 1) else {
            return Ok(None);
        };
        // Times rise with the sequence, unless the clock was set back. Then the bisection finds one
        // of several places; the rows in front of it are exported in any case.
        let (mut old, mut new) = (begin, newest);
        while new - old > 1 {
            let middle = old + (new - old) / 2;
            let at: String = sqlx::query_scalar("SELECT at FROM audit WHERE sequence = ?")
                .bind(middle)
                .fetch_one(&mut *reading)
                .await
                .map_err(step("reading the audit"))?;
            match at.parse::<Timestamp>().is_ok_and(|at| at < before) {
                true => old = middle,
                false => new = middle,
            }
        }
        Ok((old > begin).then_some((begin + 1, old)))
    }

    /// Writes rows to a new file. Returns the hash and the time of the last one.
    async fn export(
        &self,
        first: i64,
        last: i64,
        file: File,
        archive: &Path,
    ) -> Result<(Vec<u8>, String), StoreError> {
        let unusable = |detail: String| StoreError::Unusable {
            path: archive.to_owned(),
            detail,
        };
        let mut file = BufWriter::new(file);
        let mut reading = self
            .pool
            .acquire()
            .await
            .map_err(step("reading the audit"))?;
        let mut hash = cut(&mut reading)
            .await?
            .map_or_else(|| GENESIS.to_vec(), |cut| cut.hash);
        let mut sequence = first - 1;
        let mut at = String::new();
        while sequence < last {
            let batch = sqlx::query_as(OLDEST)
                .bind(sequence)
                .bind(BATCH.min(last - sequence))
                .fetch_all(&mut *reading)
                .await;
            let batch: Vec<AuditRow> = batch.map_err(step("reading the audit"))?;
            if batch.is_empty() {
                return Err(unusable(format!("row {} is missing", sequence + 1)));
            }
            for row in batch {
                if let Some(fault) = row.fault(sequence + 1, &hash) {
                    return Err(unusable(format!("row {}: {fault}", row.sequence)));
                }
                let line = serde_json::to_string(&Line::of(&row)).expect("a row is plain data");
                writeln!(file, "{line}").map_err(|error| unusable(error.to_string()))?;
                (sequence, hash, at) = (row.sequence, row.hash, row.at);
            }
        }
        file.flush().map_err(|error| unusable(error.to_string()))?;
        Ok((hash, at))
    }
}

/// Writes the last line of an archive, and syncs the file and its folder.
fn finish(archive: &Path, head: &SignedHead) -> std::io::Result<()> {
    let mut file = File::options().append(true).open(archive)?;
    let line = LastLine {
        head: head.to_string(),
    };
    let line = serde_json::to_string(&line).expect("a head is text");
    writeln!(file, "{line}")?;
    file.sync_all()?;
    let folder = archive
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Verifies an archive: each row against the row before it, and the signed head at its end against
/// its last row.
///
/// # Errors
/// The file cannot be read, or something in it does not fit; the message names the line.
pub fn verify_archive(path: &Path) -> Result<ArchivedRows, StoreError> {
    let wrong = |line: usize, detail: &str| StoreError::Unusable {
        path: PathBuf::from(path),
        detail: format!("line {line}: {detail}"),
    };
    let file = File::open(path).map_err(|error| wrong(0, &error.to_string()))?;
    let mut rows: Option<(u64, String, AuditRow)> = None;
    for (number, line) in (1..).zip(std::io::BufReader::new(file).lines()) {
        let line = line.map_err(|error| wrong(number, &error.to_string()))?;
        if let Ok(LastLine { head }) = serde_json::from_str(&line) {
            let head: SignedHead = head.parse().map_err(|_| wrong(number, "no signed head"))?;
            let Some((first, previous, last)) = rows else {
                return Err(wrong(number, "a head without rows"));
            };
            let is_of_last = head.sequence == last.sequence.unsigned_abs()
                && head.hash == hexadecimal(&last.hash);
            return match head.is_genuine() && is_of_last {
                true => Ok(ArchivedRows {
                    first,
                    previous,
                    head,
                }),
                false => Err(wrong(number, "the head is not that of the row before it")),
            };
        }
        let row = serde_json::from_str::<Line>(&line).ok().and_then(Line::row);
        let row = row.ok_or_else(|| wrong(number, "no row of an audit"))?;
        rows = Some(match rows {
            None => match row.fault(row.sequence, &row.previous.clone()) {
                Some(fault) => return Err(wrong(number, fault)),
                None => (row.sequence.unsigned_abs(), hexadecimal(&row.previous), row),
            },
            Some((first, previous, last)) => match row.fault(last.sequence + 1, &last.hash) {
                Some(fault) => return Err(wrong(number, fault)),
                None => (first, previous, row),
            },
        });
    }
    Err(wrong(0, "the signed head at the end is missing"))
}
