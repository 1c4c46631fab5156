//! The result of a fetch.

use crate::row_change::RowChange;

/// The result of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The provider published nothing new.
    Unchanged,
    /// The whole content was replaced; the spool has it.
    Replaced { version: String },
    /// Rows changed between two versions; the spool has them too.
    Changed {
        from: String,
        version: String,
        /// The changes in order.
        rows: Vec<RowChange>,
    },
}

/// The provider's name for the content of a fetcher's state: a sequence number, a serial, or the
/// first digits of a SHA-256.
pub(crate) fn version_of(state: &serde_json::Value) -> Option<String> {
    let number = ["sequence", "serial"]
        .iter()
        .find_map(|key| state.get(key)?.as_u64())
        .map(|number| number.to_string());
    number.or_else(|| {
        Some(
            state
                .get("sha256")?
                .as_str()?
                .get(..VERSION_DIGITS)?
                .to_owned(),
        )
    })
}

/// Digits of a SHA-256 that identify a version. A feed never has enough versions for these to
/// collide.
pub(crate) const VERSION_DIGITS: usize = 16;
