//! Identifies the household and the device that a query comes from.

pub(crate) mod client;
pub mod directory;
pub(crate) mod index;
pub(crate) mod network;
pub(crate) mod slot;
