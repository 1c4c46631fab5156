//! What a change of a household's document permits that was restricted before. Compares the
//! effective rules before and after the change, for every device and for unnamed devices, now and
//! over the following days.
//!
//! Categories, pauses, safe search and bypass prevention are compared as they are compiled. Custom
//! lists, grants and schedules are compared entry by entry: their effect may lie far ahead, or
//! concern a name that no list has. A network that the household loses is always reported: another
//! household's rules apply to it from then on.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::{Timestamp, ToSpan};

use crate::{
    category::Taxonomy,
    lists::entry::Scope,
    name::Name,
    rules::{
        builtin_names::{BuiltinName, BuiltinNames},
        effective_rules::EffectiveRules,
        household::{
            CustomName, Device, DeviceIdentifier, Filtering, Household, Id, Settings, SwitchState,
        },
        operator::OperatorDefaults,
        safe_search::SearchLevel,
        schedule::{GrantTarget, Schedule},
        timeline::Timeline,
    },
    unix_seconds::UnixSeconds,
};

/// Days over which what holds is compared: every day of the week comes in them.
const DAYS: i64 = 8;
/// Timelines that are compiled for that; a household with more changes a week is compared over
/// fewer days.
const TIMELINES_MAX: usize = 16;

/// Something that is open after a change and was not before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relaxation {
    /// The Internet is no longer off.
    Pause,
    /// A category is no longer blocked.
    Category(String),
    /// A name may be reached whatever blocks it.
    Allowed(Name),
    /// A name is no longer on a list of what is blocked.
    Unlisted(Name),
    /// Something is open for a while.
    Granted(GrantTarget, Timestamp),
    /// An engine's safe search is less strict.
    SafeSearch(String),
    /// An allow or a grant of a search engine also lifts its safe search.
    SearchUnlock,
    /// Software is no longer told that a filter is wanted.
    Bypass,
}

/// For whom, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AffectedDevices {
    /// The devices, by identifier.
    pub devices: BTreeSet<Id>,
    /// Whether unnamed devices are affected.
    pub others: bool,
    /// Everybody of the household.
    pub everybody: bool,
    /// Not yet, but at some hour of the days to come.
    pub is_later: bool,
}

/// Where a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsLevel {
    /// With the household.
    Household,
    /// With a person.
    Person(Id),
    /// With a device.
    Device(Id),
}

/// All that a change opens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relaxations {
    /// Filtering was switched off; what else changed is of no weight beside it.
    pub filtering_off: bool,
    /// Notices go somewhere else from now on.
    pub contact: bool,
    /// More is kept of what devices ask for.
    pub history: bool,
    /// Networks that are the household's no longer.
    pub networks: Vec<IpNet>,
    /// Schedules that block less, at fewer hours, or no longer.
    pub schedules: Vec<(SettingsLevel, Id)>,
    /// What else, and for whom.
    pub losses: Vec<(Relaxation, AffectedDevices)>,
}

impl Relaxations {
    /// What a change opens.
    #[must_use]
    pub fn by(
        before: &Household,
        after: &Household,
        taxonomy: &Taxonomy,
        defaults: OperatorDefaults,
        now: Timestamp,
    ) -> Self {
        let contact = before.contact.is_some() && before.contact != after.contact;
        let filtering_off = after.filtering == Filtering::Off && before.filtering != Filtering::Off;
        let history = keeps_more(before, after);
        let networks = before
            .networks
            .difference(&after.networks)
            .copied()
            .collect();
        if filtering_off || is_same(before, after) {
            return Self {
                filtering_off,
                contact,
                history,
                networks,
                ..Self::default()
            };
        }
        // What is changed while filtering is off counts when it is on again.
        let before = &switched_on(before);
        let after = &switched_on(after);
        let schedules = schedules(before, after);
        let subjects = Subject::all(before, after);
        let mut found = FoundChange::default();
        compare_standings(
            before, after, &subjects, taxonomy, defaults, now, &mut found,
        );
        for subject in &subjects {
            compare_entries(before, after, subject, now, &mut found);
        }
        let all: BTreeSet<Option<Id>> = before
            .devices
            .keys()
            .cloned()
            .map(Some)
            .chain([None])
            .collect();
        let said = |(loss, (whom, is_later)): (Relaxation, (BTreeSet<Option<Id>>, bool))| {
            let everybody = whom.is_superset(&all);
            let others = whom.contains(&None);
            (
                loss,
                AffectedDevices {
                    devices: whom.into_iter().flatten().collect(),
                    others,
                    everybody,
                    is_later,
                },
            )
        };
        // What a schedule no longer does at its hours is said by naming it.
        let losses = found
            .0
            .into_iter()
            .map(said)
            .filter(|(_, whom)| schedules.is_empty() || !whom.is_later)
            .collect();
        Self {
            filtering_off,
            contact,
            history,
            networks,
            schedules,
            losses,
        }
    }

    /// Whether it opens nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether more is kept after a change than before: for longer, with names, or of more devices that
/// were there before.
fn keeps_more(before: &Household, after: &Household) -> bool {
    let Some(now) = after.kept() else {
        return false;
    };
    let Some(was) = before.kept() else {
        return true;
    };
    let is_newly_counted = |(id, device): (&Id, &Device)| {
        device.log && before.devices.get(id).is_some_and(|was| !was.log)
    };
    now.days > was.days
        || now.names && !was.names
        || now.unknown_devices && !was.unknown_devices
        || after.devices.iter().any(is_newly_counted)
}

/// What was found, for whom, and whether only at a later hour.
#[derive(Default)]
struct FoundChange(BTreeMap<Relaxation, (BTreeSet<Option<Id>>, bool)>);

impl FoundChange {
    fn add(&mut self, loss: Relaxation, whom: &Subject<'_>, is_later: bool) {
        let (devices, later) = self
            .0
            .entry(loss)
            .or_insert_with(|| (BTreeSet::new(), true));
        devices.insert(whom.device.cloned());
        *later &= is_later;
    }
}

/// A device whose rules are compared, or all unnamed devices.
struct Subject<'h> {
    device: Option<&'h Id>,
    before: Option<&'h Id>,
    after: Option<&'h Id>,
}

impl<'h> Subject<'h> {
    fn all(before: &'h Household, after: &'h Household) -> Vec<Self> {
        let mut all = vec![Self {
            device: None,
            before: None,
            after: None,
        }];
        for id in before.devices.keys() {
            // A removed device is an unnamed one.
            all.push(Self {
                device: Some(id),
                before: Some(id),
                after: after.devices.get_key_value(id).map(|(id, _)| id),
            });
        }
        // By what a device is known may come to lie with another one.
        let owners = |household: &'h Household| {
            let each = household
                .devices
                .iter()
                .flat_map(|(id, device)| device.identifiers.iter().map(move |one| (key(one), id)));
            each.collect::<BTreeMap<String, &'h Id>>()
        };
        let were = owners(before);
        let are = owners(after);
        for (identifier, owner) in &were {
            let now = are.get(identifier).copied();
            if now != Some(*owner) {
                all.push(Self {
                    device: Some(owner),
                    before: Some(owner),
                    after: now,
                });
            }
        }
        for (_, owner) in are
            .iter()
            .filter(|(identifier, _)| !were.contains_key(*identifier))
        {
            all.push(Self {
                device: Some(owner),
                before: None,
                after: Some(owner),
            });
        }
        all
    }
}

fn key(identifier: &DeviceIdentifier) -> String {
    format!("{identifier:?}")
}

/// Whether two documents say the same of what is blocked.
fn is_same(before: &Household, after: &Household) -> bool {
    before.filtering == after.filtering
        && before.preset == after.preset
        && before.time_zone == after.time_zone
        && before.settings == after.settings
        && before.people == after.people
        && before.devices == after.devices
}

fn switched_on(household: &Household) -> Household {
    let filtering = if household.filtering == Filtering::Off {
        Filtering::On
    } else {
        household.filtering
    };
    Household {
        filtering,
        ..household.clone()
    }
}

/// Compares what holds, from now on over the days to come.
fn compare_standings(
    before: &Household,
    after: &Household,
    subjects: &[Subject<'_>],
    taxonomy: &Taxonomy,
    defaults: OperatorDefaults,
    now: Timestamp,
    found: &mut FoundChange,
) {
    let place = |household: &Household, id: Option<&Id>| {
        id.and_then(|id| household.devices.keys().position(|other| other == id))
    };
    let places: Vec<_> = subjects
        .iter()
        .map(|subject| (place(before, subject.before), place(after, subject.after)))
        .collect();
    let end = now.checked_add((24 * DAYS).hours()).unwrap_or(now);
    let mut at = now;
    for _ in 0..TIMELINES_MAX {
        let compile =
            |household| Timeline::of(household, usize::from(u16::MAX - 1), taxonomy, defaults, at);
        let was = compile(before);
        let is = compile(after);
        let until = was.until.min(is.until);
        let moments: BTreeSet<UnixSeconds> = was
            .phases
            .iter()
            .chain(&is.phases)
            .map(|phase| phase.from)
            .filter(|from| *from < until)
            .collect();
        for moment in moments {
            for (subject, (before, after)) in subjects.iter().zip(&places) {
                let was = rules(&was, *before, moment);
                let is = rules(&is, *after, moment);
                compare_standing(was, is, taxonomy, |loss| {
                    found.add(loss, subject, moment > UnixSeconds::of(now))
                });
            }
        }
        match until.timestamp() {
            Some(next) if next > at && next < end => at = next,
            _ => break,
        }
    }
}

fn rules(timeline: &Timeline, device: Option<usize>, at: UnixSeconds) -> EffectiveRules {
    let place = timeline
        .phases
        .partition_point(|phase| phase.from <= at)
        .saturating_sub(1);
    let phase = &timeline.phases[place];
    let row = device
        .and_then(|place| phase.devices.get(place))
        .copied()
        .unwrap_or(0);
    phase.rules[usize::from(row)]
}

fn compare_standing(
    was: EffectiveRules,
    is: EffectiveRules,
    taxonomy: &Taxonomy,
    mut tell: impl FnMut(Relaxation),
) {
    if was == is {
        return;
    }
    if was.flags.is_paused() && !is.flags.is_paused() {
        tell(Relaxation::Pause);
    }
    for slug in taxonomy.slugs(was.blocked.without(is.blocked)) {
        tell(Relaxation::Category(slug.to_owned()));
    }
    for (place, engine) in (0..).zip(BuiltinNames::shipped().engines()) {
        let level = |rules: EffectiveRules| -> SearchLevel { rules.flags.level(place) };
        if level(is) < level(was) {
            tell(Relaxation::SafeSearch(engine.slug.clone()));
        }
    }
    if is.flags.unlocks_search() && !was.flags.unlocks_search() {
        tell(Relaxation::SearchUnlock);
    }
    if [BuiltinName::Canary, BuiltinName::Relay]
        .iter()
        .any(|special| was.flags.prevents(*special) && !is.flags.prevents(*special))
    {
        tell(Relaxation::Bypass);
    }
}

/// The settings that apply to a device: the household's, its person's, its own.
fn levels<'h>(household: &'h Household, device: Option<&Id>) -> [Option<&'h Settings>; 3] {
    let device: Option<&Device> = device.and_then(|id| household.devices.get(id));
    let person = device
        .and_then(|device| household.person_of(device))
        .map(|person| &person.settings);
    [
        Some(&household.settings),
        person,
        device.map(|device| &device.settings),
    ]
}

/// Compares own lists and grants.
fn compare_entries(
    before: &Household,
    after: &Household,
    subject: &Subject<'_>,
    now: Timestamp,
    found: &mut FoundChange,
) {
    let were = levels(before, subject.before);
    let are = levels(after, subject.after);
    let entries = |level: Option<&Settings>| {
        level.is_some_and(|settings| !(settings.names.is_empty() && settings.grants.is_empty()))
    };
    for (was, is) in were.iter().zip(&are) {
        let is_same = match (was, is) {
            (Some(was), Some(is)) => was.names == is.names && was.grants == is.grants,
            (was, is) => !entries(*was) && !entries(*is),
        };
        if is_same {
            continue;
        }
        let has =
            |levels: &[Option<&Settings>; 3], name: &Name, state: SwitchState, scope: Scope| {
                let covers = |own: &CustomName| {
                    own.state == state && (own.scope == scope || own.scope == Scope::Subtree)
                };
                levels
                    .iter()
                    .flatten()
                    .filter_map(|settings| settings.names.get(name))
                    .any(|own| covers(&own.value))
            };
        for (name, own) in is
            .iter()
            .flat_map(|settings| &settings.names)
            .filter(|(_, own)| own.value.state == SwitchState::Allow)
        {
            // On another level the same allow may stand beside a block of a name below it, which it
            // does not lift there.
            if !has(
                &[*was, None, None],
                name,
                SwitchState::Allow,
                own.value.scope,
            ) {
                found.add(Relaxation::Allowed(name.clone()), subject, false);
            }
        }
        for (name, own) in was
            .iter()
            .flat_map(|settings| &settings.names)
            .filter(|(_, own)| own.value.state == SwitchState::Block)
        {
            let is_allowed = has(&are, name, SwitchState::Allow, own.value.scope);
            if !has(&are, name, SwitchState::Block, own.value.scope) && !is_allowed {
                found.add(Relaxation::Unlisted(name.clone()), subject, false);
            }
        }
        for grant in is
            .iter()
            .flat_map(|settings| settings.grants.values())
            .map(|grant| &grant.value)
        {
            let mut running = were
                .iter()
                .flatten()
                .flat_map(|settings| settings.grants.values())
                .map(|grant| &grant.value);
            let is_known =
                running.any(|other| other.what == grant.what && other.until >= grant.until);
            if grant.until > now && grant.what != GrantTarget::Everything(false) && !is_known {
                found.add(
                    Relaxation::Granted(grant.what.clone(), grant.until),
                    subject,
                    false,
                );
            }
        }
    }
}

/// Schedules that block less than they did. Those of a person or a device that is gone went with
/// it: what holds is compared anyway.
fn schedules(before: &Household, after: &Household) -> Vec<(SettingsLevel, Id)> {
    let mut found = Vec::new();
    let mut compare = |place: SettingsLevel, was: Option<&Settings>, is: &Settings| {
        let before = was
            .map(|settings| settings.schedules.keys())
            .into_iter()
            .flatten();
        let ids: BTreeSet<&Id> = before.chain(is.schedules.keys()).collect();
        for id in ids {
            let was = was
                .and_then(|settings| settings.schedules.get(id))
                .map(|set| &set.value);
            if Schedule::is_loosened(was, is.schedules.get(id).map(|set| &set.value)) {
                found.push((place.clone(), id.clone()));
            }
        }
    };
    compare(
        SettingsLevel::Household,
        Some(&before.settings),
        &after.settings,
    );
    for (id, person) in &after.people {
        compare(
            SettingsLevel::Person(id.clone()),
            before.people.get(id).map(|person| &person.settings),
            &person.settings,
        );
    }
    for (id, device) in &after.devices {
        compare(
            SettingsLevel::Device(id.clone()),
            before.devices.get(id).map(|device| &device.settings),
            &device.settings,
        );
    }
    found
}
