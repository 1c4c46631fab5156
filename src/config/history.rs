//! What households may have kept of what they ask for, as the configuration says it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// `[history]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Where it is kept, `sqlite:PATH`; empty: in a file beside the store.
    pub url: String,
    /// The most days that a household may have it kept.
    pub days_max: u16,
    /// After how many minutes a device that asked for a way round the filter and then for nothing
    /// is told of.
    pub silent_after_min: u32,
}

impl Default for History {
    fn default() -> Self {
        Self {
            url: String::new(),
            days_max: 90,
            silent_after_min: 10,
        }
    }
}

impl History {
    /// With the file's place as it is: relative to the configuration, or beside the store, whose
    /// URL has its place by now.
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

/// Checks that all are in their ranges.
pub fn check(history: &History) -> Result<(), ConfigError> {
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
