//! How many may ask one zone at a time: an attack on one zone, or a zone that is gone, must not take the places of all others.

use std::sync::{Mutex, MutexGuard};

use foldhash::{HashMap, HashMapExt};
use policy::name::Name;

/// Places by zone.
pub struct Gate {
    inside: Mutex<HashMap<Name, u32>>,
    max: u32,
}

impl Gate {
    /// So many places for each zone.
    pub fn new(max: u32) -> Self {
        Self { inside: Mutex::new(HashMap::new()), max }
    }

    /// Takes a place; none where all are taken.
    pub fn enter<'g>(&'g self, zone: &'g Name) -> Option<Place<'g>> {
        let mut inside = self.lock();
        match inside.get_mut(zone) {
            Some(count) if *count >= self.max => return None,
            Some(count) => *count += 1,
            None => {
                inside.insert(zone.clone(), 1);
            }
        }
        Some(Place { gate: self, zone })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, u32>> {
        self.inside.lock().expect("nothing panics while it holds the lock")
    }
}

/// A place at a zone; given back when it is dropped.
pub struct Place<'g> {
    gate: &'g Gate,
    zone: &'g Name,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        if let Some(count) = inside.get_mut(self.zone) {
            *count -= 1;
            if *count == 0 {
                inside.remove(self.zone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_so_many_places_and_gets_them_back() {
        let (gate, a, b) = (Gate::new(2), Name::parse("a").unwrap(), Name::parse("b").unwrap());
        let first = gate.enter(&a);
        let _second = gate.enter(&a);
        assert!(gate.enter(&a).is_none() && gate.enter(&b).is_some());
        drop(first);
        assert!(gate.enter(&a).is_some());
        drop(gate.enter(&a));
        assert_eq!(gate.lock().len(), 1, "nobody is at b any more");
    }
}
