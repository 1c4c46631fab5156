//! Instants in the tables.

use jiff::Timestamp;

/// Converts the seconds of a table.
pub(crate) fn second(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
