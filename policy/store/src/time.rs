//! Instants as the tables keep them.

use jiff::Timestamp;

/// A second as the tables keep it.
pub(crate) fn second(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
