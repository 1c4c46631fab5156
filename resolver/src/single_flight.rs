//! One flight for each question: a herd that asks the same at once waits for one resolution.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use foldhash::quality::RandomState;
use tokio::{sync::Notify, time::timeout};

/// Flights under way, by question.
pub struct Flights<K: Eq + Hash + Clone, T>(Mutex<HashMap<K, Arc<Flight<T>>, RandomState>>);

/// One flight. Its result is none when whoever flew it went away.
struct Flight<T> {
    result: OnceLock<Option<T>>,
    landed: Notify,
}

/// Whoever flies. The flight is over when this is dropped, landed or not.
struct Pilot<'f, K: Eq + Hash + Clone, T> {
    flights: &'f Flights<K, T>,
    flight: Arc<Flight<T>>,
    key: &'f K,
    result: Option<T>,
}

impl<K: Eq + Hash + Clone, T> Drop for Pilot<'_, K, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // Somebody may fly beside this one by now.
        if flights
            .get(self.key)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            flights.remove(self.key);
        }
        drop(flights);
        let _nobody_else_sets_it = self.flight.result.set(self.result.take());
        self.flight.landed.notify_waiters();
    }
}

impl<K: Eq + Hash + Clone, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::default()))
    }
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self {
            result: OnceLock::new(),
            landed: Notify::new(),
        }
    }
}

impl<T: Clone> Flight<T> {
    /// Waits for the end.
    async fn wait(&self) -> Option<T> {
        loop {
            let landed = self.landed.notified();
            if let Some(result) = self.result.get() {
                return result.clone();
            }
            landed.await;
        }
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Flights<K, T> {
    /// Runs `resolve`, or waits for whoever already runs it for this question. A result that is not
    /// for all, and a pilot who goes away, leave the question to one of those who wait, and the
    /// others wait for that one. Nobody waits for longer than `patience`, where one is given: then
    /// one more flies beside. Two who could wait for each other must have one.
    pub async fn join(
        &self,
        key: &K,
        patience: Option<Duration>,
        is_for_all: impl Fn(&T) -> bool,
        resolve: impl Future<Output = T>,
    ) -> T {
        let (mut flight, mut is_first) = self.board(key);
        loop {
            if is_first {
                let mut pilot = Pilot {
                    flights: self,
                    flight,
                    key,
                    result: None,
                };
                let result = resolve.await;
                pilot.result = Some(result.clone());
                return result;
            }
            let landed = match patience {
                None => Some(flight.wait().await),
                Some(patience) => timeout(patience, flight.wait()).await.ok(),
            };
            (flight, is_first) = match landed {
                Some(Some(result)) if is_for_all(&result) => return result,
                Some(_) => self.board(key),
                None => self.take_over(key, &flight),
            };
        }
    }

    /// A flight beside one that takes too long; where there is one already, that.
    fn take_over(&self, key: &K, slow: &Arc<Flight<T>>) -> (Arc<Flight<T>>, bool) {
        let mut flights = self.lock();
        match flights.get(key) {
            Some(flight) if !Arc::ptr_eq(flight, slow) => (Arc::clone(flight), false),
            _ => {
                let flight = Arc::new(Flight::default());
                flights.insert(key.clone(), Arc::clone(&flight));
                (flight, true)
            }
        }
    }

    /// The flight for a question, and whether it begins now.
    fn board(&self, key: &K) -> (Arc<Flight<T>>, bool) {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(key) {
            return (Arc::clone(flight), false);
        }
        let flight = Arc::new(Flight::default());
        flights.insert(key.clone(), Arc::clone(&flight));
        (flight, true)
    }
}

impl<K: Eq + Hash + Clone, T> Flights<K, T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Flight<T>>, RandomState>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_herd_waits_for_one_resolution_and_the_next_question_flies_again() {
        let flights = Arc::new(Flights::default());
        let resolved = Arc::new(AtomicUsize::new(0));
        let fly = || {
            let flights = Arc::clone(&flights);
            let resolved = Arc::clone(&resolved);
            tokio::spawn(async move {
                let resolve = async {
                    tokio::task::yield_now().await;
                    resolved.fetch_add(1, Ordering::SeqCst) + 1
                };
                flights.join(&"a.example", None, |_| true, resolve).await
            })
        };
        let herd: Vec<_> = (0..50).map(|_| fly()).collect();
        for flight in herd {
            assert_eq!(flight.await.unwrap(), 1);
        }
        assert_eq!(
            fly().await.unwrap(),
            2,
            "nothing is kept here: that is the cache's work"
        );
        assert!(flights.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_somebody_who_goes_away_or_dawdles_flies_himself() {
        let flights = Arc::new(Flights::default());
        let first = Arc::clone(&flights);
        let dawdler = tokio::spawn(async move {
            first
                .join(&"a", None, |_| true, std::future::pending::<u8>())
                .await
        });
        tokio::task::yield_now().await;
        assert_eq!(
            flights
                .join(&"a", Some(Duration::from_millis(10)), |_| true, async { 2 })
                .await,
            2
        );
        let second = Arc::clone(&flights);
        let waits = tokio::task::yield_now();
        let waiter =
            tokio::spawn(async move { second.join(&"a", None, |_| true, async { 3 }).await });
        waits.await;
        dawdler.abort();
        assert_eq!(waiter.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_result_not_for_all_leaves_the_question_to_one_of_those_who_wait() {
        let flights = Arc::new(Flights::default());
        let flown = Arc::new(AtomicUsize::new(0));
        let fly = |number| {
            let flights = Arc::clone(&flights);
            let flown = Arc::clone(&flown);
            tokio::spawn(async move {
                let resolve = async {
                    flown.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    if number == 0 { Err(()) } else { Ok(number) }
                };
                flights.join(&"a", None, Result::is_ok, resolve).await
            })
        };
        let herd: Vec<_> = (0..50).map(fly).collect();
        let mut landed = Vec::new();
        for flight in herd {
            landed.push(flight.await.unwrap());
        }
        assert_eq!(
            (landed[0], landed[1].is_ok(), flown.load(Ordering::SeqCst)),
            (Err(()), true, 2)
        );
        assert!(landed[1..].iter().all(|result| *result == landed[1]) && flights.lock().is_empty());
    }
}
