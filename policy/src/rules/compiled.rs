//! A compiled household document: flat, immutable, replaced as a whole by one pointer.
//!
//! The rules that a device inherits are included in its row, so that a decision reads one place.
//! Millions of records stay in memory, so a record is one run of octets with a header of counts.
//! Custom lists and changes by the clock, which few households have, are behind a pointer.
//!
//! ```text
//! rules      24 octets each: mask, flags, grants; those of unnamed devices, then what differs from it
//! MACs            8 octets each: the address, the device's place; sorted
//! addresses      18 octets each: IPv6 or IPv4-mapped, the device's place; sorted
//! devices         2 octets each: which rules
//! household id    a length and text
//! networks        a kind and as many octets of the prefix as hold bits, see `network`
//! device ids      a length and text each; sorted
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::NonZeroU16,
    ops::Range,
};

use ipnet::IpNet;
use jiff::Timestamp;

use crate::{
    category::{CategorySet, Taxonomy},
    identity::network::Network,
    rules::{
        custom_names::{CustomLists, CustomNames, ListOwner},
        effective_rules::{EffectiveRules, Grants},
        flags::PolicyFlags,
        household::{
            Device, DeviceIdentifier, Filtering, HistorySettings, Household, Id, Mac, Settings,
        },
        operator::OperatorDefaults,
        thing::ThingRules,
        timeline::{Phase, Timeline},
    },
    unix_seconds::UnixSeconds,
};

/// The most devices and the most networks of a record, by the width of its counts. A document has
/// far fewer, see [`crate::rules::household::DEVICES_MAX`] and
/// [`crate::rules::household::NETWORKS_MAX`].
const COUNT_MAX: u16 = u16::MAX - 1;

const RULES_OCTETS: usize = 24;
const MAC_OCTETS: usize = 8;
const ADDRESS_OCTETS: usize = 18;
const DEVICE_OCTETS: usize = 2;

/// The rules after the next change by the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Later {
    phases: Box<[Phase]>,
    grants: Box<[Grants]>,
}

/// What is kept of a household's activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// For how many days counts are kept; at least one.
    pub days: NonZeroU16,
    /// Whether the names of blocked queries are kept as well.
    pub names: bool,
}

/// A compiled household. Devices are identified by index.
#[derive(Debug, PartialEq, Eq)]
pub struct HouseholdRules {
    version: u64,
    packed: Box<[u8]>,
    own: Option<Box<CustomLists>>,
    later: Option<Box<Later>>,
    /// When the first phase ends.
    until: UnixSeconds,
    kept: Option<Retention>,
    macs: u32,
    addresses: u32,
    rules: u16,
    devices: u16,
    networks: u16,
}

impl HouseholdRules {
    /// Compiles a document for an instant and the next changes after it. A slug that the taxonomy
    /// no longer has is ignored.
    #[must_use]
    pub fn compile(
        household: &Household,
        taxonomy: &Taxonomy,
        defaults: OperatorDefaults,
        now: Timestamp,
    ) -> Self {
        let Timeline {
            phases,
            grants,
            until: reach,
        } = Timeline::of(household, COUNT_MAX.into(), taxonomy, defaults, now);
        let mut phases = phases.into_iter();
        let first = phases.next().expect("a timeline begins now");
        let phases: Box<[Phase]> = phases.collect();
        let until = phases.first().map_or(reach, |phase| phase.from);
        let identifiers = Identifiers::of(household);
        let networks: BTreeSet<Network> = household
            .networks
            .iter()
            .take(usize::from(COUNT_MAX))
            .map(Network::from)
            .collect();
        Self {
            version: household.version,
            packed: pack(household, &first, &identifiers, &networks),
            own: custom_lists(household),
            later: (!phases.is_empty() || !grants.is_empty()).then(|| {
                Box::new(Later {
                    phases,
                    grants: grants.into(),
                })
            }),
            until,
            kept: household
                .kept()
                .and_then(|HistorySettings { days, names, .. }| {
                    Some(Retention {
                        days: NonZeroU16::new(days)?,
                        names,
                    })
                }),
            macs: identifiers.macs.len() as u32,
            addresses: identifiers.addresses.len() as u32,
            rules: first.rules.len() as u16,
            devices: first.devices.len() as u16,
            networks: networks.len() as u16,
        }
    }

    #[must_use]
    pub fn id(&self) -> &str {
        text(&self.packed[self.id_at()..]).0
    }

    /// The version of the document that this was compiled from.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When the first phase of this record ends: at the next change by the clock, or at the end of
    /// the timeline.
    #[must_use]
    pub fn until(&self) -> UnixSeconds {
        self.until
    }

    /// What is kept of the household's activity. Whether a device's queries count in it is in
    /// [`Self::is_recorded`].
    #[must_use]
    pub fn kept(&self) -> Option<Retention> {
        self.kept
    }

    /// Whether the queries of a device are recorded; `None` is an unnamed device. Independent of
    /// the clock.
    #[must_use]
    pub fn is_recorded(&self, device: Option<u16>) -> bool {
        self.first_rules(device).flags.is_recorded()
    }

    /// The rules of a device at an instant, everything inherited included; `None` is an unnamed
    /// device.
    pub(crate) fn effective_rules(&self, device: Option<u16>, now: UnixSeconds) -> EffectiveRules {
        if now < self.until {
            self.first_rules(device)
        } else {
            self.later_rules(device, now)
        }
    }

    fn first_rules(&self, device: Option<u16>) -> EffectiveRules {
        let (rows, _) = self.packed[..self.macs_at()].as_chunks::<RULES_OCTETS>();
        let (devices, _) =
            self.packed[self.devices_at()..self.id_at()].as_chunks::<DEVICE_OCTETS>();
        let device = device.and_then(|place| devices.get(usize::from(place)));
        unpack_rules(&rows[usize::from(device.map_or(0, |row| u16::from_le_bytes(*row)))])
    }

    #[cold]
    fn later_rules(&self, device: Option<u16>, now: UnixSeconds) -> EffectiveRules {
        let phases = self.later.as_ref().map_or(&[][..], |later| &later.phases);
        // After the end of the timeline, the last phase is closer to the right rules than the
        // first.
        let Some(phase) = phases[..phases.partition_point(|phase| phase.from <= now)].last() else {
            return self.first_rules(device);
        };
        let device = device.and_then(|place| phase.devices.get(usize::from(place)));
        phase.rules[usize::from(device.copied().unwrap_or(0))]
    }

    /// The blocked categories of a device at an instant.
    #[must_use]
    pub fn blocked(&self, device: Option<u16>, now: UnixSeconds) -> CategorySet {
        self.effective_rules(device, now).blocked
    }

    /// The grants with a number of [`EffectiveRules::grants`].
    pub(crate) fn grants(&self, number: u32) -> Option<&Grants> {
        self.later
            .as_ref()?
            .grants
            .get((number as usize).checked_sub(1)?)
    }

    /// The custom list of one owner, without inherited entries: each list is a layer of its own.
    #[must_use]
    pub fn names(&self, whose: ListOwner) -> Option<&CustomNames> {
        self.own.as_ref()?.list(whose)
    }

    /// The domains of a thing; `None` for any other device.
    #[must_use]
    pub fn thing(&self, device: u16) -> Option<&ThingRules> {
        self.own.as_ref()?.thing(device)
    }

    /// Whether a custom list applies to a device; `None` is an unnamed device.
    pub(crate) fn has_names(&self, device: Option<u16>) -> bool {
        self.own.is_some()
            && (self.names(ListOwner::Household).is_some()
                || self.names(ListOwner::PersonOf(device)).is_some()
                || device.is_some_and(|device| self.names(ListOwner::Device(device)).is_some()))
    }

    #[must_use]
    pub fn device_by_mac(&self, mac: Mac) -> Option<u16> {
        find(self.rows_of_macs(), &mac.0)
    }

    #[must_use]
    pub fn device_by_address(&self, address: IpAddr) -> Option<u16> {
        let (rows, _) =
            self.packed[self.addresses_at()..self.devices_at()].as_chunks::<ADDRESS_OCTETS>();
        find(rows, &octets(address))
    }

    #[must_use]
    pub fn device_by_id(&self, id: &Id) -> Option<u16> {
        (0..self.devices)
            .zip(self.device_ids())
            .find(|(_, other)| *other == id.as_str())
            .map(|(place, _)| place)
    }

    #[must_use]
    pub fn device_id(&self, place: u16) -> Option<&str> {
        self.device_ids().nth(usize::from(place))
    }

    /// The MAC addresses of all devices.
    pub fn macs(&self) -> impl Iterator<Item = Mac> {
        self.rows_of_macs()
            .iter()
            .map(|&[a, b, c, d, e, f, ..]| Mac([a, b, c, d, e, f]))
    }

    pub fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.packed_networks().map(|(_, network)| network.into())
    }

    /// Whether any device is identified by its source address.
    pub(crate) fn has_addresses(&self) -> bool {
        self.addresses > 0
    }

    pub(crate) fn has_network(&self, network: Network) -> bool {
        self.packed_networks().any(|(_, own)| own == network)
    }

    /// The networks, and where each is packed.
    pub(crate) fn packed_networks(&self) -> impl Iterator<Item = (Range<usize>, Network)> {
        let mut at = self.networks_at();
        (0..self.networks).map(move |_| {
            let (network, taken) = Network::unpack(&self.packed[at..]);
            at += taken;
            (at - taken..at, network)
        })
    }

    /// The same household without a network that another household now has. The custom lists are
    /// copied.
    pub(crate) fn without(&self, network: Network) -> Self {
        let gone = self
            .packed_networks()
            .find(|(_, own)| *own == network)
            .map(|(range, _)| range);
        let networks = self.networks - u16::from(gone.is_some());
        let gone = gone.unwrap_or(0..0);
        let packed = [&self.packed[..gone.start], &self.packed[gone.end..]]
            .concat()
            .into();
        Self {
            packed,
            networks,
            own: self.own.clone(),
            later: self.later.clone(),
            ..*self
        }
    }

    fn rows_of_macs(&self) -> &[[u8; MAC_OCTETS]] {
        self.packed[self.macs_at()..self.addresses_at()]
            .as_chunks()
            .0
    }

    fn device_ids(&self) -> impl Iterator<Item = &str> {
        let mut at = self
            .packed_networks()
            .last()
            .map_or(self.networks_at(), |(range, _)| range.end);
        (0..self.devices).map(move |_| {
            let (id, taken) = text(&self.packed[at..]);
            at += taken;
            id
        })
    }

    fn macs_at(&self) -> usize {
        usize::from(self.rules) * RULES_OCTETS
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

/// The identifiers of all devices, each with the device's index, sorted.
struct Identifiers {
    macs: Vec<([u8; 6], u16)>,
    addresses: Vec<([u8; 16], u16)>,
}

impl Identifiers {
    fn of(household: &Household) -> Self {
        let mut macs = Vec::new();
        let mut addresses = Vec::new();
        for (index, device) in (0..COUNT_MAX).zip(household.devices.values()) {
            for identifier in &device.identifiers {
                match identifier {
                    DeviceIdentifier::Mac(mac) => macs.push((mac.0, index)),
                    DeviceIdentifier::Address(address) => addresses.push((octets(*address), index)),
                    DeviceIdentifier::Token(_) | DeviceIdentifier::CpeId(_) => {}
                }
            }
        }
        macs.sort_unstable();
        addresses.sort_unstable();
        Self { macs, addresses }
    }
}

/// Compiles the custom lists of a household, its people and its devices, and the domains of its
/// things; `None` where all are empty.
fn custom_lists(household: &Household) -> Option<Box<CustomLists>> {
    let is_off = household.filtering == Filtering::Off;
    let compile = |settings: &Settings| CustomNames::compile(&settings.names, is_off);
    let of_people: BTreeMap<&Id, CustomNames> = household
        .people
        .iter()
        .map(|(id, person)| (id, compile(&person.settings)))
        .collect();
    let of_device = |(index, device): (u16, &Device)| {
        let person = device.person.as_ref();
        let of_person = person.and_then(|person| of_people.get(person).cloned());
        (
            index,
            [compile(&device.settings), of_person.unwrap_or_default()],
        )
    };
    let devices = (0..COUNT_MAX).zip(household.devices.values());
    let thing = |(index, device): (u16, &Device)| {
        let thing = device.thing.as_ref().filter(|_| !is_off)?;
        Some((index, ThingRules::compile(thing)?))
    };
    let unnamed = household.person_of(None);
    CustomLists::of(
        compile(&household.settings),
        unnamed.map_or_else(CustomNames::default, |person| compile(&person.settings)),
        devices.clone().map(of_device).collect(),
        devices.filter_map(thing).collect(),
    )
}

/// Writes the parts that the head of this file lists, in its order.
fn pack(
    household: &Household,
    first: &Phase,
    identifiers: &Identifiers,
    networks: &BTreeSet<Network>,
) -> Box<[u8]> {
    let mut packed = Vec::new();
    for rules in &first.rules {
        pack_rules(&mut packed, *rules);
    }
    for (mac, device) in &identifiers.macs {
        pack_row(&mut packed, mac, *device);
    }
    for (address, device) in &identifiers.addresses {
        pack_row(&mut packed, address, *device);
    }
    for row in &first.devices {
        packed.extend(row.to_le_bytes());
    }
    pack_id(&mut packed, &household.id);
    for network in networks {
        network.pack(&mut packed);
    }
    for id in household.devices.keys().take(first.devices.len()) {
        pack_id(&mut packed, id);
    }
    // A copy of the exact size: shrinking the vector in place would leave holes in the heap.
    packed.as_slice().into()
}

/// The octets of an address in a row: IPv6 or IPv4-mapped, so that both families sort together.
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

fn pack_rules(
    packed: &mut Vec<u8>,
    EffectiveRules {
        blocked,
        flags,
        grants,
    }: EffectiveRules,
) {
    packed.extend(blocked.to_bits().to_le_bytes());
    packed.extend(flags.to_bits().to_le_bytes());
    packed.extend(grants.to_le_bytes());
}

fn unpack_rules(row: &[u8; RULES_OCTETS]) -> EffectiveRules {
    let (mask, rest) = row.split_first_chunk::<16>().expect("a row is longer");
    let (flags, grants) = rest.split_first_chunk::<4>().expect("a row is longer");
    EffectiveRules {
        blocked: CategorySet::from_bits(u128::from_le_bytes(*mask)),
        flags: PolicyFlags::from_bits(u32::from_le_bytes(*flags)),
        grants: u32::from_le_bytes(grants.try_into().expect("a row ends here")),
    }
}

fn pack_id(packed: &mut Vec<u8>, id: &Id) {
    packed.push(u8::try_from(id.as_str().len()).expect("an identifier has at most 64 octets"));
    packed.extend(id.as_str().as_bytes());
}

/// Reads what [`pack_id`] wrote. Also returns the number of octets read.
fn text(packed: &[u8]) -> (&str, usize) {
    let end = 1 + usize::from(packed[0]);
    (
        str::from_utf8(&packed[1..end]).expect("an identifier is ASCII"),
        end,
    )
}

/// The device of the first row with this key. Rows are sorted and end with the device's index.
fn find<const ROW: usize, const KEY: usize>(rows: &[[u8; ROW]], key: &[u8; KEY]) -> Option<u16> {
    let row = rows.get(rows.partition_point(|row| row[..KEY] < key[..]))?;
    (row[..KEY] == key[..]).then(|| u16::from_le_bytes([row[KEY], row[KEY + 1]]))
}
