//! The node as a whole.

use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// The least memory that a node can work in, in MiB.
const MEMORY_MIB_MIN: u64 = 64;

/// `[node]`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The memory of the whole process, in MiB. 0: derived.
    pub memory_mib: u64,
}

impl NodeConfig {
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless(
            self.memory_mib == 0 || (MEMORY_MIB_MIN..=1_048_576).contains(&self.memory_mib),
            "node.memory_mib",
            "0 (derived), or 64 to 1048576",
        )
    }
}
