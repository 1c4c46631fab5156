//! One feed as the configuration defines it: its source, its format, its category and tier.
//!
//! A definition is checked once, when the configuration is read; the error names the accepted
//! values. The check does not look at the source: a missing file refuses its feed and does not stop
//! the program.

mod bounds;
mod bounds_check;
mod check;
mod definition;
mod error;
mod format;
mod secret;
mod transport;
mod tsig;

pub use bounds::{Bounds, OutOfBounds};
pub(crate) use definition::CLEAN;
pub use definition::{Feed, Matching};
pub use error::{FeedError, FeedFault};
pub use format::Format;
pub use secret::Secret;
pub use tsig::{Tsig, TsigAlgorithm};

#[cfg(test)]
mod tests;
