//! Events of a household, as they happen: requests, answers, changes, blocked names, silent devices,
//! new devices, prompts of things.
//!
//! `event_channels` brings them to subscribers. How many subscribers there may be, and when each must
//! end, is decided by the caller.

use std::collections::BTreeSet;

use jiff::Timestamp;
#[cfg(feature = "schema")]
use policy::verdict::Layer;
use policy::{
    name::Name,
    rules::household::{Household, Id},
};
use policy_store::{AccessRequest, activity::BypassSign};
use serde::Serialize;

use crate::detection::new_device::NewDevice;

/// Something that happened in a household. Its `kind` tells what.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum HouseholdEvent {
    Request(Box<RequestEvent>),
    Other(OtherEvent),
}

/// A blocked name was asked for, or a request was answered.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RequestEvent {
    pub kind: RequestEventKind,
    #[serde(flatten)]
    pub request: AccessRequest,
}

/// What happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RequestEventKind {
    Request,
    Answer,
}

/// An event that is not about a request.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum OtherEvent {
    /// The settings of the household changed.
    Change {
        /// RFC 3339.
        at: Timestamp,
        /// The version of the household.
        version: u64,
    },
    /// A name was blocked, once or several times within a second.
    Block {
        /// RFC 3339.
        at: Timestamp,
        /// The categories for which it was blocked, by slug.
        categories: Vec<String>,
        /// How often it was blocked.
        count: u64,
        /// Null for devices without a name.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        device: Option<Id>,
        #[cfg_attr(feature = "schema", schema(value_type = Layer))]
        layer: &'static str,
        /// The name that was asked for.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        name: Name,
    },
    /// A device asked for a bypass of the filter and then for nothing more.
    Silent {
        /// RFC 3339.
        at: Timestamp,
        /// The device.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        device: Id,
        /// The bypass that the device asked for.
        sign: Option<BypassSign>,
        /// The device's last query for anything but a bypass, RFC 3339.
        since: Timestamp,
    },
    /// A device that the household has not named was seen for the first time.
    #[serde(rename = "new_device")]
    NewDevice {
        /// RFC 3339.
        at: Timestamp,
        new_device: Box<NewDevice>,
    },
    /// A thing wants to reach domains that it may not reach yet.
    Prompt {
        /// RFC 3339.
        at: Timestamp,
        /// The thing.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        device: Id,
        /// How many domains the prompt has.
        domains: usize,
        /// The prompt.
        id: String,
    },
    /// The client read too slowly, or was away for too long, and missed events.
    Lost {
        /// How many events were missed. Null if that is not known, and to a child.
        lost: Option<u64>,
    },
}

impl HouseholdEvent {
    pub fn of_request(kind: RequestEventKind, request: AccessRequest) -> Self {
        Self::Request(Box::new(RequestEvent { kind, request }))
    }

    /// The word for the event's kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Request(event) => match event.kind {
                RequestEventKind::Request => "request",
                RequestEventKind::Answer => "answer",
            },
            Self::Other(event) => match event {
                OtherEvent::Change { .. } => "change",
                OtherEvent::Block { .. } => "block",
                OtherEvent::Silent { .. } => "silent",
                OtherEvent::NewDevice { .. } => "new_device",
                OtherEvent::Prompt { .. } => "prompt",
                OtherEvent::Lost { .. } => "lost",
            },
        }
    }
}

impl From<OtherEvent> for HouseholdEvent {
    fn from(event: OtherEvent) -> Self {
        Self::Other(event)
    }
}

/// An event and the devices that it is about.
#[derive(Debug, Clone)]
pub struct ScopedEvent {
    /// `None` if the event may be about all devices.
    devices: Option<BTreeSet<Id>>,
    event: HouseholdEvent,
}

impl ScopedEvent {
    /// An event whose devices follow from itself. A block of a device without a name, and its
    /// sighting, are about no device, so that a child does not see them.
    pub fn new(event: impl Into<HouseholdEvent>) -> Self {
        let event = event.into();
        let devices = match &event {
            HouseholdEvent::Request(event) => Some([event.request.device.clone()].into()),
            HouseholdEvent::Other(event) => match event {
                OtherEvent::Silent { device, .. } | OtherEvent::Prompt { device, .. } => {
                    Some([device.clone()].into())
                }
                OtherEvent::NewDevice { .. } => Some(BTreeSet::new()),
                OtherEvent::Block { device, .. } => Some(device.iter().cloned().collect()),
                OtherEvent::Change { .. } | OtherEvent::Lost { .. } => None,
            },
        };
        Self { devices, event }
    }

    /// The household's settings changed.
    pub fn change(version: u64, devices: Option<BTreeSet<Id>>) -> Self {
        let at = Timestamp::now();
        let event = OtherEvent::Change { at, version }.into();
        Self { devices, event }
    }

    /// Whether a subscriber may see the event. A child (`device`) sees events of its own device;
    /// a subscriber outside the family sees nothing of what the family asks for.
    pub fn is_visible_to(&self, device: Option<&Id>, is_of_family: bool) -> bool {
        let is_private = matches!(
            self.event,
            HouseholdEvent::Other(
                OtherEvent::Block { .. }
                    | OtherEvent::Silent { .. }
                    | OtherEvent::NewDevice { .. }
                    | OtherEvent::Prompt { .. }
            )
        );
        if is_private && !is_of_family {
            return false;
        }
        match (device, &self.devices) {
            (Some(own), Some(devices)) => devices.contains(own),
            _ => true,
        }
    }

    pub fn event(&self) -> &HouseholdEvent {
        &self.event
    }

    pub fn into_event(self) -> HouseholdEvent {
        self.event
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
    // Compared once, because hundreds of devices can be one person's.
    let changed_people: BTreeSet<&Id> = before
        .people
        .keys()
        .chain(after.people.keys())
        .filter(|id| before.people.get(*id) != after.people.get(*id))
        .collect();
    let is_changed = |id: &&Id| {
        let (was, is) = (before.devices.get(*id), after.devices.get(*id));
        let person = is.and_then(|device| device.person.as_ref());
        was != is || person.is_some_and(|person| changed_people.contains(person))
    };
    let ids: BTreeSet<&Id> = before.devices.keys().chain(after.devices.keys()).collect();
    Some(ids.into_iter().filter(is_changed).cloned().collect())
}
