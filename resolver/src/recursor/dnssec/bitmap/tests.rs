//! Tests of `bitmap`.
