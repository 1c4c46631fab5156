//! The document of a household: the store keeps it, the API shows it, and
//! [`crate::rules::compiled`] compiles it.
//!
//! A document is valid from the moment it is parsed, because identifiers, names, networks and slugs
//! have types of their own. Each switch is stored with its author and time, so that explanations
//! can name them.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use crate::rules::{attributed::Attributed, safe_search::SearchLevel};
use crate::{
    lists::entry::Scope,
    name::Name,
    rules::{
        schedule::{Grant, Pause, Schedule},
        thing::Thing,
    },
};

/// The most devices of a household. Bounds the size of a record.
pub const DEVICES_MAX: usize = 256;
/// The most names in one custom list. All lists of a household together are bounded by
/// [`crate::rules::holdings::DOCUMENT_OCTETS_MAX`], which about as many names fill.
pub const CUSTOM_NAMES_MAX: usize = 2_000;
/// The most networks of one household.
pub const NETWORKS_MAX: usize = 64;
/// The most identifiers of one device. Randomised MAC addresses need several.
pub const IDENTIFIERS_MAX: usize = 32;
/// The most people of one household.
pub const PEOPLE_MAX: usize = 64;
/// The most schedules, and the most grants, at one level.
pub const SCHEDULES_MAX: usize = 32;

/// The identifier of the person whose settings apply to devices that the household has not named.
/// Each household has this person, also where its document does not.
pub const UNKNOWN_DEVICES: &str = "unknown-devices";

/// An identifier chosen by a caller: 1 to 64 letters, digits, `.`, `_`, `~` or `-`, so that it fits
/// into a URL path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Id(Box<str>);

impl Id {
    /// Whether this is [`UNKNOWN_DEVICES`].
    #[must_use]
    pub fn is_unknown_devices(&self) -> bool {
        &*self.0 == UNKNOWN_DEVICES
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not an [`Id`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an identifier: 1 to 64 letters, digits, dots, hyphens, underscores or tildes"
)]
pub struct IdError(String);

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let is_id = (1..=64).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._~-".contains(&octet))
            // Clients resolve path segments of dots away.
            && !text.bytes().all(|octet| octet == b'.');
        if is_id {
            Ok(Self(text.into()))
        } else {
            Err(IdError(text.to_owned()))
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Maps by identifier can be searched by text: both have the same order and hash.
impl Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A MAC address (EUI-48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// The text is not a [`Mac`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address such as 02:00:5e:00:53:01")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError(text.chars().take(32).collect());
        let mut octets = [0; 6];
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().filter(|part| {
                part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit())
            });
            *octet = u8::from_str_radix(part.ok_or_else(error)?, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            Err(error())
        } else {
            Ok(Self(octets))
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What a switch says. Inheriting is having no switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SwitchState {
    /// Block it here, whatever the levels above say.
    Block,
    /// Allow it here, whatever the levels above say.
    Allow,
}

// Names for the fields of documents: the derive of a schema would compose one of the generic type.
pub type AttributedSwitch = Attributed<Switch>;
pub type AttributedName = Attributed<CustomName>;
pub type AttributedSafeSearch = Attributed<SafeSearchSetting>;
pub type AttributedSchedule = Attributed<Schedule>;
pub type AttributedGrant = Attributed<Grant>;
pub type AttributedPause = Attributed<Pause>;
pub type AttributedChoice = Attributed<FilteringChoice>;
pub type AttributedHistory = Attributed<HistorySettings>;
pub type AttributedNewDevices = Attributed<NewDeviceSettings>;

/// A switch that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Switch {
    pub state: SwitchState,
}

/// An entry of a custom list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CustomName {
    pub state: SwitchState,
    pub scope: Scope,
}

/// The safe search of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = SafeSearch))]
pub struct SafeSearchSetting {
    pub level: SearchLevel,
}

/// What can be set for a household, for a person and for a device alike. What is not set is
/// inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Settings {
    /// Switches by the slug of their category. A category without a switch is inherited.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub categories: BTreeMap<String, AttributedSwitch>,
    /// The custom list, by name.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required, value_type = BTreeMap<String, AttributedName>))]
    pub names: BTreeMap<Name, AttributedName>,
    /// What is in force at certain hours, by name. Absent if there is no schedule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, AttributedSchedule>))]
    pub schedules: BTreeMap<Id, AttributedSchedule>,
    /// What is allowed for a time, by identifier. Absent if there is no grant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, AttributedGrant>))]
    pub grants: BTreeMap<Id, AttributedGrant>,
    /// The Internet is off for a time. Absent if it was not switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub pause: Option<AttributedPause>,
    /// Safe search by engine. An engine that is absent is inherited.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub safe_search: BTreeMap<String, AttributedSafeSearch>,
    /// Whether an allow or a grant of a search engine also lifts its safe search: `allow` says that
    /// it does. Absent: inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub search_unlock: Option<AttributedSwitch>,
    /// Whether the names by which software bypasses the filter are answered negatively. Absent:
    /// inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub bypass: Option<AttributedSwitch>,
}

/// A person as their household lists them. The settings apply to the devices of the person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = PersonOfHousehold))]
pub struct Person {
    /// The name that the family uses.
    pub name: String,
    #[serde(flatten)]
    pub settings: Settings,
}

impl Person {
    /// The person of unnamed devices, without any settings.
    #[must_use]
    pub fn of_unknown_devices() -> Self {
        Self {
            name: "Unknown devices".to_owned(),
            settings: Settings::default(),
        }
    }
}

/// The choice of a household between filtering and none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Filtering {
    /// The household was not asked. The operator's default applies, and the household's own
    /// settings.
    #[default]
    NotAsked,
    /// The household chose filtering.
    On,
    /// The household chose no filtering: the choice tier is off. Mandates and the operator's
    /// security still apply.
    Off,
}

/// How a household made its choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Choice))]
pub struct FilteringChoice {
    /// How it was asked, one of [`CHANNELS`].
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::channels))]
    pub channel: String,
}

/// The channels in which a household is asked for its choice.
pub const CHANNELS: [&str; 5] = ["portal", "app", "call-centre", "shop", "operator"];

/// The activity that the household wants to be kept. Without this setting nothing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HistorySettings {
    /// For how many days. 0 keeps nothing.
    pub days: u16,
    /// Whether the names of blocked queries are kept beside the counts.
    pub names: bool,
    /// Whether devices without a name are counted, as one.
    pub unknown_devices: bool,
}

/// What the family hears of devices that it has not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NewDeviceSettings {
    /// Whether there is a notice of each.
    pub notify: bool,
}

/// Where the account holder is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Contact))]
#[serde(deny_unknown_fields)]
pub struct AccountContact {
    /// An e-mail address.
    pub email: String,
}

/// What tells a device from the others of its household. One key each, as in `{"mac": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeviceIdentifier {
    /// The address that the household's router adds as EDNS option 65001.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    Mac(Mac),
    /// A source address inside one of the household's networks.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    Address(IpAddr),
    /// A token in a DoH path or TLS name; kept, and used once encrypted listeners exist.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    Token(Id),
    /// EDNS option 65074; kept, and used once CPE identities are.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    CpeId(Id),
}

/// A device as its household lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = DeviceOfHousehold))]
pub struct Device {
    /// The name that the family uses.
    pub name: String,
    /// The kind: phone, tablet, camera, … Absent if it was not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub kind: Option<String>,
    /// The person who uses it. Absent for a device of no person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, nullable = false))]
    pub person: Option<Id>,
    /// What tells it from the others.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub identifiers: Vec<DeviceIdentifier>,
    /// Whether its queries may appear in the household's activity.
    pub log: bool,
    /// The domains that it may reach, for a thing such as a camera. Absent if it was never one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub thing: Option<Thing>,
    #[serde(flatten)]
    pub settings: Settings,
}

/// A household.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Household {
    /// Its identifier, chosen by the operator.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: Id,
    /// Rises with every change. Also the `ETag`.
    pub version: u64,
    /// The IANA name of its time zone.
    pub time_zone: String,
    /// Its preset. Absent: the operator's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub preset: Option<String>,
    pub filtering: Filtering,
    /// Who made the choice, when, and how. Absent until the household is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub choice: Option<AttributedChoice>,
    /// Where notices go. Absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub contact: Option<AccountContact>,
    /// Which activity of its devices is kept. Absent if that was never set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub history: Option<AttributedHistory>,
    /// Whether the family hears of new devices. Absent: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub new_devices: Option<AttributedNewDevices>,
    /// The operator's own key of the household.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub external_ref: Option<String>,
    /// The language of its pages, BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub locale: Option<String>,
    /// The networks that its queries come from, in CIDR notation.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required, value_type = BTreeSet<String>))]
    pub networks: BTreeSet<IpNet>,
    #[serde(flatten)]
    pub settings: Settings,
    /// Its people, by identifier. Absent if it has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, Person>))]
    pub people: BTreeMap<Id, Person>,
    /// Its devices, by identifier.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required, value_type = BTreeMap<String, Device>))]
    pub devices: BTreeMap<Id, Device>,
    /// Identifiers of devices that were left alone (`log` false) and that no device has now. A device
    /// made with one of them is left alone. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<DeviceIdentifier>,
}

impl Household {
    /// A household without any settings.
    #[must_use]
    pub fn new(id: Id) -> Self {
        Self {
            id,
            version: 0,
            time_zone: "Europe/London".to_owned(),
            preset: None,
            filtering: Filtering::NotAsked,
            choice: None,
            contact: None,
            history: None,
            new_devices: None,
            external_ref: None,
            locale: None,
            networks: BTreeSet::new(),
            settings: Settings::default(),
            people: BTreeMap::new(),
            devices: BTreeMap::new(),
            left_alone: Vec::new(),
        }
    }

    /// Keeps in mind which identifiers are left alone, after a change of the household `was`: those
    /// of devices that it has no more.
    pub fn remember_left_alone(&mut self, was: &Self) {
        let left = was.devices.values().filter(|device| !device.log);
        for identifier in left.flat_map(|device| &device.identifiers) {
            if !self.left_alone.contains(identifier) {
                self.left_alone.push(identifier.clone());
            }
        }
        let devices = &self.devices;
        self.left_alone.retain(|identifier| {
            let mut devices = devices.values();
            !devices.any(|device| device.identifiers.contains(identifier))
        });
    }

    /// The person that a device belongs to, if the household has that person. `None` is an unnamed
    /// device, which belongs to [`UNKNOWN_DEVICES`].
    #[must_use]
    pub fn person_of(&self, device: Option<&Device>) -> Option<&Person> {
        match device {
            Some(device) => self.people.get(device.person.as_ref()?),
            None => self.people.get(UNKNOWN_DEVICES),
        }
    }

    /// A person, to change them. The person of unnamed devices is made if the document has none.
    pub fn person_mut(&mut self, id: &Id) -> Option<&mut Person> {
        if id.is_unknown_devices() {
            let entry = self.people.entry(id.clone());
            return Some(entry.or_insert_with(Person::of_unknown_devices));
        }
        self.people.get_mut(id)
    }

    /// The activity that is kept; `None` where nothing is.
    #[must_use]
    pub fn kept(&self) -> Option<HistorySettings> {
        self.history
            .as_ref()
            .map(|history| history.value)
            .filter(|history| history.days > 0)
    }

    /// Whether the family hears of new devices.
    #[must_use]
    pub fn hears_of_new_devices(&self) -> bool {
        self.new_devices
            .as_ref()
            .is_none_or(|settings| settings.value.notify)
    }

    /// Whether the queries of a device are recorded; `None` is an unnamed device.
    #[must_use]
    pub fn records(&self, device: Option<&Device>) -> bool {
        self.kept()
            .is_some_and(|history| device.map_or(history.unknown_devices, |device| device.log))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn an_identifier_left_alone_is_kept_in_mind_until_a_device_has_it() {
        let mac = |text: &str| DeviceIdentifier::Mac(text.parse().unwrap());
        let (cam, tv) = (mac("02:00:5e:00:53:01"), mac("02:00:5e:00:53:02"));
        let device = |log: bool, identifier: &DeviceIdentifier| {
            let text = serde_json::json!({ "name": "x", "log": log, "identifiers": [identifier], "categories": {}, "names": {} });
            serde_json::from_value::<Device>(text).unwrap()
        };
        let id = |text: &str| text.parse::<Id>().unwrap();
        let mut was = Household::new(id("home"));
        was.devices.insert(id("cam"), device(false, &cam));
        was.devices.insert(id("tv"), device(true, &tv));
        let mut is = was.clone();
        is.remember_left_alone(&was);
        assert_eq!(is, was);
        is.devices.clear();
        is.remember_left_alone(&was);
        assert_eq!(is.left_alone, std::slice::from_ref(&cam));
        let was = is.clone();
        is.remember_left_alone(&was);
        assert_eq!(is.left_alone, std::slice::from_ref(&cam));
        is.devices.insert(id("new"), device(true, &cam));
        is.remember_left_alone(&was);
        assert_eq!(is.left_alone, []);
    }

    #[test]
    fn identifiers_and_macs_are_read_strictly() {
        assert!("home-1.a_b~c".parse::<Id>().is_ok());
        for wrong in ["", ".", "..", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong:?}");
        }
        assert_eq!(
            "02:00:5E:00:53:01".parse::<Mac>().unwrap().to_string(),
            "02:00:5e:00:53:01"
        );
        assert!("02-00-5e-00-53-01".parse::<Mac>().is_ok());
        for wrong in [
            "",
            "02:00:5e:00:53",
            "02:00:5e:00:53:01:02",
            "02:00:5e:00:53:0g",
            "2:0:5e:0:53:1",
            "+2:00:5e:00:53:01",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_document_survives_json() {
        let mut household = Household::new("home".parse().unwrap());
        let set_by = "key:1".to_owned();
        household.settings.categories.insert(
            "gambling".into(),
            Attributed {
                value: Switch {
                    state: SwitchState::Block,
                },
                set_by,
                set_at: Timestamp::UNIX_EPOCH,
            },
        );
        let device = r#"{"name":"iPhone","identifiers":[{"mac":"02:00:5e:00:53:01"},{"address":"192.0.2.7"}],"log":true,
            "names":{"example.com":{"state":"allow","scope":"subtree","set_by":"x","set_at":"1970-01-01T00:00:00Z"}}}"#;
        household.devices.insert(
            "phone".parse().unwrap(),
            serde_json::from_str(device).unwrap(),
        );
        let json = serde_json::to_string(&household).unwrap();
        assert!(
            json.contains(
                r#""gambling":{"state":"block","set_by":"key:1","set_at":"1970-01-01T00:00:00Z"}"#
            ),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Household>(&json).unwrap(), household);
    }
}
