//! A household's document, compiled: flat, immutable, replaced as a whole by one pointer.
//!
//! A device's record is one mask and its own list; what it inherits is folded in here, so that deciding looks in one place.

use std::net::IpAddr;

use crate::{
    category::{CategorySet, Taxonomy},
    household::{Device, Filtering, Household, Id, Identifier, Mac, OwnName, Set, State, Switch},
    listing::Scope,
    name::{Name, NameRef},
};

/// What the operator decides for those who have not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperatorDefaults {
    /// Categories blocked for a household without a preset of its own, and for a line of no household.
    pub preset: CategorySet,
}

/// The rules of one asker: a household's, or one of its devices'.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Blocked categories, everything inherited folded in.
    pub blocked: CategorySet,
    /// The asker's own list, without what it inherits: its layer is decided one by one.
    pub names: OwnNames,
}

/// One device, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRules {
    /// Its identifier.
    pub id: Id,
    /// Its rules.
    pub rules: Rules,
}

/// One household, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HouseholdRules {
    /// Its identifier; absent for the lines of no household.
    pub id: Option<Id>,
    /// The version of the document this was compiled from.
    pub version: u64,
    /// What holds for a device that nobody named.
    pub rules: Rules,
    /// Its devices.
    pub devices: Box<[DeviceRules]>,
    macs: Box<[(Mac, u16)]>,
    addresses: Box<[(IpAddr, u16)]>,
}

impl HouseholdRules {
    /// Compiles a document. A slug that the taxonomy no longer has decides nothing.
    #[must_use]
    pub fn compile(household: &Household, taxonomy: &Taxonomy, defaults: OperatorDefaults) -> Self {
        let is_off = household.filtering == Filtering::Off;
        let preset = household.preset.as_deref().and_then(|slug| taxonomy.preset(slug)).unwrap_or(defaults.preset);
        let inherited = switch(preset, &household.categories, taxonomy);
        let compile =
            |blocked, names| Rules { blocked: if is_off { CategorySet::EMPTY } else { blocked }, names: OwnNames::compile(names, is_off) };
        let (mut macs, mut addresses) = (Vec::new(), Vec::new());
        let mut devices = Vec::with_capacity(household.devices.len());
        for (index, (id, device)) in (0..).zip(&household.devices) {
            let Device { identifiers, categories, names, .. } = device;
            for identifier in identifiers {
                match identifier {
                    Identifier::Mac(mac) => macs.push((*mac, index)),
                    Identifier::Address(address) => addresses.push((address.to_canonical(), index)),
                    Identifier::Token(_) | Identifier::CpeId(_) => {}
                }
            }
            devices.push(DeviceRules { id: id.clone(), rules: compile(switch(inherited, categories, taxonomy), names) });
        }
        macs.sort_unstable();
        addresses.sort_unstable();
        Self {
            id: Some(household.id.clone()),
            version: household.version,
            rules: compile(inherited, &household.names),
            devices: devices.into(),
            macs: macs.into(),
            addresses: addresses.into(),
        }
    }

    /// The rules of a line that belongs to no household.
    #[must_use]
    pub fn of_unknown_lines(defaults: OperatorDefaults) -> Self {
        let rules = Rules { blocked: defaults.preset, names: OwnNames::default() };
        Self { id: None, version: 0, rules, devices: Box::default(), macs: Box::default(), addresses: Box::default() }
    }

    /// The device with this MAC address.
    #[must_use]
    pub fn device_by_mac(&self, mac: Mac) -> Option<u16> {
        find(&self.macs, &mac)
    }

    /// The device with this source address.
    #[must_use]
    pub fn device_by_address(&self, address: IpAddr) -> Option<u16> {
        find(&self.addresses, &address)
    }

    /// The device with this identifier.
    #[must_use]
    pub fn device_by_id(&self, id: &Id) -> Option<u16> {
        // Devices come out of a sorted map.
        let index = self.devices.binary_search_by(|device| device.id.cmp(id)).ok()?;
        u16::try_from(index).ok()
    }

    /// The MAC addresses that its devices have.
    pub fn macs(&self) -> impl Iterator<Item = Mac> {
        self.macs.iter().map(|&(mac, _)| mac)
    }
}

fn find<K: Ord>(table: &[(K, u16)], key: &K) -> Option<u16> {
    let place = table.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
    Some(table[place].1)
}

fn switch(mut mask: CategorySet, switches: &std::collections::BTreeMap<String, Set<Switch>>, taxonomy: &Taxonomy) -> CategorySet {
    for (slug, switch) in switches {
        if let Some(category) = taxonomy.find(slug) {
            match switch.value.state {
                State::Block => mask.insert(category),
                State::Allow => mask.remove(category),
            }
        }
    }
    mask
}

/// An own list: sorted, asked by binary search once a label. Nearly every household has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnNames(Box<[(Name, OwnName)]>);

impl OwnNames {
    fn compile(names: &std::collections::BTreeMap<Name, Set<OwnName>>, without_blocks: bool) -> Self {
        // A household that chose no filtering is blocked by nothing of its own; what it allows goes on lifting the operator's security.
        let kept = names.iter().filter(|(_, own)| !(without_blocks && own.value.state == State::Block));
        Self(kept.map(|(name, own)| (name.clone(), own.value)).collect())
    }

    /// What this list says of a name: the most specific entry that covers it speaks.
    #[must_use]
    pub fn find(&self, name: NameRef<'_>) -> Option<(NameRef<'_>, State)> {
        if self.0.is_empty() {
            return None;
        }
        for ancestor in name.ancestors() {
            if let Ok(place) = self.0.binary_search_by(|(own, _)| own.borrow().cmp(&ancestor)) {
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
