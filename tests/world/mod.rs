//! The test environment of the program, and the vocabulary of the tests.
//!
//! ```text
//!  client("127.0.7.9") --queries-->  Daemon (the real executable)  --recurses-->  Internet (root, TLDs, zones)
//!  Api                 --rules---->    |  reads Feed files                         Authority, Behaviour, Lie, Tally
//!                                      '- config, store, artefacts in one temporary folder
//! ```
//!
//! `World` (`whole.rs`) combines these; most tests need nothing else. No packet leaves the machine:
//! servers have loopback addresses from 127.64 on, clients below that. This folder knows the
//! program only by its interfaces: command line, configuration, ready lines, REST and DNS.

// Several test programs share this module; none uses all of it, and none exports it.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod api;
mod authority;
mod behaviour;
mod category_feed;
mod clock;
mod crowd;
mod daemon;
mod doors;
mod events;
mod feed;
mod footprint;
mod game;
mod internet;
mod line;
mod listen;
mod load;
mod oracle;
mod patience;
mod postbox;
mod primary;
mod provider;
mod question;
mod reply;
mod settings;
mod spoofer;
mod tally;
mod tls;
mod unbound;
mod whole;
mod zone;

pub use api::{Answer, Api, Switch, encoded};
pub use authority::Authority;
pub use behaviour::{Behaviour, FORGED_NAME, Lie};
pub use category_feed::CategoryFeed;
pub use clock::Clock;
pub use crowd::{Asked, all_at_once, ask_all, check, quantile};
pub use daemon::{Daemon, ox_protect};
pub use doors::Doors;
pub use events::Events;
pub use feed::Feed;
pub use footprint::Footprint;
pub use game::Game;
pub use internet::Internet;
pub use line::{Line, MAC_OPTION, line};
pub use load::Load;
pub use oracle::Oracle;
pub use patience::{eventually, seed};
pub use postbox::{Hook, Mailbox};
pub use primary::{KEY, Kind, Primary, SECRET, ZONE, Zone, row};
pub use provider::{Page, Provider, Request, Signer, gzip, sha256};
pub use reply::{ExtendedError, Reply};
pub use spoofer::Spoofer;
pub use tally::Tally;
pub use tls::TlsDoor;
pub use unbound::Unbound;
pub use whole::{Draft, World};
