//! Tests of `rrsig`.
