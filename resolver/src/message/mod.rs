//! DNS messages: reading a query in place, reading a response record by record, writing a reply.
//! Knows no cache, no list and no socket.
//!
//! ```text
//! types   numbers of the protocol          wire     offsets in a packet
//! query   a client's packet, in place      reader   a server's packet, record by record
//! reply   what the client gets             opt      its OPT record, with an Extended DNS Error (ede)
//! blocked what a blocked name gets         targets  names and addresses an answer leads to
//! embedded IPv4 addresses inside IPv6 ones  cookie server cookies
//! ```

pub mod blocked;
pub mod cookie;
pub mod ede;
pub(crate) mod embedded;
pub(crate) mod opt;
pub mod query;
pub mod reader;
pub mod reply;
pub(crate) mod targets;
pub mod types;
pub(crate) mod wire;
