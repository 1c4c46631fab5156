//! The listeners of the block page and of the home test.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use api::home_test::HomeTest;
use control::certificate::CertificateFiles;
use policy::{lists::public_suffix::is_at_or_above_suffix, name::Name};
use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// `[landing]`: the page that blocked names lead to.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct LandingConfig {
    /// Addresses without TLS.
    pub http: Vec<SocketAddr>,
    /// Addresses with TLS.
    pub https: Vec<SocketAddr>,
    /// The certificate of `https`. It is for the operator's name: browsers warn at others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFiles>,
    /// The address of the parents' app, to which the page leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
}

/// `[home_test]`: names by which a browser tests its filter.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct HomeTestConfig {
    /// The name above the test names. Absent: there is no home test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Name>,
    /// The addresses that the test names have.
    pub addresses: Vec<IpAddr>,
    /// Addresses without TLS.
    pub http: Vec<SocketAddr>,
    /// Addresses with TLS.
    pub https: Vec<SocketAddr>,
    /// The certificate of `https`, for all names below `zone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFiles>,
}

impl LandingConfig {
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless(
            self.https.is_empty() != self.certificate.is_some(),
            "landing.certificate",
            "landing.https needs it, and it needs landing.https",
        )?;
        let is_url = |url: &String| {
            (url.starts_with("https://") || url.starts_with("http://"))
                && url.bytes().all(|octet| octet.is_ascii_graphic())
        };
        ConfigError::unless(
            self.app.as_ref().is_none_or(is_url),
            "landing.app",
            "an address that begins with https:// or http://",
        )
    }

    /// Resolves relative paths against the folder of the configuration file.
    pub fn root(&mut self, root: impl Fn(&mut PathBuf)) {
        root_files(&mut self.certificate, root);
    }
}

impl HomeTestConfig {
    pub fn check(&self) -> Result<(), ConfigError> {
        let Some(zone) = &self.zone else {
            return ConfigError::unless(
                *self == Self::default(),
                "home_test.zone",
                "the other keys of home_test need it",
            );
        };
        ConfigError::unless(
            !is_at_or_above_suffix(zone.borrow()),
            "home_test.zone",
            "a name that the operator owns, not a public suffix",
        )?;
        ConfigError::unless(
            !self.addresses.is_empty(),
            "home_test.addresses",
            "the addresses at which home_test.http and home_test.https are reached",
        )?;
        ConfigError::unless(
            !(self.http.is_empty() && self.https.is_empty()),
            "home_test.http",
            "the home test needs an address here or in home_test.https",
        )?;
        ConfigError::unless(
            self.https.is_empty() != self.certificate.is_some(),
            "home_test.certificate",
            "home_test.https needs it, and it needs home_test.https",
        )
    }

    /// The test names as local records. Nothing keeps them: the next test may follow a change of the
    /// rules at once.
    pub fn records(&self) -> Option<String> {
        let zone = self.zone.as_ref()?;
        let record = |address: &IpAddr| {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            format!("*.{zone}. 0 IN {kind} {address}\n")
        };
        Some(self.addresses.iter().map(record).collect())
    }

    /// As the API describes it, with the ports that are bound.
    pub fn described(
        &self,
        (http_port, https_port): (Option<u16>, Option<u16>),
    ) -> Option<HomeTest> {
        Some(HomeTest {
            zone: self.zone.clone()?,
            http_port,
            https_port,
        })
    }

    /// Resolves relative paths against the folder of the configuration file.
    pub fn root(&mut self, root: impl Fn(&mut PathBuf)) {
        root_files(&mut self.certificate, root);
    }
}

fn root_files(files: &mut Option<CertificateFiles>, root: impl Fn(&mut PathBuf)) {
    if let Some(files) = files {
        root(&mut files.chain);
        root(&mut files.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        let test: HomeTestConfig = toml::from_str(text).unwrap();
        test.check().err().map(|error| error.to_string())
    }

    #[test]
    fn a_home_test_without_a_part_is_refused() {
        let whole =
            "zone = \"test.isp.example\"\naddresses = [\"192.0.2.1\"]\nhttp = [\"192.0.2.1:80\"]";
        assert_eq!(refused(whole), None);
        assert_eq!(refused(""), None);
        let without = |line: usize| {
            let lines = whole.lines().enumerate().filter(|(at, _)| *at != line);
            refused(
                &lines
                    .map(|(_, text)| format!("{text}\n"))
                    .collect::<String>(),
            )
            .unwrap()
        };
        assert!(without(0).starts_with("home_test.zone:"));
        assert!(without(1).starts_with("home_test.addresses:"));
        assert!(without(2).starts_with("home_test.http:"));
        let suffix = whole.replace("test.isp.example", "co.uk");
        assert!(refused(&suffix).unwrap().starts_with("home_test.zone:"));
        let encrypted = format!("{whole}\nhttps = [\"192.0.2.1:443\"]");
        assert!(
            refused(&encrypted)
                .unwrap()
                .starts_with("home_test.certificate:")
        );
    }
}
