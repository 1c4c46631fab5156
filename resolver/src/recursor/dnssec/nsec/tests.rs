//! Tests of `nsec`.
