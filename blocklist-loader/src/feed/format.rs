//! The formats of list files.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The syntax of a feed's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = FeedFormat))]
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
    pub(super) fn rows_carry_scope(self) -> bool {
        matches!(self, Self::Adblock | Self::Dnsmasq | Self::Unbound)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
