//! A household's document, compiled: flat, immutable, replaced as a whole by one pointer.
//!
//! What a device inherits is folded into its mask here, so that deciding looks in one place. Millions of records stay in memory,
//! so a record is one run of octets and a head that says how much of what is in it; own lists, which nearly nobody has, are a
//! pointer away.
//!
//! ```text
//! masks          16 octets each; the household's first, then what differs from it
//! MACs            8 octets each: the address, the device's place; sorted
//! addresses      18 octets each: IPv6 or IPv4-mapped, the device's place; sorted
//! devices         2 octets each: which mask
//! household id    a length and text
//! networks        a kind and as many octets of the prefix as hold bits, see `network`
//! device ids      a length and text each; sorted
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Range,
};

use ipnet::IpNet;

use crate::{
    category::{CategorySet, Taxonomy},
    household::{Device, Filtering, Household, Id, Identifier, Mac, Set, State, Switch},
    network::Network,
    own::{OwnLists, OwnNames},
};

/// The most devices and the most networks a record holds: what its head can count. A document stops long before, see
/// [`crate::household::DEVICES_MAX`] and [`crate::household::NETWORKS_MAX`].
const COUNT_MAX: u16 = u16::MAX - 1;

const MASK_OCTETS: usize = 16;
const MAC_OCTETS: usize = 8;
const ADDRESS_OCTETS: usize = 18;
const DEVICE_OCTETS: usize = 2;

/// What the operator decides for those who have not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperatorDefaults {
    /// Categories blocked for a household without a preset of its own, and for a line of no household.
    pub preset: CategorySet,
}

/// One household, compiled. A device is known by its place in it.
#[derive(Debug, PartialEq, Eq)]
pub struct HouseholdRules {
    version: u64,
    packed: Box<[u8]>,
    own: Option<Box<OwnLists>>,
    macs: u32,
    addresses: u32,
    masks: u16,
    devices: u16,
    networks: u16,
}

impl HouseholdRules {
    /// Compiles a document. A slug that the taxonomy no longer has decides nothing.
    #[must_use]
    pub fn compile(household: &Household, taxonomy: &Taxonomy, defaults: OperatorDefaults) -> Self {
        let is_off = household.filtering == Filtering::Off;
        let mask = |blocked| if is_off { CategorySet::EMPTY } else { blocked };
        let preset = household.preset.as_deref().and_then(|slug| taxonomy.preset(slug)).unwrap_or(defaults.preset);
        let inherited = switch(preset, &household.categories, taxonomy);
        let mut masks = vec![mask(inherited)];
        let (mut macs, mut addresses, mut devices, mut lists) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (place, device) in (0..COUNT_MAX).zip(household.devices.values()) {
            let Device { identifiers, categories, names, .. } = device;
            for identifier in identifiers {
                match identifier {
                    Identifier::Mac(mac) => macs.push((mac.0, place)),
                    Identifier::Address(address) => addresses.push((octets(*address), place)),
                    Identifier::Token(_) | Identifier::CpeId(_) => {}
                }
            }
            let blocked = mask(switch(inherited, categories, taxonomy));
            let known = masks.iter().position(|mask| *mask == blocked).unwrap_or(masks.len());
            if known == masks.len() {
                masks.push(blocked);
            }
            devices.push(known as u16);
            lists.push((place, OwnNames::compile(names, is_off)));
        }
        macs.sort_unstable();
        addresses.sort_unstable();
        let networks: BTreeSet<Network> = household.networks.iter().take(usize::from(COUNT_MAX)).map(Network::from).collect();

        let mut packed = Vec::new();
        masks.iter().for_each(|mask| packed.extend(mask.to_bits().to_le_bytes()));
        macs.iter().for_each(|(mac, place)| pack_row(&mut packed, mac, *place));
        addresses.iter().for_each(|(address, place)| pack_row(&mut packed, address, *place));
        devices.iter().for_each(|mask| packed.extend(mask.to_le_bytes()));
        pack_id(&mut packed, &household.id);
        networks.iter().for_each(|network| network.pack(&mut packed));
        household.devices.keys().take(devices.len()).for_each(|id| pack_id(&mut packed, id));
        Self {
            version: household.version,
            // A copy of the right size, which leaves no rest behind it.
            packed: packed.as_slice().into(),
            own: OwnLists::of(OwnNames::compile(&household.names, is_off), lists),
            macs: macs.len() as u32,
            addresses: addresses.len() as u32,
            masks: masks.len() as u16,
            devices: devices.len() as u16,
            networks: networks.len() as u16,
        }
    }

    /// The household's identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        text(&self.packed[self.id_at()..]).0
    }

    /// The version of the document that this was compiled from.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The categories that are blocked for a device, everything inherited folded in, or for one that nobody named.
    #[must_use]
    pub fn blocked(&self, device: Option<u16>) -> CategorySet {
        let (masks, _) = self.packed[..self.macs_at()].as_chunks::<MASK_OCTETS>();
        let (devices, _) = self.packed[self.devices_at()..self.id_at()].as_chunks::<DEVICE_OCTETS>();
        let device = device.and_then(|place| devices.get(usize::from(place)));
        let mask = device.map_or(0, |mask| u16::from_le_bytes(*mask));
        CategorySet::from_bits(u128::from_le_bytes(masks[usize::from(mask)]))
    }

    /// A device's own list, or the household's, without what it inherits: its layer is decided one by one.
    #[must_use]
    pub fn names(&self, device: Option<u16>) -> Option<&OwnNames> {
        self.own.as_ref()?.list(device)
    }

    /// The device with this MAC address.
    #[must_use]
    pub fn device_by_mac(&self, mac: Mac) -> Option<u16> {
        find(self.rows_of_macs(), &mac.0)
    }

    /// The device with this source address.
    #[must_use]
    pub fn device_by_address(&self, address: IpAddr) -> Option<u16> {
        let (rows, _) = self.packed[self.addresses_at()..self.devices_at()].as_chunks::<ADDRESS_OCTETS>();
        find(rows, &octets(address))
    }

    /// The device with this identifier.
    #[must_use]
    pub fn device_by_id(&self, id: &Id) -> Option<u16> {
        (0..self.devices).zip(self.device_ids()).find(|(_, other)| *other == id.as_str()).map(|(place, _)| place)
    }

    /// The identifier of a device.
    #[must_use]
    pub fn device_id(&self, place: u16) -> Option<&str> {
        self.device_ids().nth(usize::from(place))
    }

    /// The MAC addresses that its devices have.
    pub fn macs(&self) -> impl Iterator<Item = Mac> {
        self.rows_of_macs().iter().map(|&[a, b, c, d, e, f, ..]| Mac([a, b, c, d, e, f]))
    }

    /// The networks its queries come from.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.packed_networks().map(|(_, network)| network.into())
    }

    /// Whether a device is known by its address.
    pub(crate) fn has_addresses(&self) -> bool {
        self.addresses > 0
    }

    /// Whether its queries come from this network.
    pub(crate) fn has_network(&self, network: Network) -> bool {
        self.packed_networks().any(|(_, own)| own == network)
    }

    /// Its networks, and where each is packed.
    pub(crate) fn packed_networks(&self) -> impl Iterator<Item = (Range<usize>, Network)> {
        let mut at = self.networks_at();
        (0..self.networks).map(move |_| {
            let (network, taken) = Network::unpack(&self.packed[at..]);
            at += taken;
            (at - taken..at, network)
        })
    }

    /// The same household without a network that another one has now. Both may share no own list, so that is copied.
    pub(crate) fn without(&self, network: Network) -> Self {
        let gone = self.packed_networks().find(|(_, own)| *own == network).map(|(range, _)| range);
        let networks = self.networks - u16::from(gone.is_some());
        let gone = gone.unwrap_or(0..0);
        let packed = [&self.packed[..gone.start], &self.packed[gone.end..]].concat().into();
        Self { packed, networks, own: self.own.clone(), ..*self }
    }

    fn rows_of_macs(&self) -> &[[u8; MAC_OCTETS]] {
        self.packed[self.macs_at()..self.addresses_at()].as_chunks().0
    }

    fn device_ids(&self) -> impl Iterator<Item = &str> {
        let mut at = self.packed_networks().last().map_or(self.networks_at(), |(range, _)| range.end);
        (0..self.devices).map(move |_| {
            let (id, taken) = text(&self.packed[at..]);
            at += taken;
            id
        })
    }

    fn macs_at(&self) -> usize {
        usize::from(self.masks) * MASK_OCTETS
    }

    fn addresses_at(&self) -> usize {
        self.macs_at() + self.macs as usize * MAC_OCTETS
    }

    fn devices_at(&self) -> usize {
        self.addresses_at() + self.addresses as usize * ADDRESS_OCTETS
    }

    fn id_at(&self) -> usize {
        self.devices_at() + usize::from(self.devices) * DEVICE_OCTETS
    }

    fn networks_at(&self) -> usize {
        self.id_at() + 1 + usize::from(self.packed[self.id_at()])
    }
}

/// An address as a row begins with it: both families in one order.
fn octets(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn pack_row(packed: &mut Vec<u8>, key: &[u8], place: u16) {
    packed.extend(key);
    packed.extend(place.to_le_bytes());
}

fn pack_id(packed: &mut Vec<u8>, id: &Id) {
    packed.push(u8::try_from(id.as_str().len()).expect("an identifier has at most 64 octets"));
    packed.extend(id.as_str().as_bytes());
}

/// Reads what [`pack_id`] wrote; also how many octets it took.
fn text(packed: &[u8]) -> (&str, usize) {
    let end = 1 + usize::from(packed[0]);
    (str::from_utf8(&packed[1..end]).expect("an identifier is ASCII"), end)
}

/// The device of the first row with this key: rows are sorted, and end with the place.
fn find<const ROW: usize, const KEY: usize>(rows: &[[u8; ROW]], key: &[u8; KEY]) -> Option<u16> {
    let row = rows.get(rows.partition_point(|row| row[..KEY] < key[..]))?;
    (row[..KEY] == key[..]).then(|| u16::from_le_bytes([row[KEY], row[KEY + 1]]))
}

fn switch(mut mask: CategorySet, switches: &BTreeMap<String, Set<Switch>>, taxonomy: &Taxonomy) -> CategorySet {
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
