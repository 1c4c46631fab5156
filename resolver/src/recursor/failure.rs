//! Why a resolution fails.

use super::dnssec::ValidationFault;

/// Why a query has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolutionFailure {
    #[error("no name server of the zone has an address that may be queried")]
    NoServers,
    #[error("no name server of the zone responds")]
    Unreachable,
    #[error("the network has no route to the name servers of the zone")]
    Network,
    /// All name servers refuse, fail, or are lame.
    #[error("no name server of the zone gives a usable response")]
    Useless,
    /// The client query has used up its time.
    #[error("the resolution takes too long")]
    TooLong,
    /// The client query has used up its budget.
    #[error("the query causes more work than one query may cause")]
    TooMuchWork,
    #[error("the alias chain is too long")]
    TooManyAliases,
    /// A CNAME or a name server lookup leads back to a name that is being resolved.
    #[error("the resolution depends on itself")]
    Circular,
    /// A limit on concurrent queries to the zone or to a server is reached.
    #[error("too many queries to the zone or its name servers are in flight")]
    Busy,
    /// The data do not verify, RFC 4033 section 5.
    #[error("DNSSEC: {0}")]
    Bogus(ValidationFault),
}

impl ResolutionFailure {
    /// The info-code of the Extended DNS Error, RFC 8914 section 4: 22 no reachable authority, 23
    /// network error, 0 other.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::NoServers | Self::Unreachable | Self::Useless | Self::TooLong => 22,
            Self::Network => 23,
            Self::TooMuchWork | Self::TooManyAliases | Self::Circular | Self::Busy => 0,
            Self::Bogus(fault) => fault.ede().to_u16(),
        }
    }

    /// Whether validation is the reason.
    pub(super) fn is_bogus(self) -> bool {
        matches!(self, Self::Bogus(_))
    }

    /// Whether the failure is due to the client query and its cost, so that it says nothing about
    /// the name at which the resolution stopped.
    pub(super) fn is_of_query(self) -> bool {
        matches!(
            self,
            Self::TooLong | Self::TooMuchWork | Self::TooManyAliases | Self::Circular | Self::Busy
        ) || matches!(self, Self::Bogus(fault) if fault.is_of_query())
    }

    /// The value of the metric label `cause`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NoServers => "no-servers",
            Self::Unreachable => "unreachable",
            Self::Network => "network",
            Self::Useless => "useless",
            Self::TooLong => "too-long",
            Self::TooMuchWork => "too-much-work",
            Self::TooManyAliases => "too-many-aliases",
            Self::Circular => "circular",
            Self::Busy => "busy",
            Self::Bogus(_) => "bogus",
        }
    }
}
