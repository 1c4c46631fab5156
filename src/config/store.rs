//! The store of households and keys.

use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `sqlite:PATH`.
    pub url: String,
    /// How often a signed head of the audit is announced while rows are written, in seconds.
    pub audit_head_interval_s: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "sqlite:data/ox-protect.db".to_owned(),
            audit_head_interval_s: 600,
        }
    }
}

impl StoreConfig {
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless(
            self.url.starts_with("sqlite:"),
            "store.url",
            "this version keeps households in SQLite: sqlite:PATH",
        )?;
        ConfigError::unless(
            (10..=86_400).contains(&self.audit_head_interval_s),
            "store.audit_head_interval_s",
            "10 to 86400",
        )
    }
}
