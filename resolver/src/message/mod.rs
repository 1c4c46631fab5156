//! DNS messages: reading a query in place, reading a response record by record, writing a reply.
//! Knows no cache, no list and no socket.

pub(crate) mod addresses;
pub mod ede;
pub mod query;
pub mod reader;
pub mod reply;
