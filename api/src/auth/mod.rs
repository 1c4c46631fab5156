//! Who asks, what they may do, and how often: keys, tokens of an OIDC provider, sessions of
//! browsers, roles, rate limits.

pub(crate) mod guards;
pub(crate) mod known;
pub mod limits;
pub mod oidc;
pub(crate) mod principal;
pub mod provider;
pub(crate) mod roles;
pub(crate) mod session;
pub(crate) mod user_agent;
