//! Events of a household, as they happen: requests, answers, changes, blocked names, silent devices.
//!
//! A household has a channel while at least one subscriber listens. A subscriber that reads too
//! slowly loses the oldest events and is told how many; a publisher never waits. How many
//! subscribers there may be, and when each must end, is decided by the caller.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use jiff::Timestamp;
use policy::rules::household::{Device, Household, Id, Person};
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};

/// Events that are kept for a slow subscriber.
const QUEUED_MAX: usize = 64;

/// An event in a household.
#[derive(Debug, Clone)]
pub struct HouseholdEvent {
    kind: &'static str,
    /// The devices that the event is about; `None` if it may be about all of them.
    devices: Option<BTreeSet<Id>>,
    body: Value,
}

impl HouseholdEvent {
    /// An event about one device, such as a request or its answer.
    pub fn of_device(kind: &'static str, device: Id, body: Value) -> Self {
        Self {
            kind,
            devices: Some([device].into()),
            body,
        }
    }

    /// A name was blocked. A child does not see blocks of a device without a name.
    pub fn block(device: Option<Id>, body: Value) -> Self {
        Self {
            kind: "block",
            devices: Some(device.into_iter().collect()),
            body,
        }
    }

    /// The household's settings changed.
    pub fn change(version: u64, devices: Option<BTreeSet<Id>>) -> Self {
        Self {
            kind: "change",
            devices,
            body: json!({ "version": version, "at": Timestamp::now() }),
        }
    }

    /// Whether a subscriber may see the event. A child (`device`) sees events of its own device;
    /// a subscriber outside the family sees nothing of what the family asks for.
    pub fn is_visible_to(&self, device: Option<&Id>, is_of_family: bool) -> bool {
        if !is_of_family && ["block", "silent"].contains(&self.kind) {
            return false;
        }
        match (device, &self.devices) {
            (Some(own), Some(devices)) => devices.contains(own),
            _ => true,
        }
    }

    /// The word for the event's kind, and its body.
    pub fn into_parts(self) -> (&'static str, Value) {
        (self.kind, self.body)
    }
}

/// The devices that a change may affect; `None` if it may affect all of them.
pub fn devices_affected(
    before: Option<&Household>,
    after: Option<&Household>,
) -> Option<BTreeSet<Id>> {
    let (Some(before), Some(after)) = (before, after) else {
        return None;
    };
    let is_same = before.settings == after.settings
        && before.history == after.history
        && (before.preset.as_ref(), before.filtering, &before.time_zone)
            == (after.preset.as_ref(), after.filtering, &after.time_zone);
    if !is_same {
        return None;
    }
    let whole = |household: &Household, id: &Id| -> Option<(Device, Option<Person>)> {
        let device = household.devices.get(id)?;
        Some((device.clone(), household.person_of(device).cloned()))
    };
    let ids: BTreeSet<&Id> = before.devices.keys().chain(after.devices.keys()).collect();
    Some(
        ids.into_iter()
            .filter(|id| whole(before, id) != whole(after, id))
            .cloned()
            .collect(),
    )
}

type Channels = HashMap<Id, broadcast::Sender<HouseholdEvent>>;

/// The event channels of all households.
#[derive(Default)]
pub struct HouseholdEvents {
    channels: Mutex<Channels>,
    on_removal: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl HouseholdEvents {
    /// Calls `hook` after each write that removes a household or one of its devices. Only the first
    /// hook counts.
    pub fn on_removal(&self, hook: impl Fn() + Send + Sync + 'static) {
        let _one_is_set = self.on_removal.set(Box::new(hook));
    }

    /// A household, or one of its devices, is no more.
    pub(super) fn removed(&self) {
        if let Some(hook) = self.on_removal.get() {
            hook();
        }
    }

    /// Sends an event to all subscribers of a household.
    pub fn publish(&self, household: &Id, event: HouseholdEvent) {
        if let Some(channel) = self.channels().get(household) {
            let _no_subscriber_is_left = channel.send(event);
        }
    }

    /// Whether a household has a subscriber.
    pub fn has_subscribers(&self, household: &Id) -> bool {
        self.channels().contains_key(household)
    }

    /// Ends all subscriptions: the node shuts down.
    pub fn close(&self) {
        self.channels().clear();
    }

    /// Subscribes to a household's events from now on.
    pub fn subscribe(self: &Arc<Self>, household: Id) -> Subscription {
        let events = self
            .channels()
            .entry(household.clone())
            .or_insert_with(|| broadcast::channel(QUEUED_MAX).0)
            .subscribe();
        Subscription {
            events,
            _membership: Membership {
                all: Arc::clone(self),
                household,
            },
        }
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a subscription delivers.
#[derive(Debug)]
pub enum Delivered {
    Event(HouseholdEvent),
    /// The subscriber was too slow and lost so many events.
    Lost(u64),
}

/// One subscriber's queue.
pub struct Subscription {
    events: broadcast::Receiver<HouseholdEvent>,
    /// Dropped after the receiver, so that it sees whether another one is left.
    _membership: Membership,
}

impl Subscription {
    /// The next event. `None` once the channel is closed.
    pub async fn next(&mut self) -> Option<Delivered> {
        match self.events.recv().await {
            Ok(event) => Some(Delivered::Event(event)),
            Err(RecvError::Lagged(lost)) => Some(Delivered::Lost(lost)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Removes the household's channel with its last subscriber.
struct Membership {
    all: Arc<HouseholdEvents>,
    household: Id,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut channels = self.all.channels();
        if channels
            .get(&self.household)
            .is_some_and(|channel| channel.receiver_count() == 0)
        {
            channels.remove(&self.household);
        }
    }
}
