//! The recursor: it resolves a question by queries to the name servers of the zones themselves, or to
//! the servers of forward and stub zones.
//!
//! ```text
//! resolve -> iterate: aliases, QNAME minimisation, referrals
//!              |  cached: caches in, caches out      cache/: rrsets, failures, delegations
//!              |  synthesis: answers that cached proofs make       cache/: denials
//!              v
//!            query_zone -> select: which server, how long     cache/: infra, server
//!              |  server_addresses: glue, cache, lookup
//!              v
//!            exchange -> attempt, problem: how a query is sent, and sent again
//!              |  wire: queries and replies in wire format
//!              |  scrub: what a response says, and which of its RRsets are believed
//!              v
//!            environment: clock, random numbers, network (or a test's script)
//! ```
//!
//! `query_context` and `lookup_chain` bound what one client query may cause. `response` and `rrset`
//! are the vocabulary. Nothing here reads a clock, draws a random number or opens a socket except
//! through [`Environment`].

mod attempt;
mod bogus_zones;
mod cache;
mod cached;
mod chain_of_trust;
mod counters;
mod dname;
mod dnssec;
mod environment;
mod exchange;
mod failure;
mod iterate;
mod lookup_chain;
mod minimiser;
mod negative_anchors;
mod network;
mod problem;
mod query_context;
mod query_zone;
mod rebinding;
mod resolve;
mod response;
mod rrset;
mod scrub;
mod sections;
mod select;
mod server_addresses;
mod server_memory;
mod settings;
mod state;
mod stream;
mod synthesis;
mod trust_points;
mod validation;
mod wire;

pub use self::{
    bogus_zones::BogusZone,
    cache::rrsets::TtlBounds,
    dnssec::{
        AnchorError, KeyChange, KeyState, LineProblem, TrackedKey, TrustAnchors, TrustPoint,
        ValidationFault, ValidationSettings, ZoneKey, parse_key,
    },
    environment::{Environment, TransportOutcome},
    failure::ResolutionFailure,
    negative_anchors::{NegativeAnchorChanges, NegativeTrustAnchor},
    network::{CertificatesError, SystemEnvironment},
    query_context::TraceStep,
    resolve::ResolutionTrace,
    response::ServerRole,
    settings::{CacheBudgets, ConfiguredZone, ROOT_HINTS, Settings, SetupError, parse_hints},
    state::Recursor,
    trust_points::KeyLook,
    wire::{ExpectedReply, ReplyMatch},
};
