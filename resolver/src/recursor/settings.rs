//! The configuration of the recursor (`[recursion]`), and the root hints.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::{
    rr::Name as ProtoName,
    serialize::txt::{ParseError, Parser},
};
use ipnet::IpNet;
use policy::name::Name;

use super::{
    cache::rrsets::TtlBounds,
    dnssec::{TrustAnchors, ValidationSettings},
    response::ServerRole,
};

/// The thirteen root servers, as InterNIC publishes them.
pub const ROOT_HINTS: &str = include_str!("../../root.hints");

/// A forward or stub zone: the operator configures its servers.
#[derive(Debug, Clone)]
pub struct ConfiguredZone {
    pub zone: Name,
    pub to: Vec<SocketAddr>,
    /// `Forwarder` makes it a forward zone, `Authority` a stub zone.
    pub role: ServerRole,
    /// The name that the servers prove by their certificate. Without one, queries are not
    /// encrypted.
    pub tls: Option<String>,
    /// Whether the recursor resolves from the root when these servers fail (forward-first).
    pub then_recurse: bool,
}

/// The budgets of the recursor's caches, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBudgets {
    pub rrsets: u64,
    pub delegations: u64,
    pub servers: u64,
    pub failures: u64,
}

impl CacheBudgets {
    /// The quarter of `delegations` that is for the trust cache: keys of zones. Half is for what
    /// parents say, a quarter for what zones say themselves.
    pub(super) fn of_trust(self) -> u64 {
        self.delegations / 4
    }

    /// The eighth of `rrsets` that is for NSEC and NSEC3 records by zone.
    pub(super) fn of_denials(self) -> u64 {
        self.rrsets / 8
    }

    /// The rest of `rrsets`.
    pub(super) fn of_rrsets(self) -> u64 {
        self.rrsets - self.of_denials()
    }
}

/// How the recursor resolves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses of root servers.
    pub roots: Vec<IpAddr>,
    /// The port of all authoritative servers: 53, or another one in a closed network.
    pub authority_port: u16,
    /// Networks whose addresses are never queried.
    pub do_not_query: Vec<IpNet>,
    pub ipv4: bool,
    pub ipv6: bool,
    /// Whether the root servers are asked for the root's NS RRset at first, RFC 8109.
    pub prime: bool,
    /// QNAME minimisation, RFC 9156.
    pub qname_minimisation: bool,
    /// Mixed-case queries (0x20) against spoofed replies.
    pub case_randomisation: bool,
    /// Client cookies, RFC 7873.
    pub cookies: bool,
    /// Networks that names of the Internet must not lead to (DNS rebinding).
    pub private_addresses: Vec<IpNet>,
    /// Domains that may lead to them nevertheless.
    pub private_domains: Vec<Name>,
    /// Whether glue outside of the zone that sends it is ignored.
    pub harden_glue: bool,
    pub configured_zones: Vec<ConfiguredZone>,
    /// Trust anchors. Without any, nothing is validated.
    pub anchors: TrustAnchors,
    pub validation: ValidationSettings,
    /// Whether validated NSEC and NSEC3 records answer for names that were not queried, RFC 8198.
    pub aggressive_nsec: bool,
    /// Whether a name does not exist below one that provably does not exist, RFC 8020.
    pub harden_below_nxdomain: bool,
    pub caches: CacheBudgets,
    pub ttl: TtlBounds,
    /// Concurrent queries that wait for the servers of one zone. A count.
    pub waiting_per_zone_max: u32,
    /// Queries in flight to one server. A count.
    pub queries_per_server_max: u32,
}

impl Settings {
    /// The values of `configs/default.toml`, with these root servers.
    #[must_use]
    pub fn with_roots(roots: Vec<IpAddr>) -> Self {
        Self {
            roots,
            authority_port: 53,
            do_not_query: Vec::new(),
            ipv4: true,
            ipv6: true,
            prime: true,
            qname_minimisation: true,
            case_randomisation: true,
            cookies: true,
            private_addresses: Vec::new(),
            private_domains: Vec::new(),
            harden_glue: true,
            configured_zones: Vec::new(),
            anchors: TrustAnchors::default(),
            validation: ValidationSettings::default(),
            aggressive_nsec: true,
            harden_below_nxdomain: true,
            caches: CacheBudgets {
                rrsets: 64 << 20,
                delegations: 32 << 20,
                servers: 16 << 20,
                failures: 8 << 20,
            },
            ttl: TtlBounds {
                min_s: 0,
                max_s: 86_400,
                negative_max_s: 3_600,
            },
            waiting_per_zone_max: 400,
            queries_per_server_max: 2_000,
        }
    }

    /// Whether the recursor uses the family of this address.
    pub(super) fn uses_family_of(&self, address: IpAddr) -> bool {
        if address.is_ipv4() {
            self.ipv4
        } else {
            self.ipv6
        }
    }

    /// The socket address to query at this address. None where the settings exclude it.
    pub(super) fn queryable(&self, address: IpAddr) -> Option<SocketAddr> {
        let is_excluded = self
            .do_not_query
            .iter()
            .any(|network| network.contains(&address));
        (self.uses_family_of(address) && !is_excluded)
            .then(|| SocketAddr::new(address, self.authority_port))
    }
}

/// Why the recursor cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the root hints cannot be read")]
    Hints(#[source] ParseError),
    #[error("the root hints hold no address of a family that may be used")]
    NoRoots,
}

/// The addresses in a root hints file (master-file form).
///
/// # Errors
/// [`SetupError::Hints`] when the file is not in master-file form.
pub fn parse_hints(text: &str) -> Result<Vec<IpAddr>, SetupError> {
    let (_, records) = Parser::new(text, None, Some(ProtoName::root()))
        .parse()
        .map_err(SetupError::Hints)?;
    Ok(records
        .values()
        .flat_map(|set| set.records_without_rrsigs())
        .filter_map(|record| record.data.ip_addr())
        .collect())
}
