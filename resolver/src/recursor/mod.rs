//! The recursor: from a question to what the Internet says, asking nobody but the servers of the
//! zones themselves.
//!
//! ```text
//! resolve -> iterate: aliases, minimised names, referrals   -> ask: servers of one zone, failover, hedging -> surroundings
//!              |  rrsets: facts and failures                     |  servers: speed, faults, cookies of each     (sockets, or
//!              |  cuts: who serves what                          |  wire: queries and replies as octets           a script)
//!              '- quest: what one question may still spend       '- sift: what of a reply may be believed
//! ```
//!
//! Nothing here reads a clock, draws a number or opens a socket but through
//! [`surroundings::Surroundings`].

pub(crate) mod budget;
pub(crate) mod delegations;
pub mod environment;
pub(crate) mod infra;
pub mod network;
pub(crate) mod query_zone;
pub mod rrsets;
pub mod scrub;
pub mod wire;

mod exchange;
mod iterate;
mod rebinding;

use std::{
    hash::BuildHasher as _,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use foldhash::{SharedSeed, quality::SeedableRandomState};
use hickory_proto::{
    op::ResponseCode,
    rr::Name as ProtoName,
    serialize::txt::{ParseError, Parser},
};
use ipnet::IpNet;
use metrics::{Counter, counter, gauge};
use policy::name::Name;

use crate::{
    limiter::Limiter,
    single_flight::SingleFlight,
    upstream::{Answer, Question, Recursion, RecursionError},
};

use self::{
    budget::{Path, Quest},
    delegations::{Cut, Cuts},
    environment::Surroundings,
    exchange::Feature,
    infra::Servers,
    query_zone::ZoneQuestion,
    rrsets::{RrSets, TtlBounds},
    scrub::{Fault, Role, Sifted},
};

pub use self::budget::Step;

/// The thirteen root servers, as InterNIC publishes them.
pub const ROOT_HINTS: &str = include_str!("../../root.hints");

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No server of the zone has an address.
    #[error("no server of the zone has an address that may be asked")]
    NoServers,
    /// All servers are silent.
    #[error("no server of the zone answers")]
    Unreachable,
    /// The network has no way there.
    #[error("the network has no way to the servers of the zone")]
    Network,
    /// All servers refuse, fail, or have no authority.
    #[error("no server of the zone gives a useful answer")]
    Useless,
    /// It took longer than anybody waits.
    #[error("it takes too long")]
    TooLong,
    /// More work than one question is worth.
    #[error("the question causes more work than is allowed for one")]
    TooMuchWork,
    /// More aliases than are followed.
    #[error("too many aliases")]
    TooManyAliases,
    /// It leads back to itself.
    #[error("it leads back to itself")]
    Circular,
    /// The zone or its servers are asked by as many as is allowed.
    #[error("the zone or its servers are asked too much at this moment")]
    Busy,
}

impl Failure {
    /// The info-code of its Extended DNS Error, RFC 8914 section 4: 22 no reachable authority, 23
    /// network error, 0 other.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::NoServers | Self::Unreachable | Self::Useless | Self::TooLong => 22,
            Self::Network => 23,
            Self::TooMuchWork | Self::TooManyAliases | Self::Circular | Self::Busy => 0,
        }
    }

    /// Whether it says something of the question and what it costs, and nothing of the name that it
    /// was met at.
    fn is_of_question(self) -> bool {
        matches!(
            self,
            Self::TooLong | Self::TooMuchWork | Self::TooManyAliases | Self::Circular | Self::Busy
        )
    }

    fn label(self) -> &'static str {
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
        }
    }
}

/// A zone whose servers are configured.
#[derive(Debug, Clone)]
pub struct FixedZone {
    /// The zone.
    pub zone: Name,
    /// Its servers.
    pub to: Vec<SocketAddr>,
    /// Whether they are authorities or resolvers.
    pub role: Role,
    /// The name that they prove to have over TLS; none asks in the clear.
    pub tls: Option<String>,
    /// Whether recursion takes over where they fail.
    pub is_first_only: bool,
}

/// How recursion goes out.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses of root servers.
    pub roots: Vec<IpAddr>,
    /// The port of every authority: 53, or another one in a closed world.
    pub authority_port: u16,
    /// Networks that are never asked.
    pub do_not_query: Vec<IpNet>,
    /// Ask over IPv4.
    pub ipv4: bool,
    /// Ask over IPv6.
    pub ipv6: bool,
    /// Ask the root who serves it, RFC 8109.
    pub primes: bool,
    /// Show zones no more of a name than they need, RFC 9156.
    pub minimises: bool,
    /// Mix letter case, so that a guesser must guess it too.
    pub case_randomisation: bool,
    /// Send client cookies, RFC 7873.
    pub cookies: bool,
    /// Addresses that names of the Internet may not have.
    pub private_addresses: Vec<IpNet>,
    /// Names that may have them all the same.
    pub private_domains: Vec<Name>,
    /// Believe addresses of servers only from the zone they are in.
    pub hardens_glue: bool,
    /// Zones whose servers are configured.
    pub fixed: Vec<FixedZone>,
    /// Budget of the cache of facts, in octets.
    pub cache_octets: u64,
    /// Bounds on how long things are kept.
    pub ttl: TtlBounds,
    /// Questions that are asked of one zone at a time.
    pub questions_per_zone_max: u32,
    /// Queries that are under way to one server at a time.
    pub queries_per_server_max: u32,
}

impl Settings {
    /// What `configs/default.toml` says, with these root servers.
    #[must_use]
    pub fn with_roots(roots: Vec<IpAddr>) -> Self {
        Self {
            roots,
            authority_port: 53,
            do_not_query: Vec::new(),
            ipv4: true,
            ipv6: true,
            primes: true,
            minimises: true,
            case_randomisation: true,
            cookies: true,
            private_addresses: Vec::new(),
            private_domains: Vec::new(),
            hardens_glue: true,
            fixed: Vec::new(),
            cache_octets: 64 << 20,
            ttl: TtlBounds {
                min_s: 0,
                max_s: 86_400,
                negative_max_s: 3_600,
            },
            questions_per_zone_max: 400,
            queries_per_server_max: 2_000,
        }
    }
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The hints are no zone file.
    #[error("the root hints cannot be read")]
    Hints(#[source] ParseError),
    /// No address to begin with.
    #[error("the root hints hold no address of a family that may be used")]
    NoRoots,
}

/// The addresses in a root hints file.
///
/// # Errors
/// [`SetupError::Hints`].
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

/// The recursor.
pub struct Recursor<S> {
    surroundings: S,
    settings: Settings,
    rrsets: RrSets,
    cuts: Cuts,
    servers: Servers,
    hints: Arc<Cut>,
    flights: SingleFlight<ZoneQuestion, Result<Arc<Sifted>, Failure>>,
    gate: Limiter<Name>,
    counts: Counts,
    /// Makes the cookie that each server is shown, RFC 7873 section 4.1.
    secret: [u64; 2],
}

/// What was resolved, and how, for people.
pub struct Traced {
    /// The answer, or why there is none.
    pub result: Result<Answer, Failure>,
    /// The steps.
    pub steps: Vec<Step>,
}

impl<S: Surroundings> Recursor<S> {
    /// Sets it up; nothing is sent yet.
    ///
    /// # Errors
    /// [`SetupError::NoRoots`].
    pub fn new(settings: Settings, surroundings: S) -> Result<Self, SetupError> {
        let may_use = |root: &IpAddr| {
            if root.is_ipv4() {
                settings.ipv4
            } else {
                settings.ipv6
            }
        };
        let roots = settings
            .roots
            .iter()
            .filter(|root| may_use(root))
            .map(|&root| SocketAddr::new(root, settings.authority_port));
        let roots: Vec<SocketAddr> = roots.collect();
        let is_root_fixed = settings
            .fixed
            .iter()
            .any(|fixed| fixed.zone == Name::root() && !fixed.is_first_only);
        if roots.is_empty() && !is_root_fixed {
            return Err(SetupError::NoRoots);
        }
        let mut hints = Cut::fixed(Name::root(), roots, Role::Authority, None, false);
        (hints.is_fixed, hints.is_hint) = (false, true);
        let cut = |fixed: &FixedZone| {
            Cut::fixed(
                fixed.zone.clone(),
                fixed.to.clone(),
                fixed.role,
                fixed.tls.clone(),
                fixed.is_first_only,
            )
        };
        let fixed = settings.fixed.iter().map(cut);
        Ok(Self {
            rrsets: RrSets::new(settings.cache_octets, settings.ttl),
            cuts: Cuts::new(fixed),
            servers: Servers::new(),
            hints: Arc::new(hints),
            flights: SingleFlight::default(),
            gate: Limiter::new(settings.questions_per_zone_max),
            counts: Counts::new(),
            secret: [surroundings.random(), surroundings.random()],
            settings,
            surroundings,
        })
    }

    /// Resolves, and tells each step.
    pub async fn trace(&self, question: &Question) -> Traced {
        let quest = Quest::new(self.surroundings.now(), question.renews, true);
        let result = self.answer(&quest, question).await;
        Traced {
            result,
            steps: quest.into_steps(),
        }
    }

    async fn answer(&self, quest: &Quest, question: &Question) -> Result<Answer, Failure> {
        let name = question.name.borrow();
        let path = Path::begin(name, question.record_type);
        let result = self
            .resolve_path(quest, &path, name, question.record_type)
            .await;
        match &result {
            Ok(_) => self.rrsets.forget_failure(name, question.record_type),
            Err(failure) => self.counts.failed(*failure),
        }
        let resolved = result?;
        let authorities = match resolved.code {
            ResponseCode::NoError | ResponseCode::NXDomain => resolved.soa.into_iter().collect(),
            _ => Vec::new(),
        };
        let answers = resolved
            .sets
            .into_iter()
            .flat_map(|set| set.records)
            .collect();
        Ok(Answer {
            rcode: resolved.code,
            answers,
            authorities,
        })
    }

    /// An address as it may be asked; none where it may not.
    fn address_to_ask(&self, address: IpAddr) -> Option<SocketAddr> {
        let may_use = if address.is_ipv4() {
            self.settings.ipv4
        } else {
            self.settings.ipv6
        };
        let is_barred = self
            .settings
            .do_not_query
            .iter()
            .any(|network| network.contains(&address));
        (may_use && !is_barred).then(|| SocketAddr::new(address, self.settings.authority_port))
    }

    /// The cookie that one server is shown: it cannot follow us from another one by it.
    fn client_cookie(&self, server: SocketAddr) -> [u8; 8] {
        let seed = SeedableRandomState::with_seed(self.secret[0], SharedSeed::global_fixed());
        seed.hash_one((self.secret[1], server.ip())).to_be_bytes()
    }

    /// Shows sizes as gauges.
    pub fn show_sizes(&self) {
        let (octets, facts) = self.rrsets.usage();
        gauge!("ox_protect_rrset_cache_bytes").set(octets as f64);
        gauge!("ox_protect_rrset_cache_entries").set(facts as f64);
        gauge!("ox_protect_delegations").set(self.cuts.len() as f64);
        gauge!("ox_protect_known_servers").set(self.servers.len() as f64);
    }
}

#[async_trait]
impl<S: Surroundings> Recursion for Recursor<S> {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        let quest = Quest::new(self.surroundings.now(), question.renews, false);
        self.answer(&quest, question)
            .await
            .map_err(|failure| RecursionError {
                name: question.name.clone(),
                record_type: question.record_type,
                code: Some(failure.code()),
                source: Box::new(failure),
            })
    }
}

/// What happens on the way, by cause.
struct Counts {
    udp: Counter,
    tcp: Counter,
    tls: Counter,
    silences: Counter,
    near_misses: Counter,
    without_edns: Counter,
    cached_failures: Counter,
}

impl Counts {
    fn new() -> Self {
        describe();
        let queries = |transport: &'static str| counter!("ox_protect_upstream_queries_total", "transport" => transport);
        Self {
            udp: queries("udp"),
            tcp: queries("tcp"),
            tls: queries("tls"),
            silences: counter!("ox_protect_upstream_silences_total"),
            near_misses: counter!("ox_protect_upstream_near_misses_total"),
            without_edns: counter!("ox_protect_upstream_without_edns_total"),
            cached_failures: counter!("ox_protect_cached_failures_total"),
        }
    }

    fn failed(&self, failure: Failure) {
        counter!("ox_protect_resolution_failures_total", "cause" => failure.label()).increment(1);
    }

    fn fault(&self, fault: Fault) {
        let label = match fault {
            Fault::Code(ResponseCode::ServFail) => "servfail",
            Fault::Code(ResponseCode::Refused) => "refused",
            Fault::Code(ResponseCode::FormErr) => "formerr",
            Fault::Code(ResponseCode::NotImp) => "notimp",
            Fault::Code(_) => "other-code",
            Fault::Lame => "lame",
            Fault::Inconsistent => "inconsistent",
            Fault::TooMuch => "too-much",
        };
        counter!("ox_protect_upstream_faults_total", "fault" => label).increment(1);
    }

    fn plainer(&self, left_out: Feature) {
        if left_out == Feature::Edns {
            self.without_edns.increment(1);
        }
        counter!("ox_protect_upstream_plainer_total", "without" => left_out.label()).increment(1);
    }

    fn limited(&self, what: &'static str) -> Failure {
        counter!("ox_protect_upstream_limited_total", "limit" => what).increment(1);
        Failure::Busy
    }
}

fn describe() {
    use metrics::describe_counter;
    describe_counter!(
        "ox_protect_upstream_queries_total",
        "Queries sent to servers of zones, by transport."
    );
    describe_counter!(
        "ox_protect_upstream_silences_total",
        "Queries that were not answered in the time the server should need."
    );
    describe_counter!(
        "ox_protect_upstream_near_misses_total",
        "Replies with another id, letter case or cookie: asked again over TCP."
    );
    describe_counter!(
        "ox_protect_upstream_without_edns_total",
        "Queries asked again without EDNS."
    );
    describe_counter!(
        "ox_protect_upstream_plainer_total",
        "Queries asked again without EDNS options, mixed letters or EDNS, by what was left out."
    );
    describe_counter!(
        "ox_protect_upstream_faults_total",
        "Replies that did not help, by fault."
    );
    describe_counter!(
        "ox_protect_upstream_limited_total",
        "Questions not asked because zone or server are asked by too many."
    );
    describe_counter!(
        "ox_protect_resolution_failures_total",
        "Questions without an answer, by cause."
    );
    describe_counter!(
        "ox_protect_cached_failures_total",
        "Questions answered from the memory of failures (RFC 9520)."
    );
}
