//! Tests of `ds`.
