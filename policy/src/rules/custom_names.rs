//! The custom lists of names of a household, a person or a device, compiled. Few households have
//! one.

use std::collections::BTreeMap;

use crate::{
    lists::entry::Scope,
    name::{Name, NameRef},
    rules::household::{Attributed, CustomName, SwitchState},
};

/// Whose list is meant, seen from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListOwner {
    /// The household's.
    Household,
    /// That of the person to whom the device at this place belongs.
    PersonOf(u16),
    /// That of the device at this place.
    Device(u16),
}

/// The own lists of one household: its own, and by place those of its devices of which one is for
/// them: theirs, or their person's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CustomLists {
    household: CustomNames,
    devices: Box<[(u16, [CustomNames; 2])]>,
}

impl CustomLists {
    /// Puts lists together; `None` where all of them are empty. The devices come in the order of
    /// their places, each with its own list and its person's.
    pub fn of(household: CustomNames, devices: Vec<(u16, [CustomNames; 2])>) -> Option<Box<Self>> {
        let devices: Box<[_]> = devices
            .into_iter()
            .filter(|(_, lists)| lists.iter().any(|names| !names.is_empty()))
            .collect();
        (!household.is_empty() || !devices.is_empty())
            .then(|| Box::new(Self { household, devices }))
    }

    /// A list; `None` where it is empty.
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
            ListOwner::PersonOf(device) => find(device, 1),
        };
        list.filter(|names| !names.is_empty())
    }
}

/// An own list: sorted, asked by binary search once a label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomNames(Box<[(Name, CustomName)]>);

impl CustomNames {
    pub(crate) fn compile(
        names: &BTreeMap<Name, Attributed<CustomName>>,
        without_blocks: bool,
    ) -> Self {
        // A household that chose no filtering is blocked by nothing of its own; what it allows goes
        // on lifting the operator's security.
        let kept = names
            .iter()
            .filter(|(_, own)| !(without_blocks && own.value.state == SwitchState::Block));
        Self(kept.map(|(name, own)| (name.clone(), own.value)).collect())
    }

    /// What this list says of a name: the most specific entry that covers it speaks.
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

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a scope can stand in an own list.
#[must_use]
pub fn is_custom_scope(scope: Scope) -> bool {
    scope != Scope::Descendants
}
