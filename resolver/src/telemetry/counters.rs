//! The counters of one thread, their places, and their names and help texts in `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, counter, describe_counter, describe_gauge, describe_histogram};
use policy::{decide::Layer, lists::mandates::BASES};

use crate::admission::LimitedGroup;

/// A counter, by its place in [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// Datagrams received.
    Udp,
    /// Messages received over TCP.
    Tcp,
    /// Queries answered from the cache.
    CacheHit,
    /// Queries that need a resolution.
    CacheMiss,
    /// Queries not resolved, because too many resolutions run.
    Shed,
    /// Queries not resolved, because their client waits for too many.
    ClientFull,
    /// Queries not resolved, because nearly all resolutions of their client or zone fail.
    FailingLimited,
    /// Resolutions that lost their place, because their client held the most.
    EvictedByClient,
    /// Resolutions that lost their place, because their zone held the most.
    EvictedByZone,
    /// TCP connections refused, because all are taken.
    TcpRefused,
    /// TCP connections closed for a new one.
    TcpClosed,
    /// Queries of clients or networks over their rate: not answered.
    RateDropped,
    /// The same, answered truncated or with BADCOOKIE.
    RateSlipped,
    /// The same from proven addresses, answered REFUSED.
    RateRefused,
    /// Late replies that waited so that they do not leave in one pulse.
    ReplySpread,
    /// Late replies that were discarded.
    ReplyDiscarded,
    /// Packets without an answer: responses, and packets shorter than a header.
    Ignored,
    /// Packets that do not parse as a query.
    Malformed,
    /// Packets of clients that may not ask.
    NotAllowed,
    /// NOTIFY messages.
    Notify,
    /// Queries without an answer, by the action of a list entry.
    Dropped,
    /// Queries answered with the addresses of the path-filtering proxy.
    Proxied,
    /// Caught panics; each one is a bug.
    Panic,
    /// Replies that the kernel refused.
    ReplyRefused,
    /// Blocks that found their ring full.
    EventDropped,
    /// Queries missing in a household's history, because the ring was full.
    ActivityDropped,
    /// Signs of new devices, and new names of things, that found their ring full.
    DetectionDropped,
    /// MAC addresses asserted by peers that may not assert one.
    UntrustedPeer,
    /// MAC addresses that no device, or more than one, has.
    UnknownMac,
    /// MAC addresses of another device than the source address belongs to.
    OtherDevice,
    /// Clients identified by MAC address.
    ByMac,
    /// Clients identified by source address.
    ByAddress,
    /// Clients whose network identifies the household alone.
    ByNetwork,
    /// Clients of no household.
    Unidentified,
    /// Verdicts of the first layer; those of the other layers follow in the order of
    /// [`Layer::ALL`], then the bases of mandates.
    Verdicts,
}

impl Count {
    /// The count of an eviction from this group.
    pub(crate) fn evicted(group: &LimitedGroup) -> Self {
        match group {
            LimitedGroup::Client(_) => Self::EvictedByClient,
            LimitedGroup::Zone(_) | LimitedGroup::Network(_) => Self::EvictedByZone,
        }
    }
}

pub(crate) const LAYERS: [Layer; 17] = Layer::ALL;
/// The place of the first basis of mandates.
pub(crate) const BASES_BEGIN: usize = Count::Verdicts as usize + LAYERS.len();
pub(crate) const COUNTS: usize = BASES_BEGIN + BASES.len();

/// The counters of one thread, which alone writes them, on cache lines of their own.
#[repr(align(128))]
pub(crate) struct Counters([AtomicU64; COUNTS]);

impl Counters {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; COUNTS])
    }

    /// Adds to a counter: a load and a store, because no other thread writes.
    #[inline]
    pub(crate) fn add(&self, place: usize, number: u64) {
        let count = &self.0[place];
        count.store(count.load(Ordering::Relaxed) + number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, place: usize) -> u64 {
        self.0[place].load(Ordering::Relaxed)
    }
}

/// Registers the counters, in the order of their places.
pub(crate) fn register() -> [Counter; COUNTS] {
    let identity =
        |source: &'static str| counter!("ox_protect_identities_total", "source" => source);
    let dropped =
        |reason: &'static str| counter!("ox_protect_identities_dropped_total", "reason" => reason);
    let evicted = |by: &'static str| counter!("ox_protect_resolutions_evicted_total", "by" => by);
    let tcp_limited =
        |how: &'static str| counter!("ox_protect_tcp_connections_limited_total", "how" => how);
    let rate_limited =
        |how: &'static str| counter!("ox_protect_queries_limited_total", "how" => how);
    let late = |how: &'static str| counter!("ox_protect_late_replies_total", "how" => how);
    let verdict = |layer: Layer| counter!("ox_protect_verdicts_total", "verdict" => if layer.blocks() { "block" } else { "allow" }, "layer" => layer.as_str());
    let first = [
        (
            Count::Udp,
            counter!("ox_protect_queries_total", "transport" => "udp"),
        ),
        (
            Count::Tcp,
            counter!("ox_protect_queries_total", "transport" => "tcp"),
        ),
        (Count::CacheHit, counter!("ox_protect_cache_hits_total")),
        (Count::CacheMiss, counter!("ox_protect_cache_misses_total")),
        (Count::Shed, counter!("ox_protect_resolutions_shed_total")),
        (
            Count::ClientFull,
            counter!("ox_protect_clients_limited_total"),
        ),
        (
            Count::FailingLimited,
            counter!("ox_protect_failing_limited_total"),
        ),
        (Count::EvictedByClient, evicted("client")),
        (Count::EvictedByZone, evicted("zone")),
        (Count::TcpRefused, tcp_limited("refused")),
        (Count::TcpClosed, tcp_limited("closed")),
        (Count::RateDropped, rate_limited("dropped")),
        (Count::RateSlipped, rate_limited("slipped")),
        (Count::RateRefused, rate_limited("refused")),
        (Count::ReplySpread, late("spread")),
        (Count::ReplyDiscarded, late("discarded")),
        (Count::Ignored, counter!("ox_protect_packets_ignored_total")),
        (
            Count::Malformed,
            counter!("ox_protect_packets_malformed_total"),
        ),
        (
            Count::NotAllowed,
            counter!("ox_protect_clients_refused_total"),
        ),
        (Count::Notify, counter!("ox_protect_notifies_total")),
        (Count::Dropped, counter!("ox_protect_queries_dropped_total")),
        (Count::Proxied, counter!("ox_protect_queries_proxied_total")),
        (Count::Panic, counter!("ox_protect_panics_total")),
        (
            Count::ReplyRefused,
            counter!("ox_protect_replies_refused_total"),
        ),
        (
            Count::EventDropped,
            counter!("ox_protect_events_dropped_total"),
        ),
        (
            Count::ActivityDropped,
            counter!("ox_protect_activity_dropped_total"),
        ),
        (
            Count::DetectionDropped,
            counter!("ox_protect_detection_dropped_total", "at" => "worker"),
        ),
        (Count::UntrustedPeer, dropped("untrusted-peer")),
        (Count::UnknownMac, dropped("unknown-mac")),
        (Count::OtherDevice, dropped("other-device")),
        (Count::ByMac, identity("mac")),
        (Count::ByAddress, identity("address")),
        (Count::ByNetwork, identity("network")),
        (Count::Unidentified, identity("unknown")),
    ];
    std::array::from_fn(|place| match first.get(place) {
        Some((count, counter)) => {
            assert_eq!(
                *count as usize, place,
                "the counters are listed in the order of their places"
            );
            counter.clone()
        }
        None if place >= BASES_BEGIN => {
            counter!("ox_protect_mandate_hits_total", "basis" => BASES[place - BASES_BEGIN].0)
        }
        None => verdict(LAYERS[place - Count::Verdicts as usize]),
    })
}

/// Help texts of the counters.
const HELP: [(&str, &str); 30] = [
    ("ox_protect_queries_total", "Packets received, by transport"),
    (
        "ox_protect_verdicts_total",
        "Queries judged, by verdict and by the layer that decided",
    ),
    (
        "ox_protect_mandate_hits_total",
        "Queries blocked by a mandate, by its legal basis",
    ),
    (
        "ox_protect_blocked_categories_total",
        "Queries blocked for a category; one query may count for several",
    ),
    (
        "ox_protect_identities_total",
        "Queries by the identifier that identified the client",
    ),
    (
        "ox_protect_identities_dropped_total",
        "Asserted identities not used, or not used alone, by reason",
    ),
    (
        "ox_protect_cache_hits_total",
        "Queries answered from the answer cache",
    ),
    (
        "ox_protect_cache_misses_total",
        "Queries that needed a resolution",
    ),
    (
        "ox_protect_tcp_connections_limited_total",
        "TCP connections refused, or closed for a new one, when all were taken",
    ),
    (
        "ox_protect_queries_limited_total",
        "Queries of clients or networks over their rate, by what was done: dropped, slipped (an empty reply to repeat over TCP or with a cookie) or refused",
    ),
    (
        "ox_protect_late_replies_total",
        "Replies over UDP to a client with many waiting queries, by what was done: spread over time or discarded",
    ),
    (
        "ox_protect_resolutions_evicted_total",
        "Resolutions ended for a smaller client or zone, by what held the most places",
    ),
    (
        "ox_protect_resolutions_shed_total",
        "Queries answered SERVFAIL because too many resolutions were running",
    ),
    (
        "ox_protect_failing_limited_total",
        "Queries answered SERVFAIL because nearly all resolutions of their client or zone fail",
    ),
    (
        "ox_protect_clients_limited_total",
        "Queries answered SERVFAIL because the client waited for too many resolutions",
    ),
    (
        "ox_protect_stale_answers_total",
        "Stale answers served (RFC 8767)",
    ),
    (
        "ox_protect_prefetches_total",
        "Prefetches: answers resolved again before their TTL ended",
    ),
    (
        "ox_protect_packets_ignored_total",
        "Packets that are no queries, not answered",
    ),
    (
        "ox_protect_packets_malformed_total",
        "Packets that do not parse as a query",
    ),
    (
        "ox_protect_clients_refused_total",
        "Packets refused because the client is outside dns.allow_from and every household's networks",
    ),
    (
        "ox_protect_notifies_total",
        "NOTIFY messages received (RFC 1996)",
    ),
    (
        "ox_protect_queries_dropped_total",
        "Queries not answered, by the action of a list entry",
    ),
    (
        "ox_protect_queries_proxied_total",
        "Queries answered with the addresses of the path-filtering proxy",
    ),
    (
        "ox_protect_feed_hits_total",
        "Queries blocked or sent to the proxy, by the feed that decided",
    ),
    (
        "ox_protect_panics_total",
        "Panics caught while answering; each is a bug",
    ),
    (
        "ox_protect_replies_refused_total",
        "Replies that the kernel did not accept",
    ),
    (
        "ox_protect_socket_overflows_total",
        "Datagrams lost because the receive buffer of a socket was full",
    ),
    (
        "ox_protect_events_dropped_total",
        "Blocks missing in the counts by feed and category because a ring was full",
    ),
    (
        "ox_protect_activity_dropped_total",
        "Queries missing in their household's history because a ring was full",
    ),
    (
        "ox_protect_detection_dropped_total",
        "Signs of new devices and names new to things that were dropped, by the place that was full",
    ),
];

/// Registers the help texts.
pub(crate) fn describe() {
    for (name, help) in HELP {
        describe_counter!(name, help);
    }
    describe_gauge!("ox_protect_resolutions_in_flight", "Running resolutions");
    describe_histogram!("ox_protect_resolution_seconds", "Duration of resolutions");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_has_its_own_place() {
        for (place, layer) in LAYERS.into_iter().enumerate() {
            assert_eq!(layer as usize, place);
        }
    }
}
