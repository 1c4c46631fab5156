//! DNS: from a packet to a reply. The files are the stages of a query, in this order:
//!
//! ```text
//! listen -> worker | tcp  -> query   -> engine                               -> respond -> record
//! doors     udp: batches     parsing    identify, decide, cache, review         wire       counters
//!                                          |  miss
//!                                          v
//!                                        flight -> recurse -> local | special | recursor
//! ```
//!
//! This crate alone knows DNS messages. It knows no HTTP, no database and no feed; rules and lists
//! come to it compiled, through `policy`.

pub mod cache;
pub mod engine;
pub mod limiter;
pub mod listener;
pub mod message;
pub mod recursor;
pub mod single_flight;
pub mod telemetry;
pub mod upstream;
