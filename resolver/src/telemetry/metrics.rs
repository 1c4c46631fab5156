//! What is counted and told of queries, at the price of a store each.
//!
//! Each worker has a [`Pen`]: counters that only it writes, and a bounded ring of [`Event`]s.
//! Whoever publishes adds the counters up and empties the rings; a full ring drops what comes and
//! counts it. No household and no name is in a label.

use std::{
    collections::{BTreeMap, HashMap},
    net::UdpSocket,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use policy::{
    category::{CategorySet, Taxonomy},
    decide::{Action, EffectivePolicy, Layer, Verdict},
    identity::directory::{Identity, IdentityEvent, IdentitySource},
    lists::{
        current::{CurrentLists, FeedNames},
        mandates::BASES,
    },
    name::NameRef,
};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::{
    engine::clock,
    listener::udp,
    message::reply::Transport,
    telemetry::{
        activity::{Ears, Heard},
        query_sample::{Asked, CarriedName},
    },
};

/// Events that wait for the publisher, for each worker: a tenth of a second of the busiest worker's
/// blocks.
const RING_EVENTS: usize = 1 << 15;
/// Stands for no feed.
const NO_FEED: u16 = u16::MAX;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// A packet over UDP.
    Udp,
    /// A message over TCP.
    Tcp,
    /// An answer from the cache.
    CacheHit,
    /// A question that had to be resolved.
    CacheMiss,
    /// A question that was not resolved because too many were.
    Shed,
    /// A question that was not resolved because its client waits for too many.
    ClientFull,
    /// A packet without an answer: no query, or too short.
    Silent,
    /// A packet that could not be read.
    Malformed,
    /// A packet of a client that may not ask.
    NotAllowed,
    /// A word that a zone has changed.
    Notify,
    /// A query that a list wants no answer to.
    Dropped,
    /// A query that was answered with the proxy that looks at listed paths.
    Proxied,
    /// A panic caught at a worker; each is a fault of ours.
    Panic,
    /// A reply that the kernel did not take.
    ReplyRefused,
    /// An event that found its ring full.
    EventDropped,
    /// A query that is missing in its household's counts because the ring was full.
    HeardDropped,
    /// A MAC address from a peer that may not assert one.
    UntrustedPeer,
    /// A MAC address that no device, or more than one, has.
    UnknownMac,
    /// A MAC address of another device than the source address.
    OtherDevice,
    /// An asker found by its MAC address.
    ByMac,
    /// By its source address.
    ByAddress,
    /// The household by its network.
    ByNetwork,
    /// A line of no household.
    ByNothing,
    /// The first of the verdicts; the others follow in the order of the layers.
    Verdicts,
}

const LAYERS: [Layer; 16] = Layer::ALL;
/// The first of the bases of mandates; the others follow in their order.
const ORDERS: usize = Count::Verdicts as usize + LAYERS.len();
const COUNTS: usize = ORDERS + BASES.len();

/// One thread's counters, on cache lines of their own.
#[repr(align(128))]
struct Tally([AtomicU64; COUNTS]);

/// What a worker tells of a query beside the counts: that it was blocked or led to the proxy, for
/// which categories, and by which feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The categories; empty where it is not about any.
    pub categories: CategorySet,
    /// Under which lists, by their stamp: the feed's place is theirs.
    stamp: u64,
    feed: u16,
}

/// What one thread writes with. It is not shared, and so a count is no more than a load and a
/// store.
pub struct Pen {
    tally: Arc<Tally>,
    ring: Producer<Event>,
    asked: Asked,
    ears: Ears,
}

impl Pen {
    /// Counts one.
    pub fn count(&mut self, what: Count) {
        self.add(what as usize, 1);
    }

    /// Counts several.
    pub fn count_many(&mut self, what: Count, number: u64) {
        self.add(what as usize, number);
    }

    fn add(&mut self, place: usize, number: u64) {
        let count = &self.tally.0[place];
        count.store(count.load(Ordering::Relaxed) + number, Ordering::Relaxed);
    }

    /// A packet came in.
    pub fn received(&mut self, transport: Transport) {
        self.count(match transport {
            Transport::Udp | Transport::Told => Count::Udp,
            Transport::Tcp => Count::Tcp,
        });
    }

    /// An asker was found.
    pub fn identified(&mut self, identity: &Identity) {
        self.count(match identity.source {
            IdentitySource::Mac => Count::ByMac,
            IdentitySource::Address => Count::ByAddress,
            IdentitySource::Network => Count::ByNetwork,
            IdentitySource::Unknown => Count::ByNothing,
        });
        match identity.event {
            Some(IdentityEvent::UntrustedPeer) => self.count(Count::UntrustedPeer),
            Some(IdentityEvent::UnknownMac) => self.count(Count::UnknownMac),
            Some(IdentityEvent::OtherDevice) => self.count(Count::OtherDevice),
            None => {}
        }
    }

    /// A name is asked for.
    pub fn asked(&mut self, name: NameRef<'_>) {
        self.asked.note(name);
    }

    /// A query for a name was judged, under the lists with this stamp, and answered.
    pub fn judged(
        &mut self,
        asker: &EffectivePolicy,
        name: NameRef<'_>,
        verdict: Verdict,
        stamp: u64,
    ) {
        if asker.flags().is_recorded() {
            self.hear(asker, name, verdict);
        }
        self.add(Count::Verdicts as usize + verdict.layer as usize, 1);
        let is_proxied = matches!(verdict.action, Action::RedirectToProxy { .. });
        if verdict.is_block() || is_proxied {
            if let Some(ordered) = verdict.mandate() {
                self.add(ORDERS + ordered.basis_index(), 1);
            }
            if is_proxied {
                self.count(Count::Proxied);
            } else if verdict.action == Action::Drop {
                self.count(Count::Dropped);
            }
            self.tell(verdict, stamp);
        }
    }

    /// A query for a name could not be answered. Its asker asked all the same, and is not silent.
    pub fn unanswered(&mut self, asker: &EffectivePolicy, name: NameRef<'_>) {
        if asker.flags().is_recorded() {
            self.hear(asker, name, Verdict::of_layer(Layer::Default));
        }
    }

    #[cold]
    #[inline(never)]
    fn hear(&mut self, asker: &EffectivePolicy, name: NameRef<'_>, verdict: Verdict) {
        if !self.ears.hear(asker, name, verdict, clock()) {
            self.count(Count::HeardDropped);
        }
    }

    fn tell(&mut self, verdict: Verdict, stamp: u64) {
        let event = Event {
            categories: verdict.categories,
            stamp,
            feed: verdict.feed.unwrap_or(NO_FEED),
        };
        if (event.feed != NO_FEED || !event.categories.is_empty()) && self.ring.push(event).is_err()
        {
            self.count(Count::EventDropped);
        }
    }
}

/// One thread's counters and rings, as the publisher sees them.
struct Source {
    tally: Arc<Tally>,
    ring: Consumer<Event>,
    asked: Consumer<CarriedName>,
    heard: Consumer<Heard>,
}

/// What the feeds blocked since the start.
#[derive(Default)]
struct Hits {
    /// The feeds that were last seen in the lists.
    shown: Option<FeedNames>,
    by_name: BTreeMap<String, (Counter, u64)>,
}

impl Hits {
    fn add(&mut self, feed: &str, hits: u64) {
        if !self.by_name.contains_key(feed) {
            self.by_name.insert(
                feed.to_owned(),
                (
                    counter!("ox_protect_feed_hits_total", "feed" => feed.to_owned()),
                    0,
                ),
            );
        }
        if let Some((counter, sum)) = self.by_name.get_mut(feed) {
            counter.increment(hits);
            *sum += hits;
        }
    }
}

/// The counters of the query path.
pub struct Recorder {
    sources: Mutex<Vec<Source>>,
    lists: Arc<CurrentLists>,
    hits: Mutex<Hits>,
    sample_every: u32,
    counters: [Counter; COUNTS],
    categories: Box<[Counter]>,
    sockets: Mutex<Vec<Arc<UdpSocket>>>,
    overflows: Counter,
    /// Resolutions under way.
    pub in_flight: Gauge,
    /// How long resolutions took, in seconds.
    pub resolution_s: Histogram,
    /// Answers given although they were too old.
    pub stale: Counter,
    /// Answers resolved again before their end.
    pub renewed: Counter,
}

impl Recorder {
    /// Registers the counters. Feeds are named by the lists; of the names asked for, one of so many
    /// is sampled.
    #[must_use]
    pub fn new(taxonomy: &Taxonomy, lists: Arc<CurrentLists>, sample_every: u32) -> Self {
        describe();
        let slug = |category: &policy::category::Category| counter!("ox_protect_blocked_categories_total", "category" => category.slug.clone());
        Self {
            sources: Mutex::default(),
            lists,
            hits: Mutex::default(),
            sample_every,
            counters: counters(),
            categories: taxonomy.categories().iter().map(slug).collect(),
            sockets: Mutex::default(),
            overflows: counter!("ox_protect_socket_overflows_total"),
            in_flight: gauge!("ox_protect_resolutions_in_flight"),
            resolution_s: histogram!("ox_protect_resolution_seconds"),
            stale: counter!("ox_protect_stale_answers_total"),
            renewed: counter!("ox_protect_renewals_total"),
        }
    }

    /// A pen for a thread.
    #[must_use]
    pub fn pen(&self) -> Pen {
        let (pen, source) = pair(self.sample_every);
        self.sources().push(source);
        pen
    }

    /// Counts what finds this socket full.
    pub fn watch(&self, socket: Arc<UdpSocket>) {
        self.sockets
            .lock()
            .expect("nothing panics while it holds the sockets")
            .push(socket);
    }

    /// Adds up what all pens wrote and empties their rings, so that the metrics say what has
    /// happened until now.
    pub fn publish(&self) {
        let mut sources = self.sources();
        for (place, counter) in self.counters.iter().enumerate() {
            counter.absolute(
                sources
                    .iter()
                    .map(|source| source.tally.0[place].load(Ordering::Relaxed))
                    .sum(),
            );
        }
        let sockets = self
            .sockets
            .lock()
            .expect("nothing panics while it holds the sockets");
        self.overflows.absolute(
            sockets
                .iter()
                .filter_map(|socket| udp::overflows(socket).ok())
                .map(u64::from)
                .sum(),
        );
        let mut hits: HashMap<(u64, u16), u64> = HashMap::new();
        for source in sources.iter_mut() {
            while let Ok(event) = source.ring.pop() {
                event
                    .categories
                    .iter()
                    .for_each(|category| self.categories[category.index()].increment(1));
                if event.feed != NO_FEED {
                    *hits.entry((event.stamp, event.feed)).or_default() += 1;
                }
            }
        }
        drop(sources);
        self.publish_hits(&hits);
    }

    /// Translates places to names by the lists under which they were counted: a feed that joins or
    /// leaves moves the others.
    fn publish_hits(&self, hits: &HashMap<(u64, u16), u64>) {
        let mut by_feed = self.hits();
        let live = self.lists.feeds_of(self.lists.load().stamp());
        if let Some(live) = live.filter(|live| {
            by_feed
                .shown
                .as_ref()
                .is_none_or(|shown| !Arc::ptr_eq(shown, live))
        }) {
            // A feed that blocks nothing is shown with nothing, not left out.
            live.iter().for_each(|feed| by_feed.add(feed, 0));
            by_feed.shown = Some(live);
        }
        for (&(stamp, feed), &count) in hits {
            if let Some(feed) = self
                .lists
                .feeds_of(stamp)
                .as_deref()
                .and_then(|feeds| feeds.get(usize::from(feed)))
            {
                by_feed.add(feed, count);
            }
        }
    }

    /// How many queries each feed blocked or led to the proxy since the start, by the feed's name,
    /// as far as it is published.
    #[must_use]
    pub fn feed_hits(&self) -> BTreeMap<String, u64> {
        self.hits()
            .by_name
            .iter()
            .map(|(feed, (_, hits))| (feed.clone(), *hits))
            .collect()
    }

    /// Empties the rings of sampled names.
    pub fn take_asked(&self, mut take: impl FnMut(NameRef<'_>)) {
        for source in self.sources().iter_mut() {
            while let Ok(name) = source.asked.pop() {
                take(name.borrow());
            }
        }
    }

    /// Empties the rings of what households want counted.
    pub fn take_heard(&self, mut take: impl FnMut(Heard)) {
        for source in self.sources().iter_mut() {
            while let Ok(heard) = source.heard.pop() {
                take(heard);
            }
        }
    }

    fn hits(&self) -> MutexGuard<'_, Hits> {
        self.hits
            .lock()
            .expect("nothing panics while it holds the hits")
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Source>> {
        self.sources
            .lock()
            .expect("nothing panics while it holds the sources")
    }
}

fn pair(sample_every: u32) -> (Pen, Source) {
    let tally = Arc::new(Tally([const { AtomicU64::new(0) }; COUNTS]));
    let (producer, consumer) = RingBuffer::new(RING_EVENTS);
    let (asked, names) = Asked::one_of(sample_every);
    let (ears, heard) = Ears::pair();
    (
        Pen {
            tally: Arc::clone(&tally),
            ring: producer,
            asked,
            ears,
        },
        Source {
            tally,
            ring: consumer,
            asked: names,
            heard,
        },
    )
}

/// The counters, in the order of their places.
fn counters() -> [Counter; COUNTS] {
    let identity =
        |source: &'static str| counter!("ox_protect_identities_total", "source" => source);
    let dropped =
        |reason: &'static str| counter!("ox_protect_identities_dropped_total", "reason" => reason);
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
        (Count::Silent, counter!("ox_protect_packets_ignored_total")),
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
            Count::HeardDropped,
            counter!("ox_protect_activity_dropped_total"),
        ),
        (Count::UntrustedPeer, dropped("untrusted-peer")),
        (Count::UnknownMac, dropped("unknown-mac")),
        (Count::OtherDevice, dropped("other-device")),
        (Count::ByMac, identity("mac")),
        (Count::ByAddress, identity("address")),
        (Count::ByNetwork, identity("network")),
        (Count::ByNothing, identity("unknown")),
    ];
    std::array::from_fn(|place| match first.get(place) {
        Some((count, counter)) => {
            assert_eq!(
                *count as usize, place,
                "counters stand in the order of their places"
            );
            counter.clone()
        }
        None if place >= ORDERS => {
            counter!("ox_protect_mandate_hits_total", "basis" => BASES[place - ORDERS].0)
        }
        None => verdict(LAYERS[place - Count::Verdicts as usize]),
    })
}

fn describe() {
    describe_counter!("ox_protect_queries_total", "Packets received, by transport");
    describe_counter!(
        "ox_protect_verdicts_total",
        "Queries judged, by verdict and by the layer that decided"
    );
    describe_counter!(
        "ox_protect_mandate_hits_total",
        "Queries blocked under a mandate, by its basis"
    );
    describe_counter!(
        "ox_protect_blocked_categories_total",
        "Queries blocked for a category; a query may count for several"
    );
    describe_counter!(
        "ox_protect_identities_total",
        "Queries by what their asker was found by"
    );
    describe_counter!(
        "ox_protect_identities_dropped_total",
        "Asserted identities that did not hold alone, by reason"
    );
    describe_counter!(
        "ox_protect_cache_hits_total",
        "Queries answered from the answer cache"
    );
    describe_counter!(
        "ox_protect_cache_misses_total",
        "Queries that had to be resolved"
    );
    describe_counter!(
        "ox_protect_resolutions_shed_total",
        "Queries answered SERVFAIL because too many resolutions were under way"
    );
    describe_counter!(
        "ox_protect_clients_limited_total",
        "Queries answered SERVFAIL because their client waits for too many resolutions"
    );
    describe_counter!(
        "ox_protect_stale_answers_total",
        "Answers older than they should be, because nobody gave a newer one in time"
    );
    describe_counter!(
        "ox_protect_renewals_total",
        "Answers resolved again before their end"
    );
    describe_counter!(
        "ox_protect_packets_ignored_total",
        "Packets that are no queries"
    );
    describe_counter!(
        "ox_protect_packets_malformed_total",
        "Queries that could not be read"
    );
    describe_counter!(
        "ox_protect_clients_refused_total",
        "Packets refused because their client is outside dns.allow_from and every household's networks"
    );
    describe_counter!(
        "ox_protect_notifies_total",
        "Words that a zone has changed (NOTIFY)"
    );
    describe_counter!(
        "ox_protect_queries_dropped_total",
        "Queries that were not answered because a list wants that"
    );
    describe_counter!(
        "ox_protect_queries_proxied_total",
        "Queries answered with the proxy that looks at listed paths"
    );
    describe_counter!(
        "ox_protect_feed_hits_total",
        "Queries blocked or led to the proxy, by the feed that decided"
    );
    describe_counter!("ox_protect_panics_total", "Panics caught at a worker");
    describe_counter!(
        "ox_protect_replies_refused_total",
        "Replies that the kernel did not take"
    );
    describe_counter!(
        "ox_protect_socket_overflows_total",
        "Datagrams that found a socket's buffer full"
    );
    describe_counter!(
        "ox_protect_events_dropped_total",
        "Blocked queries that were not told to the aggregator because its ring was full"
    );
    describe_counter!(
        "ox_protect_activity_dropped_total",
        "Queries that are missing in their household's counts because a ring was full"
    );
    describe_gauge!("ox_protect_resolutions_in_flight", "Resolutions under way");
    describe_histogram!("ox_protect_resolution_seconds", "How long resolutions took");
}

#[cfg(test)]
mod tests {
    use policy::{
        identity::directory::Directory,
        name::Name,
        rules::{
            compiled::HouseholdRules,
            household::{Attributed, HistorySettings, Household},
            operator::OperatorDefaults,
        },
        unix_seconds::UnixSeconds,
    };

    use super::*;

    #[test]
    fn every_layer_has_its_own_place() {
        for (place, layer) in LAYERS.into_iter().enumerate() {
            assert_eq!(layer as usize, place);
        }
    }

    #[test]
    fn a_full_ring_drops_and_counts_and_loses_no_count() {
        let (mut pen, mut source) = pair(0);
        let asker = Directory::new(OperatorDefaults::default()).unknown_line();
        let name = Name::parse("bet.example").unwrap();
        let taxonomy = Taxonomy::shipped();
        let categories = taxonomy.find("gambling").into_iter().collect();
        let verdict = Verdict {
            categories,
            ..Verdict::of_layer(Layer::Category)
        };
        for _ in 0..RING_EVENTS + 7 {
            pen.judged(&asker, name.borrow(), verdict, 7);
        }
        let count = |what: usize| source.tally.0[what].load(Ordering::Relaxed);
        assert_eq!(count(Count::EventDropped as usize), 7);
        assert_eq!(
            count(Count::Verdicts as usize + Layer::Category as usize),
            RING_EVENTS as u64 + 7
        );
        assert_eq!(
            source.ring.pop(),
            Ok(Event {
                categories,
                stamp: 7,
                feed: NO_FEED
            })
        );
        assert!(source.heard.pop().is_err(), "nobody wanted it counted");
    }

    #[test]
    fn a_household_that_wants_it_hears_of_all_but_orders() {
        let (mut pen, mut source) = pair(0);
        let mut household = Household::new("home".parse().unwrap());
        let history = HistorySettings {
            days: 7,
            names: true,
            unknown_devices: true,
        };
        household.history = Some(Attributed {
            value: history,
            set_by: "key:1".into(),
            set_at: jiff::Timestamp::UNIX_EPOCH,
        });
        let rules = HouseholdRules::compile(
            &household,
            &Taxonomy::shipped(),
            OperatorDefaults::default(),
            jiff::Timestamp::UNIX_EPOCH,
        )
        .into();
        let asker = EffectivePolicy::of(&rules, None, UnixSeconds::FIRST);
        let name = Name::parse("bet.example").unwrap();
        for layer in Layer::ALL {
            pen.judged(&asker, name.borrow(), Verdict::of_layer(layer), 7);
        }
        let heard: Vec<Layer> = std::iter::from_fn(|| source.heard.pop().ok())
            .map(|heard| heard.layer)
            .collect();
        assert_eq!(heard, Layer::ALL[1..], "an order is nobody's activity");
        household.history.as_mut().unwrap().value.unknown_devices = false;
        let rules = HouseholdRules::compile(
            &household,
            &Taxonomy::shipped(),
            OperatorDefaults::default(),
            jiff::Timestamp::UNIX_EPOCH,
        )
        .into();
        pen.judged(
            &EffectivePolicy::of(&rules, None, UnixSeconds::FIRST),
            name.borrow(),
            Verdict::of_layer(Layer::Default),
            7,
        );
        assert!(
            source.heard.pop().is_err(),
            "nobody named the device, and such are not counted"
        );
    }
}
