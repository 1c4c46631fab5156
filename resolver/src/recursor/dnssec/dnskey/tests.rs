//! Tests of `dnskey`.
