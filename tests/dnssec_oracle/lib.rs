//! Empty: the package is a test.
