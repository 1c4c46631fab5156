//! One feed as the configuration defines it: where it comes from, how to read it, what it is for.
//!
//! A definition is checked once, when the configuration is read, with an error that says which words would be right.
//! Whether the source exists is not asked here: a missing file refuses its feed, it does not stop the program.

use std::{collections::BTreeMap, fmt, path::Path};

use policy::{
    category::Taxonomy,
    listing::{Scope, Tier},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::source::hexadecimal;

/// Raised whenever the same file would now be read differently: entries read the old way are then read again.
const READING_VERSION: u32 = 1;
/// The longest name of a feed, in octets: it stands in URLs, in metrics and in every explanation.
const FEED_NAME_OCTETS_MAX: usize = 64;

/// One `[[feeds]]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// The name by which people and programs know it.
    pub name: String,
    /// A file or a folder.
    pub source: String,
    /// The syntax of the files.
    pub format: Format,
    /// What a bare name means; absent where the format's own syntax says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The category of all entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The category of each sub-folder, in place of `category`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<String, String>,
    /// Who decides about it.
    #[serde(default = "choice")]
    pub tier: Tier,
    /// Whether a feed in which nothing is found is taken as empty rather than as broken.
    #[serde(default)]
    pub allow_empty: bool,
    /// Whether entries that cover a whole public suffix are taken.
    #[serde(default)]
    pub force_public_suffixes: bool,
}

fn choice() -> Tier {
    Tier::Choice
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
    /// `||name^` and the few other rules of adblockers that speak of whole names.
    Adblock,
    /// `address=/name/`, `local=/name/`.
    Dnsmasq,
    /// `local-zone: "name" always_null`.
    Unbound,
    /// Folders that hold `domains` and `urls`.
    Squidguard,
    /// A response policy zone.
    Rpz,
    /// Snapshots and deltas of names with codes.
    CategoryFeed,
}

impl Format {
    /// As the configuration writes it.
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

    /// Whether each row says what it covers, so that a scope beside it could only contradict.
    fn rows_carry_scope(self) -> bool {
        matches!(self, Self::Adblock | Self::Dnsmasq | Self::Unbound)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A definition that cannot be used, by feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("feeds {feed:?}: {fault}")]
pub struct FeedError {
    /// The feed's name.
    pub feed: String,
    /// What is wrong with it.
    pub fault: FeedFault,
}

/// What can be wrong with a feed's definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedFault {
    /// A name that would not survive a URL or a log line.
    #[error("name must be 1 to {FEED_NAME_OCTETS_MAX} characters, none of them a slash or a control character")]
    Name,
    /// Two feeds of one name.
    #[error("name stands twice; every feed needs its own")]
    Twice,
    /// No source at all.
    #[error("source is empty; name a file or a folder")]
    SourceEmpty,
    /// A source that is not a path.
    #[error("source {0:?} is not built yet in this version; name a file or a folder")]
    SourceNotBuilt(String),
    /// A format that is known but not read yet.
    #[error("format \"{0}\" is not built yet in this version; one of domains, hosts, wildcard, adblock, dnsmasq, unbound, squidguard")]
    FormatNotBuilt(Format),
    /// Nobody says what a bare name means.
    #[error("scope is missing: format \"{0}\" does not say what a bare name means; one of exact, subtree, descendants")]
    ScopeMissing(Format),
    /// The configuration says one thing and the rows another.
    #[error("scope contradicts format \"{0}\", whose rows say themselves what they cover; leave it out")]
    ScopeContradicts(Format),
    /// Neither `category` nor `categories`.
    #[error("category is missing; name one of the taxonomy's slugs")]
    CategoryMissing,
    /// Both `category` and `categories`.
    #[error("both category and categories are given; keep one")]
    CategoryTwice,
    /// `categories` where there are no folders to map.
    #[error("categories maps the folders of format \"squidguard\"; format \"{0}\" needs a single category")]
    CategoriesWithoutFolders(Format),
    /// A slug that the taxonomy does not have.
    #[error("category {slug:?} is not in the taxonomy{}", .nearest.as_ref().map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default())]
    CategoryUnknown {
        /// What the definition says.
        slug: String,
        /// What it may have meant.
        nearest: Option<String>,
    },
}

impl Feed {
    /// Checks the definition by itself.
    ///
    /// # Errors
    /// The first thing that is wrong with it, see [`FeedFault`].
    pub fn check(&self, taxonomy: &Taxonomy) -> Result<(), FeedError> {
        self.fault(taxonomy).map_err(|fault| FeedError { feed: self.name.clone(), fault })
    }

    /// Checks all definitions, and that no two feeds share a name.
    ///
    /// # Errors
    /// The first thing that is wrong, see [`FeedFault`].
    pub fn check_all(feeds: &[Self], taxonomy: &Taxonomy) -> Result<(), FeedError> {
        for (place, feed) in feeds.iter().enumerate() {
            feed.check(taxonomy)?;
            if feeds[..place].iter().any(|other| other.name == feed.name) {
                return Err(FeedError { feed: feed.name.clone(), fault: FeedFault::Twice });
            }
        }
        Ok(())
    }

    /// The same feed with a relative source resolved against a folder: that of the configuration file.
    #[must_use]
    pub fn rooted(mut self, base: &Path) -> Self {
        if !is_remote(&self.source) {
            self.source = base.join(&self.source).to_string_lossy().into_owned();
        }
        self
    }

    /// What a bare name in this feed means. squidGuard itself defines a listed domain as the domain and all below it,
    /// so there alone a missing scope has a meaning.
    pub(crate) fn bare_scope(&self) -> Scope {
        self.scope.unwrap_or(Scope::Subtree)
    }

    /// The scope as an artefact reports it: absent where each row has its own.
    pub(crate) fn reported_scope(&self) -> Option<Scope> {
        (!self.format.rows_carry_scope()).then(|| self.bare_scope())
    }

    /// The slugs this feed can give, in a stable order.
    pub(crate) fn slugs(&self) -> impl Iterator<Item = &str> {
        self.category.iter().chain(self.categories.values()).map(String::as_str)
    }

    /// Digest of all that decides how the sources are read, as the artefact keeps it.
    pub(crate) fn definition(&self) -> String {
        let json = serde_json::to_vec(self).expect("a feed is plain data");
        hexadecimal(&Sha256::new().chain_update(READING_VERSION.to_be_bytes()).chain_update(json).finalize())
    }

    fn fault(&self, taxonomy: &Taxonomy) -> Result<(), FeedFault> {
        let name_fits = (1..=FEED_NAME_OCTETS_MAX).contains(&self.name.len());
        if !name_fits || self.name.contains(|character: char| character == '/' || character.is_control()) {
            return Err(FeedFault::Name);
        }
        if matches!(self.format, Format::Rpz | Format::CategoryFeed) {
            return Err(FeedFault::FormatNotBuilt(self.format));
        }
        if self.source.is_empty() {
            return Err(FeedFault::SourceEmpty);
        }
        if is_remote(&self.source) {
            return Err(FeedFault::SourceNotBuilt(self.source.clone()));
        }
        match self.scope {
            None if matches!(self.format, Format::Domains | Format::Hosts | Format::Wildcard) => {
                return Err(FeedFault::ScopeMissing(self.format));
            }
            Some(Scope::Exact | Scope::Descendants) if self.format.rows_carry_scope() => {
                return Err(FeedFault::ScopeContradicts(self.format));
            }
            _ => {}
        }
        match (self.category.is_some(), self.categories.is_empty()) {
            (true, false) => return Err(FeedFault::CategoryTwice),
            // An order is not about a category, nor is a name that is never blocked.
            (false, true) if matches!(self.tier, Tier::Choice | Tier::Security) => return Err(FeedFault::CategoryMissing),
            (false, false) if self.format != Format::Squidguard => {
                return Err(FeedFault::CategoriesWithoutFolders(self.format));
            }
            _ => {}
        }
        match self.slugs().find(|slug| taxonomy.find(slug).is_none()) {
            Some(slug) => Err(FeedFault::CategoryUnknown { slug: slug.to_owned(), nearest: nearest(slug, taxonomy) }),
            None => Ok(()),
        }
    }
}

fn is_remote(source: &str) -> bool {
    source.contains("://")
}

/// The slug that differs least from what was written, if it differs little.
fn nearest(written: &str, taxonomy: &Taxonomy) -> Option<String> {
    // Two slips of the finger, or a third of a long word: beyond that a suggestion would only puzzle.
    let most = (written.len() / 3).max(2);
    let distances = taxonomy.categories().iter().map(|category| (distance(written, &category.slug), &category.slug));
    distances.min().filter(|(distance, _)| *distance <= most).map(|(_, slug)| slug.clone())
}

/// Levenshtein's distance, over octets.
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
mod tests {
    use super::*;

    const GOOD: &str =
        "name = \"gambling\"\nsource = \"lists/gambling.txt\"\nformat = \"domains\"\nscope = \"subtree\"\ncategory = \"gambling\"\n";

    fn check(toml: &str, expected: Result<(), &str>) {
        let feed: Feed = toml::from_str(toml).unwrap();
        assert_eq!(feed.check(&Taxonomy::shipped()).map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{toml}");
    }

    #[test]
    fn a_definition_that_cannot_work_is_told_what_would() {
        check(GOOD, Ok(()));
        check(
            &GOOD.replace("scope = \"subtree\"\n", ""),
            Err(
                "feeds \"gambling\": scope is missing: format \"domains\" does not say what a bare name means; one of exact, subtree, descendants",
            ),
        );
        check(
            &GOOD.replace("category = \"gambling\"", "category = \"gamling\""),
            Err("feeds \"gambling\": category \"gamling\" is not in the taxonomy; did you mean \"gambling\"?"),
        );
        check(
            &GOOD.replace("category = \"gambling\"", "category = \"zzzzzzzz\""),
            Err("feeds \"gambling\": category \"zzzzzzzz\" is not in the taxonomy"),
        );
        check(
            &GOOD.replace("category = \"gambling\"\n", ""),
            Err("feeds \"gambling\": category is missing; name one of the taxonomy's slugs"),
        );
        check(
            &(GOOD.to_owned() + "categories = { a = \"adult\" }"),
            Err("feeds \"gambling\": both category and categories are given; keep one"),
        );
        check(
            &GOOD.replace("category = \"gambling\"", "categories = { a = \"adult\" }"),
            Err("feeds \"gambling\": categories maps the folders of format \"squidguard\"; format \"domains\" needs a single category"),
        );
        for remote in ["https://lists.example/a", "http://lists.example/a", "rpz://192.0.2.1:53/zone"] {
            check(
                &GOOD.replace("lists/gambling.txt", remote),
                Err(&format!("feeds \"gambling\": source \"{remote}\" is not built yet in this version; name a file or a folder")),
            );
        }
        for format in ["rpz", "category-feed"] {
            let error = format!(
                "feeds \"gambling\": format \"{format}\" is not built yet in this version; one of domains, hosts, wildcard, adblock, dnsmasq, unbound, squidguard"
            );
            check(&GOOD.replace("\"domains\"", &format!("\"{format}\"")), Err(&error));
        }
        check(&GOOD.replace("lists/gambling.txt", ""), Err("feeds \"gambling\": source is empty; name a file or a folder"));
        check(
            &GOOD.replace("\"gambling\"", "\"a/b\"").replace("category = \"a/b\"", "category = \"gambling\""),
            Err("feeds \"a/b\": name must be 1 to 64 characters, none of them a slash or a control character"),
        );
    }

    #[test]
    fn a_format_whose_rows_say_what_they_cover_takes_no_other_scope() {
        for format in ["adblock", "dnsmasq", "unbound"] {
            let toml = GOOD.replace("domains", format);
            check(&toml, Ok(()));
            check(&toml.replace("scope = \"subtree\"\n", ""), Ok(()));
            let error = format!(
                "feeds \"gambling\": scope contradicts format \"{format}\", whose rows say themselves what they cover; leave it out"
            );
            check(&toml.replace("subtree", "exact"), Err(&error));
            check(&toml.replace("subtree", "descendants"), Err(&error));
        }
        check(&GOOD.replace("domains", "squidguard").replace("scope = \"subtree\"\n", ""), Ok(()));
        check(&GOOD.replace("domains", "squidguard").replace("category = \"gambling\"", "categories = { x = \"adult\" }"), Ok(()));
    }

    #[test]
    fn unknown_keys_and_two_feeds_of_one_name_are_refused() {
        assert!(toml::from_str::<Feed>(&(GOOD.to_owned() + "scoop = 1")).unwrap_err().to_string().contains("unknown field `scoop`"));
        assert!(toml::from_str::<Feed>(&GOOD.replace("domains", "csv")).is_err());
        let feed: Feed = toml::from_str(GOOD).unwrap();
        let error = Feed::check_all(&[feed.clone(), feed], &Taxonomy::shipped()).unwrap_err();
        assert_eq!(error.to_string(), "feeds \"gambling\": name stands twice; every feed needs its own");
    }

    #[test]
    fn a_relative_source_stands_beside_the_configuration() {
        let feed: Feed = toml::from_str(GOOD).unwrap();
        let rooted = |source: &str| Feed { source: source.to_owned(), ..feed.clone() }.rooted(Path::new("/etc/ox")).source;
        assert_eq!(rooted("lists/a.txt"), "/etc/ox/lists/a.txt");
        assert_eq!(rooted("/srv/a.txt"), "/srv/a.txt");
        assert_eq!(rooted("https://lists.example/a"), "https://lists.example/a");
    }

    #[test]
    fn a_feed_survives_json_and_toml_and_its_digest_follows_its_meaning() {
        let feed: Feed = toml::from_str(GOOD).unwrap();
        assert_eq!(feed.tier, Tier::Choice);
        assert_eq!(serde_json::from_slice::<Feed>(&serde_json::to_vec(&feed).unwrap()).unwrap(), feed);
        assert_eq!(toml::from_str::<Feed>(&toml::to_string(&feed).unwrap()).unwrap(), feed);
        assert_eq!(feed.definition(), feed.clone().definition());
        assert_ne!(feed.definition(), Feed { scope: Some(Scope::Exact), ..feed.clone() }.definition());
    }
}
