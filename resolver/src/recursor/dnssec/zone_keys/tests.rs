//! Tests of `zone_keys`.
