//! The table `[lists.share]`: the location of the store, and the role of this node.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    error::{ShareSettingsFault, causes},
    keys::{ManifestSigner, Verifier},
};
use crate::feed::Secret;

/// The role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShareRole {
    /// It builds lists and publishes them.
    Publish,
    /// It fetches lists and builds none.
    Follow,
}

/// The table `[lists.share]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSettings {
    /// A folder (a path, or `file:///path`), or `s3://bucket/prefix`.
    pub url: String,
    pub role: ShareRole,
    /// The publisher's secret key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<PathBuf>,
    /// The public key that a follower trusts: its text, or `file:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// How long after its publication a generation is taken, in seconds: 0 for canary nodes, more
    /// for all others.
    #[serde(default)]
    pub delay_s: u64,
    /// The poll interval in seconds.
    #[serde(default = "every_second")]
    pub poll_s: u64,
    /// How many full artefacts the publisher keeps in the store.
    #[serde(default = "three")]
    pub keep: usize,
    /// The URL of an S3 service other than Amazon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The S3 access key id: its text, `env:NAME` or `file:PATH`. Default: the credentials of the
    /// machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Secret>,
    /// The S3 secret access key, in the same forms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// Whether the service may be contacted without TLS.
    #[serde(default)]
    pub allow_http: bool,
    /// Whether the bucket is in the URL's path rather than in its host name; by default where
    /// `endpoint` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
}

fn every_second() -> u64 {
    1
}

fn three() -> usize {
    3
}

/// Upper limits of the numbers; larger values are typing errors.
const DELAY_S_MAX: u64 = 30 * 24 * 3600;
const POLL_S_MAX: u64 = 3600;
const KEEP_MAX: usize = 1000;

/// The location of the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoreLocation<'a> {
    Folder(&'a Path),
    S3 { bucket: &'a str, prefix: &'a str },
}

impl ShareSettings {
    /// Settings with defaults for everything else.
    #[must_use]
    pub fn new(url: impl Into<String>, role: ShareRole) -> Self {
        Self {
            url: url.into(),
            role,
            secret_key: None,
            public_key: None,
            delay_s: 0,
            poll_s: every_second(),
            keep: three(),
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            allow_http: false,
            path_style: None,
        }
    }

    /// Resolves relative paths against `base`.
    #[must_use]
    pub fn rooted(mut self, base: &Path) -> Self {
        if !self.url.contains("://") {
            self.url = base.join(&self.url).display().to_string();
        }
        self.secret_key = self.secret_key.map(|path| base.join(path));
        let rooted = |key: String| match key.strip_prefix("file:") {
            Some(path) => format!("file:{}", base.join(path).display()),
            None => key,
        };
        self.public_key = self.public_key.map(rooted);
        self.access_key_id = self.access_key_id.map(|secret| secret.rooted(base));
        self.secret_access_key = self.secret_access_key.map(|secret| secret.rooted(base));
        self
    }

    /// Validates the table and reads the keys; does not contact the store.
    ///
    /// # Errors
    /// The first fault, with the accepted values.
    pub fn check(&self) -> Result<(), ShareSettingsFault> {
        self.check_location()?;
        let is_out = |name, value, least, most| {
            (value < least || value > most).then_some(ShareSettingsFault::Bounds(name, least, most))
        };
        let numbers = [
            ("delay_s", self.delay_s, 0, DELAY_S_MAX),
            ("poll_s", self.poll_s, 1, POLL_S_MAX),
            ("keep", self.keep as u64, 1, KEEP_MAX as u64),
        ];
        if let Some(fault) = numbers
            .into_iter()
            .find_map(|(name, value, least, most)| is_out(name, value, least, most))
        {
            return Err(fault);
        }
        match self.role {
            ShareRole::Publish => {
                let path = self
                    .secret_key
                    .as_deref()
                    .ok_or(ShareSettingsFault::SecretKeyMissing)?;
                if self.public_key.is_some() {
                    return Err(ShareSettingsFault::OtherRole("public_key", "publish"));
                }
                if self.delay_s > 0 {
                    return Err(ShareSettingsFault::OtherRole("delay_s", "publish"));
                }
                ManifestSigner::read(path)
                    .map(drop)
                    .map_err(|error| ShareSettingsFault::Key(causes(&error)))
            }
            ShareRole::Follow => {
                let key = self
                    .public_key
                    .as_deref()
                    .ok_or(ShareSettingsFault::PublicKeyMissing)?;
                if self.secret_key.is_some() {
                    return Err(ShareSettingsFault::OtherRole("secret_key", "follow"));
                }
                Verifier::parse(key)
                    .map(drop)
                    .map_err(|error| ShareSettingsFault::Key(causes(&error)))
            }
        }
    }

    fn check_location(&self) -> Result<(), ShareSettingsFault> {
        if let StoreLocation::Folder(_) = self.location()? {
            let words = [
                ("endpoint", self.endpoint.is_some()),
                ("region", self.region.is_some()),
                ("access_key_id", self.access_key_id.is_some()),
                ("secret_access_key", self.secret_access_key.is_some()),
                ("allow_http", self.allow_http),
                ("path_style", self.path_style.is_some()),
            ];
            return match words.into_iter().find(|(_, is_there)| *is_there) {
                Some((word, _)) => Err(ShareSettingsFault::NotS3(word)),
                None => Ok(()),
            };
        }
        self.credentials()?;
        match &self.endpoint {
            Some(endpoint) if !is_service(endpoint, self.allow_http) => {
                Err(ShareSettingsFault::Endpoint(endpoint.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Access key id and secret, where they are configured.
    pub(super) fn credentials(&self) -> Result<Option<(String, String)>, ShareSettingsFault> {
        match (&self.access_key_id, &self.secret_access_key) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => {
                let id = id
                    .reveal()
                    .map_err(|reason| ShareSettingsFault::Secret("access_key_id", reason))?;
                let secret = secret
                    .reveal()
                    .map_err(|reason| ShareSettingsFault::Secret("secret_access_key", reason))?;
                Ok(Some((id, secret)))
            }
            _ => Err(ShareSettingsFault::HalfCredentials),
        }
    }

    pub(super) fn location(&self) -> Result<StoreLocation<'_>, ShareSettingsFault> {
        let unknown = || ShareSettingsFault::Url(self.url.clone());
        if let Some(rest) = self.url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let is_name = !bucket.is_empty()
                && bucket
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || b".-_".contains(&octet));
            return is_name
                .then_some(StoreLocation::S3 {
                    bucket,
                    prefix: prefix.trim_matches('/'),
                })
                .ok_or_else(unknown);
        }
        let path = self.url.strip_prefix("file://").unwrap_or(&self.url);
        let is_path = !path.is_empty()
            && !path.contains("://")
            && (path.starts_with('/') || !self.url.starts_with("file://"));
        is_path
            .then_some(StoreLocation::Folder(Path::new(path)))
            .ok_or_else(unknown)
    }
}

fn is_service(endpoint: &str, allow_http: bool) -> bool {
    let host = endpoint
        .strip_prefix("https://")
        .or_else(|| endpoint.strip_prefix("http://").filter(|_| allow_http));
    host.is_some_and(|host| !host.is_empty() && !host.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::generate_keys;

    #[test]
    fn a_table_is_read_with_its_defaults_and_an_unknown_word_is_refused() {
        let settings: ShareSettings =
            toml::from_str("url = \"/srv/lists\"\nrole = \"follow\"\npublic_key = \"RW\"").unwrap();
        assert_eq!(
            settings,
            ShareSettings {
                public_key: Some("RW".to_owned()),
                ..ShareSettings::new("/srv/lists", ShareRole::Follow)
            }
        );
        assert_eq!(
            (settings.poll_s, settings.delay_s, settings.keep),
            (1, 0, 3)
        );
        assert!(
            toml::from_str::<ShareSettings>(
                "url = \"/srv/lists\"\nrole = \"follow\"\nkey = \"RW\""
            )
            .is_err()
        );
        assert!(
            !format!(
                "{:?}",
                ShareSettings {
                    secret_access_key: Some(Secret::new("s3cret")),
                    ..settings
                }
            )
            .contains("s3cret")
        );
    }

    #[test]
    fn a_store_is_a_folder_or_a_bucket() {
        let folder = |path: &'static str| Some(StoreLocation::Folder(Path::new(path)));
        for (url, place) in [
            ("/srv/lists", folder("/srv/lists")),
            ("file:///srv/lists", folder("/srv/lists")),
            ("lists", folder("lists")),
            (
                "s3://lists",
                Some(StoreLocation::S3 {
                    bucket: "lists",
                    prefix: "",
                }),
            ),
            (
                "s3://lists/isp/one/",
                Some(StoreLocation::S3 {
                    bucket: "lists",
                    prefix: "isp/one",
                }),
            ),
            ("s3://", None),
            ("s3://user@host/lists", None),
            ("file://host/lists", None),
            ("https://host/lists", None),
            ("", None),
        ] {
            assert_eq!(
                ShareSettings::new(url, ShareRole::Follow).location().ok(),
                place,
                "{url:?}"
            );
        }
        let rooted = ShareSettings {
            secret_key: Some("lists.key".into()),
            ..ShareSettings::new("lists", ShareRole::Publish)
        }
        .rooted(Path::new("/etc/ox"));
        assert_eq!(
            (rooted.url.as_str(), rooted.secret_key.as_deref()),
            ("/etc/ox/lists", Some(Path::new("/etc/ox/lists.key")))
        );
    }

    #[test]
    fn what_cannot_work_is_said_when_the_configuration_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let keys = generate_keys(folder.path()).unwrap();
        let follow = ShareSettings {
            public_key: Some(keys.public_key),
            ..ShareSettings::new("/srv/lists", ShareRole::Follow)
        };
        let publish = ShareSettings {
            secret_key: Some(keys.secret),
            ..ShareSettings::new("/srv/lists", ShareRole::Publish)
        };
        let s3 = ShareSettings {
            url: "s3://lists".to_owned(),
            ..follow.clone()
        };
        for good in [&follow, &publish, &s3] {
            good.check().unwrap();
        }
        let id = Some(Secret::new("id"));
        let secret = Some(Secret::new("env:OX_PROTECT_NO_SUCH_VARIABLE"));
        for (settings, word) in [
            (
                ShareSettings {
                    url: "ftp://a".to_owned(),
                    ..follow.clone()
                },
                "s3://bucket",
            ),
            (
                ShareSettings {
                    public_key: None,
                    ..follow.clone()
                },
                "public_key is missing",
            ),
            (
                ShareSettings {
                    public_key: Some("RW".to_owned()),
                    ..follow.clone()
                },
                "the key RW",
            ),
            (
                ShareSettings {
                    secret_key: None,
                    ..publish.clone()
                },
                "keygen",
            ),
            (
                ShareSettings {
                    delay_s: 600,
                    ..publish.clone()
                },
                "delay_s has no meaning",
            ),
            (
                ShareSettings {
                    secret_key: publish.secret_key.clone(),
                    ..follow.clone()
                },
                "secret_key has no meaning",
            ),
            (
                ShareSettings {
                    poll_s: 0,
                    ..follow.clone()
                },
                "poll_s must be 1 to",
            ),
            (
                ShareSettings {
                    keep: 0,
                    ..publish.clone()
                },
                "keep must be 1 to",
            ),
            (
                ShareSettings {
                    region: Some("eu".to_owned()),
                    ..follow.clone()
                },
                "region is for s3://",
            ),
            (
                ShareSettings {
                    access_key_id: id.clone(),
                    ..s3.clone()
                },
                "belong together",
            ),
            (
                ShareSettings {
                    access_key_id: id,
                    secret_access_key: secret,
                    ..s3.clone()
                },
                "OX_PROTECT_NO_SUCH_VARIABLE",
            ),
            (
                ShareSettings {
                    endpoint: Some("http://127.0.0.1:5000".to_owned()),
                    ..s3.clone()
                },
                "allow_http",
            ),
        ] {
            let fault = settings.check().unwrap_err().to_string();
            assert!(fault.contains(word), "{fault}");
        }
        ShareSettings {
            endpoint: Some("http://127.0.0.1:5000".to_owned()),
            allow_http: true,
            ..s3
        }
        .check()
        .unwrap();
    }
}
