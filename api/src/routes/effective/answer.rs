//! The shape of the settings in force. Members stand in alphabetical order.

use std::collections::{BTreeMap, BTreeSet};

use control::households::provenance::{Setter, level_words};
use jiff::{Timestamp, civil::Date};
use policy::{
    lists::entry::Scope,
    name::Name,
    rules::{
        household::{Attributed, CustomName, Filtering, Id, SearchLevel, SwitchState},
        schedule::{ClockTime, DayOfWeek, Grant, Schedule},
        thing::{Thing, ThingMode},
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    routes::{history::History, things::DomainView},
    written::target_fields,
};

/// The settings in force at an instant.
#[derive(Serialize, ToSchema)]
pub struct Effective {
    /// The instant, RFC 3339.
    pub at: Timestamp,
    pub bypass: EffectiveBypass,
    /// Every category, by slug.
    pub categories: BTreeMap<String, EffectiveState>,
    /// The device. Null for the household's devices without a name.
    #[schema(value_type = Option<String>)]
    pub device: Option<Id>,
    pub filtering: Filtering,
    /// The running grants, the nearest level first.
    pub grants: Vec<EffectiveGrant>,
    pub history: History,
    /// The household.
    #[schema(value_type = String)]
    pub household: Id,
    /// All entries of custom lists, the nearest level first.
    pub names: Vec<EffectiveName>,
    pub paused: EffectivePause,
    /// The household's preset. Null: the operator's default.
    pub preset: Option<String>,
    /// Whether the queries of this device are counted in the activity.
    pub recorded: bool,
    /// Safe search, by engine.
    pub safe_search: BTreeMap<String, EffectiveLevel>,
    /// All schedules, the nearest level first.
    pub schedules: Vec<EffectiveSchedule>,
    pub search_unlock: EffectiveUnlock,
    /// The domains that the device may reach. Null for a device that is no thing.
    pub thing: Option<EffectiveThing>,
    /// The IANA name of the household's time zone.
    pub time_zone: String,
    /// The version of the rules. Also the `ETag`.
    pub version: u64,
}

/// What is in force on a device, in short.
#[derive(Serialize, ToSchema)]
pub struct EffectiveSummary {
    /// The blocked categories, by slug.
    pub blocked: BTreeMap<String, EffectiveState>,
    pub filtering: Filtering,
    /// The running grants, the nearest level first.
    pub grants: Vec<EffectiveGrant>,
    /// When anything of this changes by itself, within eight days, RFC 3339.
    pub next_change: Option<Timestamp>,
    pub paused: EffectivePause,
    /// Whether the queries of this device are counted in the activity.
    pub recorded: bool,
}

/// What is in force for a category.
#[derive(Serialize, ToSchema)]
pub struct EffectiveState {
    #[schema(schema_with = level_words)]
    layer: &'static str,
    /// When the state changes by itself, within eight days, RFC 3339.
    next_change: Option<Timestamp>,
    /// The running schedule that sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    schedule: Option<Id>,
    /// When it was set, RFC 3339. Null if that is not known.
    set_at: Option<Timestamp>,
    /// The author: a key, or a preset.
    set_by: String,
    state: SwitchState,
    /// When the schedule ends, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    until: Option<Timestamp>,
}

impl EffectiveState {
    pub fn is_block(&self) -> bool {
        self.state == SwitchState::Block
    }

    pub fn new(state: SwitchState, next_change: Option<Timestamp>, setter: Setter) -> Self {
        let Setter {
            layer,
            by,
            at,
            schedule,
            until,
        } = setter;
        Self {
            layer,
            next_change,
            schedule,
            set_at: at,
            set_by: by,
            state,
            until,
        }
    }
}

/// Whether the Internet is off. The author is absent while it is on.
#[derive(Serialize, ToSchema)]
pub struct EffectivePause {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = level_words, required = false)]
    layer: Option<&'static str>,
    /// When that changes by itself, within eight days, RFC 3339.
    next_change: Option<Timestamp>,
    /// The schedule that switches it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    schedule: Option<Id>,
    /// When it was set, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    set_at: Option<Timestamp>,
    /// The key that set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    set_by: Option<String>,
    /// Whether it is off.
    state: bool,
    /// When it is on again, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub until: Option<Timestamp>,
}

impl EffectivePause {
    pub fn new(state: bool, next_change: Option<Timestamp>, setter: Option<Setter>) -> Self {
        let mut pause = Self {
            layer: None,
            next_change,
            schedule: None,
            set_at: None,
            set_by: None,
            state,
            until: None,
        };
        if let Some(setter) = setter {
            pause.layer = Some(setter.layer);
            pause.schedule = setter.schedule;
            pause.set_at = setter.at;
            pause.set_by = Some(setter.by);
            pause.until = setter.until;
        }
        pause
    }
}

/// The safe search of an engine. The author is absent if it was never set.
#[derive(Serialize, ToSchema)]
pub struct EffectiveLevel {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = level_words, required = false)]
    layer: Option<&'static str>,
    level: SearchLevel,
    /// When it was set, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    set_at: Option<Timestamp>,
    /// The key that set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    set_by: Option<String>,
}

impl EffectiveLevel {
    pub fn new(level: SearchLevel, setter: Option<Setter>) -> Self {
        Self {
            layer: setter.as_ref().map(|setter| setter.layer),
            level,
            set_at: setter.as_ref().and_then(|setter| setter.at),
            set_by: setter.map(|setter| setter.by),
        }
    }
}

/// Whether an allow or a grant of a search engine also lifts its safe search. The author is absent
/// if it was never set.
#[derive(Serialize, ToSchema)]
pub struct EffectiveUnlock {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = level_words, required = false)]
    layer: Option<&'static str>,
    /// When it was set, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    set_at: Option<Timestamp>,
    /// The key that set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    set_by: Option<String>,
    /// Whether it does.
    unlocked: bool,
}

impl EffectiveUnlock {
    pub fn new(unlocked: bool, setter: Option<Setter>) -> Self {
        Self {
            layer: setter.as_ref().map(|setter| setter.layer),
            set_at: setter.as_ref().and_then(|setter| setter.at),
            set_by: setter.map(|setter| setter.by),
            unlocked,
        }
    }
}

/// The domains of a thing.
#[derive(Serialize, ToSchema)]
pub struct EffectiveThing {
    /// The domains that it may reach.
    allowed: Vec<DomainView>,
    /// The domains that it may not reach.
    denied: Vec<DomainView>,
    /// Whether the lists have an effect: not in the mode `off`, and not while filtering is off.
    in_force: bool,
    #[schema(schema_with = level_words)]
    layer: &'static str,
    mode: ThingMode,
    /// When the mode was set, RFC 3339.
    set_at: Timestamp,
    /// The key that set the mode.
    set_by: String,
}

impl EffectiveThing {
    pub fn new(thing: &Thing, in_force: bool) -> Self {
        Self {
            allowed: DomainView::all(&thing.allowed),
            denied: DomainView::all(&thing.denied),
            in_force,
            layer: "device",
            mode: thing.mode(),
            set_at: thing.mode.set_at,
            set_by: thing.mode.set_by.clone(),
        }
    }
}

/// What becomes of names by which software bypasses the filter.
#[derive(Serialize, ToSchema)]
pub struct EffectiveBypass {
    #[schema(schema_with = level_words)]
    layer: &'static str,
    /// Whether they are answered negatively.
    refused: bool,
    /// When it was set, RFC 3339. Null if that is not known.
    set_at: Option<Timestamp>,
    /// The author: a key, or the operator's default.
    set_by: String,
}

impl EffectiveBypass {
    pub fn new(refused: bool, setter: Setter) -> Self {
        Self {
            layer: setter.layer,
            refused,
            set_at: setter.at,
            set_by: setter.by,
        }
    }
}

/// A running grant: of a category, a name, or everything.
#[derive(Serialize, ToSchema)]
pub struct EffectiveGrant {
    /// The allowed category, by slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    category: Option<String>,
    /// The allowed name, with all below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    domain: Option<Name>,
    /// Whether everything is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    everything: Option<bool>,
    /// Its identifier.
    #[schema(value_type = String)]
    id: Id,
    #[schema(schema_with = level_words)]
    layer: &'static str,
    /// When it was set, RFC 3339.
    set_at: Timestamp,
    /// The key that set it.
    set_by: String,
    /// When it ends, RFC 3339.
    pub until: Timestamp,
}

impl EffectiveGrant {
    pub fn new(layer: &'static str, id: &Id, grant: &Attributed<Grant>) -> Self {
        let (category, domain, everything) = target_fields(grant.value.what.clone());
        Self {
            category,
            domain,
            everything,
            id: id.clone(),
            layer,
            set_at: grant.set_at,
            set_by: grant.set_by.clone(),
            until: grant.value.until,
        }
    }
}

/// A schedule.
#[derive(Serialize, ToSchema)]
pub struct EffectiveSchedule {
    /// Categories that are allowed meanwhile, by slug.
    allow: BTreeSet<String>,
    /// Categories that are blocked meanwhile, by slug.
    block: BTreeSet<String>,
    /// The days on which it begins.
    days: BTreeSet<DayOfWeek>,
    /// Dates on which it does not begin. Absent if there is none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    except: BTreeSet<Date>,
    /// When it begins, by the clocks of the household.
    #[schema(value_type = String)]
    from: ClockTime,
    /// Its name.
    #[schema(value_type = String)]
    id: Id,
    #[schema(schema_with = level_words)]
    layer: &'static str,
    /// When it ends if it runs, or else when it begins, RFC 3339.
    next_change: Option<Timestamp>,
    /// Whether the Internet is off meanwhile.
    pause: bool,
    /// Whether it runs.
    running: bool,
    /// When it was set, RFC 3339.
    set_at: Timestamp,
    /// The key that set it.
    set_by: String,
    /// When it ends.
    #[schema(value_type = String)]
    to: ClockTime,
}

impl EffectiveSchedule {
    /// `ends` is when it ends, if it runs; `begins` when it begins next.
    pub fn new(
        layer: &'static str,
        id: &Id,
        set: &Attributed<Schedule>,
        ends: Option<Timestamp>,
        begins: Option<Timestamp>,
    ) -> Self {
        let Schedule {
            days,
            from,
            to,
            block,
            allow,
            pause,
            except,
        } = set.value.clone();
        Self {
            allow,
            block,
            days,
            except,
            from,
            id: id.clone(),
            layer,
            next_change: ends.or(begins),
            pause,
            running: ends.is_some(),
            set_at: set.set_at,
            set_by: set.set_by.clone(),
            to,
        }
    }
}

/// An entry of a custom list.
#[derive(Serialize, ToSchema)]
pub struct EffectiveName {
    #[schema(schema_with = level_words)]
    layer: &'static str,
    /// The name.
    #[schema(value_type = String)]
    name: Name,
    scope: Scope,
    /// When it was set, RFC 3339.
    set_at: Timestamp,
    /// The key that set it.
    set_by: String,
    state: SwitchState,
}

impl EffectiveName {
    pub fn new(layer: &'static str, name: &Name, entry: &Attributed<CustomName>) -> Self {
        Self {
            layer,
            name: name.clone(),
            scope: entry.value.scope,
            set_at: entry.set_at,
            set_by: entry.set_by.clone(),
            state: entry.value.state,
        }
    }
}
