//! Who is limited on this node: the clients, zones and networks whose queries or connections were
//! not answered, refused, or ended for others.

use jiff::Timestamp;
use resolver::{
    admission::{ClientKey, LimitCause, LimitedGroup},
    engine::Engine,
};
use serde::Serialize;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum LimitKind {
    /// A household, by its identifier.
    Household,
    /// A client of no household, by its IPv4 address or the /56 of its IPv6 address.
    Address,
    /// A device behind a forwarder, by its MAC address.
    Device,
    /// The operator: explanations for lines without a household.
    Operator,
    /// A registrable domain.
    Zone,
    /// An IPv4 /24 or an IPv6 /56.
    Network,
}

/// Why something is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum LimitReason {
    /// It has the most resolutions under way, or as many as one client may have.
    Resolutions,
    /// Nearly all of its resolutions fail: its servers do not respond, or the names do not exist.
    Failures,
    /// It sends more queries than `limits.queries_per_s`.
    Queries,
    /// More than `limits.response_kib_per_s` would be sent to it, and it is not proven that it
    /// receives them.
    Responses,
    /// All connections of DNS over TCP or of the API are taken, and its own are refused, or closed
    /// for those of other clients.
    Connections,
}

impl LimitKind {
    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Household => "household",
            Self::Address => "address",
            Self::Device => "device",
            Self::Operator => "operator",
            Self::Zone => "zone",
            Self::Network => "network",
        }
    }
}

impl LimitReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Resolutions,
        Self::Failures,
        Self::Queries,
        Self::Responses,
        Self::Connections,
    ];

    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolutions => "resolutions",
            Self::Failures => "failures",
            Self::Queries => "queries",
            Self::Responses => "responses",
            Self::Connections => "connections",
        }
    }
}

/// A client, a zone or a network that was limited in the last minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LimitEntry {
    pub kind: LimitKind,
    /// The identifier, address or name. Empty for the operator.
    pub name: String,
    pub reason: LimitReason,
    /// When it was limited first.
    pub since: Timestamp,
    /// When it was limited last.
    pub last: Timestamp,
    /// Queries that were limited, resolutions that were ended, and connections that were refused or
    /// closed, since then.
    pub queries: u64,
}

/// The clients, zones and networks that are limited, longest first.
#[must_use]
pub fn current(engine: &Engine, now: Timestamp) -> Vec<LimitEntry> {
    let (limited, elapsed) = engine.limited();
    limited
        .into_iter()
        .map(|(group, cause, limited)| {
            let (kind, name) = match group {
                LimitedGroup::Client(ClientKey::Household(id)) => (LimitKind::Household, id.into()),
                LimitedGroup::Client(ClientKey::Address(address)) => {
                    (LimitKind::Address, address.to_string())
                }
                LimitedGroup::Client(ClientKey::Device(mac)) => {
                    (LimitKind::Device, mac.to_string())
                }
                LimitedGroup::Client(ClientKey::Operator) => (LimitKind::Operator, String::new()),
                LimitedGroup::Zone(zone) => (LimitKind::Zone, zone.to_string()),
                LimitedGroup::Network(network) => (LimitKind::Network, network.to_string()),
            };
            // The engine counts from its start.
            let at = |time| now - elapsed.saturating_sub(time);
            LimitEntry {
                kind,
                name,
                reason: match cause {
                    LimitCause::Resolutions => LimitReason::Resolutions,
                    LimitCause::Failures => LimitReason::Failures,
                    LimitCause::Queries => LimitReason::Queries,
                    LimitCause::Responses => LimitReason::Responses,
                    LimitCause::Connections => LimitReason::Connections,
                },
                since: at(limited.since),
                last: at(limited.last),
                queries: limited.queries,
            }
        })
        .collect()
}
