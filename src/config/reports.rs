//! Reports of the public.

use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// `[reports]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reports {
    /// Hours within which an operator should answer a report.
    pub answer_within_hours: u32,
    /// Reports and checks of one address a minute.
    pub per_minute: u32,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            answer_within_hours: 72,
            per_minute: 30,
        }
    }
}

/// Checks that all values are in their ranges.
pub fn check(reports: &Reports) -> Result<(), ConfigError> {
    let value = |key, is_good, error| ConfigError::unless(is_good, key, error);
    value(
        "reports.answer_within_hours",
        (1..=8_760).contains(&reports.answer_within_hours),
        "1 to 8760",
    )?;
    value(
        "reports.per_minute",
        (1..=100_000).contains(&reports.per_minute),
        "1 to 100000",
    )
}
