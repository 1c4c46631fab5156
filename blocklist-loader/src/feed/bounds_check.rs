//! Checks a definition of the API against its limits.

use std::path::Path;

use super::{
    bounds::{Bounds, OutOfBounds},
    definition::{Feed, is_remote},
    secret::is_reference,
};
use crate::{confined::leads_within, fetch::is_public};

impl Bounds {
    /// Checks a definition that [`Feed::check`] has accepted.
    ///
    /// # Errors
    /// The first value that is not allowed.
    pub fn check(&self, feed: &Feed) -> Result<(), OutOfBounds> {
        let secrets = [
            // A user name has no colon (RFC 7617 section 2), so no valid one is rejected.
            (
                "username",
                feed.username.as_deref().is_some_and(is_reference),
            ),
            (
                "password",
                feed.password
                    .as_ref()
                    .is_some_and(|secret| secret.literal().is_none()),
            ),
            (
                "bearer",
                feed.bearer
                    .as_ref()
                    .is_some_and(|secret| secret.literal().is_none()),
            ),
            (
                "tsig.secret",
                feed.tsig
                    .as_ref()
                    .is_some_and(|tsig| tsig.secret.literal().is_none()),
            ),
            (
                "minisign_key",
                feed.minisign_key.as_deref().is_some_and(is_reference),
            ),
        ];
        if let Some((key, _)) = secrets.into_iter().find(|(_, is_reference)| *is_reference) {
            return Err(OutOfBounds::SecretReference(key));
        }
        if feed.allow_private && !self.allow_private {
            return Err(OutOfBounds::Private("allow_private"));
        }
        let addresses = [
            ("source", Some(&feed.source)),
            ("sha256_url", feed.sha256_url.as_ref()),
            ("signature_url", feed.signature_url.as_ref()),
        ];
        let is_private = |address: &&String| !feed.allow_private && is_at_private_host(address);
        if let Some((key, _)) = addresses
            .into_iter()
            .find(|(_, address)| address.filter(is_private).is_some())
        {
            return Err(OutOfBounds::Private(key));
        }
        if is_remote(&feed.source) {
            return Ok(());
        }
        let folder = self.folder.as_deref().ok_or(OutOfBounds::NoFolder)?;
        if leads_within(Path::new(&feed.source), folder) {
            Ok(())
        } else {
            Err(OutOfBounds::OutsideFolder)
        }
    }
}

/// Whether the host in a URL is an address outside the public Internet, or `localhost`. Other host
/// names are checked when the fetcher resolves them.
fn is_at_private_host(address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else {
        return false;
    };
    // Parsed as a URL with a special scheme, so that `127.1` and `0x7f000001` become addresses.
    let Some(url) = reqwest::Url::parse(&format!("http://{rest}")).ok() else {
        return false;
    };
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(address) => !is_public(address),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

impl Feed {
    /// The folder that local files of this feed must be in; `None`: no limit.
    pub(crate) fn within(&self) -> Option<&Path> {
        self.bounds
            .as_ref()
            .map(|bounds| bounds.folder.as_deref().unwrap_or(Path::new("")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        confined::open_within,
        feed::{Format, Secret, Tsig, TsigAlgorithm},
    };

    fn feed(source: &str) -> Feed {
        Feed::new("a", source, Format::Domains)
    }

    fn check(feed: &Feed) -> Result<(), (&'static str, &'static str)> {
        Bounds::default()
            .check(feed)
            .map_err(|error| (error.code(), error.field()))
    }

    #[test]
    fn a_definition_of_the_api_names_no_secret_of_this_machine() {
        let remote = feed("https://lists.example/a");
        for reference in ["file:/etc/shadow", "env:PATH"] {
            let secret = || Some(Secret::new(reference));
            let tsig = Tsig {
                name: "key".to_owned(),
                algorithm: TsigAlgorithm::default(),
                secret: Secret::new(reference),
            };
            let cases = [
                (
                    "password",
                    Feed {
                        password: secret(),
                        ..remote.clone()
                    },
                ),
                (
                    "bearer",
                    Feed {
                        bearer: secret(),
                        ..remote.clone()
                    },
                ),
                (
                    "username",
                    Feed {
                        username: Some(reference.to_owned()),
                        ..remote.clone()
                    },
                ),
                (
                    "minisign_key",
                    Feed {
                        minisign_key: Some(reference.to_owned()),
                        ..remote.clone()
                    },
                ),
                (
                    "tsig.secret",
                    Feed {
                        tsig: Some(tsig),
                        ..remote.clone()
                    },
                ),
            ];
            for (key, feed) in cases {
                assert_eq!(check(&feed), Err(("secret_reference", key)), "{reference}");
            }
        }
        assert_eq!(
            check(&Feed {
                bearer: Some(Secret::new("a word of its own")),
                ..remote
            }),
            Ok(())
        );
    }

    #[test]
    fn a_definition_of_the_api_names_no_private_address() {
        for source in [
            "http://127.0.0.1/a",
            "http://127.1/a",
            "https://2130706433/a",
            "http://0x7f.1/a",
            "http://[::1]:80/a",
            "http://[::ffff:10.0.0.1]/a",
            "http://169.254.169.254/latest/meta-data",
            "http://localhost/a",
            "http://a.localhost./a",
            "rpz://192.168.0.1:53/zone",
            "rpz://[fd00::1]/zone",
            "rpz://localhost/zone",
        ] {
            assert_eq!(
                check(&feed(source)),
                Err(("private_address", "source")),
                "{source}"
            );
            let allowed = Feed {
                allow_private: true,
                ..feed(source)
            };
            assert_eq!(
                check(&allowed),
                Err(("private_address", "allow_private")),
                "{source}"
            );
            assert_eq!(
                Bounds {
                    allow_private: true,
                    folder: None
                }
                .check(&allowed),
                Ok(()),
                "{source}"
            );
        }
        let beside = "http://10.0.0.1/a".to_owned();
        let remote = feed("https://lists.example/a");
        assert_eq!(
            check(&Feed {
                sha256_url: Some(beside.clone()),
                ..remote.clone()
            }),
            Err(("private_address", "sha256_url"))
        );
        assert_eq!(
            check(&Feed {
                signature_url: Some(beside),
                ..remote
            }),
            Err(("private_address", "signature_url"))
        );
        for source in [
            "https://lists.example/a",
            "http://192.0.1.1/a",
            "rpz://ns.lists.example:53/zone",
        ] {
            assert_eq!(check(&feed(source)), Ok(()), "{source}");
        }
    }

    #[test]
    fn a_local_source_of_the_api_lies_in_its_folder_wherever_links_lead() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        for folder in ["api", "api/below", "api-not", "secret"] {
            std::fs::create_dir_all(path(folder)).unwrap();
        }
        for file in ["api/list", "api/below/list", "api-not/list", "secret/list"] {
            std::fs::write(path(file), "a.example\n").unwrap();
        }
        for (link, to) in [
            ("api/out", "secret"),
            ("api/file", "secret/list"),
            ("api/nowhere", "secret/tomorrow"),
            ("in", "api/below"),
        ] {
            std::os::unix::fs::symlink(path(to), path(link)).unwrap();
        }
        let bounds = Bounds {
            folder: Some(path("api")),
            allow_private: false,
        };
        let check = |name: &str| {
            bounds
                .check(&feed(path(name).to_str().unwrap()))
                .map_err(|error| error.code())
        };
        for inside in [
            "api/list",
            "api/below/list",
            "api/below/../list",
            "api",
            "api/tomorrow",
            "api/new/tomorrow",
            "in/list",
        ] {
            assert_eq!(check(inside), Ok(()), "{inside}");
        }
        let outside = [
            "secret/list",
            "api/../secret/list",
            "api/out/list",
            "api/file",
            "api/nowhere",
            "api-not/list",
            "api/new/../../secret/list",
            "tomorrow",
        ];
        for outside in outside {
            assert_eq!(check(outside), Err("local_source"), "{outside}");
        }
        assert_eq!(
            Bounds::default().check(&feed(path("api/list").to_str().unwrap())),
            Err(OutOfBounds::NoFolder)
        );
        assert!(open_within(&path("api/list"), Some(&path("api"))).is_ok());
        assert!(open_within(&path("secret/list"), None).is_ok());
        for outside in ["api/file", "api/out/list", "secret/list"] {
            assert!(
                open_within(&path(outside), Some(&path("api"))).is_err(),
                "{outside}"
            );
            assert!(
                open_within(&path(outside), Some(Path::new(""))).is_err(),
                "{outside}"
            );
        }
    }
}
