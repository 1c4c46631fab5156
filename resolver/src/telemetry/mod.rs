//! What the data path reports: counters, query events and a sample of names. Each worker writes into
//! memory of its own; readers add it up.

pub mod activity;
pub mod metrics;
pub mod query_sample;
