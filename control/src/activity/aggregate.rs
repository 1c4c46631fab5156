//! The aggregator: what households want counted of their queries goes from the workers' rings into
//! their activity, and those who listen in a household hear of what was blocked, and of a device
//! that has gone silent.
//!
//! Nothing here holds a query up. What a ring, the counts in memory or a listener cannot take is
//! lost and counted.

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
    name::Name,
    rules::{household::Id, special::Special},
};
use policy_store::activity::{Blocked, Sign, Told};
use resolver::{engine::Engine, telemetry::activity::Heard};
use serde_json::json;

use super::{
    inactivity::{Silence, Watch},
    retention::days_kept,
};
use crate::{Control, households::events::HouseholdEvent, shutdown::Shutdown};

/// How often the workers' rings are emptied; they hold what a busy worker hears in this time.
const TAKE_EVERY: Duration = Duration::from_millis(100);
/// How often it is looked for devices that have gone silent.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a node that ends goes on writing.
const END_MAX: Duration = Duration::from_secs(10);
/// Different names that are held of a household in a second, and those of them that who listens
/// hears of: what else happens must not be lost behind them.
const BLOCKS_MAX: usize = 200;
const BLOCKS_TOLD_MAX: usize = 8;

/// What the aggregator looks up in the taxonomy.
struct Words {
    /// Every category's slug, by its place.
    slugs: Vec<Arc<str>>,
    /// Categories whose names are ways round the filter.
    ways: [(Option<CategoryId>, Sign); 3],
}

impl Words {
    fn of(control: &Control) -> Self {
        let ways = [
            ("doh", Sign::Doh),
            ("vpn", Sign::Vpn),
            ("proxy", Sign::Proxy),
        ];
        Self {
            slugs: control
                .taxonomy
                .categories()
                .iter()
                .map(|category| category.slug.as_str().into())
                .collect(),
            ways: ways.map(|(slug, sign)| (control.taxonomy.find(slug), sign)),
        }
    }

    fn slugs(&self, categories: CategorySet) -> Vec<Arc<str>> {
        categories
            .iter()
            .map(|category| Arc::clone(&self.slugs[category.index()]))
            .collect()
    }

    fn sign(&self, special: Special, listed: CategorySet) -> Option<Sign> {
        if special == Special::Relay {
            return Some(Sign::Relay);
        }
        self.ways
            .iter()
            .find(|(category, _)| category.is_some_and(|category| listed.contains(category)))
            .map(|(_, sign)| *sign)
    }
}

/// A name that was blocked for a device, some times in a second.
struct Block {
    count: u64,
    layer: Layer,
    categories: CategorySet,
}

/// What the aggregator holds between two looks at the rings.
struct Aggregator {
    words: Words,
    watch: Watch,
    /// By household, who asked, and name.
    blocks: BTreeMap<Id, BTreeMap<(Option<Id>, Name), Block>>,
}

impl Aggregator {
    fn of(control: &Control) -> Self {
        Self {
            words: Words::of(control),
            watch: Watch::new(control.history.silent_after),
            blocks: BTreeMap::new(),
        }
    }
}

/// Counts what the workers hear, until the node ends.
pub async fn run(control: Arc<Control>, engine: Arc<Engine>, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(TAKE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut aggregator = Aggregator::of(&control);
    let mut looked = Instant::now();
    while shutdown.tick(&mut tick).await {
        aggregator = take(&control, &engine, aggregator).await;
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            tell_blocks(&control, std::mem::take(&mut aggregator.blocks));
            for (household, device, silence) in aggregator.watch.silent(Timestamp::now()) {
                tell_silent(&control, &household, device, silence).await;
            }
        }
    }
}

/// Empties the rings. The work is done where it holds nobody up.
async fn take(control: &Arc<Control>, engine: &Engine, aggregator: Aggregator) -> Aggregator {
    let mut heard = Vec::new();
    engine.recorder.take_heard(|query| heard.push(query));
    if heard.is_empty() || control.activity.is_none() {
        return aggregator;
    }
    let counted = Arc::clone(control);
    match tokio::task::spawn_blocking(move || count(&counted, heard, aggregator)).await {
        Ok(aggregator) => aggregator,
        Err(error) => {
            tracing::error!(%error, "some queries were not counted");
            Aggregator::of(control)
        }
    }
}

/// Counts queries for their households, as far as these still want it.
fn count(control: &Control, heard: Vec<Heard>, mut aggregator: Aggregator) -> Aggregator {
    let Aggregator {
        words,
        watch,
        blocks,
    } = &mut aggregator;
    let lists = control.lists.current();
    let mut told = Vec::with_capacity(heard.len());
    for Heard {
        rules,
        device,
        at,
        layer,
        categories,
        name,
    } in heard
    {
        let (Ok(household), Some(at)) = (rules.id().parse::<Id>(), at.timestamp()) else {
            continue;
        };
        let device: Option<Id> = device
            .and_then(|place| rules.device_id(place))
            .and_then(|id| id.parse().ok());
        let name = name.borrow();
        let listed = lists.classify(name);
        let about = listed.choice.union(listed.security);
        let blocked = layer.blocks().then(|| Blocked {
            layer: layer.as_str(),
            categories: words.slugs(categories),
            name: Some(name.to_owned()),
        });
        let sign = words
            .sign(listed.special, about)
            .filter(|_| blocked.is_none());
        let mut query = Told {
            household,
            device,
            at,
            days: 0,
            categories: words.slugs(about),
            blocked,
            sign,
        };
        if !is_wanted(control, &mut query) {
            continue;
        }
        if let Some(device) = &query.device {
            watch.heard(&query.household, device, sign, at);
        }
        if let Some(name) = query
            .blocked
            .as_ref()
            .and_then(|blocked| blocked.name.clone())
            && control.events.has_subscribers(&query.household)
        {
            let of_household = blocks.entry(query.household.clone()).or_default();
            let key = (query.device.clone(), name);
            let is_room = of_household.len() < BLOCKS_MAX;
            match of_household.get_mut(&key) {
                Some(block) => block.count += 1,
                None if is_room => drop(of_household.insert(
                    key,
                    Block {
                        count: 1,
                        layer,
                        categories,
                    },
                )),
                None => {}
            }
        }
        told.push(query);
    }
    if let Some(activity) = &control.activity {
        // Asked once more, in the moment in which it is counted.
        activity.note(told, |told| is_wanted(control, told), Timestamp::now());
    }
    aggregator
}

/// Tells those who listen what was blocked in the last second, the most often blocked names of each
/// household.
fn tell_blocks(control: &Control, blocks: BTreeMap<Id, BTreeMap<(Option<Id>, Name), Block>>) {
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
        ) in blocks.into_iter().take(BLOCKS_TOLD_MAX)
        {
            let body = json!({
                "device": device, "name": name, "count": count, "layer": layer.as_str(), "categories": control.taxonomy.slugs(categories),
                "at": Timestamp::now(),
            });
            control
                .events
                .publish(&household, HouseholdEvent::block(device, body));
        }
    }
}

/// Whether a query is still to be counted, and what of it: what was switched off since it was heard
/// is not counted any more.
fn is_wanted(control: &Control, told: &mut Told) -> bool {
    let Some(rules) = control.directory.household(&told.household) else {
        return false;
    };
    let device = told
        .device
        .as_ref()
        .map(|device| rules.device_by_id(device));
    let (Some(kept), true) = (rules.kept(), device.is_none_or(|place| place.is_some())) else {
        return false;
    };
    told.days = days_kept(control, &rules);
    if let Some(blocked) = told.blocked.as_mut().filter(|_| !kept.names) {
        blocked.name = None;
    }
    told.days > 0 && rules.is_recorded(device.flatten())
}

/// Tells of a silent device, unless the sign that it gave was forgotten since, or nobody may know
/// of it any more.
async fn tell_silent(control: &Control, household: &Id, device: Id, silence: Silence) {
    let (Some(activity), Some(rules)) = (&control.activity, control.directory.household(household))
    else {
        return;
    };
    if !rules
        .device_by_id(&device)
        .is_some_and(|place| rules.is_recorded(Some(place)))
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
        let body =
            json!({ "device": device, "since": silence.since, "sign": silence.sign, "at": now });
        control
            .events
            .publish(household, HouseholdEvent::of_device("silent", device, body));
    }
}

/// The last thing a node does with it: what was heard is counted, and what was counted is written,
/// as far as that takes no longer than a supervisor waits.
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
