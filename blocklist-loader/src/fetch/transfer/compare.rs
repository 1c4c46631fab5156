//! Compares a whole transferred zone with the spooled one. Rows are identified by 128 bits of a
//! keyed hash, so that memory does not depend on the length of names.

use std::{
    collections::HashSet,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, BufRead, BufReader},
    path::Path,
};

use crate::{
    row_change::RowChange,
    spool::{RowKey, for_each_row},
};

/// A difference of more than one part in this many rows is not reported; a build is no slower then.
const PART_MAX: usize = 4;

/// Two independent keys. With 64 bits, one transfer in a million of a zone with five million rows
/// would miss a change.
struct Hashes(RandomState, RandomState);

impl Hashes {
    fn of(&self, row: &[u8]) -> u128 {
        u128::from(self.0.hash_one(row)) << 64 | u128::from(self.1.hash_one(row))
    }
}

/// The removed and added rows; `None` where there are too many.
pub(super) fn difference(content: &Path, came: File) -> io::Result<Option<Vec<RowChange>>> {
    let hashes = Hashes(RandomState::new(), RandomState::new());
    let mut gone = HashSet::new();
    for_each_row(content, RowKey::WholeRow, &mut |row| {
        gone.insert(hashes.of(row));
    })?;
    let most = gone.len() / PART_MAX;
    let mut added = Vec::new();
    for row in BufReader::new(came).split(b'\n') {
        let row = row?;
        if !gone.remove(&hashes.of(&row)) {
            if added.len() == most {
                return Ok(None);
            }
            added.push(RowChange::added(row));
        }
    }
    if gone.len() + added.len() > most {
        return Ok(None);
    }
    let mut rows = Vec::new();
    if !gone.is_empty() {
        for_each_row(content, RowKey::WholeRow, &mut |row| {
            if gone.contains(&hashes.of(row)) {
                rows.push(RowChange::removed(row));
            }
        })?;
    }
    rows.append(&mut added);
    Ok(Some(rows))
}
