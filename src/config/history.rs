//! The activity of households.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// `[history]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// `sqlite:PATH`. Empty: a file beside the store.
    pub url: String,
    /// The longest retention that a household may choose, in days.
    pub days_max: u16,
    /// A device that asked for a bypass of the filter, and then for nothing, is reported as silent
    /// after so many minutes.
    pub silent_after_min: u32,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            days_max: 90,
            silent_after_min: 10,
        }
    }
}

impl HistoryConfig {
    /// Resolves the path: against the folder of the configuration, or beside the store, whose URL
    /// is resolved already.
    pub fn rooted(mut self, base: &Path, store: &str) -> Self {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => self.url = format!("sqlite:{}", base.join(path).display()),
            None if self.url.is_empty() => {
                let store = Path::new(store.strip_prefix("sqlite:").unwrap_or(store));
                let stem = store.file_stem().unwrap_or_default().to_string_lossy();
                self.url = format!(
                    "sqlite:{}",
                    store.with_file_name(format!("{stem}-history.db")).display()
                );
            }
            None => {}
        }
        self
    }
}

/// Checks that all values are in their ranges.
pub fn check(history: &HistoryConfig) -> Result<(), ConfigError> {
    let value = |key, is_good, error| ConfigError::unless(is_good, key, error);
    let is_url = history.url.is_empty() || history.url.starts_with("sqlite:");
    value(
        "history.url",
        is_url,
        "this version keeps history in SQLite: sqlite:PATH, or nothing for a file beside the store",
    )?;
    value("history.days_max", history.days_max <= 366, "0 to 366")?;
    value(
        "history.silent_after_min",
        (1..=1_440).contains(&history.silent_after_min),
        "1 to 1440",
    )
}
