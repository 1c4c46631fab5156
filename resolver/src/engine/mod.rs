//! The data path: from a packet to a reply.
//!
//! ```text
//! receive -> identify -> classify -> decide -> cache -> recurse -> review -> respond -> record
//!
//! answer   a packet on the listener's thread: a hit, or a miss that is handed to the runtime
//! walk     judges a query and writes the reply, or says what it lacks: an answer, an alias target
//! miss     obtains what a walk lacks, on the runtime
//! explain  the same walk for an explanation
//! judge    the verdict of an entry        rewrite  replies of blocked and redirected names
//! meta     packets that are answered without lists or cache
//! ```
//!
//! A hit waits for nothing and allocates nothing. Hit, miss, cache-only answer and explanation run
//! the same [`walk`]; they differ in how they supply what it lacks.

pub(crate) mod alias;
pub(crate) mod answer;
pub mod config;
pub(crate) mod core;
pub(crate) mod explain;
pub(crate) mod judge;
pub(crate) mod meta;
pub(crate) mod miss;
pub(crate) mod rewrite;
pub(crate) mod walk;
pub(crate) mod worker_state;

pub use self::{
    answer::Step,
    config::{EngineConfig, ServeStale},
    core::{BatchSnapshot, Engine},
    miss::Miss,
    worker_state::{Prefetch, WorkerState},
};
