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
        thing::{Thing, ThingMode},
        timeline::Timeline,
    },
    unix_seconds::UnixSeconds,
};

/// Days over which effective rules are compared: more than a week, so that every day of the week
/// occurs.
const DAYS: i64 = 8;
/// The most timelines compiled for a comparison. A household with more changes a week is compared
/// over fewer days.
const TIMELINES_MAX: usize = 16;

/// Something that is permitted after a change and was not before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relaxation {
    /// The Internet is no longer paused.
    Pause,
    /// A category is no longer blocked.
    Category(String),
    /// A name is allowed, whatever blocks it.
    Allowed(Name),
    /// A custom list no longer blocks a name.
    Unlisted(Name),
    /// A grant runs until a time.
    Granted(GrantTarget, Timestamp),
    /// An engine's safe search is less strict; the engine's slug.
    SafeSearch(String),
    /// An allow or a grant of a search engine also lifts its safe search.
    SearchUnlock,
    /// Bypass names are no longer answered negatively.
    Bypass,
    /// A thing is no longer limited to its domains.
    ThingUnlimited,
    /// A thing may reach a domain that it was blocked from.
    ThingDomain(Name),
}

/// The devices that a relaxation affects, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AffectedDevices {
    /// The devices, by identifier.
    pub devices: BTreeSet<Id>,
    /// Whether unnamed devices are affected.
    pub others: bool,
    /// Whether every device of the household and every unnamed one is affected.
    pub everybody: bool,
    /// Whether it takes effect only at a later time of the following days.
    pub is_later: bool,
}

/// The level that a schedule belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsLevel {
    Household,
    Person(Id),
    Device(Id),
}

/// Everything that a change relaxes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relaxations {
    /// Filtering was switched off. Other changes are not reported beside it.
    pub filtering_off: bool,
    /// Notices go to another address.
    pub contact: bool,
    /// More of the activity is kept.
    pub history: bool,
    /// Networks that the household lost.
    pub networks: Vec<IpNet>,
    /// Schedules that block less, at fewer times, or not at all.
    pub schedules: Vec<(SettingsLevel, Id)>,
    /// All other relaxations, with the devices that they affect.
    pub losses: Vec<(Relaxation, AffectedDevices)>,
}

impl Relaxations {
    /// Compares two versions of a household at the instant `now`.
    #[must_use]
    pub fn by(
        before: &Household,
        after: &Household,
        taxonomy: &Taxonomy,
        defaults: OperatorDefaults,
        now: Timestamp,
    ) -> Self {
        let filtering_off = after.filtering == Filtering::Off && before.filtering != Filtering::Off;
        let mut relaxations = Self {
            filtering_off,
            contact: before.contact.is_some() && before.contact != after.contact,
            history: keeps_more(before, after),
            networks: before
                .networks
                .difference(&after.networks)
                .copied()
                .collect(),
            ..Self::default()
        };
        if filtering_off || is_same(before, after) {
            return relaxations;
        }
        // A change that is made while filtering is off takes effect when it is on again.
        let before = &switched_on(before);
        let after = &switched_on(after);
        let schedules = schedules(before, after);
        let mut comparison = Comparison {
            before,
            after,
            now,
            levels: BTreeMap::new(),
            found: FoundChange::default(),
        };
        let subjects = Subject::all(before, after);
        comparison.compare_rules(&subjects, taxonomy, defaults);
        for subject in &subjects {
            comparison.compare_entries(subject);
            comparison.compare_things(subject);
        }
        // A later effect of a schedule is reported by naming the schedule.
        relaxations.losses = comparison
            .losses()
            .filter(|(_, affected)| schedules.is_empty() || !affected.is_later)
            .collect();
        relaxations.schedules = schedules;
        relaxations
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether more activity is kept after a change: for longer, with names, or of more existing
/// devices.
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

/// Each relaxation with the devices that it affects (`None`: unnamed devices), and whether it takes
/// effect only later.
#[derive(Default)]
struct FoundChange(BTreeMap<Relaxation, (BTreeSet<Option<Id>>, bool)>);

impl FoundChange {
    fn add(&mut self, loss: Relaxation, subject: &Subject<'_>, is_later: bool) {
        let (devices, later) = self
            .0
            .entry(loss)
            .or_insert_with(|| (BTreeSet::new(), true));
        devices.insert(subject.device.cloned());
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
            // A removed device becomes an unnamed one.
            all.push(Self {
                device: Some(id),
                before: Some(id),
                after: after.devices.get_key_value(id).map(|(id, _)| id),
            });
        }
        // An identifier can move to another device.
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

/// Whether two documents block the same.
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

/// A comparison of two versions of a household.
struct Comparison<'h> {
    before: &'h Household,
    after: &'h Household,
    now: Timestamp,
    /// The levels that were compared, by the addresses of their settings: hundreds of devices share
    /// the household's, and a person's.
    levels: BTreeMap<[usize; 2], ChangedLevel<'h>>,
    found: FoundChange,
}

/// How the custom list and the grants of one level changed.
struct ChangedLevel<'h> {
    is_same: bool,
    /// The names that it allows and did not allow before.
    allowed: Vec<&'h Name>,
    /// The names that it blocked, and that it neither blocks nor allows now.
    unlisted: Vec<(&'h Name, Scope)>,
}

impl<'h> Comparison<'h> {
    /// Compares the effective rules, now and over the following days.
    fn compare_rules(
        &mut self,
        subjects: &[Subject<'_>],
        taxonomy: &Taxonomy,
        defaults: OperatorDefaults,
    ) {
        let index = |household: &Household, id: Option<&Id>| {
            id.and_then(|id| household.devices.keys().position(|other| other == id))
        };
        let indices: Vec<_> = subjects
            .iter()
            .map(|subject| {
                (
                    index(self.before, subject.before),
                    index(self.after, subject.after),
                )
            })
            .collect();
        let end = self
            .now
            .checked_add((24 * DAYS).hours())
            .unwrap_or(self.now);
        let mut at = self.now;
        for _ in 0..TIMELINES_MAX {
            let compile = |household| {
                Timeline::of(household, usize::from(u16::MAX - 1), taxonomy, defaults, at)
            };
            let was = compile(self.before);
            let is = compile(self.after);
            let until = was.until.min(is.until);
            let moments: BTreeSet<UnixSeconds> = was
                .phases
                .iter()
                .chain(&is.phases)
                .map(|phase| phase.from)
                .filter(|from| *from < until)
                .collect();
            for moment in moments {
                let is_later = moment > UnixSeconds::of(self.now);
                for (subject, (before, after)) in subjects.iter().zip(&indices) {
                    let was = rules(&was, *before, moment);
                    let is = rules(&is, *after, moment);
                    compare_effective_rules(was, is, taxonomy, |loss| {
                        self.found.add(loss, subject, is_later)
                    });
                }
            }
            match until.timestamp() {
                Some(next) if next > at && next < end => at = next,
                _ => break,
            }
        }
    }

    /// Compares the custom lists and grants of each level that applies to a device.
    fn compare_entries(&mut self, subject: &Subject<'_>) {
        let were = levels(self.before, subject.before);
        let are = levels(self.after, subject.after);
        for (was, is) in were.iter().copied().zip(are) {
            let address = |level: Option<&Settings>| {
                level.map_or(0, |level| std::ptr::from_ref(level).addr())
            };
            let level = self
                .levels
                .entry([address(was), address(is)])
                .or_insert_with(|| ChangedLevel::of(was, is));
            if level.is_same {
                continue;
            }
            let losses = level
                .allowed
                .iter()
                .map(|name| Relaxation::Allowed((*name).clone()))
                .chain(no_longer_blocked(&level.unlisted, &are))
                .chain(newly_granted(&were, is, self.now));
            for loss in losses {
                self.found.add(loss, subject, false);
            }
        }
    }

    /// Compares the domains of a thing.
    fn compare_things(&mut self, subject: &Subject<'_>) {
        let thing = |household: &'h Household, id: Option<&Id>| {
            id.and_then(|id| household.devices.get(id)?.thing.as_ref())
        };
        let Some(was) = thing(self.before, subject.before) else {
            return;
        };
        let is = thing(self.after, subject.after);
        if is == Some(was) || was.mode() == ThingMode::Off {
            return;
        }
        if was.mode().blocks_new() && !is.is_some_and(|is| is.mode().blocks_new()) {
            self.found.add(Relaxation::ThingUnlimited, subject, false);
        }
        // What is on a list before or after is compared; all other names by the mode.
        let of_lists = |thing: &'h Thing| thing.allowed.keys().chain(thing.denied.keys());
        let names: BTreeSet<&Name> = of_lists(was)
            .chain(is.into_iter().flat_map(of_lists))
            .collect();
        for name in names {
            let is_blocked = is.is_some_and(|is| is.blocks(name.borrow()));
            if was.blocks(name.borrow()) && !is_blocked {
                let loss = Relaxation::ThingDomain(name.clone());
                self.found.add(loss, subject, false);
            }
        }
    }

    /// What was found, each with the devices of the household that it affects.
    fn losses(self) -> impl Iterator<Item = (Relaxation, AffectedDevices)> {
        let devices = self.before.devices.keys().cloned().map(Some);
        let all: BTreeSet<Option<Id>> = devices.chain([None]).collect();
        let found = self.found.0.into_iter();
        found.map(move |(loss, (devices, is_later))| {
            let affected = AffectedDevices {
                everybody: devices.is_superset(&all),
                others: devices.contains(&None),
                devices: devices.into_iter().flatten().collect(),
                is_later,
            };
            (loss, affected)
        })
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

fn compare_effective_rules(
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
type Levels<'h> = [Option<&'h Settings>; 3];

fn levels<'h>(household: &'h Household, device: Option<&Id>) -> Levels<'h> {
    let device: Option<&Device> = device.and_then(|id| household.devices.get(id));
    let person = household.person_of(device).map(|person| &person.settings);
    [
        Some(&household.settings),
        person,
        device.map(|device| &device.settings),
    ]
}

/// Whether a level has the same custom list and grants in both. A level that does not exist has
/// none.
fn has_same_entries(was: Option<&Settings>, is: Option<&Settings>) -> bool {
    let is_empty = |level: Option<&Settings>| {
        level.is_none_or(|settings| settings.names.is_empty() && settings.grants.is_empty())
    };
    match (was, is) {
        (Some(was), Some(is)) => was.names == is.names && was.grants == is.grants,
        (was, is) => is_empty(was) && is_empty(is),
    }
}

/// Whether a custom list of these levels has an entry for a name with at least this scope.
fn has_name(levels: &[Option<&Settings>], name: &Name, state: SwitchState, scope: Scope) -> bool {
    let covers = |own: &CustomName| {
        own.state == state && (own.scope == scope || own.scope == Scope::Subtree)
    };
    levels
        .iter()
        .flatten()
        .filter_map(|settings| settings.names.get(name))
        .any(|own| covers(&own.value))
}

impl<'h> ChangedLevel<'h> {
    fn of(was: Option<&'h Settings>, is: Option<&'h Settings>) -> Self {
        if has_same_entries(was, is) {
            return Self {
                is_same: true,
                allowed: Vec::new(),
                unlisted: Vec::new(),
            };
        }
        let names = |level: Option<&'h Settings>| level.into_iter().flat_map(|level| &level.names);
        let allow = SwitchState::Allow;
        // Another level does not count: the same allow can be there beside a block of a name below
        // it, which it does not lift.
        let allowed = names(is).filter(|(name, own)| {
            own.value.state == allow && !has_name(&[was], name, allow, own.value.scope)
        });
        let unlisted = names(was).filter(|(name, own)| {
            own.value.state == SwitchState::Block && !decides(&[is], name, own.value.scope)
        });
        Self {
            is_same: false,
            allowed: allowed.map(|(name, _)| name).collect(),
            unlisted: unlisted
                .map(|(name, own)| (name, own.value.scope))
                .collect(),
        }
    }
}

/// Whether a custom list of these levels blocks or allows a name with at least this scope.
fn decides(levels: &[Option<&Settings>], name: &Name, scope: Scope) -> bool {
    [SwitchState::Block, SwitchState::Allow]
        .into_iter()
        .any(|state| has_name(levels, name, state, scope))
}

/// The names that a level blocked and that no level blocks or allows now.
fn no_longer_blocked<'l>(
    unlisted: &'l [(&Name, Scope)],
    are: &'l Levels<'_>,
) -> impl Iterator<Item = Relaxation> + 'l {
    unlisted
        .iter()
        .filter(|(name, scope)| !decides(are, name, *scope))
        .map(|(name, _)| Relaxation::Unlisted((*name).clone()))
}

/// The grants of a level that still run, and that no level had before for as long.
fn newly_granted<'h>(
    were: &'h Levels<'h>,
    is: Option<&'h Settings>,
    now: Timestamp,
) -> impl Iterator<Item = Relaxation> + 'h {
    let all = |settings: &'h Settings| settings.grants.values().map(|grant| &grant.value);
    let before = move || were.iter().copied().flatten().flat_map(all);
    is.into_iter()
        .flat_map(all)
        .filter(move |grant| {
            let is_known =
                before().any(|other| other.what == grant.what && other.until >= grant.until);
            grant.until > now && grant.what != GrantTarget::Everything(false) && !is_known
        })
        .map(|grant| Relaxation::Granted(grant.what.clone(), grant.until))
}

/// Schedules that block less than before. Those of a removed person or device are covered by the
/// comparison of effective rules.
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
