//! Recursion and forwarding by hickory-resolver, behind our own trait. The recursor here is a bring-up and will be replaced.
//!
//! What it cannot do, found by reading and met in tests: it gives up when the first authority refuses or stays silent,
//! drops the CNAME chain in front of a negative answer, knows no DNAME and no serve-stale, and does not validate here.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hickory_proto::{
    op::{Query, ResponseCode},
    rr::Name,
    serialize::txt::Parser,
};
use hickory_resolver::{
    ConnectionProvider, PoolContext, Resolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    recursor::{QNameMinimization, Recursor, RecursorError, RecursorOptions},
};
use ipnet::IpNet;

use crate::recurse::{Answer, Question, Recursion, RecursionError};

/// The thirteen root servers, as InterNIC publishes them.
pub const ROOT_HINTS: &str = include_str!("../root.hints");
/// Depth of delegations and of name-server look-ups: an IPv6 PTR name alone has 34 labels, each a step for this recursor.
const DEPTH_MAX: u8 = 64;
/// Answers the recursor keeps for its own steps; clients are served from the answer cache. A count.
const STEP_CACHE_ANSWERS: u64 = 100_000;
/// Name servers it remembers. A count.
const NAME_SERVERS_KEPT: usize = 10_000;

/// How recursion goes out.
#[derive(Debug, Clone)]
pub struct RecursorSettings {
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
}

/// What is wrong with the recursor's settings.
#[derive(Debug, thiserror::Error)]
pub enum RecursorSetupError {
    /// The hints are no zone file.
    #[error("the root hints cannot be read")]
    Hints(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No address to begin with.
    #[error("the root hints hold no address of a family that may be used")]
    NoRoots,
    /// The library refuses.
    #[error("setting up the resolver")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The addresses in a root hints file.
///
/// # Errors
/// [`RecursorSetupError::Hints`].
pub fn parse_hints(text: &str) -> Result<Vec<IpAddr>, RecursorSetupError> {
    let (_, records) = Parser::new(text, None, Some(Name::root())).parse().map_err(|error| RecursorSetupError::Hints(error.into()))?;
    Ok(records.values().flat_map(|set| set.records_without_rrsigs()).filter_map(|record| record.data.ip_addr()).collect())
}

/// The recursor inside hickory-resolver.
pub struct HickoryRecursor(Recursor<AuthorityPort>);

impl HickoryRecursor {
    /// Sets it up; nothing is sent yet.
    ///
    /// # Errors
    /// See [`RecursorSetupError`].
    pub fn new(settings: &RecursorSettings) -> Result<Self, RecursorSetupError> {
        let mut deny_server = settings.do_not_query.clone();
        let families = [(settings.ipv4, "0.0.0.0/0"), (settings.ipv6, "::/0")];
        deny_server.extend(families.iter().filter(|(used, _)| !used).map(|(_, all)| all.parse::<IpNet>().expect("a network")));
        let roots: Vec<IpAddr> =
            settings.roots.iter().copied().filter(|root| if root.is_ipv4() { settings.ipv4 } else { settings.ipv6 }).collect();
        if roots.is_empty() {
            return Err(RecursorSetupError::NoRoots);
        }
        let options = RecursorOptions {
            ns_cache_size: NAME_SERVERS_KEPT,
            response_cache_size: STEP_CACHE_ANSWERS,
            recursion_limit: DEPTH_MAX,
            ns_recursion_limit: DEPTH_MAX,
            deny_server,
            case_randomization: true,
            // Strict minimisation breaks names whose authorities mishandle NS probes (hickory-dns#3833).
            qname_minimization: QNameMinimization::Relaxed,
            ..RecursorOptions::default()
        };
        let provider = AuthorityPort { inner: TokioRuntimeProvider::new(), port: settings.authority_port };
        let recursor = Recursor::with_options(&roots, options, provider).map_err(|error| RecursorSetupError::Library(error.into()))?;
        Ok(Self(recursor))
    }
}

#[async_trait]
impl Recursion for HickoryRecursor {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        let query = Query::query(question.proto_name(), question.proto_type());
        match self.0.resolve(query, Instant::now(), false).await {
            Ok(message) => Ok(Answer { rcode: message.metadata.response_code, answers: message.answers, authorities: Vec::new() }),
            Err(RecursorError::Negative(negative)) => {
                let rcode = if negative.is_nx_domain() { ResponseCode::NXDomain } else { ResponseCode::NoError };
                Ok(Answer {
                    rcode,
                    answers: Vec::new(),
                    authorities: negative.soa.map(|soa| soa.into_record_of_rdata()).into_iter().collect(),
                })
            }
            Err(RecursorError::Net(NetError::Dns(DnsError::NoRecordsFound(none)))) => Ok(negative(none)),
            Err(error) => Err(failed(question, error)),
        }
    }
}

/// Forwarding of a zone to other resolvers.
pub struct HickoryForwarder(Resolver<TokioRuntimeProvider>);

impl HickoryForwarder {
    /// Forwards to these resolvers, over UDP and, where an answer is truncated, TCP.
    ///
    /// # Errors
    /// [`RecursorSetupError::Library`].
    pub fn new(to: &[SocketAddr]) -> Result<Self, RecursorSetupError> {
        let with_port = |mut connection: ConnectionConfig, port| {
            connection.port = port;
            connection
        };
        let server = |address: &SocketAddr| {
            let connections = vec![with_port(ConnectionConfig::udp(), address.port()), with_port(ConnectionConfig::tcp(), address.port())];
            NameServerConfig::new(address.ip(), true, connections)
        };
        let config = ResolverConfig::from_name_servers(to.iter().map(server).collect());
        let mut options = ResolverOpts::default();
        options.ndots = 0;
        // Answers are kept in our own cache, and a host file of this machine says nothing about a family's names.
        options.cache_size = 0;
        options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
        options.preserve_intermediates = true;
        options.case_randomization = true;
        options.timeout = Duration::from_millis(1500);
        options.attempts = 2;
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::new());
        *builder.options_mut() = options;
        builder.build().map(Self).map_err(|error| RecursorSetupError::Library(error.into()))
    }
}

#[async_trait]
impl Recursion for HickoryForwarder {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        match self.0.lookup(question.proto_name(), question.proto_type()).await {
            Ok(lookup) => Ok(Answer { rcode: ResponseCode::NoError, answers: lookup.answers().to_vec(), authorities: Vec::new() }),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Ok(negative(none)),
            Err(error) => Err(failed(question, error)),
        }
    }
}

fn negative(none: NoRecords) -> Answer {
    let authorities = none.soa.map(|soa| soa.into_record_of_rdata()).into_iter().collect();
    Answer { rcode: none.response_code, answers: Vec::new(), authorities }
}

fn failed(question: &Question, error: impl std::error::Error + Send + Sync + 'static) -> RecursionError {
    RecursionError::Failed { name: question.name.clone(), record_type: question.record_type, source: Box::new(error) }
}

/// Tokio's sockets, but every authority is asked at one configured port. The recursor itself knows only port 53.
#[derive(Clone)]
struct AuthorityPort {
    inner: TokioRuntimeProvider,
    port: u16,
}

impl ConnectionProvider for AuthorityPort {
    type Conn = <TokioRuntimeProvider as ConnectionProvider>::Conn;
    type FutureConn = <TokioRuntimeProvider as ConnectionProvider>::FutureConn;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(&self, ip: IpAddr, config: &ConnectionConfig, context: &PoolContext) -> Result<Self::FutureConn, NetError> {
        let mut config = config.clone();
        config.port = self.port;
        self.inner.new_connection(ip, &config, context)
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.inner
    }
}
