//! The cut of the audit: up to which row it was exported and removed. `audit_archive` makes it.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::error::{StoreError, step};

/// Up to which row the rows were removed.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    pub(crate) sequence: i64,
    pub(crate) hash: Vec<u8>,
    /// As it is stored: not checked.
    pub(crate) signed: String,
    /// When the last removed row was written.
    pub(crate) at: Timestamp,
}

/// The newest cut; `None` while all rows are there.
pub(crate) async fn cut(connection: &mut SqliteConnection) -> Result<Option<Cut>, StoreError> {
    let select = "SELECT sequence, hash, signed, at FROM audit_cut ORDER BY sequence DESC LIMIT 1";
    let row: Option<(i64, Vec<u8>, String, String)> = sqlx::query_as(select)
        .fetch_optional(connection)
        .await
        .map_err(step("reading the cut of the audit"))?;
    Ok(row.map(|(sequence, hash, signed, at)| Cut {
        sequence,
        hash,
        signed,
        at: at.parse().unwrap_or(Timestamp::MAX),
    }))
}
