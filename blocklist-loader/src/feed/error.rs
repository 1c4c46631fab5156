//! What can be wrong with the definition of a feed.

use super::format::Format;

/// The longest name of a feed, in octets. The name appears in URLs, metrics and explanations.
pub(super) const FEED_NAME_OCTETS_MAX: usize = 64;

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
