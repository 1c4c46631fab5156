//! The caches of the recursor, each with a bound of its own: RRsets, failures, delegations, and the
//! infrastructure (how each server behaves).

mod bounded;
pub(crate) mod delegations;
pub(crate) mod failures;
pub(crate) mod infra;
pub(crate) mod rrsets;
pub(crate) mod server;
