//! Signs of new devices, and names that things newly ask for, on the way from the workers to the
//! control plane.
//!
//! Most queries have neither: they pay the tests that exist for other reasons. A table of recent
//! signs in each worker keeps repetitions out of the bounded rings; a full ring drops the sign and
//! counts it. Each kind has a ring of its own, so that many unnamed devices displace no question of
//! a thing.

use std::{hash::BuildHasher, net::IpAddr, sync::Arc};

use foldhash::quality::RandomState;
use policy::{
    decide::{EffectivePolicy, Layer, Verdict},
    name::NameRef,
    rules::{compiled::HouseholdRules, household::Mac, thing::ThingMode},
    unix_seconds::UnixSeconds,
};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::telemetry::name_sampler::InlineName;

/// Slots of a worker's ring. The control plane empties it four times a second, so it takes 16,000
/// signs a second, in 1.3 MB.
const RING_SLOTS: usize = 1 << 12;
/// Places of a worker's table of recent signs: 1 MiB. The kernel maps a page when it is first
/// written.
const RECENT_PLACES: usize = 1 << 16;

/// How many signs with one key pass within a window.
#[derive(Clone, Copy)]
struct Window {
    seconds: u32,
    passes: u32,
}

/// Of an unnamed device: its first names say what it is.
const OF_DEVICE: Window = Window {
    seconds: 1_800,
    passes: 16,
};
/// Of one name of a thing: it repeats a query that is blocked.
const OF_NAME: Window = Window {
    seconds: 5,
    passes: 1,
};
/// Of all names of a thing: one that asks for random names displaces no other.
const OF_THING: Window = Window {
    seconds: 10,
    passes: 64,
};

/// A query of a device that its household has not named.
pub struct UnknownDevice {
    /// The address that the query came from.
    pub source: IpAddr,
    /// The MAC address that the query asserts.
    pub mac: Option<Mac>,
    pub at: UnixSeconds,
    /// The queried name.
    pub name: InlineName,
}

/// A query of a thing for a name that is on none of its lists.
pub struct NewDomain {
    /// The household, with the version of its rules that judged the query.
    pub rules: Arc<HouseholdRules>,
    /// The thing, by its index in the rules.
    pub device: u16,
    pub at: UnixSeconds,
    /// The queried name.
    pub name: InlineName,
    /// This query, and repetitions since the last sign.
    pub queries: u32,
}

/// A worker's end of its rings.
pub struct DetectionSender {
    devices: Producer<UnknownDevice>,
    domains: Producer<NewDomain>,
    recent: RecentSigns,
}

/// The consumers' end.
pub struct DetectionReceiver {
    pub devices: Consumer<UnknownDevice>,
    pub domains: Consumer<NewDomain>,
}

impl DetectionSender {
    /// A pair of rings.
    #[must_use]
    pub fn pair() -> (Self, DetectionReceiver) {
        let (devices, device_consumer) = RingBuffer::new(RING_SLOTS);
        let (domains, domain_consumer) = RingBuffer::new(RING_SLOTS);
        let sender = Self {
            devices,
            domains,
            recent: RecentSigns::default(),
        };
        let receiver = DetectionReceiver {
            devices: device_consumer,
            domains: domain_consumer,
        };
        (sender, receiver)
    }

    /// Sends a query of an unnamed device. Returns false if the ring is full.
    pub fn unknown_device(
        &mut self,
        source: IpAddr,
        mac: Option<Mac>,
        name: NameRef<'_>,
        at: UnixSeconds,
    ) -> bool {
        // The same MAC address can be in several homes.
        if self.recent.pass((source, mac), at, OF_DEVICE).is_none() {
            return true;
        }
        let device = UnknownDevice {
            source,
            mac,
            at,
            name: InlineName::new(name),
        };
        self.devices.push(device).is_ok()
    }

    /// Sends a query of a thing, if its name is new to it. Returns false if the ring is full.
    pub fn thing(
        &mut self,
        policy: &EffectivePolicy,
        name: NameRef<'_>,
        verdict: Verdict,
        at: UnixSeconds,
    ) -> bool {
        let Some((rules, device, thing)) = policy.thing() else {
            return true;
        };
        // What another layer decides is not the thing's to ask about.
        let is_new = match thing.mode() {
            ThingMode::Asking => verdict.layer == Layer::Thing,
            ThingMode::Learning => matches!(verdict.layer, Layer::Default | Layer::SafeSearch),
            ThingMode::Off | ThingMode::Locked => false,
        };
        if !is_new || thing.find(name).is_some() {
            return true;
        }
        let id = rules.id();
        let passed = self.recent.pass((id, device, name.wire()), at, OF_NAME);
        let Some(held) = passed else { return true };
        if self.recent.pass((id, device), at, OF_THING).is_none() {
            return true;
        }
        let domain = NewDomain {
            rules: Arc::clone(rules),
            device,
            at,
            name: InlineName::new(name),
            queries: held.saturating_add(1),
        };
        self.domains.push(domain).is_ok()
    }
}

/// A table of recent signs, by hash. Of two keys with one place the later one stays: the other's
/// next sign passes again.
struct RecentSigns {
    /// Two words a place: tag and begin of the window; signs that passed, and that were held back.
    words: Box<[u64]>,
    /// Seeded at random in each process, so that clients cannot choose colliding keys.
    hasher: RandomState,
}

impl Default for RecentSigns {
    fn default() -> Self {
        Self {
            words: vec![0; 2 * RECENT_PLACES].into(),
            hasher: RandomState::default(),
        }
    }
}

impl RecentSigns {
    /// Counts a sign. Returns how many were held back since the last one that passed, if this one
    /// passes.
    fn pass(&mut self, key: impl std::hash::Hash, at: UnixSeconds, window: Window) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        // A tag is never 0, which is an empty place.
        let tag = (hash >> 32) as u32 | 1;
        let place = 2 * (hash as usize % RECENT_PLACES);
        let [key_word, count_word] = &mut self.words[place..place + 2] else {
            unreachable!("a place has two words");
        };
        let (known, begun) = ((*key_word >> 32) as u32, *key_word as u32);
        let (mut passed, mut held) = ((*count_word >> 32) as u32, *count_word as u32);
        let now = at.to_u32();
        let is_same = known == tag;
        if !is_same || now.wrapping_sub(begun) >= window.seconds {
            *key_word = u64::from(tag) << 32 | u64::from(now);
            passed = 0;
            held = if is_same { held } else { 0 };
        }
        let passes = passed < window.passes;
        let told = passes.then_some(held);
        (passed, held) = if passes {
            (passed + 1, 0)
        } else {
            (passed, held.saturating_add(1))
        };
        *count_word = u64::from(passed) << 32 | u64::from(held);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: u32) -> UnixSeconds {
        UnixSeconds::from_unix(at.into())
    }

    #[test]
    fn repetitions_are_held_back_and_told_with_the_next_sign() {
        let mut recent = RecentSigns::default();
        let window = Window {
            seconds: 5,
            passes: 2,
        };
        let mut told = |key: &str, at| recent.pass(key, second(at), window);
        assert_eq!([told("a", 10), told("a", 11)], [Some(0), Some(0)]);
        assert_eq!([told("a", 12), told("a", 14)], [None, None]);
        assert_eq!(told("b", 14), Some(0), "another key");
        assert_eq!(told("a", 15), Some(2), "the next window");
        assert_eq!(told("a", 15), Some(0));
        assert_eq!(told("a", 16), None);
    }

    #[test]
    fn a_device_sends_its_first_names_and_a_full_ring_drops() {
        let (mut sender, mut receiver) = DetectionSender::pair();
        let name = policy::name::Name::parse("a.example").unwrap();
        let mut send = |last: u32| {
            let source = IpAddr::V4(last.into());
            sender.unknown_device(source, None, name.borrow(), second(10))
        };
        assert!((0..100).all(|_| send(7)));
        let sent = std::iter::from_fn(|| receiver.devices.pop().ok());
        assert_eq!(sent.count(), OF_DEVICE.passes as usize);
        let many = (RING_SLOTS as u32 + 9) + 100;
        let dropped = (100..many).filter(|last| !send(*last)).count();
        assert_eq!(dropped, 9);
        assert!(receiver.domains.pop().is_err());
    }
}
