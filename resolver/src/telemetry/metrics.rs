//! Metrics of the query path, at the price of one store for each count.
//!
//! Each worker owns a [`WorkerMetrics`]: counters that it alone writes, and bounded rings. The
//! publisher adds up the counters and drains the rings. A full ring drops new events and counts
//! them. No label contains a household or a name.

use std::{
    collections::{BTreeMap, HashMap},
    net::UdpSocket,
    sync::{Arc, Mutex, MutexGuard},
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use policy::{
    category::{Category, CategorySet, Taxonomy},
    decide::{Action, Layer, Verdict},
    identity::directory::{Identity, IdentityEvent, IdentitySource},
    lists::current::{CurrentLists, FeedNames},
    name::NameRef,
    rules::household::Mac,
    unix_seconds::UnixSeconds,
};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::{
    listener::{client::Client, udp},
    message::types::Transport,
    telemetry::{
        activity::{ActivityEvent, ActivitySender},
        counters::{BASES_BEGIN, COUNTS, Count, Counters, describe, register},
        detection::{DetectionReceiver, DetectionSender, NewDomain, UnknownDevice},
        event::{QueryEvent, QueryOutcome},
        name_sampler::{InlineName, NameSampler},
    },
};

/// Slots of a worker's ring of blocks: 0.1 s of the busiest worker's blocks.
const BLOCK_RING_SLOTS: usize = 1 << 15;
/// No feed has this index.
const NO_FEED: u16 = u16::MAX;

/// A query that was blocked or sent to the proxy, for the counts by category and feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BlockEvent {
    /// The categories; empty if the verdict is not about categories.
    categories: CategorySet,
    /// The stamp of the lists that `feed` is an index of.
    lists_stamp: u64,
    feed: u16,
}

/// What one thread records with. No other thread writes to it.
pub struct WorkerMetrics {
    counters: Arc<Counters>,
    blocks: Producer<BlockEvent>,
    sampler: NameSampler,
    activity: ActivitySender,
    detection: DetectionSender,
}

impl WorkerMetrics {
    /// Counts one.
    #[inline]
    pub fn count(&mut self, what: Count) {
        self.counters.add(what as usize, 1);
    }

    /// Counts several.
    pub fn count_many(&mut self, what: Count, number: u64) {
        self.counters.add(what as usize, number);
    }

    /// Counts a received packet.
    #[inline]
    pub fn received(&mut self, transport: Transport) {
        self.count(match transport {
            Transport::Udp | Transport::Internal => Count::Udp,
            Transport::Tcp => Count::Tcp,
        });
    }

    /// Counts how a client was identified. Returns whether it is a device of a household that has not
    /// named it.
    #[inline]
    pub fn identified(&mut self, identity: &Identity) -> bool {
        self.count(match identity.source {
            IdentitySource::Mac => Count::ByMac,
            IdentitySource::Address => Count::ByAddress,
            IdentitySource::Network => Count::ByNetwork,
            IdentitySource::Unknown => Count::Unidentified,
        });
        match identity.event {
            Some(IdentityEvent::UntrustedPeer) => self.count(Count::UntrustedPeer),
            Some(IdentityEvent::UnknownMac) => {
                self.count(Count::UnknownMac);
                return identity.source == IdentitySource::Network;
            }
            Some(IdentityEvent::OtherDevice) => self.count(Count::OtherDevice),
            Some(IdentityEvent::UnknownAddress) => return true,
            None => {}
        }
        false
    }

    /// Reports a query of a device that its household has not named.
    #[cold]
    #[inline(never)]
    pub fn unnamed(
        &mut self,
        client: &Client,
        mac: Option<Mac>,
        name: NameRef<'_>,
        at: UnixSeconds,
    ) {
        if !self.detection.unknown_device(client.source, mac, name, at) {
            self.count(Count::DetectionDropped);
        }
    }

    /// Records a query, at the end of its answer.
    // The event is some 100 octets. In a call of its own, each query would write it to memory and
    // read it again.
    #[inline(always)]
    pub fn record(&mut self, event: &QueryEvent<'_>) {
        let flags = event.policy.flags();
        if !flags.is_private() {
            self.sampler.count(event.name);
        }
        let (verdict, lists_stamp) = match event.outcome {
            QueryOutcome::Judged {
                verdict,
                lists_stamp,
            } => (verdict, lists_stamp),
            QueryOutcome::Unresolved if flags.is_watched() => {
                return self.watch(event, Verdict::of_layer(Layer::Default));
            }
            QueryOutcome::Unresolved | QueryOutcome::CacheOnly => return,
        };
        if flags.is_watched() {
            self.watch(event, verdict);
        }
        self.counters
            .add(Count::Verdicts as usize + verdict.layer as usize, 1);
        if verdict.is_block() || matches!(verdict.action, Action::RedirectToProxy { .. }) {
            self.record_block(&verdict, lists_stamp);
        }
    }

    /// The further counts of a query that was blocked or sent to the proxy. Apart from [`record`],
    /// so that the compiler inlines that one into the hit path.
    ///
    /// [`record`]: Self::record
    #[inline(never)]
    fn record_block(&mut self, verdict: &Verdict, lists_stamp: u64) {
        if let Some(mandate) = verdict.mandate() {
            self.counters.add(BASES_BEGIN + mandate.basis_index(), 1);
        }
        match verdict.action {
            Action::RedirectToProxy { .. } => self.count(Count::Proxied),
            Action::Drop => self.count(Count::Dropped),
            _ => {}
        }
        self.send_block(verdict, lists_stamp);
    }

    /// Sends a query to the consumers that want it: the activity of its household, and what things
    /// newly ask for.
    #[cold]
    #[inline(never)]
    fn watch(&mut self, event: &QueryEvent<'_>, verdict: Verdict) {
        let is_sent = self
            .detection
            .thing(event.policy, event.name, verdict, event.at);
        if !is_sent {
            self.count(Count::DetectionDropped);
        }
        if !self
            .activity
            .send(event.policy, event.name, verdict, event.at)
        {
            self.count(Count::ActivityDropped);
        }
    }

    #[inline]
    fn send_block(&mut self, verdict: &Verdict, lists_stamp: u64) {
        let event = BlockEvent {
            categories: verdict.categories,
            lists_stamp,
            feed: verdict.feed.unwrap_or(NO_FEED),
        };
        if (event.feed != NO_FEED || !event.categories.is_empty())
            && self.blocks.push(event).is_err()
        {
            self.count(Count::EventDropped);
        }
    }
}

/// The publisher's end of one thread's counters and rings.
struct WorkerSource {
    counters: Arc<Counters>,
    blocks: Consumer<BlockEvent>,
    sampled: Consumer<InlineName>,
    activity: Consumer<ActivityEvent>,
    detection: DetectionReceiver,
}

/// Blocks by feed since the start.
#[derive(Default)]
struct FeedHits {
    /// The feeds of the lists at the last publication.
    shown: Option<FeedNames>,
    by_name: BTreeMap<String, (Counter, u64)>,
}

impl FeedHits {
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

/// The metrics of the query path, and the consumers of all rings.
pub struct QueryMetrics {
    sources: Mutex<Vec<WorkerSource>>,
    lists: Arc<CurrentLists>,
    hits: Mutex<FeedHits>,
    sample_every: u32,
    counters: [Counter; COUNTS],
    categories: Box<[Counter]>,
    sockets: Mutex<Vec<Arc<UdpSocket>>>,
    overflows: Counter,
    /// Running resolutions.
    pub in_flight: Gauge,
    /// Duration of resolutions, in seconds.
    pub resolution_s: Histogram,
    /// Stale answers served.
    pub stale: Counter,
    /// Prefetches started.
    pub prefetches: Counter,
}

impl QueryMetrics {
    /// Registers the metrics. The lists name the feeds; one of `sample_every` names is sampled, none
    /// with 0.
    #[must_use]
    pub fn new(taxonomy: &Taxonomy, lists: Arc<CurrentLists>, sample_every: u32) -> Self {
        describe();
        let by_category = |category: &Category| counter!("ox_protect_blocked_categories_total", "category" => category.slug.clone());
        Self {
            sources: Mutex::default(),
            lists,
            hits: Mutex::default(),
            sample_every,
            counters: register(),
            categories: taxonomy.categories().iter().map(by_category).collect(),
            sockets: Mutex::default(),
            overflows: counter!("ox_protect_socket_overflows_total"),
            in_flight: gauge!("ox_protect_resolutions_in_flight"),
            resolution_s: histogram!("ox_protect_resolution_seconds"),
            stale: counter!("ox_protect_stale_answers_total"),
            prefetches: counter!("ox_protect_prefetches_total"),
        }
    }

    /// Counters and rings for one more thread. They are kept for as long as the process lives.
    #[must_use]
    pub fn worker(&self) -> WorkerMetrics {
        let (metrics, source) = pair(self.sample_every);
        self.sources().push(source);
        metrics
    }

    /// Counts the overflows of this socket from now on.
    pub fn watch(&self, socket: Arc<UdpSocket>) {
        self.sockets().push(socket);
    }

    /// Publishes all counters and drains the rings of blocks.
    pub fn publish(&self) {
        let mut sources = self.sources();
        for (place, counter) in self.counters.iter().enumerate() {
            counter.absolute(
                sources
                    .iter()
                    .map(|source| source.counters.get(place))
                    .sum(),
            );
        }
        self.overflows.absolute(
            self.sockets()
                .iter()
                .filter_map(|socket| udp::overflows(socket).ok())
                .map(u64::from)
                .sum(),
        );
        let mut hits: HashMap<(u64, u16), u64> = HashMap::new();
        for source in sources.iter_mut() {
            while let Ok(event) = source.blocks.pop() {
                event
                    .categories
                    .iter()
                    .for_each(|category| self.categories[category.index()].increment(1));
                if event.feed != NO_FEED {
                    *hits.entry((event.lists_stamp, event.feed)).or_default() += 1;
                }
            }
        }
        drop(sources);
        self.publish_hits(&hits);
    }

    /// Adds the hits to their feeds' counters. The lists with a hit's stamp name the feed: a swap of
    /// lists may change the indices.
    fn publish_hits(&self, hits: &HashMap<(u64, u16), u64>) {
        let mut by_feed = self.hits();
        let live = self.lists.feeds_of(self.lists.load().stamp());
        if let Some(live) = live.filter(|live| {
            by_feed
                .shown
                .as_ref()
                .is_none_or(|shown| !Arc::ptr_eq(shown, live))
        }) {
            // Feeds without hits are shown, too, with 0.
            live.iter().for_each(|feed| by_feed.add(feed, 0));
            by_feed.shown = Some(live);
        }
        for (&(lists_stamp, feed), &count) in hits {
            if let Some(feed) = self
                .lists
                .feeds_of(lists_stamp)
                .as_deref()
                .and_then(|feeds| feeds.get(usize::from(feed)))
            {
                by_feed.add(feed, count);
            }
        }
    }

    /// Queries that each feed blocked or sent to the proxy since the start, by the feed's name, as
    /// of the last [`Self::publish`].
    #[must_use]
    pub fn feed_hits(&self) -> BTreeMap<String, u64> {
        self.hits()
            .by_name
            .iter()
            .map(|(feed, (_, hits))| (feed.clone(), *hits))
            .collect()
    }

    /// Drains the rings of sampled names.
    pub fn drain_sample(&self, mut take: impl FnMut(NameRef<'_>)) {
        for source in self.sources().iter_mut() {
            while let Ok(name) = source.sampled.pop() {
                take(name.borrow());
            }
        }
    }

    /// Drains the rings of household activity.
    pub fn drain_activity(&self, mut take: impl FnMut(ActivityEvent)) {
        for source in self.sources().iter_mut() {
            while let Ok(event) = source.activity.pop() {
                take(event);
            }
        }
    }

    /// Drains the rings of unnamed devices, and of names that are new to things.
    pub fn drain_detection(
        &self,
        mut device: impl FnMut(UnknownDevice),
        mut domain: impl FnMut(NewDomain),
    ) {
        for source in self.sources().iter_mut() {
            while let Ok(heard) = source.detection.devices.pop() {
                device(heard);
            }
            while let Ok(heard) = source.detection.domains.pop() {
                domain(heard);
            }
        }
    }

    fn hits(&self) -> MutexGuard<'_, FeedHits> {
        self.hits
            .lock()
            .expect("no thread panics while it holds the hits")
    }

    fn sources(&self) -> MutexGuard<'_, Vec<WorkerSource>> {
        self.sources
            .lock()
            .expect("no thread panics while it holds the sources")
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<Arc<UdpSocket>>> {
        self.sockets
            .lock()
            .expect("no thread panics while it holds the sockets")
    }
}

fn pair(sample_every: u32) -> (WorkerMetrics, WorkerSource) {
    let counters = Arc::new(Counters::new());
    let (blocks, block_consumer) = RingBuffer::new(BLOCK_RING_SLOTS);
    let (sampler, sampled) = NameSampler::one_of(sample_every);
    let (activity, activity_consumer) = ActivitySender::pair();
    let (detection, detection_receiver) = DetectionSender::pair();
    (
        WorkerMetrics {
            counters: Arc::clone(&counters),
            blocks,
            sampler,
            activity,
            detection,
        },
        WorkerSource {
            counters,
            blocks: block_consumer,
            sampled,
            activity: activity_consumer,
            detection: detection_receiver,
        },
    )
}

#[cfg(test)]
mod tests;
