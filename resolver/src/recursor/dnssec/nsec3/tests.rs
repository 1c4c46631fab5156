//! Tests of `nsec3`.
