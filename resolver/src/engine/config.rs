//! What an engine is made of: rules and lists, where answers come from, and how the operator has
//! set it up.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use policy::{category::Taxonomy, identity::directory::Directory, lists::current::CurrentLists};

use crate::{
    listener::notify::OnNotify,
    message::{ede::Contact, reply::BlockedAnswers},
    upstream::Recursion,
};

/// What an engine is made of.
pub struct Parts {
    /// Who asks.
    pub directory: Arc<Directory>,
    /// The lists in use.
    pub lists: Arc<CurrentLists>,
    /// The names of categories, for the reason of a block.
    pub taxonomy: Arc<Taxonomy>,
    /// Whom to ask about a block.
    pub contact: Contact,
    /// Who answers what is not in the cache.
    pub recursion: Arc<dyn Recursion>,
    /// Who may ask beside the households' own lines, and the trusted peers that are named by their
    /// own address.
    pub allow_from: Vec<IpNet>,
    /// Who may assert identities for others.
    pub trusted_peers: Vec<IpNet>,
    /// Who may ask without recursion, and so see what is in the cache.
    pub snoop_from: Vec<IpNet>,
    /// What a block looks like.
    pub blocked: BlockedAnswers,
    /// The proxy that looks at listed paths, by its addresses; empty lets hosts with listed paths
    /// pass.
    pub url_proxy: Vec<IpAddr>,
    /// What `id.server` answers; absent refuses.
    pub server_id: Option<String>,
    /// Budget of the answer cache, in octets.
    pub cache_octets: u64,
    /// The most resolutions at a time.
    pub resolutions_max: usize,
    /// The most of them for one client.
    pub waiting_per_client_max: u32,
    /// Answers that are too old.
    pub stale: Stale,
    /// Whether an answer that is asked for near its end is asked again before that.
    pub renews: bool,
    /// One of so many queries is counted by its name, see [`crate::telemetry::query_sample`]; 0 none.
    pub sample_every: u32,
    /// Who is told that a zone has changed; without, NOTIFY is not implemented.
    pub on_notify: Option<OnNotify>,
}

/// What becomes of answers that are too old, RFC 8767.
#[derive(Debug, Clone, Copy)]
pub struct Stale {
    /// How long one may still be used where nobody gives a newer one; zero never.
    pub longer: Duration,
    /// How long a client waits for a newer one.
    pub client_patience: Duration,
}
