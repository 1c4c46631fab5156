//! Waiting for a condition with a time limit.

use std::time::{Duration, Instant};

/// The interval between two checks of a condition.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// Far above the time that any server needs here on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Repeats a check until it succeeds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
}
