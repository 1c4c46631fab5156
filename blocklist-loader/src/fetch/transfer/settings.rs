//! The settings of a zone's secondary, parsed once from the feed's definition.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{
    base::Name,
    tsig::{Algorithm, Key, KeyName},
    utils::base64,
};

use crate::{
    feed::{Feed, Secret},
    fetch::error::FetchError,
    gate::Gate,
};

const SCHEME: &str = "rpz://";
/// Default port of primaries.
const PORT: u16 = 53;

/// Primaries, zone, key, and the limits of a fetch.
#[derive(Debug)]
pub struct TransferSettings {
    /// `host:port`, at least one.
    pub(super) primaries: Vec<String>,
    /// In lower case.
    pub(super) zone: Name<Bytes>,
    tsig: Option<(String, String, Secret)>,
    pub(super) octets_max: u64,
    pub(super) timeout: Duration,
    /// `None`: the zone's own refresh and retry.
    pub(super) interval: Option<Duration>,
    /// Whether only primaries on the public Internet are allowed.
    pub(super) public_only: bool,
}

/// Default limit of a transfer, in octets.
const OCTETS_MAX: u64 = 1 << 30;
/// Default limit of a transfer's time.
const TIMEOUT: Duration = Duration::from_secs(300);

impl TransferSettings {
    /// The settings of a checked definition.
    pub(crate) fn of(feed: &Feed) -> Result<Self, FetchError> {
        let mut settings = Self::new(&feed.source)?.bounded(
            feed.octets_max(),
            Duration::from_secs(feed.timeout_s.into()),
        );
        settings.interval = feed.interval();
        // A primary in the configuration is often in the operator's own network.
        settings.public_only = feed.bounds.is_some() && !feed.allow_private;
        settings.tsig = feed.tsig.as_ref().map(|tsig| {
            (
                tsig.name.clone(),
                tsig.algorithm.as_str().to_owned(),
                tsig.secret.clone(),
            )
        });
        settings.key().map(|_| settings)
    }

    /// The key from the current secret, which is read anew so that a changed one needs no restart.
    pub(super) fn key(&self) -> Result<Option<Arc<Key>>, FetchError> {
        let Some((name, algorithm, secret)) = &self.tsig else {
            return Ok(None);
        };
        let secret = secret
            .reveal()
            .map_err(|detail| FetchError::new(Gate::Tsig, format!("tsig.secret: {detail}")))?;
        parse_key(name, algorithm, &secret)
            .map(|key| Some(Arc::new(key)))
            .map_err(|detail| FetchError::new(Gate::Tsig, detail))
    }

    /// Settings for a source `rpz://HOST:PORT/ZONE`, without a key, with default limits.
    ///
    /// # Errors
    /// Gate `format`: the source is malformed.
    pub fn new(source: &str) -> Result<Self, FetchError> {
        let (primary, zone) = parse_source(source).ok_or_else(|| {
            FetchError::new(
                Gate::Format,
                format!("source {source:?} is no policy zone; write rpz://HOST:PORT/ZONE"),
            )
        })?;
        Ok(Self {
            primaries: vec![primary],
            zone,
            tsig: None,
            octets_max: OCTETS_MAX,
            timeout: TIMEOUT,
            interval: None,
            public_only: false,
        })
    }

    /// Adds primaries, `HOST` or `HOST:PORT`, that are tried if the source's own fails.
    ///
    /// # Errors
    /// Gate `format`: one of them is malformed.
    pub fn primaries<'a>(
        mut self,
        others: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, FetchError> {
        for primary in others {
            self.primaries.push(with_port(primary).ok_or_else(|| {
                FetchError::new(Gate::Format, format!("{primary:?} is no HOST:PORT"))
            })?);
        }
        Ok(self)
    }

    /// Signs queries and rejects unsigned responses.
    ///
    /// # Errors
    /// Gate `tsig`: the key is malformed. The error does not contain the secret.
    pub fn signed(mut self, name: &str, algorithm: &str, secret: &str) -> Result<Self, FetchError> {
        self.tsig = Some((name.to_owned(), algorithm.to_owned(), Secret::new(secret)));
        self.key().map(|_| self)
    }

    /// Limits one fetch in octets and time.
    #[must_use]
    pub fn bounded(self, octets_max: u64, timeout: Duration) -> Self {
        Self {
            octets_max,
            timeout,
            ..self
        }
    }

    /// Sets an interval in place of the zone's.
    #[must_use]
    pub fn every(self, interval: Duration) -> Self {
        Self {
            interval: Some(interval),
            ..self
        }
    }
}

/// Splits `rpz://HOST:PORT/ZONE` into primary and zone.
pub(crate) fn parse_source(source: &str) -> Option<(String, Name<Bytes>)> {
    let (primary, zone) = source.strip_prefix(SCHEME)?.split_once('/')?;
    let zone: Name<Bytes> = zone.to_ascii_lowercase().parse().ok()?;
    (zone.label_count() > 1).then_some((with_port(primary)?, zone))
}

/// A host with its port.
pub(crate) fn with_port(primary: &str) -> Option<String> {
    // An IPv6 address is in brackets, as in a URL.
    let (host, port) = match primary.rsplit_once(':') {
        Some((host, port)) if !primary.ends_with(']') => (host, port.parse().ok()?),
        _ => (primary, PORT),
    };
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match inside {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet))
        }
    };
    (is_host && port != 0).then(|| format!("{host}:{port}"))
}

/// The TSIG key. The secret is in Base64, as in the configuration of every server.
pub(crate) fn parse_key(name: &str, algorithm: &str, secret: &str) -> Result<Key, &'static str> {
    let name: KeyName = name.parse().map_err(|_| "tsig.name is not a domain name")?;
    let algorithm: Algorithm = algorithm.parse().map_err(
        |_| "tsig.algorithm must be one of hmac-sha256, hmac-sha384, hmac-sha512, hmac-sha1",
    )?;
    let secret: Vec<u8> = base64::decode(secret.trim()).map_err(|_| "tsig.secret is not base64")?;
    if secret.is_empty() {
        return Err("tsig.secret is empty");
    }
    Key::new(algorithm, &secret, name, None, None).map_err(|_| "tsig cannot be used as a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_one_primary_and_one_zone() {
        for (source, expected) in [
            (
                "rpz://192.0.2.7/RPZ.example",
                Some("192.0.2.7:53 rpz.example"),
            ),
            (
                "rpz://192.0.2.7:5353/rpz.example.",
                Some("192.0.2.7:5353 rpz.example"),
            ),
            ("rpz://[2001:db8::7]/rpz", Some("[2001:db8::7]:53 rpz")),
            (
                "rpz://[2001:db8::7]:5353/rpz",
                Some("[2001:db8::7]:5353 rpz"),
            ),
            (
                "rpz://ns1.provider.example:53/rpz",
                Some("ns1.provider.example:53 rpz"),
            ),
            ("rpz://192.0.2.7", None),
            ("rpz://192.0.2.7/", None),
            ("rpz://192.0.2.7/.", None),
            ("rpz://192.0.2.7:0/rpz", None),
            ("rpz://192.0.2.7:99999/rpz", None),
            ("rpz://2001:db8::7/rpz", None),
            ("rpz:///rpz", None),
            ("rpz://a b/rpz", None),
            ("rpz://192.0.2.7/a..b", None),
            ("https://192.0.2.7/rpz", None),
        ] {
            let found = parse_source(source).map(|(primary, zone)| format!("{primary} {zone}"));
            assert_eq!(found.as_deref(), expected, "{source}");
            assert_eq!(TransferSettings::new(source).is_ok(), expected.is_some());
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_refused_without_a_word_of_its_secret() {
        let check = |name, algorithm, secret| {
            TransferSettings::new("rpz://192.0.2.7/rpz")
                .unwrap()
                .signed(name, algorithm, secret)
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        for algorithm in ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"] {
            assert_eq!(check("ox.example.", algorithm, "c2VjcmV0"), Ok(()));
        }
        assert_eq!(
            check("a..b", "hmac-sha256", "c2VjcmV0"),
            Err("tsig: tsig.name is not a domain name".into())
        );
        assert!(
            check("ox", "hmac-md5", "c2VjcmV0")
                .unwrap_err()
                .contains("must be one of")
        );
        assert_eq!(
            check("ox", "hmac-sha256", "not base64!"),
            Err("tsig: tsig.secret is not base64".into())
        );
        assert!(
            check("ox", "hmac-sha256", "")
                .unwrap_err()
                .contains("tsig.secret")
        );
    }
}
