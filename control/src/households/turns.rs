//! Turns at a household: its writes run one after the other, in the order in which they came, so
//! what is stored last is live last. Households do not wait for each other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use policy::rules::household::Id;
use tokio::sync::{OwnedMutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The most writes of one household that run or wait. Bounds what its requests hold in memory: far
/// more than a family's devices send at once.
pub const WRITES_MAX: usize = 128;

/// The household has [`WRITES_MAX`] writes that run or wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{WRITES_MAX} writes of this household are waiting")]
pub struct Crowded;

/// The turns of all households with a write. A household without one takes no memory.
#[derive(Debug, Default)]
pub struct HouseholdTurns {
    households: Mutex<HashMap<Id, Queue>>,
    /// Held by each write for reading, so that the end of the node can wait for all.
    running: RwLock<()>,
}

#[derive(Debug, Default)]
struct Queue {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Writes that run or wait.
    writes: usize,
}

impl HouseholdTurns {
    /// Waits for a turn at a household.
    ///
    /// # Errors
    /// Too many of its writes wait.
    pub async fn take(&self, household: &Id) -> Result<Turn<'_>, Crowded> {
        let (place, lock) = self.queue(household, WRITES_MAX)?;
        Ok(place.turn(lock).await)
    }

    /// Waits for a turn, however many writes wait: for the node's own work.
    pub async fn wait(&self, household: &Id) -> Turn<'_> {
        let (place, lock) = self
            .queue(household, usize::MAX)
            .expect("memory ends before that many wait");
        place.turn(lock).await
    }

    /// Waits until no write runs. None begins as long as the result is held.
    pub async fn end(&self) -> RwLockWriteGuard<'_, ()> {
        self.running.write().await
    }

    fn queue(
        &self,
        household: &Id,
        writes_max: usize,
    ) -> Result<(Place<'_>, Arc<tokio::sync::Mutex<()>>), Crowded> {
        let mut households = self.households();
        let queue = households.entry(household.clone()).or_default();
        if queue.writes >= writes_max {
            return Err(Crowded);
        }
        queue.writes += 1;
        let place = Place {
            turns: self,
            household: household.clone(),
        };
        Ok((place, Arc::clone(&queue.lock)))
    }

    fn households(&self) -> MutexGuard<'_, HashMap<Id, Queue>> {
        self.households
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn at a household. The next write begins when it is dropped.
#[derive(Debug)]
pub struct Turn<'t> {
    _lock: OwnedMutexGuard<()>,
    _place: Place<'t>,
    _running: RwLockReadGuard<'t, ()>,
}

/// A place in the queue of a household. The last one removes the queue.
#[derive(Debug)]
struct Place<'t> {
    turns: &'t HouseholdTurns,
    household: Id,
}

impl<'t> Place<'t> {
    async fn turn(self, lock: Arc<tokio::sync::Mutex<()>>) -> Turn<'t> {
        Turn {
            _lock: lock.lock_owned().await,
            _running: self.turns.running.read().await,
            _place: self,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut households = self.turns.households();
        if let Some(queue) = households.get_mut(&self.household) {
            queue.writes -= 1;
            if queue.writes == 0 {
                households.remove(&self.household);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn writes_of_one_household_wait_in_order_and_others_do_not() {
        let turns = Arc::new(HouseholdTurns::default());
        let first = turns.take(&id("home")).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 1..WRITES_MAX {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let _turn = turns.take(&id("home")).await.unwrap();
                order.lock().unwrap().push(number);
            }));
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.take(&id("home")).await.unwrap_err(), Crowded);
        drop(turns.take(&id("other")).await.unwrap());
        // One leaves: its place is free, and the others keep theirs.
        waiting.remove(49).abort();
        tokio::task::yield_now().await;
        drop(first);
        drop(turns.take(&id("home")).await.unwrap());
        for task in waiting {
            task.await.unwrap();
        }
        let expected: Vec<usize> = (1..WRITES_MAX).filter(|number| *number != 50).collect();
        assert_eq!(*order.lock().unwrap(), expected);
        assert!(turns.households().is_empty(), "nothing is left of them");
    }

    #[tokio::test]
    async fn the_end_waits_for_writes_that_run_and_none_begins_after_it() {
        let turns = HouseholdTurns::default();
        let home = id("home");
        let turn = turns.take(&home).await.unwrap();
        let mut end = Box::pin(turns.end());
        let now = futures_util::future::poll_immediate(&mut end).await;
        assert!(now.is_none(), "a write runs");
        drop(turn);
        let _ended = end.await;
        let later = futures_util::future::poll_immediate(Box::pin(turns.take(&home))).await;
        assert!(later.is_none(), "none begins");
    }
}
