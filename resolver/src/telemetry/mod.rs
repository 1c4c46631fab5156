//! What the data path reports. Each worker writes a [`event::QueryEvent`] once for each query, into
//! memory of its own; readers add up the counters and drain the rings.
//!
//! ```text
//! event  ──> counters      sums by transport, layer, identity, …  (a load and a store each)
//!        ──> block ring    feed and categories of a block          ──> metrics
//!        ──> activity ring a query of a household that keeps a history
//!        ──> sample ring   one name of N, of no client             ──> query_sample
//!        ──> detection     an unnamed device; a name that is new to a thing
//! ```
//!
//! Each kind has a ring of its own, because their slots differ: 32 octets for a block, about 300
//! with a name and a household. One ring of the widest slots would copy 300 octets for each blocked
//! query.

pub mod activity;
pub mod counters;
pub mod detection;
pub mod event;
pub mod metrics;
pub mod name_sampler;
pub mod query_sample;
