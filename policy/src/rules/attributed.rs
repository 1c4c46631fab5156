//! A value of a document with its author, so that explanations can name both.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A value with its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributed<T> {
    /// The value.
    #[serde(flatten)]
    pub value: T,
    /// The key that set it.
    pub set_by: String,
    /// When it was set, RFC 3339.
    pub set_at: Timestamp,
}
