//! Why SQLite fails to write a file.

/// Why writes fail; the words are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The file system has no room left.
    Full,
    /// The file or its file system is read-only.
    ReadOnly,
    /// The file was removed, replaced or truncated while it was open.
    Vanished,
    /// The file is damaged.
    Damaged,
    /// The system failed to read or write the file.
    Io,
}

impl FailureReason {
    /// The word in events and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Vanished => "vanished",
            Self::Damaged => "damaged",
            Self::Io => "io",
        }
    }

    /// What an error of SQLite says about the file; `None` where it is about the statement.
    pub(crate) fn of(error: &sqlx::Error) -> Option<Self> {
        Some(match primary_code(error)? {
            13 => Self::Full,         // SQLITE_FULL
            8 => Self::ReadOnly,      // SQLITE_READONLY
            11 | 26 => Self::Damaged, // SQLITE_CORRUPT, SQLITE_NOTADB
            7 | 10 | 14 => Self::Io,  // SQLITE_NOMEM, SQLITE_IOERR, SQLITE_CANTOPEN
            _ => return None,
        })
    }
}

/// The primary result code of SQLite (`https://sqlite.org/rescode.html`); `None` where SQLite is
/// not the cause.
pub(crate) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
