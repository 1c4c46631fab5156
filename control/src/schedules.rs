//! Compiles a household again when one of its schedules, grants or pauses begins or ends, so that
//! the data path knows what comes after it.
//!
//! Nothing depends on this being in time. A household's rules contain the settings behind their
//! next change, so a million schedules that begin at half past nine are obeyed in that second, and
//! are compiled one by one while clients go on asking.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use policy::unix_seconds::UnixSeconds;
use tokio::time::MissedTickBehavior;

use crate::{Control, households::load::recompile, shutdown::Shutdown};

/// How often the task looks for households that are due.
const TICK: Duration = Duration::from_millis(500);
/// Households that are looked for at a time. A write waits for its own household alone.
const BATCH: usize = 16;
/// If the wall clock was set back by more than this, all rules with a schedule are compiled again.
const SET_BACK: SignedDuration = SignedDuration::from_secs(2);

/// Runs until the node shuts down.
pub async fn run(control: Arc<Control>, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Timestamp::now();
    while shutdown.tick(&mut tick).await {
        let now = Timestamp::now();
        if now < last - SET_BACK {
            tracing::warn!(%last, %now, "the clock was set back; schedules are compiled again");
            for households in control.directory.timed().chunks(BATCH) {
                recompile(&control, households).await;
            }
        }
        last = now;
        loop {
            let due = control.directory.due(UnixSeconds::of(now), BATCH);
            if due.is_empty() {
                break;
            }
            recompile(&control, &due).await;
        }
    }
}
