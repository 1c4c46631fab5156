//! The bench of this package counts; there is no library.
