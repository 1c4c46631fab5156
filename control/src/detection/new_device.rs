//! A sighting as a family reads it.

use jiff::Timestamp;
use policy::rules::household::DeviceIdentifier;
use policy_store::{DeviceGuess, Sighting};
use serde::Serialize;

use super::{guess::with_dhcp_name, mac_register::is_random};

/// A device that the household has not named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NewDevice {
    /// The identifier of this sighting.
    pub id: String,
    /// RFC 3339.
    pub first_seen: Timestamp,
    /// RFC 3339, exact to an hour.
    pub last_seen: Timestamp,
    /// What tells it from the others, as `PUT …/devices/{device}` takes it.
    pub identifiers: Vec<DeviceIdentifier>,
    /// Whether it made its MAC address up: the same device may come with another one.
    pub is_random_mac: bool,
    /// The name that it gave to a DHCP server, as others tell. Null if none is known. A device gives
    /// what name it likes, so this identifies nothing.
    #[cfg_attr(feature = "schema", schema(required))]
    pub dhcp_name: Option<String>,
    /// What it may be. Null if nothing tells.
    #[cfg_attr(feature = "schema", schema(required))]
    pub guess: Option<DeviceGuess>,
    /// Whether the family does not want to hear of it.
    pub dismissed: bool,
}

impl From<Sighting> for NewDevice {
    fn from(sighting: Sighting) -> Self {
        Self {
            is_random_mac: matches!(sighting.identifier, DeviceIdentifier::Mac(mac) if is_random(mac)),
            id: sighting.id,
            first_seen: sighting.first_seen,
            last_seen: sighting.last_seen,
            identifiers: vec![sighting.identifier],
            guess: with_dhcp_name(sighting.guess, sighting.dhcp_name.as_deref()),
            dhcp_name: sighting.dhcp_name,
            dismissed: sighting.dismissed,
        }
    }
}
