//! Waiting without sleeping blindly.

use std::time::{Duration, Instant};

/// How often a condition is looked at again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// Far above what any server here takes, on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
}
