//! The counts of a household in one hour, and how counts are added up. Independent of the file and
//! of the pending counts.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use policy::{name::Name, rules::household::Id};
use serde::{Deserialize, Serialize};

use super::{erasure::ErasureScope, limits::MARGIN};

/// The most names kept of one device in one hour. Further blocked queries are counted in
/// `names_more`, so that a program that queries random names cannot fill the disk.
pub const NAMES_MAX: usize = 200;
/// The most names kept in one hour of a household, over all devices; a name that two devices
/// queried counts twice. Bounds the size of a row, and leaves room for the other devices beside one
/// that queries random names.
pub const HOUR_NAMES_MAX: usize = 300;
/// The most devices in one hour of a household: the most that a household can have, plus some that
/// were replaced within the hour.
pub const HOUR_DEVICES_MAX: usize = 300;

/// A device by its identifier; `None` stands for all unnamed devices together.
pub type DeviceKey = Option<Id>;

/// One query, as the data path reports it.
#[derive(Debug, Clone)]
pub struct CountedQuery {
    /// The household whose network the query came from.
    pub household: Id,
    pub device: DeviceKey,
    pub at: Timestamp,
    /// For how many days the household keeps it; 0 keeps nothing.
    pub days: u16,
    /// The categories that the name is listed for, by slug.
    pub categories: Vec<Arc<str>>,
    /// The reason of the block, where it was blocked.
    pub blocked: Option<BlockedQuery>,
    /// The bypass that it indicates.
    pub sign: Option<BypassSign>,
}

/// The reason of a block.
#[derive(Debug, Clone)]
pub struct BlockedQuery {
    /// The layer that decided.
    pub layer: &'static str,
    /// The categories that it was blocked for, by slug; can be empty.
    pub categories: Vec<Arc<str>>,
    /// The queried name; `None` where the household keeps no names.
    pub name: Option<Name>,
}

/// A means of bypassing the filter that a device is about to use, as an answered query shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BypassSign {
    /// A private relay of the device's maker.
    Relay,
    Doh,
    Vpn,
    Proxy,
}

/// One hour of a household.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HouseholdHour {
    /// The beginning of the hour.
    pub hour: Timestamp,
    /// The counts of each device.
    pub devices: BTreeMap<DeviceKey, DeviceHour>,
}

/// One hour of a device. Times are whole seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceHour {
    /// The number of queries.
    pub asked: u64,
    /// The number of blocked queries, for any reason.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub blocked: u64,
    /// The last query that is no bypass sign.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::second::optional"
    )]
    pub last: Option<Timestamp>,
    /// The latest bypass sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<Sighting>,
    /// Queries by the categories of their names; a name of two categories counts in both.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<Arc<str>, QueryCount>,
    /// Blocked names, where the household keeps names: at most [`NAMES_MAX`], and at most
    /// [`HOUR_NAMES_MAX`] together with the other devices.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<Box<str>, BlockedName>,
    /// Blocked queries for which there was no room in `names`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub names_more: u64,
}

/// A bypass sign and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub kind: BypassSign,
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub at: Timestamp,
}

/// The queries of a category.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 2]", into = "[u64; 2]")]
pub struct QueryCount {
    /// All queries.
    pub asked: u64,
    /// Queries blocked for this category.
    pub blocked: u64,
}

impl From<[u64; 2]> for QueryCount {
    fn from([asked, blocked]: [u64; 2]) -> Self {
        Self { asked, blocked }
    }
}

impl From<QueryCount> for [u64; 2] {
    fn from(counted: QueryCount) -> Self {
        [counted.asked, counted.blocked]
    }
}

/// A blocked name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedName {
    /// The number of blocked queries.
    pub count: u64,
    /// The layer of the last block.
    pub layer: Cow<'static, str>,
    /// The categories of the last block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<Arc<str>>,
    /// The time of the last block.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub last: Timestamp,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn add(to: &mut u64, more: u64) {
    // Numbers read from a file can have any value.
    *to = to.saturating_add(more);
}

impl DeviceHour {
    /// Counts a query; adds a new name only if there is room. Returns how many names and categories
    /// are new.
    fn count(&mut self, told: &CountedQuery, names_left: usize) -> usize {
        let at =
            Timestamp::from_second(told.at.as_second()).expect("a second of a time that there is");
        let before = self.pieces();
        add(&mut self.asked, 1);
        match told.sign {
            Some(kind) => see(&mut self.sign, Sighting { kind, at }),
            None => self.last = self.last.max(Some(at)),
        }
        for (number, slug) in told.categories.iter().enumerate() {
            if !told.categories[..number].contains(slug) {
                add(
                    &mut self.categories.entry(slug.clone()).or_default().asked,
                    1,
                );
            }
        }
        if let Some(blocked) = &told.blocked {
            add(&mut self.blocked, 1);
            for (number, slug) in blocked.categories.iter().enumerate() {
                if !blocked.categories[..number].contains(slug) {
                    let counted = self.categories.entry(slug.clone()).or_default();
                    add(&mut counted.blocked, 1);
                    // A blocked category was queried as well, even if only the alias behind the
                    // name is listed for it.
                    add(
                        &mut counted.asked,
                        u64::from(!told.categories.contains(slug)),
                    );
                }
            }
            if let Some(name) = &blocked.name {
                let layer = Cow::Borrowed(blocked.layer);
                let once = BlockedName {
                    count: 1,
                    layer,
                    categories: blocked.categories.clone(),
                    last: at,
                };
                self.add_name(name.to_string().into(), once, names_left);
            }
        }
        self.pieces() - before
    }

    /// Returns whether the name is new.
    fn add_name(&mut self, name: Box<str>, more: BlockedName, names_left: usize) -> bool {
        let is_room = names_left > 0 && self.names.len() < NAMES_MAX;
        match self.names.get_mut(&name) {
            Some(known) => {
                let count = known.count.saturating_add(more.count);
                if more.last >= known.last {
                    *known = more;
                }
                known.count = count;
            }
            None if is_room => return self.names.insert(name, more).is_none(),
            None => add(&mut self.names_more, more.count),
        }
        false
    }

    /// Adds later counts. `names_left` is the number of new names that there is room for; it is
    /// reduced.
    fn add(&mut self, later: &Self, names_left: &mut usize) {
        add(&mut self.asked, later.asked);
        add(&mut self.blocked, later.blocked);
        add(&mut self.names_more, later.names_more);
        self.last = self.last.max(later.last);
        if let Some(sighting) = later.sign {
            see(&mut self.sign, sighting);
        }
        for (slug, more) in &later.categories {
            let counted = self.categories.entry(slug.clone()).or_default();
            add(&mut counted.asked, more.asked);
            add(&mut counted.blocked, more.blocked);
        }
        for (name, more) in &later.names {
            *names_left -= usize::from(self.add_name(name.clone(), more.clone(), *names_left));
        }
    }

    fn pieces(&self) -> usize {
        1 + self.categories.len() + self.names.len()
    }
}

/// The latest sign is kept; of two in one second, the one that was reported last.
fn see(sign: &mut Option<Sighting>, sighting: Sighting) {
    if sign.is_none_or(|known| known.at <= sighting.at) {
        *sign = Some(sighting);
    }
}

/// The counts of an hour by device: pending in memory, and the document of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts(pub(super) BTreeMap<DeviceKey, DeviceHour>);

impl Counts {
    /// Counts a query; takes more memory only if `is_room`. Returns the number of new pieces, or
    /// `None` if the query was dropped.
    pub(super) fn count(&mut self, told: &CountedQuery, is_room: bool) -> Option<usize> {
        let is_room_for_device = is_room && self.0.len() < HOUR_DEVICES_MAX;
        let is_named = told
            .blocked
            .as_ref()
            .is_some_and(|blocked| blocked.name.is_some());
        let names_left = if is_room && is_named {
            self.names_left()
        } else {
            0
        };
        match self.0.get_mut(&told.device) {
            Some(device) => Some(device.count(told, names_left)),
            None if is_room_for_device => Some(
                1 + self
                    .0
                    .entry(told.device.clone())
                    .or_default()
                    .count(told, names_left),
            ),
            None => None,
        }
    }

    /// Adds later counts. Returns the number of queries for which there was no room.
    pub(super) fn add(&mut self, later: &Self) -> u64 {
        let mut dropped = 0;
        let mut names_left = self.names_left();
        for (key, more) in &later.0 {
            let is_room = self.0.len() < HOUR_DEVICES_MAX;
            match self.0.get_mut(key) {
                Some(device) => device.add(more, &mut names_left),
                None if is_room => self
                    .0
                    .entry(key.clone())
                    .or_default()
                    .add(more, &mut names_left),
                None => add(&mut dropped, more.asked),
            }
        }
        dropped
    }

    /// Removes a scope. Returns whether it had any counts.
    pub(super) fn forget(&mut self, what: &ErasureScope) -> bool {
        match what {
            ErasureScope::All => !std::mem::take(&mut self.0).is_empty(),
            ErasureScope::Device(id) => self.0.remove(&Some(id.clone())).is_some(),
            ErasureScope::Unknown => self.0.remove(&None).is_some(),
            ErasureScope::Names => {
                let mut is_changed = false;
                for device in self.0.values_mut() {
                    is_changed |= !device.names.is_empty() || device.names_more > 0;
                    device.names.clear();
                    device.names_more = 0;
                }
                is_changed
            }
        }
    }

    /// The number of new names that there is room for.
    fn names_left(&self) -> usize {
        HOUR_NAMES_MAX.saturating_sub(self.0.values().map(|device| device.names.len()).sum())
    }

    pub(super) fn asked(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, device| sum.saturating_add(device.asked))
    }

    /// The number of devices, categories and names: the measure of its memory.
    pub(super) fn pieces(&self) -> usize {
        self.0.values().map(DeviceHour::pieces).sum()
    }

    /// Formats the document of a row.
    pub(super) fn to_document(&self) -> String {
        let by_text: BTreeMap<&str, &DeviceHour> = self
            .0
            .iter()
            .map(|(key, device)| (key.as_ref().map_or("", Id::as_str), device))
            .collect();
        let mut document = vec![b' '; MARGIN];
        serde_json::to_writer(&mut document, &by_text).expect("counts are plain data");
        String::from_utf8(document).expect("JSON is UTF-8")
    }

    /// Reads the document of a row. The error says where it is wrong but not what is there, because
    /// that can be a name.
    pub(super) fn read(document: &[u8]) -> Result<Self, String> {
        let by_text: BTreeMap<String, DeviceHour> =
            serde_json::from_slice(document).map_err(|error| {
                format!(
                    "{:?} at line {}, column {}",
                    error.classify(),
                    error.line(),
                    error.column()
                )
            })?;
        let key = |text: &str| {
            if text.is_empty() {
                Ok(None)
            } else {
                text.parse().map(Some)
            }
        };
        let devices = by_text
            .into_iter()
            .map(|(text, device)| Ok((key(&text)?, device)))
            .collect::<Result<_, policy::rules::household::IdError>>();
        devices
            .map(Self)
            .map_err(|_| "a device that is no identifier".to_owned())
    }
}

#[cfg(test)]
mod tests;
