//! The end of a node, for the tasks that must finish what they are at before the store is closed.

use tokio::{sync::watch, time::Interval};

/// Begins the end.
pub struct Trigger(watch::Sender<bool>);

/// Knows whether the end has begun.
#[derive(Clone)]
pub struct Ending(watch::Receiver<bool>);

/// A pair of both.
pub fn pair() -> (Trigger, Ending) {
    let (trigger, ending) = watch::channel(false);
    (Trigger(trigger), Ending(ending))
}

impl Trigger {
    /// Tells all tasks.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Ending {
    /// Waits until the end begins.
    pub async fn begun(&self) {
        // A trigger that is gone has begun it.
        let _ = self.0.clone().wait_for(|has_begun| *has_begun).await;
    }

    /// Waits for the next tick; false where the end begins before it.
    pub async fn tick(&self, tick: &mut Interval) -> bool {
        tokio::select! {
            biased;
            () = self.begun() => false,
            _ = tick.tick() => true,
        }
    }
}
