//! What is counted. Handles are resolved once, so that a query pays one addition; no household and no name is in a label.

use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use policy::{
    decide::{Layer, Verdict},
    directory::{Identity, IdentityEvent, IdentitySource},
};

use crate::respond::Transport;

const LAYERS: [Layer; 9] = [
    Layer::Mandatory,
    Layer::NeverBlock,
    Layer::DeviceAllow,
    Layer::HouseholdAllow,
    Layer::DeviceDeny,
    Layer::HouseholdDeny,
    Layer::Security,
    Layer::Category,
    Layer::Default,
];

/// The counters of the query path.
pub struct Recorder {
    udp: Counter,
    tcp: Counter,
    verdicts: [Counter; LAYERS.len()],
    identities: [Counter; 4],
    untrusted: Counter,
    unknown_mac: Counter,
    /// Answers from the cache.
    pub cache_hits: Counter,
    /// Questions that had to be resolved.
    pub cache_misses: Counter,
    /// Questions that were not resolved because too many were.
    pub shed: Counter,
    /// Packets without an answer: no query, or too short.
    pub silent: Counter,
    /// Packets that could not be read.
    pub malformed: Counter,
    /// Panics caught at a worker; each is a fault of ours.
    pub panics: Counter,
    /// Resolutions under way.
    pub in_flight: Gauge,
    /// How long resolutions took, in seconds.
    pub resolution_s: Histogram,
    failures: Counter,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// Registers the counters.
    #[must_use]
    pub fn new() -> Self {
        describe_counter!("ox_protect_queries_total", "Packets received, by transport");
        describe_counter!("ox_protect_verdicts_total", "Queries judged, by verdict and by the layer that decided");
        describe_counter!("ox_protect_identities_total", "Queries by what their asker was found by");
        describe_counter!("ox_protect_identities_dropped_total", "Asserted identities that were dropped, by reason");
        describe_counter!("ox_protect_cache_hits_total", "Queries answered from the answer cache");
        describe_counter!("ox_protect_cache_misses_total", "Queries that had to be resolved");
        describe_counter!("ox_protect_resolutions_shed_total", "Queries answered SERVFAIL because too many resolutions were under way");
        describe_counter!("ox_protect_resolution_failures_total", "Resolutions without an answer");
        describe_counter!("ox_protect_packets_ignored_total", "Packets that are no queries");
        describe_counter!("ox_protect_packets_malformed_total", "Queries that could not be read");
        describe_counter!("ox_protect_panics_total", "Panics caught at a worker");
        describe_gauge!("ox_protect_resolutions_in_flight", "Resolutions under way");
        describe_histogram!("ox_protect_resolution_seconds", "How long resolutions took");
        let verdict = |layer: Layer| counter!("ox_protect_verdicts_total", "verdict" => if layer.blocks() { "block" } else { "allow" }, "layer" => layer.as_str());
        let identity = |source: &'static str| counter!("ox_protect_identities_total", "source" => source);
        let dropped = |reason: &'static str| counter!("ox_protect_identities_dropped_total", "reason" => reason);
        Self {
            udp: counter!("ox_protect_queries_total", "transport" => "udp"),
            tcp: counter!("ox_protect_queries_total", "transport" => "tcp"),
            verdicts: LAYERS.map(verdict),
            identities: ["mac", "address", "network", "unknown"].map(identity),
            untrusted: dropped("untrusted-peer"),
            unknown_mac: dropped("unknown-mac"),
            cache_hits: counter!("ox_protect_cache_hits_total"),
            cache_misses: counter!("ox_protect_cache_misses_total"),
            shed: counter!("ox_protect_resolutions_shed_total"),
            silent: counter!("ox_protect_packets_ignored_total"),
            malformed: counter!("ox_protect_packets_malformed_total"),
            panics: counter!("ox_protect_panics_total"),
            in_flight: gauge!("ox_protect_resolutions_in_flight"),
            resolution_s: histogram!("ox_protect_resolution_seconds"),
            failures: counter!("ox_protect_resolution_failures_total"),
        }
    }

    /// A packet came in.
    pub fn received(&self, transport: Transport) {
        match transport {
            Transport::Udp => self.udp.increment(1),
            Transport::Tcp => self.tcp.increment(1),
        }
    }

    /// An asker was found.
    pub fn identified(&self, identity: &Identity) {
        let place = match identity.source {
            IdentitySource::Mac => 0,
            IdentitySource::Address => 1,
            IdentitySource::Network => 2,
            IdentitySource::Unknown => 3,
        };
        self.identities[place].increment(1);
        match identity.event {
            Some(IdentityEvent::UntrustedPeer) => self.untrusted.increment(1),
            Some(IdentityEvent::UnknownMac) => self.unknown_mac.increment(1),
            None => {}
        }
    }

    /// A query was judged and answered.
    pub fn judged(&self, verdict: Verdict) {
        if let Some(place) = LAYERS.iter().position(|&layer| layer == verdict.layer) {
            self.verdicts[place].increment(1);
        }
    }

    /// A resolution ended without an answer.
    pub fn failed(&self) {
        self.failures.increment(1);
    }
}
