//! The background tasks of a node, and their end.

use std::{future::Future, time::Duration};

use tokio::time::Interval;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// All background tasks of a node, of two kinds.
///
/// A finishing task watches its [`Shutdown`], finishes its work, and returns. An endless task has
/// nothing to finish, and serves the others until they have ended.
#[derive(Clone, Default)]
pub struct BackgroundTasks {
    finishing: TaskTracker,
    /// The shutdown has begun.
    begun: CancellationToken,
    /// Finishing tasks have had their time.
    overdue: CancellationToken,
    endless: TaskTracker,
    /// Endless tasks are dropped.
    stopped: CancellationToken,
}

impl BackgroundTasks {
    /// What a finishing task watches.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.begun.clone())
    }

    /// Starts a task that returns after the shutdown has begun.
    pub fn spawn_finishing(&self, task: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.finishing, self.overdue.clone(), task);
    }

    /// Starts a task that runs until [`Self::stop_endless`].
    pub fn spawn_endless(&self, task: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.endless, self.stopped.clone(), task);
    }

    /// Begins the shutdown, and waits until all finishing tasks have ended. Those that take longer
    /// than `patience` are dropped at their next await.
    pub async fn finish(&self, patience: Duration) {
        self.begun.cancel();
        self.finishing.close();
        let _ = tokio::time::timeout(patience, self.finishing.wait()).await;
        self.overdue.cancel();
        self.finishing.wait().await;
    }

    /// Drops all endless tasks at their next await, and waits until they have ended.
    pub async fn stop_endless(&self) {
        self.stopped.cancel();
        self.endless.close();
        self.endless.wait().await;
    }
}

fn spawn(
    tracker: &TaskTracker,
    dropped: CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tracker.spawn(async move {
        let _ended_or_dropped = dropped.run_until_cancelled_owned(task).await;
    });
}

/// Tells a task that the node shuts down.
#[derive(Clone)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Waits until the shutdown begins.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }

    /// Waits for the next tick. Returns false if the shutdown begins first.
    pub async fn tick(&self, tick: &mut Interval) -> bool {
        tokio::select! {
            biased;
            () = self.begun() => false,
            _ = tick.tick() => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// Counts when it is dropped.
    struct Ended(Arc<AtomicUsize>);

    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn finishing_tasks_end_before_endless_ones_and_none_is_left() {
        let tasks = BackgroundTasks::default();
        let finished = Arc::new(AtomicUsize::new(0));
        let stopped = Arc::new(AtomicUsize::new(0));
        let ended = Ended(Arc::clone(&finished));
        let shutdown = tasks.shutdown();
        tasks.spawn_finishing(async move {
            shutdown.begun().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(ended);
        });
        for (counter, is_endless) in [(&finished, false), (&stopped, true)] {
            let ended = Ended(Arc::clone(counter));
            let task = async move {
                let _ended = ended;
                std::future::pending().await
            };
            if is_endless {
                tasks.spawn_endless(task);
            } else {
                tasks.spawn_finishing(task);
            }
        }
        tasks.finish(Duration::from_secs(5)).await;
        assert_eq!(finished.load(Ordering::Relaxed), 2, "one of them by force");
        assert_eq!(stopped.load(Ordering::Relaxed), 0);
        tasks.stop_endless().await;
        assert_eq!(stopped.load(Ordering::Relaxed), 1);
    }
}
