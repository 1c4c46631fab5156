//! The parents' app.

use policy::name::Name;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// `[app]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppConfig {
    /// Whether `/app/` is served on the API's listener.
    pub enabled: bool,
    /// The origin under which browsers reach the app. Absent: the `Host` of each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Whether the daemon makes a household for a first look at its start.
    pub demonstration: bool,
    /// The name below which there is a harmless name for each category, for tests at home.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_name: Option<String>,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            origin: None,
            demonstration: false,
            test_name: None,
        }
    }
}

impl AppConfig {
    /// The settings of the app. `None`: it is not served.
    pub fn settings(&self) -> Option<::api::app::settings::AppSettings> {
        let origin = self.origin.as_deref();
        let test_name = self.test_name.as_deref();
        self.enabled.then(|| ::api::app::settings::AppSettings {
            origin: origin.map(|origin| origin.trim_end_matches('/').to_owned()),
            test_name: test_name.and_then(|name| Name::parse(name).ok()),
            has_oidc: false,
        })
    }

    /// Checks that all values can be used.
    pub fn check(&self) -> Result<(), ConfigError> {
        let is_origin = |text: &String| {
            Url::parse(text).is_ok_and(|url| {
                let is_bare =
                    url.path() == "/" && url.query().is_none() && url.fragment().is_none();
                let is_web = ["https", "http"].contains(&url.scheme()) && url.has_host();
                is_bare && is_web && url.username().is_empty() && url.password().is_none()
            })
        };
        ConfigError::unless(
            self.origin.as_ref().is_none_or(is_origin),
            "app.origin",
            "a scheme and a host, such as \"https://family.isp.example\"",
        )?;
        ConfigError::unless(
            self.enabled || !self.demonstration,
            "app.demonstration",
            "the demonstration is for the app, which is off",
        )?;
        // The name becomes a part of the page's Content-Security-Policy.
        let is_host = |name: &String| {
            let is_part = |octet: u8| octet.is_ascii_alphanumeric() || b"-.".contains(&octet);
            !name.is_empty() && name.bytes().all(is_part) && Name::parse(name).is_ok()
        };
        ConfigError::unless(
            self.test_name.as_ref().is_none_or(is_host),
            "app.test_name",
            "a host name, such as \"test.isp.example\"",
        )
    }
}
