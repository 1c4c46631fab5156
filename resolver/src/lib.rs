//! DNS: from a packet to a reply.
//!
//! ```text
//! listener ──> engine: identify, cache, decide, review, reply ──> telemetry
//!  udp, stream   │  miss
//!                └──> admission ──> single_flight ──> upstream: local records, special names ──> recursor
//! ```
//!
//! - `message`: queries, responses and replies on the wire; numbers of the protocol
//! - `listener`: sockets, workers, TCP connections, access control, the client of a query
//! - `admission`: which queries are resolved when too many arrive
//! - `rates`: how much a client may ask, and how much is sent to it
//! - `engine`: the data path
//! - `cache`: answers of the Internet, without decisions
//! - `upstream`: where answers come from
//! - `recursor`: iterative resolution from the root
//! - `telemetry`: counters, events, the query sample
//! - `limiter`, `shares`, `single_flight`, `time`: helpers of engine and recursor
//!
//! This crate alone knows DNS messages of clients. It knows no HTTP, no database and no feed; it
//! gets rules and lists compiled, from `policy`.

pub mod admission;
pub mod cache;
pub mod engine;
pub mod limiter;
pub mod listener;
pub mod message;
pub mod rates;
pub mod recursor;
mod shares;
pub mod single_flight;
pub mod telemetry;
pub mod time;
pub mod upstream;
mod weighed;
