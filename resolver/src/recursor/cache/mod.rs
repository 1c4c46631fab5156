//! The caches of the recursor, each with a budget of its own: RRsets, failures, denials (what
//! is proved of names that were never queried), delegations, trust (keys of zones), and the
//! infrastructure (how each server behaves).

pub(crate) mod delegations;
pub(crate) mod denials;
pub(crate) mod failures;
pub(crate) mod infra;
pub(crate) mod rrsets;
pub(crate) mod server;
pub(crate) mod trust;
