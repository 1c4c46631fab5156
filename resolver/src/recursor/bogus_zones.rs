//! Zones whose data do not verify: how many names failed because of them in the last minute. A
//! registry that breaks its zone breaks all names below it, so that the zone at which the chain of
//! trust breaks says more than the names.

use std::{
    hash::BuildHasher as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::{HashMap, HashSet, HashSetExt as _, quality::FixedState};
use metrics::{counter, describe_counter};
use policy::name::{Name, NameRef};

use super::dnssec::ValidationFault;

/// How long a name counts.
const WINDOW: Duration = Duration::from_secs(60);
/// Zones that are remembered, and names that are counted for each. Counts.
const ZONES_MAX: usize = 1_000;
const NAMES_MAX: usize = 1_000;
/// Zones that have a counter of their own. The others share `other`.
const LABELS_MAX: usize = 100;
const OTHER: &str = "other";

/// A zone below or in which names were bogus in the last minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BogusZone {
    /// Where the chain of trust breaks: the zone whose keys, signatures or proofs are wrong.
    pub zone: Name,
    /// What was wrong last.
    pub fault: ValidationFault,
    /// Different names in the last minute, at most 1,000.
    pub names: usize,
}

/// The zones that failed of late.
pub(super) struct BogusZones(Mutex<Recent>);

struct Recent {
    zones: HashMap<Name, RecentZone>,
    labelled: HashSet<Name>,
}

struct RecentZone {
    fault: ValidationFault,
    /// When each name failed last, by the name's hash.
    names: HashMap<u64, Duration>,
}

impl BogusZones {
    pub fn new() -> Self {
        describe_counter!(
            "ox_protect_bogus_total",
            "Resolutions that ended bogus, by the zone at which the chain of trust breaks; other beyond 100 zones"
        );
        Self(Mutex::new(Recent {
            zones: HashMap::default(),
            labelled: HashSet::new(),
        }))
    }

    /// Counts a name that is bogus because of a zone.
    pub fn count(&self, zone: &Name, name: NameRef<'_>, fault: ValidationFault, now: Duration) {
        let mut recent = self.recent();
        let label = if recent.has_label(zone) {
            zone.to_string()
        } else {
            OTHER.to_owned()
        };
        counter!("ox_protect_bogus_total", "zone" => label).increment(1);
        if recent.zones.len() >= ZONES_MAX && !recent.zones.contains_key(zone) {
            recent.forget_old(now);
            if recent.zones.len() >= ZONES_MAX {
                return;
            }
        }
        let of_zone = recent
            .zones
            .entry(zone.clone())
            .or_insert_with(|| RecentZone {
                fault,
                names: HashMap::default(),
            });
        of_zone.fault = fault;
        let name = FixedState::default().hash_one(name.wire());
        if of_zone.names.len() < NAMES_MAX || of_zone.names.contains_key(&name) {
            of_zone.names.insert(name, now);
        }
    }

    /// The zones that failed in the last minute, those with the most names first; of equal ones the
    /// higher.
    pub fn current(&self, now: Duration) -> Vec<BogusZone> {
        let mut recent = self.recent();
        recent.forget_old(now);
        let mut zones: Vec<_> = recent
            .zones
            .iter()
            .map(|(zone, of_zone)| BogusZone {
                zone: zone.clone(),
                fault: of_zone.fault,
                names: of_zone.names.len(),
            })
            .collect();
        let depth = |zone: &BogusZone| zone.zone.borrow().label_count();
        zones.sort_by(|a, b| {
            let by_names = b.names.cmp(&a.names);
            by_names
                .then_with(|| depth(a).cmp(&depth(b)))
                .then_with(|| a.zone.cmp(&b.zone))
        });
        zones
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Whether a zone has a counter of its own. The first zones get one.
    fn has_label(&mut self, zone: &Name) -> bool {
        if !self.labelled.contains(zone) && self.labelled.len() < LABELS_MAX {
            self.labelled.insert(zone.clone());
        }
        self.labelled.contains(zone)
    }

    fn forget_old(&mut self, now: Duration) {
        for zone in self.zones.values_mut() {
            zone.names
                .retain(|_, last| now.saturating_sub(*last) < WINDOW);
        }
        self.zones.retain(|_, zone| !zone.names.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn different_names_of_the_last_minute_count() {
        let zones = BogusZones::new();
        let at = Duration::from_secs;
        let expired = ValidationFault::SignatureExpired;
        for (text, second) in [("a.de", 0), ("b.de", 10), ("a.de", 20), ("c.de", 30)] {
            zones.count(&name("de"), name(text).borrow(), expired, at(second));
        }
        let wrong = ValidationFault::SignatureWrong;
        zones.count(&name("test"), name("x.test").borrow(), wrong, at(30));
        let counts = |now| {
            let current = zones.current(at(now));
            let text = |zone: BogusZone| format!("{} {}", zone.zone, zone.names);
            current.into_iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(counts(59), ["de 3", "test 1"]);
        assert_eq!(counts(75), ["de 2", "test 1"]);
        assert_eq!(counts(90), [""; 0]);
    }

    #[test]
    fn zones_names_and_labels_are_bounded() {
        let zones = BogusZones::new();
        let fault = ValidationFault::KeyUntrusted;
        for number in 0..ZONES_MAX + 10 {
            let zone = name(&format!("z{number}.test"));
            zones.count(&zone, zone.borrow(), fault, Duration::ZERO);
        }
        for number in 0..NAMES_MAX + 10 {
            let below = name(&format!("n{number}.z0.test"));
            zones.count(&name("z0.test"), below.borrow(), fault, Duration::ZERO);
        }
        let current = zones.current(Duration::ZERO);
        assert_eq!((current.len(), current[0].names), (ZONES_MAX, NAMES_MAX));
        assert_eq!(zones.recent().labelled.len(), LABELS_MAX);
        let later = name("later.test");
        zones.count(&later, later.borrow(), fault, WINDOW);
        assert_eq!(zones.current(WINDOW).len(), 1);
    }
}
