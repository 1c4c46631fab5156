//! Hours as numbers: whole hours since 1970, in UTC. Whose night it is, is not decided here.

use jiff::Timestamp;

const SECONDS: i64 = 3_600;

/// The hour in which a time lies.
pub(super) fn hour_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS)
}

/// The first hour of which nothing lies before a time.
pub(super) fn hour_behind(at: Timestamp) -> i64 {
    let begun = hour_of(at);
    if beginning(begun) == Some(at) {
        begun
    } else {
        begun + 1
    }
}

/// When an hour begins; none for a number that is no hour.
pub(super) fn beginning(hour: i64) -> Option<Timestamp> {
    Timestamp::from_second(hour.checked_mul(SECONDS)?).ok()
}

/// The hour at whose beginning another one is due to go that is kept for so many days from its end.
pub(super) fn until(hour: i64, days: u16) -> i64 {
    hour + 1 + 24 * i64::from(days)
}

/// The last hour in which anything can have been asked: the next one, for a clock may be a little
/// ahead. What lies behind it is of one that was wrong.
pub(super) fn last_hour(now: Timestamp) -> i64 {
    hour_of(now) + 1
}
