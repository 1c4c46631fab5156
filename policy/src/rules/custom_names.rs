//! The custom lists of names of a household, a person or a device, compiled. Few households have
//! one.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    lists::entry::Scope,
    name::{Name, NameRef},
    rules::{
        household::{Attributed, CustomName, SwitchState},
        thing::ThingRules,
    },
};

/// The owner of a custom list, as seen from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListOwner {
    Household,
    /// The person of the device with this index; `None`: of unnamed devices.
    PersonOf(Option<u16>),
    /// The device with this index.
    Device(u16),
}

/// The custom lists of one household: its own, that of its unnamed devices, and those of each device
/// that has one or whose person has one; and the domains of its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CustomLists {
    household: CustomNames,
    unnamed: CustomNames,
    devices: Box<[(u16, [CustomNames; 2])]>,
    /// Sorted by the index of the device.
    things: Box<[(u16, ThingRules)]>,
}

impl CustomLists {
    /// Combines lists; `None` where all are empty. `devices` is sorted by index; each has its own
    /// list and its person's. So is `things`.
    pub fn of(
        household: CustomNames,
        unnamed: CustomNames,
        devices: Vec<(u16, [CustomNames; 2])>,
        things: Vec<(u16, ThingRules)>,
    ) -> Option<Box<Self>> {
        let devices: Box<[_]> = devices
            .into_iter()
            .filter(|(_, lists)| lists.iter().any(|names| !names.is_empty()))
            .collect();
        let has_names = !household.is_empty() || !unnamed.is_empty() || !devices.is_empty();
        (has_names || !things.is_empty()).then(|| {
            Box::new(Self {
                household,
                unnamed,
                devices,
                things: things.into(),
            })
        })
    }

    /// The domains of a thing; `None` for any other device.
    pub fn thing(&self, device: u16) -> Option<&ThingRules> {
        let place = self
            .things
            .binary_search_by_key(&device, |(place, _)| *place);
        Some(&self.things[place.ok()?].1)
    }

    /// The list of an owner; `None` where it is empty.
    pub fn list(&self, whose: ListOwner) -> Option<&CustomNames> {
        let find = |device, which: usize| {
            let place = self
                .devices
                .binary_search_by_key(&device, |(place, _)| *place)
                .ok()?;
            Some(&self.devices[place].1[which])
        };
        let list = match whose {
            ListOwner::Household => Some(&self.household),
            ListOwner::Device(device) => find(device, 0),
            ListOwner::PersonOf(Some(device)) => find(device, 1),
            ListOwner::PersonOf(None) => Some(&self.unnamed),
        };
        list.filter(|names| !names.is_empty())
    }
}

/// A custom list: sorted, searched once a label. Copies share the entries: each device of a person
/// has the person's list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomNames(Arc<[(Name, CustomName)]>);

impl CustomNames {
    pub(crate) fn compile(
        names: &BTreeMap<Name, Attributed<CustomName>>,
        without_blocks: bool,
    ) -> Self {
        // Without filtering, a household's own entries block nothing. Its allow entries still lift
        // the operator's security.
        let kept = names
            .iter()
            .filter(|(_, own)| !(without_blocks && own.value.state == SwitchState::Block));
        Self(kept.map(|(name, own)| (name.clone(), own.value)).collect())
    }

    /// The most specific entry that covers a name.
    #[must_use]
    pub fn find(&self, name: NameRef<'_>) -> Option<(NameRef<'_>, SwitchState)> {
        if self.0.is_empty() {
            return None;
        }
        for ancestor in name.ancestors() {
            if let Ok(place) = self
                .0
                .binary_search_by(|(own, _)| own.borrow().cmp(&ancestor))
            {
                let (own, entry) = &self.0[place];
                let is_own_name = ancestor.wire().len() == name.wire().len();
                if entry.scope.covers(is_own_name) {
                    return Some((own.borrow(), entry.state));
                }
            }
        }
        None
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a custom list may have entries of this scope.
#[must_use]
pub fn is_custom_scope(scope: Scope) -> bool {
    scope != Scope::Descendants
}
