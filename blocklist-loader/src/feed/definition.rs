//! One `[[feeds]]` table: the values, their defaults, and what follows from them.

use std::{collections::BTreeMap, path::Path, time::Duration};

use policy::{
    lists::entry::{Scope, Tier},
    name::Name,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{bounds::Bounds, format::Format, secret::Secret, tsig::Tsig};
use crate::digest::hexadecimal;

/// Increased whenever the parsers would read the same file differently. Entries that an older
/// version of the program read are then read again.
const READING_VERSION: u32 = 2;

/// The slug that `categories` gives to codes of known clean names.
pub(crate) const CLEAN: &str = "none";

/// Default interval of an HTTP list. Lists change a few times a day, and many of their servers are
/// run by volunteers.
const HTTP_INTERVAL_S: u32 = 3600;
/// Default interval of a category feed. Its manifest is made to be polled every few seconds.
const CATEGORY_FEED_INTERVAL_S: u32 = 5;
/// Lower bound of the default age alarm, in seconds, however short the interval is.
const AGE_S_MIN: u32 = 3600;
/// The default age alarm is raised after this many missed intervals.
const AGE_INTERVALS: u32 = 4;

/// A definition of a feed: the keys of a `[[feeds]]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = FeedDefinition))]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Unique name of the feed in the configuration, the API and metrics. In a request it may be
    /// left out if the path names the feed.
    #[cfg_attr(feature = "schema", schema(required = false))]
    pub name: String,
    /// A file, a folder, or a URL: `http://`, `https://`, `rpz://HOST:PORT/ZONE`.
    pub source: String,
    pub format: Format,
    /// The scope of a bare name; absent where the format's own syntax says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The category of all entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The category of each sub-folder or code, in place of `category`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<String, String>,
    /// Which kind of rule the entries are.
    #[serde(default = "choice")]
    pub tier: Tier,
    /// Whether a version without entries is accepted as empty instead of being refused.
    #[serde(default)]
    pub allow_empty: bool,
    /// Whether entries that cover a whole public suffix are accepted.
    #[serde(default)]
    pub force_public_suffixes: bool,
    /// How several entries of this feed that cover one name combine.
    #[serde(default, skip_serializing_if = "is_default")]
    pub matching: Matching,
    /// How often a remote source is polled, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_s: Option<u32>,
    /// User name of HTTP Basic authentication (RFC 7617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password of HTTP Basic authentication (RFC 7617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Bearer token (RFC 6750).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Secret>,
    /// Whether the source may have an address outside the public Internet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_private: bool,
    /// The most content that is read, in mebibytes after decompression.
    #[serde(default = "size_max_mib", skip_serializing_if = "is_size_max_mib")]
    pub size_max_mib: u32,
    /// The longest time that one fetch may take, in seconds.
    #[serde(default = "timeout_s", skip_serializing_if = "is_timeout_s")]
    pub timeout_s: u32,
    /// URL of the SHA-256 of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_url: Option<String>,
    /// The minisign public key that must have signed the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minisign_key: Option<String>,
    /// URL of the signature; default: the source's URL with `.minisig` appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_url: Option<String>,
    /// The TSIG key that signs zone transfers (RFC 8945).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tsig: Option<Tsig>,
    /// How many percent fewer entries than the last good version a version may have; 0: no limit.
    #[serde(
        default = "max_shrink_percent",
        skip_serializing_if = "is_max_shrink_percent"
    )]
    pub max_shrink_percent: u32,
    /// How many percent more entries a version may have; 0: no limit.
    #[serde(
        default = "max_growth_percent",
        skip_serializing_if = "is_max_growth_percent"
    )]
    pub max_growth_percent: u32,
    /// Canary names that every good version covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must_match: Vec<String>,
    /// Canary names that no good version covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must_not_match: Vec<String>,
    /// The age of the last successful fetch that raises an alarm, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
    /// Limits on the source of a feed that was defined over the API; `None` for a feed of the
    /// configuration. A definition cannot set this itself.
    #[serde(skip)]
    pub bounds: Option<Bounds>,
}

/// How several entries of one feed that cover one name combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = FeedMatching))]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// Their categories add up.
    #[default]
    Additive,
    /// Only the entry nearest to the name counts.
    MostSpecific,
}

fn choice() -> Tier {
    Tier::Choice
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Defaults other than zero. Each has a predicate for serde, so that default values are not
/// serialised.
macro_rules! defaults {
    ($($name:ident, $is:ident = $value:literal;)*) => {$(
        fn $name() -> u32 {
            $value
        }

        fn $is(value: &u32) -> bool {
            *value == $value
        }
    )*};
}

defaults! {
    size_max_mib, is_size_max_mib = 1024;
    timeout_s, is_timeout_s = 300;
    max_shrink_percent, is_max_shrink_percent = 30;
    max_growth_percent, is_max_growth_percent = 200;
}

impl Feed {
    /// A feed with defaults for everything else.
    #[must_use]
    pub fn new(name: impl Into<String>, source: impl Into<String>, format: Format) -> Self {
        Self {
            name: name.into(),
            source: source.into(),
            format,
            scope: None,
            category: None,
            categories: BTreeMap::new(),
            tier: choice(),
            allow_empty: false,
            force_public_suffixes: false,
            matching: Matching::default(),
            interval_s: None,
            username: None,
            password: None,
            bearer: None,
            allow_private: false,
            size_max_mib: size_max_mib(),
            timeout_s: timeout_s(),
            sha256_url: None,
            minisign_key: None,
            signature_url: None,
            tsig: None,
            max_shrink_percent: max_shrink_percent(),
            max_growth_percent: max_growth_percent(),
            must_match: Vec::new(),
            must_not_match: Vec::new(),
            max_age_s: None,
            bounds: None,
        }
    }

    /// Resolves relative paths against the folder of the configuration file.
    #[must_use]
    pub fn rooted(mut self, base: &Path) -> Self {
        if !is_remote(&self.source) {
            self.source = base.join(&self.source).to_string_lossy().into_owned();
        }
        self.password = self.password.map(|secret| secret.rooted(base));
        self.bearer = self.bearer.map(|secret| secret.rooted(base));
        self.tsig = self.tsig.map(|tsig| Tsig {
            secret: tsig.secret.rooted(base),
            ..tsig
        });
        self
    }

    /// Whether a fetcher puts the content into a spool, from which a build reads it. A category
    /// feed in a local folder counts as fetched, because its manifest, sequences and checksums need
    /// the same treatment.
    #[must_use]
    pub fn is_fetched(&self) -> bool {
        is_remote(&self.source) || matches!(self.format, Format::CategoryFeed | Format::Rpz)
    }

    /// How often the source is polled. `None` where the source itself states it: a zone in its SOA
    /// record.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        let usual = match self.format {
            Format::Rpz => None,
            Format::CategoryFeed => Some(CATEGORY_FEED_INTERVAL_S),
            _ => Some(HTTP_INTERVAL_S),
        };
        self.interval_s
            .or(usual)
            .map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// The age of the last successful fetch that raises an alarm.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        let interval = self
            .interval()
            .unwrap_or(Duration::from_secs(HTTP_INTERVAL_S.into()));
        let usual = (interval * AGE_INTERVALS).max(Duration::from_secs(AGE_S_MIN.into()));
        self.max_age_s
            .map_or(usual, |seconds| Duration::from_secs(seconds.into()))
    }

    /// The most octets of content after decompression.
    pub(crate) fn octets_max(&self) -> u64 {
        u64::from(self.size_max_mib) << 20
    }

    /// What a bare name in this feed covers. A missing scope has a meaning for squidGuard only,
    /// which defines a listed domain as the domain and everything below it.
    pub(crate) fn bare_scope(&self) -> Scope {
        self.scope.unwrap_or(Scope::Subtree)
    }

    /// The scope as the artefact reports it; absent where each row has its own.
    pub(crate) fn reported_scope(&self) -> Option<Scope> {
        (!self.format.rows_carry_scope()).then(|| self.bare_scope())
    }

    /// The category slugs that this feed can assign, in a stable order.
    pub(crate) fn slugs(&self) -> impl Iterator<Item = &str> {
        let clean = |slug: &&str| self.format == Format::CategoryFeed && *slug == CLEAN;
        self.category
            .iter()
            .chain(self.categories.values())
            .map(String::as_str)
            .filter(move |slug| !clean(slug))
    }

    /// Whether the feed assigns categories, in contrast to mandates and names that are never
    /// blocked.
    pub(crate) fn is_about_categories(&self) -> bool {
        self.category.is_some() || !self.categories.is_empty()
    }

    /// Digest of every key that decides how the sources are read. Keys that affect only fetching or
    /// the gates are left out, because they do not change what the entries mean.
    pub(crate) fn definition(&self) -> String {
        self.definition_of(READING_VERSION)
    }

    /// Whether a digest is that of this definition, as this or an earlier version of the program
    /// read it.
    pub(crate) fn was_defined_so(&self, digest: &str) -> bool {
        (1..=READING_VERSION).any(|version| self.definition_of(version) == digest)
    }

    /// Digest of the definition and of everything that the gates check a version against.
    pub(crate) fn demands(&self, own_names: &[Name]) -> String {
        let Self {
            max_shrink_percent,
            max_growth_percent,
            must_match,
            must_not_match,
            ..
        } = self;
        let own: Vec<String> = own_names.iter().map(ToString::to_string).collect();
        let json = serde_json::to_vec(&(
            max_shrink_percent,
            max_growth_percent,
            must_match,
            must_not_match,
            own,
        ))
        .expect("plain data");
        hexadecimal(
            &Sha256::new()
                .chain_update(self.definition())
                .chain_update(json)
                .finalize(),
        )
    }

    fn definition_of(&self, reading_version: u32) -> String {
        let plain = Self::new(self.name.clone(), self.source.clone(), self.format);
        let meaning = Self {
            scope: self.scope,
            category: self.category.clone(),
            categories: self.categories.clone(),
            tier: self.tier,
            allow_empty: self.allow_empty,
            force_public_suffixes: self.force_public_suffixes,
            matching: self.matching,
            size_max_mib: self.size_max_mib,
            ..plain
        };
        let json = serde_json::to_vec(&meaning).expect("a feed is plain data");
        hexadecimal(
            &Sha256::new()
                .chain_update(reading_version.to_be_bytes())
                .chain_update(json)
                .finalize(),
        )
    }
}

/// Whether a source is a URL rather than a path.
pub(super) fn is_remote(source: &str) -> bool {
    source.contains("://")
}
