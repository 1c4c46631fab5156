//! A household's, a person's or a device's own list of names, compiled. Nearly nobody has one.

use std::collections::BTreeMap;

use crate::{
    lists::entry::Scope,
    name::{Name, NameRef},
    rules::household::{OwnName, Set, State},
};

/// Whose list is meant, seen from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
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
pub(crate) struct OwnLists {
    household: OwnNames,
    devices: Box<[(u16, [OwnNames; 2])]>,
}

impl OwnLists {
    /// Puts lists together; `None` where all of them are empty. The devices come in the order of
    /// their places, each with its own list and its person's.
    pub fn of(household: OwnNames, devices: Vec<(u16, [OwnNames; 2])>) -> Option<Box<Self>> {
        let devices: Box<[_]> = devices
            .into_iter()
            .filter(|(_, lists)| lists.iter().any(|names| !names.is_empty()))
            .collect();
        (!household.is_empty() || !devices.is_empty())
            .then(|| Box::new(Self { household, devices }))
    }

    /// A list; `None` where it is empty.
    pub fn list(&self, whose: Whose) -> Option<&OwnNames> {
        let find = |device, which: usize| {
            let place = self
                .devices
                .binary_search_by_key(&device, |(place, _)| *place)
                .ok()?;
            Some(&self.devices[place].1[which])
        };
        let list = match whose {
            Whose::Household => Some(&self.household),
            Whose::Device(device) => find(device, 0),
            Whose::PersonOf(device) => find(device, 1),
        };
        list.filter(|names| !names.is_empty())
    }
}

/// An own list: sorted, asked by binary search once a label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnNames(Box<[(Name, OwnName)]>);

impl OwnNames {
    pub(crate) fn compile(names: &BTreeMap<Name, Set<OwnName>>, without_blocks: bool) -> Self {
        // A household that chose no filtering is blocked by nothing of its own; what it allows goes
        // on lifting the operator's security.
        let kept = names
            .iter()
            .filter(|(_, own)| !(without_blocks && own.value.state == State::Block));
        Self(kept.map(|(name, own)| (name.clone(), own.value)).collect())
    }

    /// What this list says of a name: the most specific entry that covers it speaks.
    #[must_use]
    pub fn find(&self, name: NameRef<'_>) -> Option<(NameRef<'_>, State)> {
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
pub fn is_own_scope(scope: Scope) -> bool {
    scope != Scope::Descendants
}
