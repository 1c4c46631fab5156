//! The parents' app.

use ::api::{app::settings::AppSettings, home_test::HomeTest};
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
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            origin: None,
        }
    }
}

impl AppConfig {
    /// The settings of the app. `None`: it is not served.
    pub fn settings(&self, home_test: Option<HomeTest>) -> Option<AppSettings> {
        let origin = self.origin.as_deref();
        self.enabled.then(|| AppSettings {
            origin: origin.map(|origin| origin.trim_end_matches('/').to_owned()),
            home_test,
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
        )
    }
}
