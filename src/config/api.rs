//! The REST API.

use std::net::SocketAddr;

use control::certificate::CertificateFiles;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use crate::oidc;

/// `[api]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// The address of the REST API.
    pub listen: SocketAddr,
    /// An address of its own for the operator's routes and `/metrics`, which `listen` then has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_listen: Option<SocketAddr>,
    /// Reverse proxies, whose headers name the client of a request.
    pub trusted_proxies: Vec<IpNet>,
    /// Load balancers, whose connections begin with a PROXY header of version 2.
    pub proxy_from: Vec<IpNet>,
    /// Connections at a time; each takes a file descriptor.
    pub connections_max: usize,
    /// Requests a second of one household, with all its keys. 0: no limit.
    pub rate_per_s: u32,
    /// Requests at once before the rate applies.
    pub rate_burst: u32,
    /// Writes a day of one household, with all its keys. 0: no limit.
    pub writes_per_day: u32,
    /// Requests a second of one operator or auditor. 0: no limit.
    pub operator_rate_per_s: u32,
    /// Requests at once before that holds.
    pub operator_rate_burst: u32,
    /// Failed authentications of one address a second. 0: no limit.
    pub failed_per_s: u32,
    /// Failures at once before the rate applies.
    pub failed_burst: u32,
    /// Requests of one address for `/openapi.json` and `/metrics` a second. 0: no limit.
    pub open_per_s: u32,
    /// Requests at once before that holds.
    pub open_burst: u32,
    /// The certificate of the listeners. Absent: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFiles>,
    /// The OIDC provider whose tokens are accepted beside keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<::api::auth::oidc::OidcSettings>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            operator_listen: None,
            trusted_proxies: Vec::new(),
            proxy_from: Vec::new(),
            connections_max: 10_000,
            rate_per_s: 20,
            rate_burst: 100,
            writes_per_day: 5_000,
            operator_rate_per_s: 0,
            operator_rate_burst: 1_000,
            failed_per_s: 10,
            failed_burst: 50,
            open_per_s: 100,
            open_burst: 500,
            certificate: None,
            oidc: None,
        }
    }
}

/// Checks that all values are in their ranges.
pub fn check(api: &Api) -> Result<(), ConfigError> {
    for (key, rate, max) in [
        ("api.rate_per_s", api.rate_per_s, 100_000),
        ("api.writes_per_day", api.writes_per_day, 1_000_000),
        (
            "api.operator_rate_per_s",
            api.operator_rate_per_s,
            1_000_000,
        ),
        ("api.failed_per_s", api.failed_per_s, 100_000),
        ("api.open_per_s", api.open_per_s, 100_000),
    ] {
        if rate > max {
            return Err(ConfigError::Value(key, format!("0 to {max}")));
        }
    }
    if !(10..=100_000).contains(&api.connections_max) {
        return Err(ConfigError::Value(
            "api.connections_max",
            "10 to 100000".to_owned(),
        ));
    }
    for (key, burst) in [
        ("api.rate_burst", api.rate_burst),
        ("api.operator_rate_burst", api.operator_rate_burst),
        ("api.failed_burst", api.failed_burst),
        ("api.open_burst", api.open_burst),
    ] {
        if !(1..=1_000_000).contains(&burst) {
            return Err(ConfigError::Value(key, "1 to 1000000".to_owned()));
        }
    }
    if let Some(files) = &api.certificate {
        for (key, path) in [
            ("api.certificate.chain", &files.chain),
            ("api.certificate.key", &files.key),
        ] {
            let is_named = !path.as_os_str().is_empty();
            ConfigError::unless(is_named, key, "the path of a PEM file")?;
        }
    }
    api.oidc.as_ref().map_or(Ok(()), |settings| {
        oidc::check(settings).map_err(|(key, error)| ConfigError::Value(key, error))
    })
}
