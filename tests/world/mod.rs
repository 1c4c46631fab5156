//! The test environment of the program, and the vocabulary of the tests.
//!
//! ```text
//!  client("127.0.7.9") --queries-->  Daemon (the real executable)  --recurses-->  Internet (root, TLDs, zones)
//!  Api                 --rules---->    |  reads Feed files                         Authority, Behaviour, Lie, QueryCounts
//!                                      '- config, store, artefacts in one temporary folder
//! ```
//!
//! `World` (`environment.rs`) combines these; most tests need nothing else. No packet leaves the machine:
//! servers have loopback addresses from 127.64 on, clients below that. This folder knows the
//! program only by its interfaces: command line, configuration, ready lines, REST and DNS.

// Several test programs share this module; none uses all of it, and none exports it.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod addresses;
mod api;
mod attack;
mod authority;
mod behaviour;
mod category_feed;
mod certificates;
mod client;
mod clock;
mod concurrent;
mod daemon;
mod environment;
mod events;
mod feed;
mod internet;
mod load;
mod oracle;
mod primary;
mod provider;
mod query_counts;
mod question;
mod receivers;
mod reply;
mod resource_usage;
mod settings;
mod sockets;
mod spoofer;
mod tls_proxy;
mod unbound;
mod waiting;
mod zone;

pub use addresses::ListenAddresses;
pub use api::{Answer, Api, Switch, encoded};
pub use attack::Attack;
pub use authority::Authority;
pub use behaviour::{Behaviour, FORGED_NAME, Lie};
pub use category_feed::CategoryFeed;
pub use certificates::CertificateIssuer;
pub use client::{Client, MAC_OPTION, client};
pub use clock::Clock;
pub use concurrent::{Asked, all_at_once, ask_all, check, quantile};
pub use daemon::{Daemon, ox_protect};
pub use environment::{World, WorldBuilder};
pub use events::Events;
pub use feed::Feed;
pub use internet::Internet;
pub use load::Load;
pub use oracle::Oracle;
pub use primary::{KEY, Kind, Primary, SECRET, ZONE, Zone, row};
pub use provider::{Page, Provider, Request, Signer, gzip, sha256};
pub use query_counts::QueryCounts;
pub use receivers::{MailServer, WebhookReceiver};
pub use reply::{ExtendedError, Reply};
pub use resource_usage::ResourceUsage;
pub use spoofer::Spoofer;
pub use tls_proxy::TlsProxy;
pub use unbound::Unbound;
pub use waiting::{eventually, seed};
