//! The keeper of the time: households for whom the clock has changed something are compiled anew,
//! so that the data path finds what holds at its first look, and knows what comes after it.
//!
//! Nothing depends on it being in time. A record says what comes behind its next change, so a
//! million bedtimes at half past nine are all true at that second, and are compiled one by one
//! while their lines go on asking.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use policy::moment::Moment;

use crate::{Control, households::load::recompile, shutdown::Shutdown};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(500);
/// Households that are compiled before others may write: a write waits for no more than these.
const BATCH: usize = 16;
/// How far the clock must have been set back before all that was compiled is doubted.
const SET_BACK: SignedDuration = SignedDuration::from_secs(2);

/// Runs until the node ends.
pub async fn run(control: Arc<Control>, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = Timestamp::now();
    while shutdown.tick(&mut tick).await {
        let now = Timestamp::now();
        if now < last - SET_BACK {
            tracing::warn!(%last, %now, "the clock was set back; schedules are compiled anew");
            for households in control.directory.timed().chunks(BATCH) {
                recompile(&control, households).await;
            }
        }
        last = now;
        loop {
            let due = control.directory.due(Moment::of(now), BATCH);
            if due.is_empty() {
                break;
            }
            recompile(&control, &due).await;
        }
    }
}
