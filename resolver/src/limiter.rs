//! How many may wait at one thing at a time: at a zone that does not answer, or for one client.
//! What is gone, or attacked, or attacks, must not take the places of everybody else.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard},
};

use foldhash::{HashMap, HashMapExt};

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits, in which anybody may
/// have as many as he likes.
pub(crate) fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// Places by whatever they are counted by.
pub struct Gate<K> {
    inside: Arc<Mutex<HashMap<K, u32>>>,
    max: u32,
}

impl<K: Hash + Eq + Clone> Gate<K> {
    /// So many places for each.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self {
            inside: Arc::new(Mutex::new(HashMap::new())),
            max,
        }
    }

    /// Takes a place; none where all are taken.
    #[must_use]
    pub fn enter(&self, key: &K) -> Option<Place<K>> {
        let mut inside = lock(&self.inside);
        match inside.get_mut(key) {
            Some(count) if *count >= self.max => return None,
            Some(count) => *count += 1,
            None => {
                inside.insert(key.clone(), 1);
            }
        }
        Some(Place {
            inside: Arc::clone(&self.inside),
            key: key.clone(),
        })
    }
}

fn lock<K>(inside: &Mutex<HashMap<K, u32>>) -> MutexGuard<'_, HashMap<K, u32>> {
    inside
        .lock()
        .expect("nothing panics while it holds the lock")
}

/// A place; given back when it is dropped.
pub struct Place<K: Hash + Eq> {
    inside: Arc<Mutex<HashMap<K, u32>>>,
    key: K,
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut inside = lock(&self.inside);
        if let Some(count) = inside.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_places_and_gets_them_back() {
        let gate = Gate::new(2);
        let first = gate.enter(&"a");
        let _second = gate.enter(&"a");
        assert!(gate.enter(&"a").is_none() && gate.enter(&"b").is_some());
        drop(first);
        assert!(gate.enter(&"a").is_some());
        drop(gate.enter(&"a"));
        assert_eq!(lock(&gate.inside).len(), 1, "nobody is at b any more");
    }
}
