//! Single flight: tasks that ask the same at the same time wait for one resolution.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use foldhash::quality::RandomState;
use tokio::{sync::Notify, time::timeout};

/// Running resolutions, by question.
pub struct SingleFlight<K: Eq + Hash + Clone, T>(Mutex<HashMap<K, Arc<Flight<T>>, RandomState>>);

/// One running resolution. Its result is none if the leader was cancelled.
struct Flight<T> {
    result: OnceLock<Option<T>>,
    ended: Notify,
}

/// The task that resolves for the others. The flight ends when the leader is dropped, with or
/// without a result.
struct Leader<'f, K: Eq + Hash + Clone, T> {
    flights: &'f SingleFlight<K, T>,
    flight: Arc<Flight<T>>,
    key: &'f K,
    result: Option<T>,
}

impl<K: Eq + Hash + Clone, T> Drop for Leader<'_, K, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // A task that lost patience may have replaced this flight.
        if flights
            .get(self.key)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            flights.remove(self.key);
        }
        drop(flights);
        let _only_the_leader_sets_it = self.flight.result.set(self.result.take());
        self.flight.ended.notify_waiters();
    }
}

/// The part of a task in a flight.
enum Part<T> {
    /// It resolves.
    Leader(Arc<Flight<T>>),
    /// It waits for the leader.
    Follower(Arc<Flight<T>>),
}

impl<K: Eq + Hash + Clone, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::default()))
    }
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self {
            result: OnceLock::new(),
            ended: Notify::new(),
        }
    }
}

impl<T: Clone> Flight<T> {
    /// Waits for the end.
    async fn wait(&self) -> Option<T> {
        loop {
            let ended = self.ended.notified();
            if let Some(result) = self.result.get() {
                return result.clone();
            }
            ended.await;
        }
    }
}

impl<K: Eq + Hash + Clone, T: Clone> SingleFlight<K, T> {
    /// Runs `resolve`, or waits for the task that runs it for the same key.
    ///
    /// If the leader is cancelled, or its result is not `is_shared`, one of the waiting tasks
    /// becomes the leader and the others wait for it. With `patience`, a task that waits longer
    /// resolves beside a slow leader; two tasks that could wait for each other must have one.
    pub async fn join(
        &self,
        key: &K,
        patience: Option<Duration>,
        is_shared: impl Fn(&T) -> bool,
        resolve: impl Future<Output = T>,
    ) -> T {
        let mut part = self.enter(key);
        loop {
            let flight = match part {
                Part::Leader(flight) => {
                    let mut leader = Leader {
                        flights: self,
                        flight,
                        key,
                        result: None,
                    };
                    let result = resolve.await;
                    leader.result = Some(result.clone());
                    return result;
                }
                Part::Follower(flight) => flight,
            };
            let ended = match patience {
                None => Some(flight.wait().await),
                Some(patience) => timeout(patience, flight.wait()).await.ok(),
            };
            part = match ended {
                Some(Some(result)) if is_shared(&result) => return result,
                Some(_) => self.enter(key),
                None => self.overtake(key, &flight),
            };
        }
    }

    /// Leads a flight beside a slow one, or follows one that another task has begun since.
    fn overtake(&self, key: &K, slow: &Arc<Flight<T>>) -> Part<T> {
        let mut flights = self.lock();
        match flights.get(key) {
            Some(flight) if !Arc::ptr_eq(flight, slow) => Part::Follower(Arc::clone(flight)),
            _ => Self::lead(&mut flights, key),
        }
    }

    /// Follows the flight of a key, or leads a new one.
    fn enter(&self, key: &K) -> Part<T> {
        let mut flights = self.lock();
        match flights.get(key) {
            Some(flight) => Part::Follower(Arc::clone(flight)),
            None => Self::lead(&mut flights, key),
        }
    }

    fn lead(flights: &mut HashMap<K, Arc<Flight<T>>, RandomState>, key: &K) -> Part<T> {
        let flight = Arc::new(Flight::default());
        flights.insert(key.clone(), Arc::clone(&flight));
        Part::Leader(flight)
    }
}

impl<K: Eq + Hash + Clone, T> SingleFlight<K, T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Flight<T>>, RandomState>> {
        self.0
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests;
