//! The parents' app.

use ::api::{app::settings::AppSettings, home_test::HomeTest};
use control::product_name::ProductName;
use std::path::PathBuf;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// `[app]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppConfig {
    /// Whether `/app/` is served on the API's listener.
    pub enabled: bool,
    /// What families know the product as: in the app, on the block page, in letters.
    pub name: ProductName,
    /// The origin under which browsers reach the app. Absent: the `Host` of each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Hosts of further push services of browsers.
    pub push_hosts: Vec<String>,
    /// Whom a push service may write to, as `mailto:` or `https:` address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_contact: Option<String>,
    /// The provider at which families log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<AppOidc>,
    /// Whether the daemon makes a household for a first look at its start.
    pub demonstration: bool,
}

/// `[app.oidc]`: log-in by authorisation code with PKCE. The claims are those of `[api.oidc]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AppOidc {
    /// The issuer, whose discovery document names its endpoints.
    pub issuer: String,
    /// The app's identifier at the provider, and the audience of its ID tokens.
    pub client_id: String,
    /// A file with the app's secret. Absent: a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// The scopes that are asked for.
    #[serde(default = "scopes")]
    pub scopes: String,
    /// Whether the provider may be at private addresses, and without TLS.
    #[serde(default)]
    pub allow_private: bool,
}

fn scopes() -> String {
    "openid".to_owned()
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            name: ProductName::default(),
            origin: None,
            push_hosts: Vec::new(),
            push_contact: None,
            oidc: None,
            demonstration: false,
        }
    }
}

impl AppConfig {
    /// The settings of the app. `None`: it is not served.
    pub fn settings(&self, home_test: Option<HomeTest>) -> Option<AppSettings> {
        let origin = self.origin.as_deref();
        self.enabled.then(|| AppSettings {
            name: self.name.clone(),
            origin: origin.map(|origin| origin.trim_end_matches('/').to_owned()),
            home_test,
            has_oidc: self.oidc.is_some(),
        })
    }

    /// Checks that all values can be used. `has_claims`: there is `[api.oidc]`.
    pub fn check(&self, has_claims: bool) -> Result<(), ConfigError> {
        let is_contact = |text: &String| {
            let is_named = text.starts_with("mailto:") || text.starts_with("https://");
            is_named && text.bytes().all(|octet| octet.is_ascii_graphic())
        };
        ConfigError::unless(
            self.push_contact.as_ref().is_none_or(is_contact),
            "app.push_contact",
            "an address such as \"mailto:operations@isp.example\"",
        )?;
        let is_host = |host: &String| !host.is_empty() && !host.contains(['/', ':', '@', '*']);
        ConfigError::unless(
            self.push_hosts.iter().all(is_host),
            "app.push_hosts",
            "host names without scheme and port, such as \"push.isp.example\"",
        )?;
        if let Some(oidc) = &self.oidc {
            let is_web = |schemes: &[&str]| {
                let url = Url::parse(&oidc.issuer);
                url.is_ok_and(|url| schemes.contains(&url.scheme()))
            };
            let schemes: &[&str] = match oidc.allow_private {
                true => &["https", "http"],
                false => &["https"],
            };
            ConfigError::unless(
                is_web(schemes),
                "app.oidc.issuer",
                "an https address, or http with allow_private = true",
            )?;
            ConfigError::unless(
                !oidc.client_id.is_empty(),
                "app.oidc.client_id",
                "the app's identifier at the provider",
            )?;
            let has_openid = oidc.scopes.split(' ').any(|scope| scope == "openid");
            ConfigError::unless(
                has_openid,
                "app.oidc.scopes",
                "openid, and further ones behind a space",
            )?;
            ConfigError::unless(
                has_claims,
                "app.oidc",
                "the claims with role and household are those of [api.oidc], which is missing",
            )?;
        }
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
        )
    }
}
