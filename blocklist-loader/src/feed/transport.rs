//! The keys of a definition that say how a feed is fetched (scheme, credentials, keys), and their
//! validation.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use super::{Feed, FeedFault, Format, is_remote};

/// Prefix of a secret that names an environment variable.
const ENVIRONMENT: &str = "env:";
/// Prefix of a secret that names a file.
const FILE: &str = "file:";

/// How several entries of one feed that cover one name combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// Their categories add up.
    #[default]
    Additive,
    /// Only the entry nearest to the name counts.
    MostSpecific,
}

/// A secret: its text, `env:NAME` or `file:PATH`. It is never displayed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text as the configuration has it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself. It is read anew for each use, so that a changed secret needs no restart.
    ///
    /// # Errors
    /// The environment variable or the file is missing, or has no usable content.
    pub(crate) fn reveal(&self) -> Result<String, String> {
        let words = if let Some(name) = self.0.strip_prefix(ENVIRONMENT) {
            std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))?
        } else if let Some(path) = self.0.strip_prefix(FILE) {
            std::fs::read_to_string(path)
                .map_err(|error| format!("reading {path}: {error}"))?
                .trim_end()
                .to_owned()
        } else {
            self.0.clone()
        };
        let is_plain =
            !words.is_empty() && !words.contains(|character: char| character.is_control());
        is_plain
            .then_some(words)
            .ok_or_else(|| "the secret is empty or has more than one line".to_owned())
    }

    /// The secret, where the definition contains it literally.
    pub(super) fn literal(&self) -> Option<&str> {
        (!is_reference(&self.0)).then_some(&*self.0)
    }

    pub(crate) fn rooted(self, base: &Path) -> Self {
        match self.0.strip_prefix(FILE) {
            Some(path) => Self(format!("{FILE}{}", base.join(path).display())),
            None => self,
        }
    }
}

/// Whether a text refers to an environment variable or a file.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with(ENVIRONMENT) || text.starts_with(FILE)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key that signs transfers (RFC 8945).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tsig {
    /// The key's name, which the primary must use too.
    pub name: String,
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// The key in Base64.
    pub secret: Secret,
}

/// The supported algorithms of RFC 8945. HMAC-SHA-224 is missing because the cryptography library
/// does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TsigAlgorithm {
    HmacSha1,
    #[default]
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl TsigAlgorithm {
    /// The name in the configuration and in DNS.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

impl Tsig {
    fn fault(&self) -> Result<(), FeedFault> {
        let is_base64 = |text: &str| {
            let digits = text.trim_end_matches('=');
            let is_digit = |octet: u8| octet.is_ascii_alphanumeric() || b"+/".contains(&octet);
            text.len().is_multiple_of(4)
                && text.len() - digits.len() <= 2
                && !digits.is_empty()
                && digits.bytes().all(is_digit)
        };
        if policy::name::Name::parse(&self.name).is_err() {
            return Err(FeedFault::Tsig(
                "name is no domain name; it must be the one that the primary knows the key by",
            ));
        }
        if self.secret.literal().is_some_and(|words| !is_base64(words)) {
            return Err(FeedFault::Tsig(
                "secret is not in Base64; it may also be \"env:NAME\" or \"file:PATH\"",
            ));
        }
        Ok(())
    }
}

impl Feed {
    /// Checks the keys that say how the feed is fetched.
    pub(super) fn transport_fault(&self) -> Result<(), FeedFault> {
        let is_http = self.source.starts_with("http://") || self.source.starts_with("https://");
        let is_zone = self.source.starts_with("rpz://");
        if is_remote(&self.source) && !is_http && !is_zone {
            return Err(FeedFault::SourceUnknown(self.source.clone()));
        }
        let wrong = |right| FeedFault::SourceOfFormat {
            format: self.format,
            source_text: self.source.clone(),
            right,
        };
        match self.format {
            Format::Rpz if !is_zone => {
                return Err(wrong("a zone is transferred from rpz://HOST:PORT/ZONE"));
            }
            Format::CategoryFeed if is_zone => {
                return Err(wrong(
                    "it is published over http:// or https://, or in a folder",
                ));
            }
            Format::Rpz | Format::CategoryFeed => {}
            _ if is_zone => return Err(wrong("rpz:// is the source of format \"rpz\"")),
            _ => {}
        }
        if is_http {
            check_url(&self.source)?;
        }
        if is_zone {
            check_zone(&self.source)?;
        }
        self.check_keys(is_http, is_zone)?;
        match (&self.username, &self.password, &self.bearer) {
            (None, None, _) | (Some(_), Some(_), None) => {}
            _ => return Err(FeedFault::Credentials),
        }
        for url in self.sha256_url.iter().chain(&self.signature_url) {
            check_url(url)?;
        }
        if self
            .minisign_key
            .as_ref()
            .is_some_and(|key| minisign::PublicKey::from_base64(key).is_err())
        {
            return Err(FeedFault::MinisignKey);
        }
        self.tsig.as_ref().map_or(Ok(()), Tsig::fault)
    }

    /// Refuses keys that have no effect: the operator may rely on them.
    fn check_keys(&self, is_http: bool, is_zone: bool) -> Result<(), FeedFault> {
        const HTTP: &str = "sources that begin with http:// or https://";
        const LIST: &str =
            "lists that begin with http:// or https://; a category feed has checksums of its own";
        let is_list = is_http && self.format != Format::CategoryFeed;
        let keys = [
            (
                "interval_s",
                self.interval_s.is_some(),
                self.is_fetched(),
                "sources that are fetched",
            ),
            (
                "max_age_s",
                self.max_age_s.is_some(),
                self.is_fetched(),
                "sources that are fetched",
            ),
            ("username", self.username.is_some(), is_http, HTTP),
            ("password", self.password.is_some(), is_http, HTTP),
            ("bearer", self.bearer.is_some(), is_http, HTTP),
            ("sha256_url", self.sha256_url.is_some(), is_list, LIST),
            ("minisign_key", self.minisign_key.is_some(), is_list, LIST),
            (
                "signature_url",
                self.signature_url.is_some(),
                is_list && self.minisign_key.is_some(),
                "lists with a minisign_key",
            ),
            (
                "tsig",
                self.tsig.is_some(),
                is_zone,
                "sources that begin with rpz://",
            ),
        ];
        match keys
            .into_iter()
            .find(|(_, is_given, has_meaning, _)| *is_given && !has_meaning)
        {
            Some((key, _, _, meant)) => Err(FeedFault::KeyWithoutMeaning { key, meant }),
            None => Ok(()),
        }
    }
}

fn check_url(text: &str) -> Result<(), FeedFault> {
    let url = reqwest::Url::parse(text)
        .map_err(|error| FeedFault::SourceMalformed(format!("{text:?}: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FeedFault::SourceMalformed(format!(
            "{text:?}: it must begin with http:// or https://"
        )));
    }
    if url.username().is_empty() && url.password().is_none() {
        Ok(())
    } else {
        Err(FeedFault::SourceWithCredentials)
    }
}

/// `rpz://HOST:PORT/ZONE`; the port is optional.
fn check_zone(text: &str) -> Result<(), FeedFault> {
    let malformed =
        || FeedFault::SourceMalformed(format!("{text:?}: it must be rpz://HOST:PORT/ZONE"));
    let url = reqwest::Url::parse(text).map_err(|_| malformed())?;
    let zone = url.path().trim_start_matches('/');
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if url.host_str().is_none_or(str::is_empty)
        || !is_plain
        || policy::name::Name::parse(zone).is_err()
    {
        return Err(malformed());
    }
    Ok(())
}
