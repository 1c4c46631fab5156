//! The aggregator: what households want counted of their queries goes from the workers' rings into their activity, and those who listen in a
//! household hear of what was blocked, and of a device that has gone silent.
//!
//! Nothing here holds a query up. What a ring, the counts in memory or a listener cannot take is lost and counted.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use api::{
    Context,
    happenings::Happening,
    history,
    silence::{Silence, Watch},
};
use jiff::Timestamp;
use metrics::counter;
use policy::{
    category::{CategoryId, CategorySet},
    decide::Layer,
    household::Id,
    name::Name,
    special::Special,
};
use policy_store::activity::{Blocked, Sign, Told};
use resolver::{engine::Engine, heard::Heard};
use serde_json::json;

/// How often the workers' rings are emptied; they hold what a busy worker hears in this time.
const TAKE_EVERY: Duration = Duration::from_millis(100);
/// How often it is looked for devices that have gone silent.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for counts that have waited long enough to be written, and for what is over.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// How often what is kept is compared with what households want.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// What the aggregator looks up in the taxonomy.
struct Words {
    /// Every category's slug, by its place.
    slugs: Vec<Arc<str>>,
    /// Categories whose names are ways round the filter.
    ways: [(Option<CategoryId>, Sign); 3],
}

impl Words {
    fn of(context: &Context) -> Self {
        let ways = [("doh", Sign::Doh), ("vpn", Sign::Vpn), ("proxy", Sign::Proxy)];
        Self {
            slugs: context.taxonomy.categories().iter().map(|category| category.slug.as_str().into()).collect(),
            ways: ways.map(|(slug, sign)| (context.taxonomy.find(slug), sign)),
        }
    }

    fn slugs(&self, categories: CategorySet) -> Vec<Arc<str>> {
        categories.iter().map(|category| Arc::clone(&self.slugs[category.index()])).collect()
    }

    fn sign(&self, special: Special, listed: CategorySet) -> Option<Sign> {
        if special == Special::Relay {
            return Some(Sign::Relay);
        }
        self.ways.iter().find(|(category, _)| category.is_some_and(|category| listed.contains(category))).map(|(_, sign)| *sign)
    }
}

/// Counts what the workers hear, until the process ends.
pub async fn run(context: Arc<Context>, engine: Arc<Engine>) {
    let mut tick = tokio::time::interval(TAKE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut watch, mut looked) = (Watch::new(context.history.silent_after), Instant::now());
    loop {
        tick.tick().await;
        watch = take(&context, &engine, watch).await;
        if looked.elapsed() >= LOOK_EVERY {
            watch
                .silent(Timestamp::now())
                .into_iter()
                .for_each(|(household, device, silence)| tell_silent(&context, &household, device, silence));
            looked = Instant::now();
        }
    }
}

/// Empties the rings. The work is done where it holds nobody up.
async fn take(context: &Arc<Context>, engine: &Engine, watch: Watch) -> Watch {
    let mut heard = Vec::new();
    engine.recorder.take_heard(|query| heard.push(query));
    if heard.is_empty() {
        return watch;
    }
    let context = Arc::clone(context);
    let counting = tokio::task::spawn_blocking(move || count(&context, heard, watch));
    counting.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// A name that was blocked for a device, some times in a moment.
struct Block {
    count: u64,
    layer: Layer,
    categories: CategorySet,
}

/// Counts queries for their households, as far as these still want it.
fn count(context: &Context, heard: Vec<Heard>, mut watch: Watch) -> Watch {
    let (lists, words) = (context.lists.current(), Words::of(context));
    let mut blocks: BTreeMap<(Id, Option<Id>, Name), Block> = BTreeMap::new();
    let mut told = Vec::with_capacity(heard.len());
    for Heard { rules, device, at, layer, categories, name } in heard {
        let (Ok(household), Some(at)) = (rules.id().parse::<Id>(), at.timestamp()) else { continue };
        let device: Option<Id> = device.and_then(|place| rules.device_id(place)).and_then(|id| id.parse().ok());
        let name = name.borrow();
        let listed = lists.classify(name);
        let about = listed.choice.union(listed.security);
        let blocked =
            layer.blocks().then(|| Blocked { layer: layer.as_str(), categories: words.slugs(categories), name: Some(name.to_owned()) });
        let sign = words.sign(listed.special, about).filter(|_| blocked.is_none());
        let mut query = Told { household, device, at, days: 0, categories: words.slugs(about), blocked, sign };
        if !is_wanted(context, &mut query) {
            continue;
        }
        if let Some(device) = &query.device {
            watch.heard(&query.household, device, sign, at);
        }
        if let Some(name) = query.blocked.as_ref().and_then(|blocked| blocked.name.clone())
            && context.happenings.listens(&query.household)
        {
            let key = (query.household.clone(), query.device.clone(), name);
            blocks.entry(key).or_insert(Block { count: 0, layer, categories }).count += 1;
        }
        told.push(query);
    }
    // Asked once more, in the moment in which it is counted.
    context.activity.note(told, |told| is_wanted(context, told), Timestamp::now());
    for ((household, device, name), Block { count, layer, categories }) in blocks {
        let body = json!({
            "device": device, "name": name, "count": count, "layer": layer.as_str(), "categories": context.taxonomy.slugs(categories),
            "at": Timestamp::now(),
        });
        context.happenings.tell(&household, Happening::block(device, body));
    }
    watch
}

/// Whether a query is still to be counted, and what of it: what was switched off since it was heard is not counted any more.
fn is_wanted(context: &Context, told: &mut Told) -> bool {
    let Some(rules) = context.directory.household(&told.household) else { return false };
    let device = told.device.as_ref().map(|device| rules.device_by_id(device));
    let (Some(kept), true) = (rules.kept(), device.is_none_or(|place| place.is_some())) else { return false };
    told.days = history::days_kept(context, &rules);
    if let Some(blocked) = told.blocked.as_mut().filter(|_| !kept.names) {
        blocked.name = None;
    }
    told.days > 0 && rules.is_recorded(device.flatten())
}

fn tell_silent(context: &Context, household: &Id, device: Id, silence: Silence) {
    let is_recorded = context
        .directory
        .household(household)
        .is_some_and(|rules| rules.device_by_id(&device).is_some_and(|place| rules.is_recorded(Some(place))));
    if is_recorded {
        let body = json!({ "device": device, "since": silence.since, "sign": silence.sign, "at": Timestamp::now() });
        context.happenings.tell(household, Happening::of_device("silent", device, body));
    }
}

/// Writes what was counted, takes away what is over, and sweeps, until the process ends.
pub async fn keep(context: Arc<Context>) {
    let mut tick = tokio::time::interval(WRITE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut swept: Option<Instant> = None;
    let mut dropped = 0;
    loop {
        tick.tick().await;
        let activity = &context.activity;
        let now = Timestamp::now();
        say(activity.write(now).await, "activity could not be written, and waits in memory");
        say(activity.expire(now).await, "activity that is over could not be taken away yet");
        if swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
            say(history::sweep(&context).await, "activity could not be compared with what households want");
            swept = Some(Instant::now());
        }
        counter!("ox_protect_activity_crowded_total").increment(activity.dropped() - dropped);
        dropped = activity.dropped();
    }
}

fn say<T>(done: Result<T, policy_store::StoreError>, what: &str) {
    if let Err(error) = done {
        tracing::error!(error = &error as &dyn std::error::Error, "{what}");
    }
}

/// The last thing a node does with it: what was heard is counted, and what was counted is written.
pub async fn end(context: &Arc<Context>, engine: &Engine) {
    let _ = take(context, engine, Watch::new(context.history.silent_after)).await;
    context.activity.close().await;
}
