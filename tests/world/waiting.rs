//! Waiting for conditions, and repeatable random numbers.

use std::time::{Duration, Instant};

/// The minimum of every time limit: a busy machine is slow, and that is no fault of the program. A
/// build of lists runs in the idle scheduling class for a minute before it takes a normal share of
/// CPU time.
const TIMEOUT_MIN: Duration = Duration::from_secs(300);

/// The interval between two checks of a condition.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The environment variable that repeats a run.
const SEED_VARIABLE: &str = "WORLD_SEED";

/// Checks repeatedly until `holds`, and fails with `what` after `within`, at least five minutes.
/// Returns the elapsed time, which tests print and never judge: `benches/` measures.
pub async fn eventually(
    what: &str,
    within: Duration,
    mut holds: impl AsyncFnMut() -> bool,
) -> Duration {
    let began = Instant::now();
    let within = within.max(TIMEOUT_MIN);
    while !holds().await {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    began.elapsed()
}

/// A random seed: a new one for each run, or the one in `WORLD_SEED`. It is printed, so that a
/// failure can be repeated.
pub fn seed() -> u64 {
    let wanted = std::env::var(SEED_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = wanted.unwrap_or_else(rand::random);
    println!("{SEED_VARIABLE}={seed}");
    seed
}
