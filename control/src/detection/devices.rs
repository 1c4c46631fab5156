//! New devices: queries of devices that a household has not named become sightings and one notice
//! each.
//!
//! ```text
//! query -> household, identifier -> tracked? --no--> stored? --no--> new: stored, and told after some seconds
//!                                      |               |
//!                                      '---------------'--> last seen, and a better guess
//! ```
//!
//! All that is kept in memory is bounded. What it forgets is read from the store again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use hashlink::LruCache;
use jiff::{SignedDuration, Timestamp};
use metrics::counter;
use policy::rules::household::{DeviceIdentifier, Id};
use policy_store::{SeenDevice, Sighting, StoreError};
use resolver::telemetry::detection::UnknownDevice;

use super::guess::{Clue, guess, note};
use crate::{
    Control,
    households::events::{OtherEvent, ScopedEvent},
};

/// Devices that are tracked in memory: about 300 octets each, 20 MB in all.
const TRACKED_MAX: usize = 1 << 16;
/// Signs that wait for their household to be read. More are dropped and counted.
const WAITING_MAX: usize = 1 << 14;
/// Households that are read at a time.
const LOADS_MAX: usize = 64;
/// How long the first names of a device are gathered before its household hears of it.
const GATHER: Duration = Duration::from_secs(4);
/// Notices of new devices to one household within an hour.
const NOTICES_MAX: u32 = 8;
const NOTICES_WINDOW: Duration = Duration::from_secs(3_600);
/// How often it is stored that a device was seen.
const SEEN_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// A device of a household that has not named it.
type Key = (Id, DeviceIdentifier);

/// What is known of a device in memory.
struct Tracked {
    /// The version of the household's rules by which it had no name.
    version: u64,
    /// When it was last stored that it was seen.
    stored: Timestamp,
    clues: Vec<Clue>,
}

/// A sign whose device has no name, with the version of the household that says so.
struct Sign {
    key: Key,
    version: u64,
    heard: UnknownDevice,
}

/// The state of the detection of new devices.
pub(super) struct DeviceDetection {
    tracked: LruCache<Key, Tracked>,
    waiting: VecDeque<UnknownDevice>,
    /// Devices whose household is to hear of them, with the time for that.
    untold: BTreeMap<Instant, Vec<Key>>,
    /// Notices by household since the begin of a window.
    told: HashMap<Id, (Instant, u32)>,
}

impl Default for DeviceDetection {
    fn default() -> Self {
        Self {
            tracked: LruCache::new(TRACKED_MAX),
            waiting: VecDeque::new(),
            untold: BTreeMap::new(),
            told: HashMap::new(),
        }
    }
}

impl DeviceDetection {
    /// Takes a sign from a worker.
    pub fn hear(&mut self, heard: UnknownDevice) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(heard);
        } else {
            counter!("ox_protect_detection_dropped_total", "at" => "control").increment(1);
        }
    }

    /// Stores what was heard, and tells households of their new devices.
    pub async fn process(&mut self, control: &Control) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let signs = self.next_signs(control);
        let known = self.load(control, &signs, now).await?;
        let mut seen: BTreeMap<(Id, String), SeenDevice> = BTreeMap::new();
        let mut new = Vec::new();
        for sign in signs {
            let is_new = !self.tracked.contains_key(&sign.key);
            if let Some(device) = self.see(control, &sign, now) {
                let order = (sign.key.0.clone(), format!("{:?}", sign.key.1));
                seen.insert(order, device);
            }
            if is_new && !known.contains(&order_of(&sign.key)) {
                new.push(sign.key);
            }
        }
        let seen: Vec<SeenDevice> = seen.into_values().collect();
        if !seen.is_empty() {
            match control.store.note_sightings(&seen).await {
                // Others took their places. They are new again at the next sign.
                Ok(gone) => gone.iter().for_each(|key| drop(self.tracked.remove(key))),
                Err(error) => {
                    for device in seen {
                        self.tracked.remove(&(device.household, device.identifier));
                    }
                    return Err(error);
                }
            }
        }
        if !new.is_empty() {
            let due = self.untold.entry(Instant::now() + GATHER).or_default();
            due.extend(new);
        }
        self.tell(control).await
    }

    /// The next signs of devices without a name, of as many households as may be read at a time.
    fn next_signs(&mut self, control: &Control) -> Vec<Sign> {
        let mut signs = Vec::new();
        let mut loads = BTreeSet::new();
        while let Some(heard) = self.waiting.pop_front() {
            let Some((key, version)) = unnamed(control, &heard) else {
                continue;
            };
            // A household that changed may have named the device, and removed it again.
            if self
                .tracked
                .peek(&key)
                .is_some_and(|tracked| tracked.version != version)
            {
                self.tracked.remove(&key);
            }
            if !self.tracked.contains_key(&key) {
                loads.insert(key.0.clone());
            }
            signs.push(Sign {
                key,
                version,
                heard,
            });
            if loads.len() >= LOADS_MAX {
                break;
            }
        }
        signs
    }

    /// Reads the sightings of the households with devices that are not tracked. Returns those that
    /// are stored.
    async fn load(
        &mut self,
        control: &Control,
        signs: &[Sign],
        now: Timestamp,
    ) -> Result<BTreeSet<(Id, String)>, StoreError> {
        let untracked = signs
            .iter()
            .filter(|sign| !self.tracked.contains_key(&sign.key));
        let households: BTreeSet<&Id> = untracked.map(|sign| &sign.key.0).collect();
        let mut known = BTreeSet::new();
        for household in households {
            for sighting in control.store.sightings(household, now).await? {
                known.insert(order_of(&(household.clone(), sighting.identifier)));
            }
        }
        Ok(known)
    }

    /// Notes a sign of a device. Returns what is to be stored.
    fn see(&mut self, control: &Control, sign: &Sign, now: Timestamp) -> Option<SeenDevice> {
        let is_tracked = self.tracked.contains_key(&sign.key);
        if !is_tracked {
            let tracked = Tracked {
                version: sign.version,
                stored: now,
                clues: Vec::new(),
            };
            self.tracked.insert(sign.key.clone(), tracked);
        }
        let tracked = self.tracked.get_mut(&sign.key)?;
        let has_clue = note(&mut tracked.clues, sign.heard.name.borrow().to_owned());
        if is_tracked && !has_clue && now < tracked.stored + SEEN_EVERY {
            return None;
        }
        tracked.stored = now;
        let (household, identifier) = sign.key.clone();
        let mac = match identifier {
            DeviceIdentifier::Mac(mac) => Some(mac),
            _ => None,
        };
        Some(SeenDevice {
            household,
            identifier,
            seen: now,
            guess: guess(&control.mac_register, mac, &tracked.clues),
        })
    }

    /// Tells households of the devices whose time has come.
    async fn tell(&mut self, control: &Control) -> Result<(), StoreError> {
        let now = Instant::now();
        self.told
            .retain(|_, (begun, _)| now.duration_since(*begun) < NOTICES_WINDOW);
        while let Some(first) = self.untold.first_entry()
            && *first.key() <= now
        {
            for (household, identifier) in first.remove() {
                let (_, count) = self.told.entry(household.clone()).or_insert((now, 0));
                if *count >= NOTICES_MAX {
                    continue;
                }
                if let Some(sighting) = to_be_told(control, &household, &identifier).await? {
                    *count += 1;
                    publish(control, &household, sighting);
                }
            }
        }
        Ok(())
    }
}

/// The order of keys in sets: identifiers have none.
fn order_of(key: &Key) -> (Id, String) {
    (key.0.clone(), format!("{:?}", key.1))
}

/// The household and the identifier of a device that has no name there; `None` for any other.
fn unnamed(control: &Control, heard: &UnknownDevice) -> Option<(Key, u64)> {
    let rules = control.directory.household_of(heard.source)?;
    let source = heard.source.to_canonical();
    let (is_named, identifier) = match heard.mac {
        Some(mac) => (rules.device_by_mac(mac), DeviceIdentifier::Mac(mac)),
        None => (
            rules.device_by_address(source),
            DeviceIdentifier::Address(source),
        ),
    };
    let household = rules.id().parse().ok()?;
    is_named
        .is_none()
        .then(|| ((household, identifier), rules.version()))
}

/// The sighting of a device, if its household wants to hear of it.
async fn to_be_told(
    control: &Control,
    household: &Id,
    identifier: &DeviceIdentifier,
) -> Result<Option<Sighting>, StoreError> {
    let wants = control.store.household(household).await?;
    if !wants.is_some_and(|household| household.hears_of_new_devices()) {
        return Ok(None);
    }
    let sightings = control.store.sightings(household, Timestamp::now()).await?;
    let mut sightings = sightings.into_iter();
    Ok(sightings.find(|sighting| sighting.identifier == *identifier && !sighting.dismissed))
}

fn publish(control: &Control, household: &Id, sighting: Sighting) {
    let event = OtherEvent::NewDevice {
        at: Timestamp::now(),
        new_device: Box::new(sighting.into()),
    };
    control.events.publish(household, ScopedEvent::new(event));
}
