//! A changed row of a feed, from the fetchers to the spool and to the lists.

/// One row that was added to or removed from a feed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowChange {
    /// Whether the row was added. In a feed with row keys, an added row replaces the row with its
    /// key.
    pub added: bool,
    /// The row; for a removed one its key is enough.
    pub row: Vec<u8>,
}

impl RowChange {
    /// An added row.
    #[must_use]
    pub fn added(row: impl Into<Vec<u8>>) -> Self {
        Self {
            added: true,
            row: row.into(),
        }
    }

    /// A removed row, or the key of one.
    #[must_use]
    pub fn removed(row: impl Into<Vec<u8>>) -> Self {
        Self {
            added: false,
            row: row.into(),
        }
    }
}
