//! The settings in force for a household or one of its devices, who set them, and when they change
//! by themselves.
//!
//! The settings are read from the rules of the data path, and their authors from the document of
//! the same version. The next change is found by compiling the document for later instants.

mod answer;

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use control::{
    activity::retention::days_kept,
    households::{provenance::Provenance, subscriber::Subscriber, write::read_with_rules},
};
use jiff::{SignedDuration, Timestamp};
use policy::{
    category::{Category, CategorySet},
    decide::EffectivePolicy,
    rules::{
        builtin_names::{BuiltinName, BuiltinNames},
        compiled::HouseholdRules,
        household::{Household, Id, SwitchState},
        safe_search::SearchEngine,
        timeline::zone,
    },
    unix_seconds::UnixSeconds,
};
use serde_json::Value;

pub use self::answer::EffectiveSummary;
use self::answer::{
    Effective, EffectiveBypass, EffectiveGrant, EffectiveLevel, EffectiveName, EffectivePause,
    EffectiveSchedule, EffectiveState, EffectiveThing, EffectiveUnlock,
};
use crate::{
    Context,
    auth::guards::{Member, Viewer},
    extract::{Segments, segment},
    names::named,
    problem::Problem,
    routes::{devices::unknown_device, history::History},
    versioned::Versioned,
};

/// How far ahead changes are looked for: every schedule has begun by then.
const AHEAD: SignedDuration = SignedDuration::from_hours(8 * 24);
/// The most instants that are compiled.
const LOOKS_MAX: usize = 400;

/// The settings in force for the household: for a device without a name.
#[utoipa::path(get, path = "/v1/households/{id}/effective", operation_id = "get_household_effective", tag = "effective", params(("id" = String, Path)),
    responses((status = 200, description = "what holds", body = Effective), (status = 404, description = "no such household")))]
pub async fn of_household(
    State(context): State<Arc<Context>>,
    _viewer: Viewer,
    Segments(id): Segments<String>,
) -> Result<Versioned<Value>, Problem> {
    let id: Id = segment("id", &id)?;
    effective(&context, &id, None).await
}

/// The settings in force for a device.
#[utoipa::path(get, path = "/v1/households/{id}/effective/{device}", operation_id = "get_device_effective", tag = "effective", params(("id" = String, Path), ("device" = String, Path)),
    responses((status = 200, description = "what holds", body = Effective), (status = 404, description = "no such household or device")))]
pub async fn of_device(
    State(context): State<Arc<Context>>,
    _member: Member,
    Segments((id, device)): Segments<(String, String)>,
) -> Result<Versioned<Value>, Problem> {
    let id: Id = segment("id", &id)?;
    let device: Id = segment("device", &device)?;
    effective(&context, &id, Some(&device)).await
}

async fn effective(
    context: &Context,
    id: &Id,
    device: Option<&Id>,
) -> Result<Versioned<Value>, Problem> {
    let (household, rules) = read_with_rules(&context.control, id).await?;
    let household = Arc::new(household);
    let place = device
        .map(|device| {
            rules
                .device_by_id(device)
                .ok_or_else(|| unknown_device(device))
        })
        .transpose()?;
    let at = Timestamp::now();
    let changes = Changes::of(context, &household, at, &[place]).pop();
    let version = household.version;
    let subscriber = Subscriber {
        household,
        rules,
        device: place,
        at,
    };
    let view = View::new(context, &subscriber, changes.unwrap_or_default());
    let answer = named(context, id, &view.answer(device)).await?;
    Ok(Versioned::read(version, answer))
}

/// What is in force on some devices of a household, in short.
pub fn summaries(
    context: &Context,
    household: &Arc<Household>,
    rules: &Arc<HouseholdRules>,
    devices: &[Id],
    at: Timestamp,
) -> BTreeMap<Id, EffectiveSummary> {
    let placed = devices
        .iter()
        .filter_map(|device| Some((device, rules.device_by_id(device)?)));
    let (devices, places): (Vec<&Id>, Vec<Option<u16>>) =
        placed.map(|(device, place)| (device, Some(place))).unzip();
    let changes = Changes::of(context, household, at, &places);
    let summary = |(place, changes): (Option<u16>, Changes)| {
        let subscriber = Subscriber {
            household: Arc::clone(household),
            rules: Arc::clone(rules),
            device: place,
            at,
        };
        View::new(context, &subscriber, changes).summary()
    };
    let summaries = places.into_iter().zip(changes).map(summary);
    devices.into_iter().cloned().zip(summaries).collect()
}

/// When the settings in force end.
#[derive(Default)]
struct Changes {
    categories: Vec<(Timestamp, CategorySet)>,
    paused: Option<Timestamp>,
}

impl Changes {
    /// Of several devices of a household, in the order of `places`. Each instant is compiled once.
    fn of(
        context: &Context,
        household: &Household,
        at: Timestamp,
        places: &[Option<u16>],
    ) -> Vec<Self> {
        let compile = |at| {
            Arc::new(HouseholdRules::compile(
                household,
                &context.control.taxonomy,
                context.control.defaults,
                at,
            ))
        };
        let askers = |rules: &Arc<HouseholdRules>, at| -> Vec<EffectivePolicy> {
            let asker =
                |place: &Option<u16>| EffectivePolicy::of(rules, *place, UnixSeconds::of(at));
            places.iter().map(asker).collect()
        };
        let mut rules = compile(at);
        let now = askers(&rules, at);
        let mut found: Vec<Self> = places.iter().map(|_| Self::default()).collect();
        for _ in 0..LOOKS_MAX {
            let Some(next) = rules.until().timestamp().filter(|next| *next < at + AHEAD) else {
                break;
            };
            rules = compile(next);
            for ((changes, now), then) in found.iter_mut().zip(&now).zip(askers(&rules, next)) {
                changes.note(next, now, &then);
            }
        }
        found
    }

    /// Notes what is different at an instant for the first time.
    fn note(&mut self, at: Timestamp, now: &EffectivePolicy, then: &EffectivePolicy) {
        let seen = self.categories.iter();
        let seen = seen.fold(CategorySet::EMPTY, |seen, (_, changed)| {
            seen.union(*changed)
        });
        let is_other = now
            .blocked()
            .without(then.blocked())
            .union(then.blocked().without(now.blocked()))
            .without(seen);
        if !is_other.is_empty() {
            self.categories.push((at, is_other));
        }
        if self.paused.is_none() && then.flags().is_paused() != now.flags().is_paused() {
            self.paused = Some(at);
        }
    }
}

struct View<'v> {
    context: &'v Context,
    setters: Provenance<'v>,
    now: EffectivePolicy,
    changes: Changes,
}

impl<'v> View<'v> {
    fn new(context: &'v Context, subscriber: &'v Subscriber, changes: Changes) -> Self {
        Self {
            context,
            setters: Provenance {
                subscriber,
                taxonomy: &context.control.taxonomy,
            },
            now: subscriber.asker(),
            changes,
        }
    }

    fn summary(&self) -> EffectiveSummary {
        let Subscriber {
            household,
            rules,
            device,
            ..
        } = self.line();
        let mut blocked = self.categories();
        blocked.retain(|_, state| state.is_block());
        let grants = self.grants();
        let paused = self.paused();
        let ends = grants.iter().map(|grant| grant.until).chain(paused.until);
        let changes = self.changes.categories.iter().map(|(at, _)| *at);
        EffectiveSummary {
            next_change: ends.chain(changes).chain(self.changes.paused).min(),
            blocked,
            filtering: household.filtering,
            grants,
            paused,
            recorded: rules.is_recorded(*device) && days_kept(&self.context.control, rules) > 0,
        }
    }

    fn paused(&self) -> EffectivePause {
        let is_paused = self.now.flags().is_paused();
        let pauser = self.setters.paused().filter(|_| is_paused);
        EffectivePause::new(is_paused, self.changes.paused, pauser)
    }

    fn line(&self) -> &Subscriber {
        self.setters.subscriber
    }

    fn answer(&self, device: Option<&Id>) -> Effective {
        let control = &self.context.control;
        let Subscriber {
            household,
            rules,
            device: place,
            at,
        } = self.line();
        let flags = self.now.flags();
        let refused = flags.prevents(BuiltinName::Canary) || flags.prevents(BuiltinName::Relay);
        Effective {
            at: *at,
            bypass: EffectiveBypass::new(refused, self.setters.bypass()),
            categories: self.categories(),
            device: device.cloned(),
            filtering: household.filtering,
            grants: self.grants(),
            history: History::of(control, Some(household)),
            household: household.id.clone(),
            names: self.names(),
            paused: self.paused(),
            preset: household.preset.clone(),
            recorded: rules.is_recorded(*place) && days_kept(control, rules) > 0,
            safe_search: self.safe_search(),
            schedules: self.schedules(),
            search_unlock: EffectiveUnlock::new(
                flags.unlocks_search(),
                self.setters.search_unlock(),
            ),
            thing: self.thing(),
            time_zone: household.time_zone.clone(),
            version: household.version,
        }
    }

    fn thing(&self) -> Option<EffectiveThing> {
        let thing = self.line().device()?.1.thing.as_ref()?;
        Some(EffectiveThing::new(thing, self.now.thing().is_some()))
    }

    fn categories(&self) -> BTreeMap<String, EffectiveState> {
        let taxonomy = &self.context.control.taxonomy;
        let state = |category: &Category| {
            let id = taxonomy
                .find(&category.slug)
                .expect("it is in the taxonomy");
            let set: CategorySet = std::iter::once(id).collect();
            let (state, setter) = if self.now.blocked().contains(id) {
                (SwitchState::Block, self.setters.blocks(set))
            } else {
                let allows = self.setters.allows(set);
                let setter = allows.unwrap_or_else(|| self.setters.preset());
                (SwitchState::Allow, setter)
            };
            let mut changes = self.changes.categories.iter();
            let next = changes
                .find(|(_, changed)| changed.contains(id))
                .map(|(at, _)| *at);
            let state = EffectiveState::new(state, next, setter);
            (category.slug.clone(), state)
        };
        taxonomy.categories().iter().map(state).collect()
    }

    fn safe_search(&self) -> BTreeMap<String, EffectiveLevel> {
        let engines = BuiltinNames::shipped().engines().iter().zip(0..);
        let level = |(engine, place): (&SearchEngine, u8)| {
            let setter = self.setters.safe_search(&engine.slug);
            let level = EffectiveLevel::new(self.now.flags().level(place), setter);
            (engine.slug.clone(), level)
        };
        engines.map(level).collect()
    }

    fn grants(&self) -> Vec<EffectiveGrant> {
        let mut shown = Vec::new();
        for (layer, settings) in self.line().levels() {
            let running = settings
                .grants
                .iter()
                .filter(|(_, grant)| grant.value.until > self.line().at);
            shown.extend(running.map(|(id, grant)| EffectiveGrant::new(layer, id, grant)));
        }
        shown
    }

    fn schedules(&self) -> Vec<EffectiveSchedule> {
        let at = self.line().at;
        let zone = zone(&self.line().household);
        let mut shown = Vec::new();
        for (layer, settings) in self.line().levels() {
            shown.extend(settings.schedules.iter().map(|(id, set)| {
                let ends = set.value.running(&zone, at).map(|(_, until)| until);
                let begins = set.value.next_begin(&zone, at);
                EffectiveSchedule::new(layer, id, set, ends, begins)
            }));
        }
        shown
    }

    fn names(&self) -> Vec<EffectiveName> {
        let mut shown = Vec::new();
        for (layer, settings) in self.line().levels() {
            let entries = settings.names.iter();
            shown.extend(entries.map(|(name, entry)| EffectiveName::new(layer, name, entry)));
        }
        shown
    }
}
