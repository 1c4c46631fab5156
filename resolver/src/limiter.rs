//! Limits concurrent work per key (a zone), so that one unresponsive zone cannot use all capacity.

use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard},
};

use foldhash::{HashMap, HashMapExt};

/// A limit for each key.
pub struct Limiter<K> {
    in_use: Arc<Mutex<HashMap<K, u32>>>,
    max: u32,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// A limiter with at most `max` permits for each key.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self {
            in_use: Arc::new(Mutex::new(HashMap::new())),
            max,
        }
    }

    /// Takes a permit; none if all of this key are in use.
    #[must_use]
    pub fn try_acquire(&self, key: &K) -> Option<Permit<K>> {
        let mut in_use = lock(&self.in_use);
        match in_use.get_mut(key) {
            Some(count) if *count >= self.max => return None,
            Some(count) => *count += 1,
            None => {
                in_use.insert(key.clone(), 1);
            }
        }
        Some(Permit {
            in_use: Arc::clone(&self.in_use),
            key: key.clone(),
        })
    }
}

fn lock<K>(in_use: &Mutex<HashMap<K, u32>>) -> MutexGuard<'_, HashMap<K, u32>> {
    in_use
        .lock()
        .expect("no thread panics while it holds the lock")
}

/// A permit; returned when it is dropped.
pub struct Permit<K: Hash + Eq> {
    in_use: Arc<Mutex<HashMap<K, u32>>>,
    key: K,
}

impl<K: Hash + Eq> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut in_use = lock(&self.in_use);
        if let Some(count) = in_use.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                in_use.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_permits_and_gets_them_back() {
        let limiter = Limiter::new(2);
        let first = limiter.try_acquire(&"a");
        let _second = limiter.try_acquire(&"a");
        assert!(limiter.try_acquire(&"a").is_none() && limiter.try_acquire(&"b").is_some());
        drop(first);
        assert!(limiter.try_acquire(&"a").is_some());
        drop(limiter.try_acquire(&"a"));
        assert_eq!(
            lock(&limiter.in_use).len(),
            1,
            "a key without permits in use is removed"
        );
    }
}
