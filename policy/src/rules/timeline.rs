//! The timeline of a household: which rules each device has, and from when to when. Documents
//! become flat rows here.
//!
//! ```text
//! settings of a level ── spans of its schedules, ends of its grants and pauses ──> instants of change
//!        |                                                                               |
//!        └────────────────────── rules at each instant, device by device <────────────────┘
//! ```
//!
//! A timeline covers the next few changes. The data path compares its clock with the first of them
//! and uses a later phase only after it. The schedule task compiles the household again before the
//! last phase ends.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, ToSpan, tz::TimeZone};

use crate::{
    category::{CategorySet, Taxonomy},
    rules::{
        builtin_names::BuiltinNames,
        effective_rules::{EffectiveRules, Grants},
        flags::PolicyFlags,
        household::{
            Attributed, Device, Filtering, Household, Settings, Switch, SwitchState,
            UNKNOWN_DEVICES,
        },
        operator::OperatorDefaults,
        schedule::{GrantTarget, Schedule, Span},
        thing::ThingMode,
    },
    unix_seconds::UnixSeconds,
};

const PHASES_MAX: usize = 8;
/// Days that a timeline looks ahead for a change by schedule: more than a week, so that every day
/// of the week occurs.
const DAYS_AHEAD: i32 = 9;
/// The least number of changes by schedule that a timeline covers, if there are as many.
const CHANGES_AHEAD: usize = 3;

/// The rules between two changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    pub from: UnixSeconds,
    /// The rules of unnamed devices, then those that differ from them.
    pub rules: Vec<EffectiveRules>,
    /// The index in `rules` for each device.
    pub devices: Vec<u16>,
}

/// All phases; the first one is the current.
pub(crate) struct Timeline {
    pub phases: Vec<Phase>,
    pub grants: Vec<Grants>,
    /// When the last phase ends.
    pub until: UnixSeconds,
}

/// The settings of one level, with the times at which its schedules run.
struct Level<'h> {
    settings: &'h Settings,
    spans: Vec<(Span, &'h Schedule)>,
}

impl<'h> Level<'h> {
    fn of(settings: &'h Settings) -> Self {
        Self {
            settings,
            spans: Vec::new(),
        }
    }

    fn running(&self, at: UnixSeconds) -> impl Iterator<Item = &'h Schedule> {
        self.spans
            .iter()
            .filter(move |((from, to), _)| (*from..*to).contains(&at))
            .map(|(_, schedule)| *schedule)
    }
}

/// The levels of a household by index: first the household's, then its people's, then its devices'.
struct Levels<'h> {
    levels: Vec<Level<'h>>,
    /// For each device, the flags that do not depend on the clock, and the levels that apply to it,
    /// from the household's down.
    chains: Vec<(PolicyFlags, Vec<usize>)>,
    /// The same for unnamed devices.
    of_unknown: (PolicyFlags, Vec<usize>),
}

impl<'h> Levels<'h> {
    fn of(household: &'h Household, devices_max: usize) -> Self {
        let people = household
            .people
            .iter()
            .map(|(id, person)| (id.as_str(), Level::of(&person.settings)));
        let (names, people): (Vec<&str>, Vec<Level<'h>>) = people.unzip();
        let mut levels = vec![Level::of(&household.settings)];
        levels.extend(people);
        let unknown = names.binary_search(&UNKNOWN_DEVICES).ok();
        let of_unknown = [Some(0), unknown.map(|place| place + 1)];
        let chain = |device: &'h Device| {
            let person = device
                .person
                .as_ref()
                .and_then(|person| names.binary_search(&person.as_str()).ok());
            levels.push(Level::of(&device.settings));
            let chain = [
                Some(0),
                person.map(|place| place + 1),
                Some(levels.len() - 1),
            ]
            .into_iter()
            .flatten()
            .collect();
            (at_all_hours(household, Some(device)), chain)
        };
        let chains = household
            .devices
            .values()
            .take(devices_max)
            .map(chain)
            .collect();
        Self {
            levels,
            chains,
            of_unknown: (
                at_all_hours(household, None),
                of_unknown.into_iter().flatten().collect(),
            ),
        }
    }

    /// Finds the times of all schedules from `now` on, as far as the timeline reaches. Returns its
    /// end.
    fn schedule(&mut self, zone: &TimeZone, now: Timestamp) -> UnixSeconds {
        let today = zone.to_datetime(now).date();
        let at = UnixSeconds::of(now);
        let mut changes = Vec::new();
        let mut reach = UnixSeconds::of(now);
        for days in -1..=DAYS_AHEAD {
            let Ok(date) = today.checked_add(days.days()) else {
                break;
            };
            for level in &mut self.levels {
                for schedule in level.settings.schedules.values() {
                    if let Some(span) = schedule.value.span(zone, date) {
                        level.spans.push((span, &schedule.value));
                        changes.extend([span.0, span.1].into_iter().filter(|change| *change > at));
                    }
                }
            }
            // A schedule that begins on a later date begins after the end of this date.
            let Ok(end) = date
                .tomorrow()
                .map_err(drop)
                .and_then(|next| next.to_zoned(zone.clone()).map_err(drop))
            else {
                break;
            };
            reach = UnixSeconds::of(end.timestamp());
            changes.sort_unstable();
            changes.dedup();
            if changes.partition_point(|change| *change < reach) >= CHANGES_AHEAD {
                break;
            }
        }
        reach
    }

    /// All instants after `now` and before `reach` at which a schedule, a grant or a pause begins
    /// or ends.
    fn changes(&self, now: UnixSeconds, reach: UnixSeconds) -> Vec<UnixSeconds> {
        let spans = self
            .levels
            .iter()
            .flat_map(|level| level.spans.iter().flat_map(|((from, to), _)| [*from, *to]));
        let grants = self.levels.iter().flat_map(|level| {
            level
                .settings
                .grants
                .values()
                .map(|grant| UnixSeconds::end_of(grant.value.until))
        });
        let pauses = self.levels.iter().filter_map(|level| {
            level
                .settings
                .pause
                .as_ref()
                .map(|pause| UnixSeconds::end_of(pause.value.until))
        });
        let mut changes: Vec<UnixSeconds> = spans
            .chain(grants)
            .chain(pauses)
            .filter(|change| *change > now && *change < reach)
            .collect();
        changes.sort_unstable();
        changes.dedup();
        changes
    }

    /// The rules of one device or of all unnamed devices at an instant. `chain`: the levels that
    /// apply, from the household's down. `known` collects the grants that rules refer to by index.
    fn rules(
        &self,
        flags: PolicyFlags,
        chain: &[usize],
        at: UnixSeconds,
        ground: &Ground<'_>,
        known: &mut Vec<Grants>,
    ) -> EffectiveRules {
        let mut rules = EffectiveRules {
            blocked: ground.preset,
            flags,
            grants: 0,
        };
        let levels = || chain.iter().map(|index| &self.levels[*index]);
        let settings = || levels().map(|level| level.settings);
        for settings in settings() {
            ground.apply_settings(&mut rules, settings, at);
        }
        // Schedules override the switches of all levels.
        for level in levels() {
            ground.apply_schedules(&mut rules, level.running(at));
        }
        let is_allowed = |switch: Option<&Attributed<Switch>>| {
            switch.is_some_and(|switch| switch.value.state == SwitchState::Allow)
        };
        let mut search_unlock = settings().filter_map(|settings| settings.search_unlock.as_ref());
        let mut bypass = settings().filter_map(|settings| settings.bypass.as_ref());
        rules
            .flags
            .unlock_search(is_allowed(search_unlock.next_back()));
        if ground.is_filtered && !is_allowed(bypass.next_back()) {
            rules.flags.prevent_bypass(ground.defaults.bypass);
        }
        let grants = ground.grants(settings(), at);
        if !grants.is_empty() {
            rules.grants =
                u32::try_from(index_in(known, grants) + 1).expect("a household has few grants");
        }
        rules
    }

    fn phase(&self, from: UnixSeconds, ground: &Ground<'_>, known: &mut Vec<Grants>) -> Phase {
        let (flags, chain) = &self.of_unknown;
        let mut rows = vec![self.rules(*flags, chain, from, ground, known)];
        let mut place = |rules: EffectiveRules| {
            u16::try_from(index_in(&mut rows, rules)).expect("no more than devices")
        };
        let of_chain = |(flags, chain): &(PolicyFlags, Vec<usize>)| {
            place(self.rules(*flags, chain, from, ground, known))
        };
        let devices = self.chains.iter().map(of_chain).collect();
        Phase {
            from,
            rules: rows,
            devices,
        }
    }
}

/// The flags that do not depend on the clock: whether the queries of a device are recorded, whether
/// they are private, and whether the device is limited to domains.
fn at_all_hours(household: &Household, device: Option<&Device>) -> PolicyFlags {
    let mut flags = if device.is_some_and(|device| !device.log) {
        PolicyFlags::PRIVATE
    } else {
        PolicyFlags::NONE
    };
    if household.records(device) {
        flags.record();
    }
    let thing = device.and_then(|device| device.thing.as_ref());
    if thing.is_some_and(|thing| thing.mode() != ThingMode::Off)
        && household.filtering != Filtering::Off
    {
        flags.make_thing();
    }
    flags
}

/// What is common to all levels.
struct Ground<'g> {
    preset: CategorySet,
    taxonomy: &'g Taxonomy,
    defaults: OperatorDefaults,
    /// Whether filtering is on: by the household's choice, or by the operator's preset for a
    /// household that was not asked.
    is_filtered: bool,
}

impl Ground<'_> {
    /// Applies the categories, safe search and pause of one level.
    fn apply_settings(&self, rules: &mut EffectiveRules, settings: &Settings, at: UnixSeconds) {
        rules.blocked = switch(rules.blocked, &settings.categories, self.taxonomy);
        for (slug, search) in &settings.safe_search {
            if let Some(engine) = BuiltinNames::shipped().engine(slug) {
                rules.flags.search(engine, search.value.level);
            }
        }
        if settings
            .pause
            .as_ref()
            .is_some_and(|pause| UnixSeconds::end_of(pause.value.until) > at)
        {
            rules.flags.pause();
        }
    }

    /// Applies the running schedules of one level. Of two on the same level, the one that blocks
    /// decides.
    fn apply_schedules<'s>(
        &self,
        rules: &mut EffectiveRules,
        running: impl Iterator<Item = &'s Schedule>,
    ) {
        let find = |slugs: &BTreeSet<String>| -> CategorySet {
            slugs
                .iter()
                .filter_map(|slug| self.taxonomy.find(slug))
                .collect()
        };
        let mut block = CategorySet::EMPTY;
        let mut allow = CategorySet::EMPTY;
        for schedule in running {
            block = block.union(find(&schedule.block));
            allow = allow.union(find(&schedule.allow));
            if schedule.pause {
                rules.flags.pause();
            }
        }
        rules.blocked = rules.blocked.without(allow).union(block);
    }

    /// Joins the grants that run at an instant.
    fn grants<'s>(&self, settings: impl Iterator<Item = &'s Settings>, at: UnixSeconds) -> Grants {
        let mut grants = Grants::default();
        for grant in settings.flat_map(|settings| settings.grants.values()) {
            if UnixSeconds::end_of(grant.value.until) <= at {
                continue;
            }
            match &grant.value.what {
                GrantTarget::Category(slug) => grants.categories.extend(self.taxonomy.find(slug)),
                GrantTarget::Domain(name) => grants.names.push(name.clone()),
                GrantTarget::Everything(is_all) => grants.everything |= is_all,
            }
        }
        grants
    }
}

/// Returns the index of a row; adds the row if it is new.
fn index_in<T: PartialEq>(rows: &mut Vec<T>, row: T) -> usize {
    let index = rows.iter().position(|other| *other == row);
    index.unwrap_or_else(|| {
        rows.push(row);
        rows.len() - 1
    })
}

impl Timeline {
    /// Compiles the timeline from an instant on.
    pub fn of(
        household: &Household,
        devices_max: usize,
        taxonomy: &Taxonomy,
        defaults: OperatorDefaults,
        now: Timestamp,
    ) -> Self {
        let at = UnixSeconds::of(now);
        if household.filtering == Filtering::Off {
            return Self::unfiltered(household, devices_max, at);
        }
        let preset = household
            .preset
            .as_deref()
            .and_then(|slug| taxonomy.preset(slug))
            .unwrap_or(defaults.preset);
        let is_filtered = household.filtering == Filtering::On || !preset.is_empty();
        let ground = Ground {
            preset,
            taxonomy,
            defaults,
            is_filtered,
        };
        let mut levels = Levels::of(household, devices_max);
        let has_schedules = levels
            .levels
            .iter()
            .any(|level| !level.settings.schedules.is_empty());
        let reach = if has_schedules {
            levels.schedule(&zone(household), now)
        } else {
            UnixSeconds::NEVER
        };
        let mut changes = levels.changes(at, reach);
        let until = if changes.len() < PHASES_MAX {
            reach
        } else {
            changes[PHASES_MAX - 1]
        };
        changes.truncate(PHASES_MAX - 1);
        let mut grants = Vec::new();
        let phases = std::iter::once(at)
            .chain(changes)
            .map(|from| levels.phase(from, &ground, &mut grants))
            .collect();
        Self {
            phases,
            grants,
            until,
        }
    }

    /// Without filtering nothing is blocked or recorded; private devices stay private.
    fn unfiltered(household: &Household, devices_max: usize, at: UnixSeconds) -> Self {
        let private = EffectiveRules {
            flags: PolicyFlags::PRIVATE,
            ..EffectiveRules::default()
        };
        let devices = household
            .devices
            .values()
            .take(devices_max)
            .map(|device| u16::from(!device.log))
            .collect();
        let phase = Phase {
            from: at,
            rules: vec![EffectiveRules::default(), private],
            devices,
        };
        Self {
            phases: vec![phase],
            grants: Vec::new(),
            until: UnixSeconds::NEVER,
        }
    }
}

/// The household's time zone. An unknown name means UTC: wrong times of a schedule are noticed and
/// corrected.
#[must_use]
pub fn zone(household: &Household) -> TimeZone {
    TimeZone::get(&household.time_zone).unwrap_or(TimeZone::UTC)
}

fn switch(
    mut mask: CategorySet,
    switches: &BTreeMap<String, Attributed<Switch>>,
    taxonomy: &Taxonomy,
) -> CategorySet {
    for (slug, switch) in switches {
        if let Some(category) = taxonomy.find(slug) {
            match switch.value.state {
                SwitchState::Block => mask.insert(category),
                SwitchState::Allow => mask.remove(category),
            }
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::{name::Name, rules::schedule::Grant};

    /// A household with this number of grants, each of its own name. One ends each minute from
    /// `now` on.
    fn with_grants(count: usize, now: Timestamp) -> Household {
        let mut household = Household::new("home".parse().unwrap());
        for minute in 1..=count {
            let what = GrantTarget::Domain(Name::parse(&format!("n{minute}.example")).unwrap());
            let value = Grant {
                what,
                until: now + SignedDuration::from_mins(minute as i64),
            };
            let set = Attributed {
                value,
                set_by: "test".to_owned(),
                set_at: now,
            };
            household
                .settings
                .grants
                .insert(format!("g{minute:02}").parse().unwrap(), set);
        }
        household
    }

    #[test]
    fn a_timeline_ends_at_the_first_change_that_it_has_no_phase_for() {
        let taxonomy = Taxonomy::shipped();
        let now = Timestamp::from_second(1_900_000_000).unwrap();
        let minute =
            |minute: usize| UnixSeconds::of(now + SignedDuration::from_mins(minute as i64));
        for count in 0..=PHASES_MAX + 4 {
            let timeline = Timeline::of(
                &with_grants(count, now),
                0,
                &taxonomy,
                OperatorDefaults::default(),
                now,
            );
            let phases: Vec<UnixSeconds> = timeline.phases.iter().map(|phase| phase.from).collect();
            let expected: Vec<UnixSeconds> = (0..=count.min(PHASES_MAX - 1)).map(minute).collect();
            assert_eq!(phases, expected, "{count} changes");
            assert_eq!(
                timeline.until,
                if count < PHASES_MAX {
                    UnixSeconds::NEVER
                } else {
                    minute(PHASES_MAX)
                },
                "{count} changes"
            );
        }
    }

    #[test]
    fn a_family_with_more_changes_than_phases_has_each_at_its_time() {
        let taxonomy = Taxonomy::shipped();
        let now = Timestamp::from_second(1_900_000_000).unwrap();
        let count = 3 * PHASES_MAX + 1;
        let household = with_grants(count, now);
        let mut at = now;
        let mut compiled = 0;
        for minute in 0..=count {
            // As in the program: compiled again when the timeline ends, and not before.
            let mut timeline =
                Timeline::of(&household, 0, &taxonomy, OperatorDefaults::default(), at);
            let then = now + SignedDuration::from_mins(minute as i64);
            if timeline.until <= UnixSeconds::of(then) {
                at = timeline.until.timestamp().unwrap();
                timeline = Timeline::of(&household, 0, &taxonomy, OperatorDefaults::default(), at);
                compiled += 1;
            }
            let place = timeline
                .phases
                .partition_point(|phase| phase.from <= UnixSeconds::of(then))
                - 1;
            let grants = timeline.phases[place].rules[0].grants as usize;
            let open = (1..=count).filter(|other| {
                let name = Name::parse(&format!("n{other}.example")).unwrap();
                grants > 0
                    && timeline.grants[grants - 1].open(
                        name.borrow(),
                        CategorySet::EMPTY,
                        CategorySet::EMPTY,
                    )
            });
            assert_eq!(
                open.collect::<Vec<_>>(),
                (minute + 1..=count).collect::<Vec<_>>(),
                "after {minute} minutes"
            );
        }
        assert_eq!(compiled, count / PHASES_MAX);
    }
}
