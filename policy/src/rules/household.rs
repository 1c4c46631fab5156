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
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::rules::safe_search::SearchLevel;
use crate::{
    lists::entry::Scope,
    name::Name,
    rules::schedule::{Grant, Pause, Schedule},
};

/// The most devices of a household. Bounds the size of a record.
pub const DEVICES_MAX: usize = 256;
/// The most names in one custom list.
pub const CUSTOM_NAMES_MAX: usize = 5_000;
/// The most networks of one household.
pub const NETWORKS_MAX: usize = 64;
/// The most identifiers of one device. Randomised MAC addresses need several.
pub const IDENTIFIERS_MAX: usize = 32;
/// The most people of one household.
pub const PEOPLE_MAX: usize = 64;
/// The most schedules, and the most grants, at one level.
pub const SCHEDULES_MAX: usize = 32;

/// An identifier chosen by a caller: 1 to 64 letters, digits, `.`, `_`, `~` or `-`, so that it fits
/// into a URL path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Id(Box<str>);

impl Id {
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

/// The state of a switch. A switch that is not set is inherited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchState {
    /// Blocks, whatever the levels above say.
    Block,
    /// Allows, whatever the levels above say.
    Allow,
}

/// A value with its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributed<T> {
    /// The value.
    #[serde(flatten)]
    pub value: T,
    /// The key or person that set it.
    pub set_by: String,
    /// The time at which it was set.
    pub set_at: Timestamp,
}

/// The switch of a category, of the search unlock or of bypass prevention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The state of the switch.
    pub state: SwitchState,
}

/// An entry of a custom list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomName {
    /// Whether the entry blocks or allows.
    pub state: SwitchState,
    /// Whether it covers the name alone, or all names below it as well.
    pub scope: Scope,
}

/// The safe search of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafeSearchSetting {
    /// The level of safe search.
    pub level: SearchLevel,
}

/// The settings of a household, a person or a device. Settings that are absent are inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Switches by category.
    #[serde(default)]
    pub categories: BTreeMap<String, Attributed<Switch>>,
    /// The custom list.
    #[serde(default)]
    pub names: BTreeMap<Name, Attributed<CustomName>>,
    /// Schedules by identifier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<Id, Attributed<Schedule>>,
    /// Grants by identifier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grants: BTreeMap<Id, Attributed<Grant>>,
    /// The Internet is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Attributed<Pause>>,
    /// Safe search by engine, see [`crate::rules::safe_search`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub safe_search: BTreeMap<String, Attributed<SafeSearchSetting>>,
    /// Whether an allow or a grant of a search engine also lifts its safe search: `allow` lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_unlock: Option<Attributed<Switch>>,
    /// Whether bypass names are answered negatively, so that software keeps using this resolver:
    /// `block` or absent does so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<Attributed<Switch>>,
}

/// A person of a household. The settings apply to the person's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The display name.
    pub name: String,
    /// The settings of this person.
    #[serde(flatten)]
    pub settings: Settings,
}

/// The household's answer to the offer of filtering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
pub struct FilteringChoice {
    /// The channel in which it was asked: one of [`CHANNELS`].
    pub channel: String,
}

/// The channels in which a household is asked for its choice.
pub const CHANNELS: [&str; 5] = ["portal", "app", "call-centre", "shop", "operator"];

/// The activity that the household wants to be kept. Without this setting nothing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistorySettings {
    /// For how many days; 0 keeps nothing.
    pub days: u16,
    /// Whether the names of blocked queries are kept beside the counts.
    pub names: bool,
    /// Whether unnamed devices are counted, together.
    pub unknown_devices: bool,
}

/// The contact of the account holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountContact {
    /// An e-mail address.
    pub email: String,
}

/// An identifier that distinguishes a device from the others of its household. One key each, as in
/// `{"mac": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceIdentifier {
    /// The MAC address that the household's router adds as EDNS option 65001.
    Mac(Mac),
    /// A source address inside one of the household's networks.
    Address(IpAddr),
    /// A token in a DoH path or TLS name. Stored, and used once encrypted listeners exist.
    Token(Id),
    /// EDNS option 65074. Stored, and used once CPE identities exist.
    CpeId(Id),
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The display name.
    pub name: String,
    /// The kind of device: phone, tablet, camera, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The person that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Id>,
    /// The identifiers that distinguish it from the other devices.
    #[serde(default)]
    pub identifiers: Vec<DeviceIdentifier>,
    /// Whether its queries may appear in the household's activity.
    pub log: bool,
    /// The settings of this device.
    #[serde(flatten)]
    pub settings: Settings,
}

/// One household.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Household {
    /// The identifier, chosen by the operator.
    pub id: Id,
    /// Raised with every change.
    pub version: u64,
    /// The time zone of its schedules, an IANA name.
    pub time_zone: String,
    /// The preset that it starts from. Default: the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Its answer to the offer of filtering.
    pub filtering: Filtering,
    /// The author, time and channel of that answer; absent until the household is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Attributed<FilteringChoice>>,
    /// Where notices are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<AccountContact>,
    /// The activity that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Attributed<HistorySettings>>,
    /// The operator's own reference for the household.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<String>,
    /// The language of its pages, BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The networks that its queries come from.
    #[serde(default)]
    pub networks: BTreeSet<IpNet>,
    /// The settings of the whole household.
    #[serde(flatten)]
    pub settings: Settings,
    /// The people by identifier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<Id, Person>,
    /// The devices by identifier.
    #[serde(default)]
    pub devices: BTreeMap<Id, Device>,
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
            external_ref: None,
            locale: None,
            networks: BTreeSet::new(),
            settings: Settings::default(),
            people: BTreeMap::new(),
            devices: BTreeMap::new(),
        }
    }

    /// The person that a device belongs to, if the household has that person.
    #[must_use]
    pub fn person_of(&self, device: &Device) -> Option<&Person> {
        self.people.get(device.person.as_ref()?)
    }

    /// The activity that is kept; `None` where nothing is.
    #[must_use]
    pub fn kept(&self) -> Option<HistorySettings> {
        self.history
            .as_ref()
            .map(|history| history.value)
            .filter(|history| history.days > 0)
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
    use super::*;

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
