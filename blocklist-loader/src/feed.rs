//! One feed as the configuration defines it: its source, its format, its category and tier.
//!
//! A definition is checked once, when the configuration is read; the error names the accepted
//! values. The check does not look at the source: a missing file refuses its feed and does not stop
//! the program.

mod bounds;
mod transport;

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use policy::{
    category::Taxonomy,
    lists::entry::{Scope, Tier},
    name::Name,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use bounds::open_within;
pub use bounds::{Bounds, OutOfBounds};
pub use transport::{Matching, Secret, Tsig, TsigAlgorithm};

use crate::source::hexadecimal;

/// Increased whenever the parsers would read the same file differently. Entries that an older
/// version of the program read are then read again.
const READING_VERSION: u32 = 2;
/// The longest name of a feed, in octets. The name appears in URLs, metrics and explanations.
const FEED_NAME_OCTETS_MAX: usize = 64;
/// The slug that `categories` gives to codes of known clean names.
pub(crate) const CLEAN: &str = "none";
/// Upper limit of `size_max_mib`: 1 TiB, more than the largest feeds together.
const SIZE_MIB_MAX: u32 = 1 << 20;
/// Upper limit of intervals and timeouts: one day.
const SECONDS_MAX: u32 = 86_400;
/// Default interval of an HTTP list. Lists change a few times a day, and many of their servers are
/// run by volunteers.
const HTTP_INTERVAL_S: u32 = 3600;
/// Default interval of a category feed. Its manifest is made to be polled every few seconds.
const CATEGORY_FEED_INTERVAL_S: u32 = 5;
/// Lower bound of the default age alarm, in seconds, however short the interval is.
const AGE_S_MIN: u32 = 3600;
/// The default age alarm is raised after this many missed intervals.
const AGE_INTERVALS: u32 = 4;

/// One `[[feeds]]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// Unique name of the feed in the configuration, the API and metrics.
    pub name: String,
    /// A file, a folder, or a URL: `http://`, `https://`, `rpz://HOST:PORT/ZONE`.
    pub source: String,
    pub format: Format,
    /// What a bare name covers; absent where the format's own syntax says it.
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

/// The syntax of a feed's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One name a line.
    Domains,
    /// `0.0.0.0 name`, the syntax of `/etc/hosts`.
    Hosts,
    /// `*.name`.
    Wildcard,
    /// `||name^` and the few other rules of ad blockers that cover whole names.
    Adblock,
    /// `address=/name/`, `local=/name/`.
    Dnsmasq,
    /// `local-zone: "name" always_null`.
    Unbound,
    /// Folders with the files `domains` and `urls`.
    Squidguard,
    /// A response policy zone.
    Rpz,
    /// Snapshots and deltas of names with codes.
    CategoryFeed,
}

impl Format {
    /// The value in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Domains => "domains",
            Self::Hosts => "hosts",
            Self::Wildcard => "wildcard",
            Self::Adblock => "adblock",
            Self::Dnsmasq => "dnsmasq",
            Self::Unbound => "unbound",
            Self::Squidguard => "squidguard",
            Self::Rpz => "rpz",
            Self::CategoryFeed => "category-feed",
        }
    }

    /// Whether each row states its own scope, so that a scope in the definition could only
    /// contradict it.
    fn rows_carry_scope(self) -> bool {
        matches!(self, Self::Adblock | Self::Dnsmasq | Self::Unbound)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A feed definition that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("feeds {feed:?}: {fault}")]
pub struct FeedError {
    pub feed: String,
    pub fault: FeedFault,
}

/// What can be wrong with a feed's definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedFault {
    /// A name that would break a URL or a log line.
    #[error(
        "name must be 1 to {FEED_NAME_OCTETS_MAX} characters, none of them a slash or a control character"
    )]
    Name,
    /// Two feeds with one name.
    #[error("name is used twice; every feed needs its own")]
    Twice,
    /// No source.
    #[error("source is empty; name a file, a folder, or an address to fetch it from")]
    SourceEmpty,
    /// A source with an unsupported scheme.
    #[error(
        "source {0:?} cannot be fetched; name a file or a folder, or begin with http://, https:// or rpz://"
    )]
    SourceUnknown(String),
    /// A source with a known scheme that is not a valid URL.
    #[error("source is not a valid URL: {0}")]
    SourceMalformed(String),
    /// Credentials in the URL, where every log and API answer would show them.
    #[error(
        "source holds a password, which would be shown with it; put it into username and password"
    )]
    SourceWithCredentials,
    /// A format that cannot be read from this kind of source.
    #[error("format \"{format}\" cannot come from source {source_text:?}; {right}")]
    SourceOfFormat {
        format: Format,
        source_text: String,
        /// The accepted kind of source.
        right: &'static str,
    },
    /// A key that has no effect for this source or format.
    #[error("{key} has no meaning here: it is for {meant}")]
    KeyWithoutMeaning {
        key: &'static str,
        /// The sources or formats that the key applies to.
        meant: &'static str,
    },
    /// A number outside its range.
    #[error("{key} must be {least} to {most}")]
    Range {
        key: &'static str,
        least: u32,
        most: u32,
    },
    /// An incomplete login, or two kinds of credentials.
    #[error("credentials are username and password together, or bearer alone")]
    Credentials,
    /// A key that cannot check a minisign signature.
    #[error(
        "minisign_key is no public key of minisign: the line of 56 characters in its .pub file"
    )]
    MinisignKey,
    /// A key that cannot sign a transfer.
    #[error("tsig: {0}")]
    Tsig(&'static str),
    /// A value that is not a domain name.
    #[error("{key}: {name:?} is not a domain name")]
    NotAName { key: &'static str, name: String },
    /// A missing scope, in a format that does not define what a bare name covers.
    #[error(
        "scope is missing: format \"{0}\" does not define what a bare name covers; one of exact, subtree, descendants"
    )]
    ScopeMissing(Format),
    /// A scope that contradicts the scope in the rows.
    #[error("scope contradicts format \"{0}\", whose rows state their scope; leave it out")]
    ScopeContradicts(Format),
    /// Neither `category` nor `categories`.
    #[error("category is missing; name one of the taxonomy's slugs")]
    CategoryMissing,
    /// Both `category` and `categories`.
    #[error("both category and categories are given; keep one")]
    CategoryTwice,
    /// `categories` for a format without folders or codes.
    #[error(
        "categories maps the folders of format \"squidguard\" and the codes of \"category-feed\"; format \"{0}\" needs a single category"
    )]
    CategoriesWithoutFolders(Format),
    /// A slug that is not in the taxonomy.
    #[error("category {slug:?} is not in the taxonomy{}", .nearest.as_ref().map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default())]
    CategoryUnknown {
        slug: String,
        /// The most similar slug.
        nearest: Option<String>,
    },
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

    /// Checks this definition alone.
    ///
    /// # Errors
    /// The first [`FeedFault`].
    pub fn check(&self, taxonomy: &Taxonomy) -> Result<(), FeedError> {
        self.fault(taxonomy).map_err(|fault| FeedError {
            feed: self.name.clone(),
            fault,
        })
    }

    /// Checks all definitions, and that feed names are unique.
    ///
    /// # Errors
    /// The first [`FeedFault`].
    pub fn check_all(feeds: &[Self], taxonomy: &Taxonomy) -> Result<(), FeedError> {
        for (place, feed) in feeds.iter().enumerate() {
            feed.check(taxonomy)?;
            if feeds[..place].iter().any(|other| other.name == feed.name) {
                return Err(FeedError {
                    feed: feed.name.clone(),
                    fault: FeedFault::Twice,
                });
            }
        }
        Ok(())
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

    fn fault(&self, taxonomy: &Taxonomy) -> Result<(), FeedFault> {
        let name_fits = (1..=FEED_NAME_OCTETS_MAX).contains(&self.name.len());
        if !name_fits
            || self
                .name
                .contains(|character: char| character == '/' || character.is_control())
        {
            return Err(FeedFault::Name);
        }
        if self.source.is_empty() {
            return Err(FeedFault::SourceEmpty);
        }
        self.transport_fault()?;
        self.gate_fault()?;
        match self.scope {
            None if matches!(
                self.format,
                Format::Domains | Format::Hosts | Format::Wildcard
            ) =>
            {
                return Err(FeedFault::ScopeMissing(self.format));
            }
            Some(Scope::Exact | Scope::Descendants) if self.format.rows_carry_scope() => {
                return Err(FeedFault::ScopeContradicts(self.format));
            }
            _ => {}
        }
        match (self.category.is_some(), self.categories.is_empty()) {
            (true, false) => return Err(FeedFault::CategoryTwice),
            // A mandate has no category, nor has a name that is never blocked.
            (false, true) if matches!(self.tier, Tier::Choice | Tier::Security) => {
                return Err(FeedFault::CategoryMissing);
            }
            (false, false)
                if !matches!(
                    self.format,
                    Format::Squidguard | Format::CategoryFeed | Format::Rpz
                ) =>
            {
                return Err(FeedFault::CategoriesWithoutFolders(self.format));
            }
            _ => {}
        }
        match self.slugs().find(|slug| taxonomy.find(slug).is_none()) {
            Some(slug) => Err(FeedFault::CategoryUnknown {
                slug: slug.to_owned(),
                nearest: nearest(slug, taxonomy),
            }),
            None => Ok(()),
        }
    }

    fn gate_fault(&self) -> Result<(), FeedFault> {
        let ranges = [
            ("interval_s", self.interval_s.unwrap_or(1), 1, SECONDS_MAX),
            ("timeout_s", self.timeout_s, 1, SECONDS_MAX),
            ("size_max_mib", self.size_max_mib, 1, SIZE_MIB_MAX),
            ("max_shrink_percent", self.max_shrink_percent, 0, 100),
            ("max_age_s", self.max_age_s.unwrap_or(1), 1, u32::MAX),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(FeedFault::Range { key, least, most });
            }
        }
        let canaries = [
            ("must_match", &self.must_match),
            ("must_not_match", &self.must_not_match),
        ];
        for (key, name) in canaries
            .into_iter()
            .flat_map(|(key, names)| names.iter().map(move |name| (key, name)))
        {
            Name::parse(name).map_err(|_| FeedFault::NotAName {
                key,
                name: name.clone(),
            })?;
        }
        Ok(())
    }
}

/// Whether a source is a URL rather than a path.
fn is_remote(source: &str) -> bool {
    source.contains("://")
}

/// The slug most similar to an unknown one, if the difference is small.
fn nearest(written: &str, taxonomy: &Taxonomy) -> Option<String> {
    // Two typing errors, or a third of a long word. A less similar suggestion would confuse.
    let most = (written.len() / 3).max(2);
    let distances = taxonomy
        .categories()
        .iter()
        .map(|category| (distance(written, &category.slug), &category.slug));
    distances
        .min()
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, slug)| slug.clone())
}

/// Levenshtein distance, over octets.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests;
