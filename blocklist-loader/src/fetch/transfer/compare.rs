//! How a zone that came as a whole differs from the one in the spool. Rows are told apart by 128
//! bits of a keyed hash, so that the memory this takes is that of one set of numbers, whatever
//! names are in the zone.

use std::{
    collections::HashSet,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, BufRead, BufReader},
    path::Path,
};

use crate::{
    fetch::RowChange,
    spool::{RowKey, for_each_row},
};

/// Which part of the rows may differ for the difference to be worth telling: beyond it, building
/// anew is no more work.
const PART_MAX: usize = 4;

/// Two independent keys: with 64 bits, one transfer in a million of a zone of five million rows
/// would miss a change.
struct Hashes(RandomState, RandomState);

impl Hashes {
    fn of(&self, row: &[u8]) -> u128 {
        u128::from(self.0.hash_one(row)) << 64 | u128::from(self.1.hash_one(row))
    }
}

/// What went and what came, or none where it is too much.
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
