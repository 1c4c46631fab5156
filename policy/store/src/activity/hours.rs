//! Hours as numbers: whole hours since 1970, in UTC. Local time is not considered here.

use jiff::Timestamp;

const SECONDS: i64 = 3_600;

/// The hour that contains a time.
pub(super) fn hour_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS)
}

/// The first hour that begins at or after a time.
pub(super) fn hour_behind(at: Timestamp) -> i64 {
    let begun = hour_of(at);
    if beginning(begun) == Some(at) {
        begun
    } else {
        begun + 1
    }
}

/// The beginning of an hour; `None` for a number out of range.
pub(super) fn beginning(hour: i64) -> Option<Timestamp> {
    Timestamp::from_second(hour.checked_mul(SECONDS)?).ok()
}

/// The hour at whose beginning an hour is due that is kept for this number of days from its end.
pub(super) fn until(hour: i64, days: u16) -> i64 {
    hour + 1 + 24 * i64::from(days)
}

/// The last hour in which a query is possible: the next one, because a clock may be slightly ahead.
/// Later hours come from a wrong clock.
pub(super) fn last_hour(now: Timestamp) -> i64 {
    hour_of(now) + 1
}
