//! Recursion and forwarding.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use policy::name::Name;
use serde::{Deserialize, Serialize};

use super::{error::ConfigError, networks};

/// `[recursion]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecursionConfig {
    /// A root hints file. Empty: the shipped one.
    pub root_hints: PathBuf,
    /// The port of all authoritative servers.
    pub authority_port: u16,
    /// Networks to which no query is sent.
    pub do_not_query: Vec<IpNet>,
    /// Send queries over IPv4.
    pub ipv4: bool,
    /// Send queries over IPv6.
    pub ipv6: bool,
    /// QNAME minimisation (RFC 9156).
    pub qname_minimisation: bool,
    /// Random letter case of queried names (0x20).
    pub case_randomisation: bool,
    /// DNS cookies (RFC 7873).
    pub cookies: bool,
    /// Root priming (RFC 8109).
    pub prime: bool,
    /// Accept glue only from the zone that contains the server.
    pub harden_glue: bool,
    /// Answer special-use names locally (RFC 6761).
    pub special_zones: bool,
    /// Addresses that are removed from answers of the public Internet.
    pub private_addresses: Vec<IpNet>,
    /// Names that may have private addresses.
    pub private_domains: Vec<Name>,
    /// The least TTL, in seconds.
    pub ttl_min_s: u32,
    /// The greatest TTL, in seconds.
    pub ttl_max_s: u32,
    /// The greatest TTL of negative answers, in seconds.
    pub ttl_negative_max_s: u32,
    /// How long stale answers are served (RFC 8767), in seconds. 0: never.
    pub serve_stale_s: u32,
    /// How long a client waits before it gets a stale answer, in milliseconds.
    pub stale_client_timeout_ms: u32,
    /// Prefetch answers before they expire.
    pub prefetch: bool,
    /// The size of the RRset cache, in MiB. 0: a share of the node's memory.
    pub cache_mib: u64,
    /// The most queries that wait for the servers of one zone.
    pub waiting_per_zone_max: u32,
    /// The most outstanding queries to one server.
    pub queries_per_server_max: u32,
    /// DNSSEC validation (RFC 4035).
    pub dnssec: bool,
    /// Trust anchors beside those of the root: DS or DNSKEY records in presentation form.
    pub trust_anchors: Vec<String>,
    /// Files of trust anchors: DS and DNSKEY records, or IANA's XML.
    pub trust_anchor_files: Vec<PathBuf>,
    /// Where what is known of the keys of trust anchors is kept (RFC 5011); empty: nowhere.
    pub trust_anchor_state: PathBuf,
    /// Names at and below which nothing is validated (RFC 7646).
    pub negative_trust_anchors: Vec<Name>,
    /// The longest lifetime of a negative trust anchor over REST, in days.
    pub nta_days_max: u32,
    /// Whether RSA with SHA-1 (algorithms 5 and 7) is supported.
    pub dnssec_rsa_sha1: bool,
    /// How wrong the clock of a signer may be at most, in seconds.
    pub signature_skew_max_s: u32,
    /// NSEC3 iterations above which a zone is insecure (RFC 9276).
    pub nsec3_iterations_max: u16,
    /// Answer from cached NSEC and NSEC3 records (RFC 8198).
    pub aggressive_nsec: bool,
    /// Below a name that provably does not exist, nothing exists (RFC 8020).
    pub harden_below_nxdomain: bool,
    /// Forward zones.
    pub forward: Vec<Zone>,
    /// Stub zones.
    pub stub: Vec<Zone>,
    /// Certificate authorities of servers queried over TLS, a PEM file. Empty: those of the system.
    pub tls_authorities: PathBuf,
    /// A file of records that this node answers itself. Empty: none.
    pub local_records: PathBuf,
}

/// One entry of `recursion.forward` or `recursion.stub`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    pub zone: Name,
    /// The servers of the zone.
    pub to: Vec<SocketAddr>,
    /// The name in their TLS certificates (RFC 7858). Absent: queries are sent without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Fall back to recursion if they fail.
    #[serde(default)]
    pub first: bool,
}

impl Default for RecursionConfig {
    fn default() -> Self {
        Self {
            root_hints: PathBuf::new(),
            authority_port: 53,
            do_not_query: networks::special(),
            ipv4: true,
            ipv6: true,
            qname_minimisation: true,
            case_randomisation: true,
            cookies: true,
            prime: true,
            harden_glue: true,
            special_zones: true,
            private_addresses: Vec::new(),
            private_domains: Vec::new(),
            ttl_min_s: 0,
            ttl_max_s: 86_400,
            ttl_negative_max_s: 3_600,
            serve_stale_s: 86_400,
            stale_client_timeout_ms: 1_800,
            prefetch: true,
            cache_mib: 0,
            waiting_per_zone_max: 400,
            queries_per_server_max: 2_000,
            dnssec: true,
            trust_anchors: Vec::new(),
            trust_anchor_files: Vec::new(),
            trust_anchor_state: PathBuf::from("data/trust-anchors.json"),
            negative_trust_anchors: Vec::new(),
            nta_days_max: 7,
            dnssec_rsa_sha1: false,
            signature_skew_max_s: 86_400,
            nsec3_iterations_max: 50,
            aggressive_nsec: true,
            harden_below_nxdomain: true,
            forward: Vec::new(),
            stub: Vec::new(),
            tls_authorities: PathBuf::new(),
            local_records: PathBuf::new(),
        }
    }
}

impl RecursionConfig {
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |key, is_good, error| ConfigError::unless(is_good, key, error);
        value(
            "recursion.authority_port",
            self.authority_port != 0,
            "1 to 65535",
        )?;
        value(
            "recursion.ipv4",
            self.ipv4 || self.ipv6,
            "IPv4 and IPv6 are both off",
        )?;
        self.check_zones()?;
        self.check_times()?;
        value(
            "recursion.cache_mib",
            self.cache_mib <= 1_048_576,
            "0 (derived) to 1048576",
        )?;
        value(
            "recursion.waiting_per_zone_max",
            (1..=1_000_000).contains(&self.waiting_per_zone_max),
            "1 to 1000000",
        )?;
        value(
            "recursion.queries_per_server_max",
            (1..=1_000_000).contains(&self.queries_per_server_max),
            "1 to 1000000",
        )?;
        value(
            "recursion.nta_days_max",
            (1..=30).contains(&self.nta_days_max),
            "1 to 30; RFC 7646 section 4 allows a week",
        )?;
        value(
            "recursion.signature_skew_max_s",
            self.signature_skew_max_s <= 86_400,
            "0 to 86400",
        )?;
        value(
            "recursion.nsec3_iterations_max",
            self.nsec3_iterations_max <= 150,
            "0 to 150",
        )
    }

    /// All forward and stub zones.
    fn fixed_zones(&self) -> impl Iterator<Item = &Name> {
        let zones = self.forward.iter().chain(&self.stub);
        zones.map(|zone| &zone.zone)
    }

    fn check_zones(&self) -> Result<(), ConfigError> {
        let needs_address = "each zone needs at least one address in `to`";
        let have_addresses = |zones: &[Zone]| zones.iter().all(|zone| !zone.to.is_empty());
        ConfigError::unless(
            have_addresses(&self.forward),
            "recursion.forward",
            needs_address,
        )?;
        ConfigError::unless(have_addresses(&self.stub), "recursion.stub", needs_address)?;
        let have_names = |zones: &[Zone]| {
            let is_name =
                |name: &String| Name::parse(name).is_ok_and(|name| !name.borrow().is_root());
            zones
                .iter()
                .filter_map(|zone| zone.tls.as_ref())
                .all(is_name)
        };
        let needs_name =
            "`tls` is the name in the servers' certificate; without it the key is left out";
        ConfigError::unless(have_names(&self.forward), "recursion.forward", needs_name)?;
        ConfigError::unless(have_names(&self.stub), "recursion.stub", needs_name)?;
        let mut fixed: Vec<&Name> = self.fixed_zones().collect();
        fixed.sort();
        ConfigError::unless(
            fixed.windows(2).all(|pair| pair[0] != pair[1]),
            "recursion.stub",
            "a zone stands once, in `forward` or in `stub`",
        )
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let value = |key, is_good, error| ConfigError::unless(is_good, key, error);
        value(
            "recursion.ttl_max_s",
            self.ttl_min_s <= self.ttl_max_s && self.ttl_max_s <= 604_800,
            "ttl_min_s to 604800",
        )?;
        value(
            "recursion.ttl_min_s",
            self.ttl_min_s <= 3_600,
            "0 to 3600: more would keep what its owner has changed",
        )?;
        value(
            "recursion.ttl_negative_max_s",
            self.ttl_negative_max_s <= 86_400,
            "0 to 86400",
        )?;
        value(
            "recursion.serve_stale_s",
            self.serve_stale_s <= 604_800,
            "0 to 604800, RFC 8767 section 5",
        )?;
        value(
            "recursion.stale_client_timeout_ms",
            self.stale_client_timeout_ms <= 10_000,
            "0 to 10000",
        )
    }
}
