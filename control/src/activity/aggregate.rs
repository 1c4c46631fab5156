//! The aggregator: takes queries from the workers' rings, adds them to the activity of households
//! that keep it, and publishes events about blocked names and silent devices.
//!
//! No query waits for this. If a ring, the counts in memory or a subscriber is full, queries are
//! lost and counted as lost.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use policy::{
    category::{CategoryId, CategorySet},
    decide::Layer,
    lists::blocklist::Blocklist,
    name::Name,
    rules::{builtin_names::BuiltinName, household::Id},
};
use policy_store::activity::{BlockedQuery, BypassSign, CountedQuery};
use resolver::{engine::Engine, telemetry::activity::ActivityEvent};

use super::{
    inactivity::{InactivityWatch, Silence},
    retention::days_kept,
};
use crate::{
    Control,
    households::events::{OtherEvent, ScopedEvent},
    shutdown::Shutdown,
};

/// How often the workers' rings are emptied. A ring holds the queries of a busy worker in this time.
const TAKE_EVERY: Duration = Duration::from_millis(100);
/// How often blocked names are published, and devices checked for silence.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// How long a node that shuts down goes on writing.
const END_MAX: Duration = Duration::from_secs(10);
/// Different blocked names that are kept of a household in a second, and those of them that are
/// published: other events must not be lost behind them.
const BLOCKS_MAX: usize = 200;
const BLOCKS_PUBLISHED_MAX: usize = 8;

/// The categories of the taxonomy, prepared for lookups.
struct Categories {
    /// The slug of each category, by its index.
    slugs: Vec<Arc<str>>,
    /// Categories whose names are signs of a bypass.
    signs: [(Option<CategoryId>, BypassSign); 3],
}

impl Categories {
    fn of(control: &Control) -> Self {
        let signs = [
            ("doh", BypassSign::Doh),
            ("vpn", BypassSign::Vpn),
            ("proxy", BypassSign::Proxy),
        ];
        Self {
            slugs: control
                .taxonomy
                .categories()
                .iter()
                .map(|category| category.slug.as_str().into())
                .collect(),
            signs: signs.map(|(slug, sign)| (control.taxonomy.find(slug), sign)),
        }
    }

    fn slugs(&self, categories: CategorySet) -> Vec<Arc<str>> {
        categories
            .iter()
            .map(|category| Arc::clone(&self.slugs[category.index()]))
            .collect()
    }

    /// A query as the activity counts it. `None` if its household has no valid identifier.
    fn query(&self, lists: &Blocklist, heard: ActivityEvent) -> Option<CountedQuery> {
        let rules = &heard.rules;
        let device = heard.device.and_then(|index| rules.device_id(index));
        let listed = lists.classify(heard.name.borrow());
        let about = listed.choice.union(listed.security);
        let is_blocked = heard.layer.blocks();
        Some(CountedQuery {
            household: rules.id().parse().ok()?,
            device: device.and_then(|id| id.parse().ok()),
            at: heard.at.timestamp()?,
            days: 0,
            categories: self.slugs(about),
            sign: self.sign(listed.builtin, about).filter(|_| !is_blocked),
            blocked: is_blocked.then(|| BlockedQuery {
                layer: heard.layer.as_str(),
                categories: self.slugs(heard.categories),
                name: Some(heard.name.borrow().to_owned()),
            }),
        })
    }

    fn sign(&self, special: BuiltinName, listed: CategorySet) -> Option<BypassSign> {
        if special == BuiltinName::Relay {
            return Some(BypassSign::Relay);
        }
        self.signs
            .iter()
            .find(|(category, _)| category.is_some_and(|category| listed.contains(category)))
            .map(|(_, sign)| *sign)
    }
}

/// A name that was blocked for a device, and how often in this second.
struct Block {
    count: u64,
    layer: Layer,
    categories: CategorySet,
}

/// The state of the aggregator between two ticks.
struct Aggregator {
    categories: Categories,
    watch: InactivityWatch,
    /// By household, then by device and name.
    blocks: BTreeMap<Id, BTreeMap<(Option<Id>, Name), Block>>,
}

impl Aggregator {
    fn of(control: &Control) -> Self {
        Self {
            categories: Categories::of(control),
            watch: InactivityWatch::new(control.history.silent_after),
            blocks: BTreeMap::new(),
        }
    }

    /// Keeps a blocked name until the next publication.
    fn keep_block(&mut self, query: &CountedQuery, layer: Layer, categories: CategorySet) {
        let blocked = query.blocked.as_ref();
        let Some(name) = blocked.and_then(|blocked| blocked.name.clone()) else {
            return;
        };
        let of_household = self.blocks.entry(query.household.clone()).or_default();
        let is_full = of_household.len() >= BLOCKS_MAX;
        let key = (query.device.clone(), name);
        if let Some(block) = of_household.get_mut(&key) {
            block.count += 1;
        } else if !is_full {
            let block = Block {
                count: 1,
                layer,
                categories,
            };
            of_household.insert(key, block);
        }
    }
}

/// Aggregates queries until the node shuts down.
pub async fn run(control: Arc<Control>, engine: Arc<Engine>, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(TAKE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut aggregator = Aggregator::of(&control);
    let mut published = Instant::now();
    while shutdown.tick(&mut tick).await {
        aggregator = take(&control, &engine, aggregator).await;
        if published.elapsed() >= PUBLISH_EVERY {
            published = Instant::now();
            publish_blocks(&control, std::mem::take(&mut aggregator.blocks));
            for (household, device, silence) in aggregator.watch.silent(Timestamp::now()) {
                publish_silence(&control, &household, device, silence).await;
            }
        }
    }
}

/// Empties the rings, and counts the queries on a blocking thread.
async fn take(control: &Arc<Control>, engine: &Engine, aggregator: Aggregator) -> Aggregator {
    let mut queries = Vec::new();
    engine.metrics.drain_activity(|query| queries.push(query));
    if queries.is_empty() || control.activity.is_none() {
        return aggregator;
    }
    let counted = Arc::clone(control);
    match tokio::task::spawn_blocking(move || count(&counted, queries, aggregator)).await {
        Ok(aggregator) => aggregator,
        Err(error) => {
            tracing::error!(%error, "some queries were not counted");
            Aggregator::of(control)
        }
    }
}

/// Counts queries for their households, as far as these still want that.
fn count(control: &Control, queries: Vec<ActivityEvent>, mut aggregator: Aggregator) -> Aggregator {
    let lists = control.lists.current();
    let mut counted = Vec::with_capacity(queries.len());
    for heard in queries {
        let layer = heard.layer;
        let categories = heard.categories;
        let Some(mut query) = aggregator.categories.query(&lists, heard) else {
            continue;
        };
        if !is_wanted(control, &mut query) {
            continue;
        }
        if let Some(device) = &query.device {
            aggregator
                .watch
                .queried(&query.household, device, query.sign, query.at);
        }
        if control.events.has_subscribers(&query.household) {
            aggregator.keep_block(&query, layer, categories);
        }
        counted.push(query);
    }
    if let Some(activity) = &control.activity {
        // Checked once more, in the moment in which it is counted.
        activity.note(counted, |query| is_wanted(control, query), Timestamp::now());
    }
    aggregator
}

/// Publishes the names that were blocked most often in the last second, for each household.
fn publish_blocks(control: &Control, blocks: BTreeMap<Id, BTreeMap<(Option<Id>, Name), Block>>) {
    for (household, blocks) in blocks {
        let mut blocks: Vec<_> = blocks.into_iter().collect();
        blocks.sort_by_key(|(_, block)| Reverse(block.count));
        for (
            (device, name),
            Block {
                count,
                layer,
                categories,
            },
        ) in blocks.into_iter().take(BLOCKS_PUBLISHED_MAX)
        {
            let slugs = control.taxonomy.slugs(categories).into_iter();
            let event = OtherEvent::Block {
                at: Timestamp::now(),
                categories: slugs.map(str::to_owned).collect(),
                count,
                device,
                layer: layer.as_str(),
                name,
            };
            control.events.publish(&household, ScopedEvent::new(event));
        }
    }
}

/// Whether a query is still to be counted. Removes from it what the household has switched off since
/// the query.
fn is_wanted(control: &Control, query: &mut CountedQuery) -> bool {
    let Some(rules) = control.directory.household(&query.household) else {
        return false;
    };
    let device = query
        .device
        .as_ref()
        .map(|device| rules.device_by_id(device));
    let (Some(kept), true) = (rules.kept(), device.is_none_or(|index| index.is_some())) else {
        return false;
    };
    query.days = days_kept(control, &rules);
    if let Some(blocked) = query.blocked.as_mut().filter(|_| !kept.names) {
        blocked.name = None;
    }
    query.days > 0 && rules.is_recorded(device.flatten())
}

/// Publishes that a device is silent, unless its sign was erased since, or the household no longer
/// keeps activity of the device.
async fn publish_silence(control: &Control, household: &Id, device: Id, silence: Silence) {
    let (Some(activity), Some(rules)) = (&control.activity, control.directory.household(household))
    else {
        return;
    };
    if !rules
        .device_by_id(&device)
        .is_some_and(|index| rules.is_recorded(Some(index)))
    {
        return;
    }
    let now = Timestamp::now();
    let from = silence.since - control.history.silent_after;
    let hours = activity
        .read(household, Some(&Some(device.clone())), from, now, now)
        .await
        .unwrap_or_default();
    if hours
        .iter()
        .flat_map(|hour| hour.devices.values())
        .any(|counts| counts.sign.is_some())
    {
        let event = OtherEvent::Silent {
            at: now,
            device,
            sign: silence.sign,
            since: silence.since,
        };
        control.events.publish(household, ScopedEvent::new(event));
    }
}

/// Counts the last queries and writes all counts at the shutdown, for at most [`END_MAX`]: a
/// supervisor does not wait longer.
pub async fn end(control: &Arc<Control>, engine: &Engine) {
    let _ = take(control, engine, Aggregator::of(control)).await;
    if let Some(activity) = &control.activity
        && tokio::time::timeout(END_MAX, activity.close())
            .await
            .is_err()
    {
        tracing::warn!("some of what was counted last was not written in time");
    }
}
