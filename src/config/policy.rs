//! The operator's defaults for households.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[policy]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The preset of households that chose none.
    pub default_preset: String,
    /// A taxonomy document; empty is the shipped one.
    pub taxonomy: PathBuf,
    /// Whether canary names (`use-application-dns.net`) are answered negatively if filtering is on,
    /// so that browsers keep using this resolver.
    pub refuse_canary: bool,
    /// The same for names of private relays, so that devices report that the relay is not available
    /// in this network.
    pub refuse_private_relay: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_preset: "off".to_owned(),
            taxonomy: PathBuf::new(),
            refuse_canary: true,
            refuse_private_relay: true,
        }
    }
}
