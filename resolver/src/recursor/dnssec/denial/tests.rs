//! Tests of `denial`.
