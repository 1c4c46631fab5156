//! Waiting without sleeping blindly, and chance that can be repeated.

use std::time::{Duration, Instant};

/// What every wait is given at least: a busy machine is slow, and that is no fault of what is
/// tested. Lists are built in the idle class for a minute, and only then beside whatever else runs.
const PATIENCE_MIN: Duration = Duration::from_secs(300);

/// How often a condition is looked at again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The environment variable that repeats a run.
const SEED_VARIABLE: &str = "WORLD_SEED";

/// Looks again and again until `holds`, and fails with `what` once `within` has passed, five
/// minutes at least. Returns the time it took, to be shown and never to be judged: `benches/`
/// measures.
pub async fn eventually(
    what: &str,
    within: Duration,
    mut holds: impl AsyncFnMut() -> bool,
) -> Duration {
    let began = Instant::now();
    let within = within.max(PATIENCE_MIN);
    while !holds().await {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    began.elapsed()
}

/// A seed for chance: a new one each run, or the one in `WORLD_SEED`; printed, so that a failure
/// can be repeated.
pub fn seed() -> u64 {
    let wanted = std::env::var(SEED_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = wanted.unwrap_or_else(rand::random);
    println!("{SEED_VARIABLE}={seed}");
    seed
}
