//! The clock of the data path, as an argument: a test runs stale answers and prefetches under its
//! own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use policy::unix_seconds::UnixSeconds;
use tokio::time::Instant;

/// The engine's source of time. It is read once for each batch of packets, and in each step of a
/// miss.
pub trait Clock: Send + Sync {
    /// Time since the start, monotonic. The answer cache counts in it.
    fn elapsed(&self) -> Duration;

    /// Wall-clock time. Schedules and grants are compared with it.
    fn moment(&self) -> UnixSeconds;

    /// Both, in one call: the worker reads them for each batch.
    fn elapsed_and_moment(&self) -> (Duration, UnixSeconds) {
        (self.elapsed(), self.moment())
    }
}

/// The clock of the system. Under a paused tokio runtime, [`Clock::elapsed`] follows tokio's time.
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    #[inline]
    fn moment(&self) -> UnixSeconds {
        UnixSeconds::from_unix(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        )
    }
}
