//! One flight for each question: a herd that asks the same at once waits for one resolution.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
};

use tokio::sync::OnceCell;

use crate::cache::Key;

/// Resolutions under way.
pub struct Flights<T>(Mutex<HashMap<Key, Arc<OnceCell<T>>>>);

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<T: Clone> Flights<T> {
    /// Runs `resolve`, or waits for the one who already runs it for this question. A caller that goes away hands over to
    /// the next one.
    pub async fn join(&self, key: &Key, resolve: impl Future<Output = T>) -> T {
        let cell = Arc::clone(self.lock().entry(key.clone()).or_default());
        let result = cell.get_or_init(|| resolve).await.clone();
        let mut flights = self.lock();
        if flights.get(key).is_some_and(|current| Arc::ptr_eq(current, &cell)) {
            flights.remove(key);
        }
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<OnceCell<T>>>> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use policy::name::Name;

    use super::*;
    use crate::cache::KeyRef;

    #[tokio::test]
    async fn a_herd_waits_for_one_resolution_and_the_next_question_flies_again() {
        let flights = Arc::new(Flights::default());
        let resolved = Arc::new(AtomicUsize::new(0));
        let key = KeyRef::new(Name::parse("a.example").unwrap().borrow(), 1, 1, 0).to_owned();
        let fly = || {
            let (flights, resolved, key) = (Arc::clone(&flights), Arc::clone(&resolved), key.clone());
            tokio::spawn(async move {
                let resolve = async {
                    tokio::task::yield_now().await;
                    resolved.fetch_add(1, Ordering::SeqCst) + 1
                };
                flights.join(&key, resolve).await
            })
        };
        let herd: Vec<_> = (0..50).map(|_| fly()).collect();
        for flight in herd {
            assert_eq!(flight.await.unwrap(), 1);
        }
        assert_eq!(fly().await.unwrap(), 2, "nothing is kept here: that is the cache's work");
        assert!(flights.lock().is_empty());
    }
}
