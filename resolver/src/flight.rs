//! One flight for each question: a herd that asks the same at once waits for one resolution.

use std::{collections::HashMap, future::Future, hash::Hash, sync::Mutex, time::Duration};

use tokio::{sync::watch, time::timeout};

/// Flights under way, by question.
pub struct Flights<K: Eq + Hash + Clone, T>(Mutex<HashMap<K, watch::Receiver<Option<T>>>>);

impl<K: Eq + Hash + Clone, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

/// A flight that takes off; it is off the list when it is dropped, landed or not.
struct Flight<'f, K: Eq + Hash + Clone, T> {
    flights: &'f Flights<K, T>,
    key: K,
}

impl<K: Eq + Hash + Clone, T> Drop for Flight<'_, K, T> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Flights<K, T> {
    /// Runs `resolve`, or waits for whoever already runs it for this question; for no longer than `patience`, where one is
    /// given, and then runs it all the same. Two who could wait for each other must have one.
    pub async fn join(&self, key: &K, patience: Option<Duration>, resolve: impl Future<Output = T>) -> T {
        let (sender, receiver) = watch::channel(None);
        let other = {
            let mut flights = self.lock();
            let other = flights.get(key).cloned();
            if other.is_none() {
                flights.insert(key.clone(), receiver);
            }
            other
        };
        let Some(mut other) = other else {
            let flight = Flight { flights: self, key: key.clone() };
            let result = resolve.await;
            sender.send_replace(Some(result.clone()));
            drop(flight);
            return result;
        };
        let landed = async { other.wait_for(Option::is_some).await.ok().and_then(|result| result.clone()) };
        let landed = match patience {
            None => landed.await,
            Some(patience) => timeout(patience, landed).await.ok().flatten(),
        };
        match landed {
            Some(result) => result,
            // The other one went away, or takes too long.
            None => resolve.await,
        }
    }
}

impl<K: Eq + Hash + Clone, T> Flights<K, T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, watch::Receiver<Option<T>>>> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn a_herd_waits_for_one_resolution_and_the_next_question_flies_again() {
        let flights = Arc::new(Flights::default());
        let resolved = Arc::new(AtomicUsize::new(0));
        let fly = || {
            let (flights, resolved) = (Arc::clone(&flights), Arc::clone(&resolved));
            tokio::spawn(async move {
                let resolve = async {
                    tokio::task::yield_now().await;
                    resolved.fetch_add(1, Ordering::SeqCst) + 1
                };
                flights.join(&"a.example", None, resolve).await
            })
        };
        let herd: Vec<_> = (0..50).map(|_| fly()).collect();
        for flight in herd {
            assert_eq!(flight.await.unwrap(), 1);
        }
        assert_eq!(fly().await.unwrap(), 2, "nothing is kept here: that is the cache's work");
        assert!(flights.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_somebody_who_goes_away_or_dawdles_flies_himself() {
        let flights = Arc::new(Flights::default());
        let first = Arc::clone(&flights);
        let dawdler = tokio::spawn(async move { first.join(&"a", None, std::future::pending::<u8>()).await });
        tokio::task::yield_now().await;
        assert_eq!(flights.join(&"a", Some(Duration::from_millis(10)), async { 2 }).await, 2);
        let (second, waits) = (Arc::clone(&flights), tokio::task::yield_now());
        let waiter = tokio::spawn(async move { second.join(&"a", None, async { 3 }).await });
        waits.await;
        dawdler.abort();
        assert_eq!(waiter.await.unwrap(), 3);
    }
}
