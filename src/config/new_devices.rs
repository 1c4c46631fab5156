//! Devices that households have not named.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[new_devices]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewDevicesConfig {
    /// Files of the IEEE register of MAC addresses.
    pub mac_register: Vec<PathBuf>,
}
