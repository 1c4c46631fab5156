//! Limits of the rates at which clients query and are answered.

use std::str::FromStr as _;

use ipnet::IpNet;
use policy::rules::household::Id;
use resolver::rates::RateSettings;
use serde::{Deserialize, Serialize};

use super::{error::ConfigError, networks};

/// The highest rate and burst of queries.
const QUERIES_MAX: u32 = 10_000_000;
/// The highest rate of responses, in KiB a second: 1 GiB.
const RESPONSE_KIB_MAX: u32 = 1 << 20;

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateConfig {
    /// Queries a second of one client. 0: no limit.
    pub queries_per_s: u32,
    /// Queries of one client at once.
    pub queries_burst: u32,
    /// KiB a second over UDP to one network whose addresses are not proven. 0: no limit.
    pub response_kib_per_s: u32,
    /// One of so many limited replies is sent truncated. 0: none.
    pub slip: u32,
    /// Networks without these limits.
    pub exempt_from: Vec<IpNet>,
    /// Households without a limit of queries.
    pub exempt_households: Vec<String>,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self {
            queries_per_s: 1_000,
            queries_burst: 10_000,
            response_kib_per_s: 2_048,
            slip: 2,
            exempt_from: networks::loopback_of_both_families(),
            exempt_households: Vec::new(),
        }
    }
}

impl RateConfig {
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |key, is_good, error| ConfigError::unless(is_good, key, error);
        value(
            "limits.queries_per_s",
            self.queries_per_s <= QUERIES_MAX,
            "0 to 10000000",
        )?;
        value(
            "limits.queries_burst",
            (1..=QUERIES_MAX).contains(&self.queries_burst),
            "1 to 10000000",
        )?;
        value(
            "limits.response_kib_per_s",
            self.response_kib_per_s <= RESPONSE_KIB_MAX,
            "0 to 1048576",
        )?;
        value("limits.slip", self.slip <= 100, "0 to 100")?;
        let is_id = |id: &String| Id::from_str(id).is_ok();
        value(
            "limits.exempt_households",
            self.exempt_households.iter().all(is_id),
            "identifiers of households",
        )
    }

    /// The settings of the data path.
    pub fn settings(&self) -> RateSettings {
        RateSettings {
            queries_per_s: self.queries_per_s,
            queries_burst: self.queries_burst,
            response_octets_per_s: self.response_kib_per_s.saturating_mul(1024),
            slip: self.slip,
            exempt_from: self.exempt_from.clone(),
            exempt_households: self.exempt_households.clone(),
        }
    }
}
