//! The metrics of the recursor.

use hickory_proto::op::ResponseCode;
use metrics::{Counter, counter, describe_counter, describe_gauge};

use super::{attempt::Feature, failure::ResolutionFailure, response::ResponseFault};

/// Counters of upstream queries and of their results.
pub(super) struct UpstreamCounters {
    pub udp: Counter,
    pub tcp: Counter,
    pub tls: Counter,
    pub timeouts: Counter,
    pub mismatches: Counter,
    without_edns: Counter,
    pub cached_failures: Counter,
}

impl UpstreamCounters {
    pub fn new() -> Self {
        describe();
        let queries = |transport: &'static str| counter!("ox_protect_upstream_queries_total", "transport" => transport);
        Self {
            udp: queries("udp"),
            tcp: queries("tcp"),
            tls: queries("tls"),
            timeouts: counter!("ox_protect_upstream_timeouts_total"),
            mismatches: counter!("ox_protect_upstream_mismatches_total"),
            without_edns: counter!("ox_protect_upstream_without_edns_total"),
            cached_failures: counter!("ox_protect_cached_failures_total"),
        }
    }

    pub fn count_failure(&self, failure: ResolutionFailure) {
        counter!("ox_protect_resolution_failures_total", "cause" => failure.label()).increment(1);
    }

    /// Counts a step that a cached proof answers.
    pub fn count_synthesis(&self, kind: &'static str) {
        counter!("ox_protect_aggressive_nsec_total", "kind" => kind).increment(1);
    }

    pub fn count_fault(&self, fault: ResponseFault) {
        let label = match fault {
            ResponseFault::Code(ResponseCode::ServFail) => "servfail",
            ResponseFault::Code(ResponseCode::Refused) => "refused",
            ResponseFault::Code(ResponseCode::FormErr) => "formerr",
            ResponseFault::Code(ResponseCode::NotImp) => "notimp",
            ResponseFault::Code(_) => "other-code",
            ResponseFault::Lame => "lame",
            ResponseFault::Inconsistent => "inconsistent",
            ResponseFault::TooMuch => "too-much",
        };
        counter!("ox_protect_upstream_faults_total", "fault" => label).increment(1);
    }

    pub fn count_fallback(&self, left_out: Feature) {
        if left_out == Feature::Edns {
            self.without_edns.increment(1);
        }
        counter!("ox_protect_upstream_fallbacks_total", "without" => left_out.label()).increment(1);
    }

    /// Counts a query that a limit on concurrency stops.
    pub fn count_limited(&self, limit: &'static str) {
        counter!("ox_protect_upstream_limited_total", "limit" => limit).increment(1);
    }
}

fn describe() {
    describe_counter!(
        "ox_protect_upstream_queries_total",
        "Queries sent to name servers and forwarders, by transport"
    );
    describe_counter!(
        "ox_protect_upstream_timeouts_total",
        "Queries without a reply within the retransmission timeout of the server"
    );
    describe_counter!(
        "ox_protect_upstream_mismatches_total",
        "Replies with a wrong id, letter case or cookie; the query is repeated over TCP"
    );
    describe_counter!(
        "ox_protect_upstream_without_edns_total",
        "Queries repeated without EDNS"
    );
    describe_counter!(
        "ox_protect_upstream_fallbacks_total",
        "Queries repeated without EDNS options, mixed case or EDNS, by what was left out"
    );
    describe_counter!(
        "ox_protect_upstream_faults_total",
        "Unusable responses, by fault"
    );
    describe_counter!(
        "ox_protect_upstream_limited_total",
        "Queries not sent because of a limit on concurrent queries, by limit: zone or server"
    );
    describe_counter!(
        "ox_protect_resolution_failures_total",
        "Resolutions that failed, by cause"
    );
    describe_counter!(
        "ox_protect_cached_failures_total",
        "Queries answered from the failure cache (RFC 9520)"
    );
    describe_counter!(
        "ox_protect_aggressive_nsec_total",
        "Names answered from cached DNSSEC proofs without a query to their zone, by kind (RFC 8198)"
    );
    describe_gauge!(
        "ox_protect_nsec_cache_bytes",
        "Size of the cache of validated NSEC and NSEC3 records"
    );
    describe_gauge!(
        "ox_protect_nsec_cache_zones",
        "Zones in the cache of validated NSEC and NSEC3 records"
    );
    describe_gauge!("ox_protect_rrset_cache_bytes", "Size of the RRset cache");
    describe_gauge!(
        "ox_protect_rrset_cache_entries",
        "Entries in the RRset cache"
    );
    describe_gauge!("ox_protect_delegations", "Delegations known");
    describe_gauge!(
        "ox_protect_known_servers",
        "Server addresses in the infrastructure cache"
    );
}
