//! The pace of one connection's requests. A client that sends many, one behind the other, keeps the
//! runtime's threads from other connections, however little each of them costs.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};

/// Requests without a credential that a connection may send at once, and the time for each further
/// one: the files of the app's page, and the looks of a load balancer.
const AT_ONCE: u32 = 32;
const EACH: Duration = Duration::from_millis(250);
/// How long the request behind a 429 waits: as long as the least Retry-After.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// The pace of a connection.
pub struct Pace {
    begun: Instant,
    /// Requests of a client that had shown no credential.
    asked: AtomicU32,
    is_refused: AtomicBool,
}

impl Pace {
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            asked: AtomicU32::new(0),
            is_refused: AtomicBool::new(false),
        }
    }

    /// Waits until the next request may be handled.
    pub async fn wait(&self, is_recognised: bool) {
        if self.is_refused.swap(false, Ordering::Relaxed) {
            sleep(REFUSED_PAUSE).await;
        }
        if !is_recognised {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            let due = self.begun + EACH * (asked + 1).saturating_sub(AT_ONCE);
            sleep_until(due).await;
        }
    }

    /// Says that a request was answered 429.
    pub fn refuse(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stranger_has_its_burst_and_then_its_pace() {
        let pace = Pace::new();
        let begun = Instant::now();
        for _ in 0..AT_ONCE {
            pace.wait(false).await;
        }
        assert!(begun.elapsed() < EACH);
        for _ in 0..8 {
            pace.wait(false).await;
        }
        assert_eq!(begun.elapsed().as_millis() / 10, 8 * EACH.as_millis() / 10);
        for _ in 0..1_000 {
            pace.wait(true).await;
        }
        assert_eq!(begun.elapsed().as_millis() / 10, 8 * EACH.as_millis() / 10);
        pace.refuse();
        pace.wait(true).await;
        assert!(begun.elapsed() >= 8 * EACH + REFUSED_PAUSE);
    }
}
