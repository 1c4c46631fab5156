//! What an engine is made of: rules and lists, the upstream, and the operator's settings.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use policy::{category::Taxonomy, identity::directory::Directory, lists::current::CurrentLists};

use crate::{
    admission::AdmissionSettings,
    listener::notify::OnNotify,
    message::{blocked::BlockedAnswers, cookie::CookieSecret, ede::BlockContact},
    rates::RateSettings,
    time::Clock,
    upstream::Recursion,
};

/// The parts and settings of an engine.
pub struct EngineConfig {
    /// Identifies clients.
    pub directory: Arc<Directory>,
    pub lists: Arc<CurrentLists>,
    /// Names the categories in the reason of a block.
    pub taxonomy: Arc<Taxonomy>,
    /// The operator's contact in the reason of a block.
    pub contact: BlockContact,
    /// Answers questions that are not in the cache.
    pub recursion: Arc<dyn Recursion>,
    /// Networks that may query, beside those of households and trusted peers that are listed by one
    /// address.
    pub allow_from: Vec<IpNet>,
    /// Networks that may assert identities of clients.
    pub trusted_peers: Vec<IpNet>,
    /// Networks that may query without RD, and so see what is in the cache.
    pub snoop_from: Vec<IpNet>,
    pub blocked: BlockedAnswers,
    /// Addresses of the proxy that filters listed paths. If empty, hosts with listed paths are not
    /// filtered.
    pub url_proxy: Vec<IpAddr>,
    /// The answer to `id.server` (RFC 4892); without, such a query is refused.
    pub server_id: Option<String>,
    /// Budget of the answer cache, in octets.
    pub cache_octets: u64,
    /// Budget of the cache of each worker in front of it, in octets.
    pub local_cache_octets: u64,
    /// How many resolutions may be under way.
    pub admission: AdmissionSettings,
    /// How much clients may ask, and how much is sent to them.
    pub rates: RateSettings,
    /// Secrets of the server cookies; the first one makes cookies. Without one, a random secret.
    pub cookie_secrets: Vec<CookieSecret>,
    pub stale: ServeStale,
    /// Whether an answer that a client asks for in the last tenth of its TTL is resolved again.
    pub prefetch: bool,
    /// One query of so many is sampled by name, see [`crate::telemetry::query_sample`]; 0 turns it
    /// off.
    pub sample_every: u32,
    /// Handles NOTIFY messages; without, they are answered NOTIMP.
    pub on_notify: Option<OnNotify>,
    pub clock: Arc<dyn Clock>,
}

/// Serving of stale answers, RFC 8767.
#[derive(Debug, Clone, Copy)]
pub struct ServeStale {
    /// How long after its TTL an answer may be served (maximum stale timer); zero turns it off.
    pub stale_max: Duration,
    /// How long a client waits for a fresh answer before it gets a stale one (client response
    /// timer).
    pub client_timeout: Duration,
}
