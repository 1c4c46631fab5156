//! Reads of the past: of what is counted of a household, and of how a name was answered. Each reads
//! much, so that few run at a time, and of one household one. The others wait for their turn.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use control::households::turns::{HouseholdTurns, Turn};
use policy::rules::household::Id;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::Problem;

/// Answers about activity that are added up at a time.
const ACTIVITY_SEATS: usize = 4;
/// Explanations of the past at a time. Each opens a generation of the lists, for which there is
/// memory once.
const EXPLANATION_SEATS: usize = 1;
/// Verifications of the audit at a time.
const AUDIT_SEATS: usize = 1;
/// Reads of one kind that wait, of all households.
const WAITING_MAX: usize = 256;
/// When a client may come back that found too many waiting.
const COME_BACK: Duration = Duration::from_secs(5);

/// The seats of all reads of the past.
pub struct PastReads {
    pub(crate) activity: Seats,
    pub(crate) explanations: Seats,
    pub(crate) audit: Seats,
}

impl Default for PastReads {
    fn default() -> Self {
        Self {
            activity: Seats::new(ACTIVITY_SEATS),
            explanations: Seats::new(EXPLANATION_SEATS),
            audit: Seats::new(AUDIT_SEATS),
        }
    }
}

/// Runs a read to its end even if its client goes: what it has begun in another thread goes on, and
/// its seat is no other's before that ends.
pub(crate) async fn to_its_end<T: Send + 'static>(
    read: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(read).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The seats of one kind of read.
pub(crate) struct Seats {
    turns: HouseholdTurns,
    seats: Semaphore,
    waiting: AtomicUsize,
}

/// A read that runs, until this is dropped.
pub(crate) struct PastRead<'s> {
    _turn: Option<Turn<'s>>,
    _seat: SemaphorePermit<'s>,
}

/// A read that waits.
struct Waiting<'s>(&'s AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seats {
    fn new(seats: usize) -> Self {
        Self {
            turns: HouseholdTurns::default(),
            seats: Semaphore::new(seats),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for the turn of a read about a household, or about none. Fails if too many wait.
    pub(crate) async fn take(&self, household: Option<&Id>) -> Result<PastRead<'_>, Problem> {
        let crowded = || Problem::too_often(COME_BACK);
        let turn = match household {
            // First the household's turn: those behind it wait at no other's cost.
            Some(household) => Some(self.turns.take(household).await.map_err(|_| crowded())?),
            None => None,
        };
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING_MAX {
            return Err(crowded());
        }
        let seat = self.seats.acquire().await;
        Ok(PastRead {
            _turn: turn,
            _seat: seat.expect("the seats are never closed"),
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};

    use super::*;

    fn id(text: &str) -> Id {
        text.parse().expect("an identifier")
    }

    #[tokio::test]
    async fn a_household_reads_once_at_a_time_and_leaves_seats_to_others() {
        let seats = Seats::new(2);
        let (home, other) = (id("home"), id("other"));
        let first = seats.take(Some(&home)).await.expect("a seat");
        let mut second = Box::pin(seats.take(Some(&home)));
        assert!(
            second.as_mut().now_or_never().is_none(),
            "its turn is taken"
        );
        let beside = seats.take(Some(&other)).await.expect("the other seat");
        let mut third = Box::pin(seats.take(None));
        assert!(third.as_mut().now_or_never().is_none(), "no seat is left");
        drop(beside);
        drop(third.await.expect("a seat"));
        drop(first);
        second.await.expect("its turn");
    }

    #[tokio::test]
    async fn when_too_many_wait_a_read_is_refused() {
        let seats = Seats::new(1);
        let running = seats.take(None).await.expect("a seat");
        let households: Vec<Id> = (0..WAITING_MAX)
            .map(|number| id(&format!("home-{number}")))
            .collect();
        let mut waiting = Box::pin(join_all(
            households.iter().map(|home| seats.take(Some(home))),
        ));
        // The runtime would let only some of them begin in one turn of a task.
        let begun = tokio::task::unconstrained(waiting.as_mut()).now_or_never();
        assert!(begun.is_none(), "one runs");
        let refused = seats.take(None).await.err().expect("too many wait");
        assert_eq!((refused.status().as_u16(), refused.code()), (429, "rate"));
        drop(running);
        drop(waiting);
        assert!(seats.take(None).await.is_ok(), "none waits any more");
    }
}
