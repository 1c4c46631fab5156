//! The store of households and keys.

use std::path::PathBuf;

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
    /// Days for which rows of the audit stay in the store. 0: all stay.
    pub audit_keep_days: u32,
    /// The folder of the archives of older rows.
    pub audit_archive: PathBuf,
    /// The share of a file system, in percent, at which the alarm begins.
    pub disk_alarm_percent: u8,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "sqlite:data/ox-protect.db".to_owned(),
            audit_head_interval_s: 600,
            audit_keep_days: 0,
            audit_archive: "data/audit".into(),
            disk_alarm_percent: 80,
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
        )?;
        ConfigError::unless(
            self.audit_keep_days <= 36_500,
            "store.audit_keep_days",
            "0 to 36500",
        )?;
        ConfigError::unless(
            (10..=99).contains(&self.disk_alarm_percent),
            "store.disk_alarm_percent",
            "10 to 99",
        )
    }
}
