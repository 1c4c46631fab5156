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

pub mod access;
mod addresses;
mod alias;
pub mod cache;
mod encode;
pub mod engine;
mod explain;
pub mod flight;
pub mod gate;
pub mod heard;
pub mod listen;
pub mod local;
pub mod message;
mod meta;
pub mod notify;
mod parts;
pub mod query;
pub mod reason;
pub mod record;
pub mod recurse;
pub mod recursor;
pub mod respond;
pub mod sample;
pub mod special;
pub mod tcp;
pub mod udp;
pub mod worker;
