//! Decisions by the clock against a naive model: random households with people, schedules, grants,
//! pauses and safe search, decided at random instants. The rules were compiled some time before,
//! and are compiled again as in the program.
//!
//! The model reads the documents for each decision. It walks the time zone minute by minute and has
//! no spans, phases or masks, so its errors differ from those of the code under test.
//! `HOURS_DECISIONS=10000000 HOURS_SEED=8` makes more decisions, with another seed.

// A test that cannot continue fails.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use policy::{
    category::{CategorySet, Taxonomy},
    decide::{EffectivePolicy, decide},
    lists::{blocklist::Classification, entry::Scope},
    name::Name,
    rules::{
        builtin_names::{BuiltinName, BuiltinNames},
        bypass::BypassPrevention,
        compiled::HouseholdRules,
        household::{
            Attributed, CustomName, Device, Filtering, Household, Person, SafeSearchSetting,
            SearchLevel, Settings, Switch, SwitchState,
        },
        operator::OperatorDefaults,
        schedule::{DayOfWeek, Grant, GrantTarget, Pause, Schedule},
    },
    unix_seconds::UnixSeconds,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Decisions of one household before the next one.
const DECISIONS_EACH: usize = 400;
const SLUGS: [&str; 5] = ["gambling", "violence", "social", "games", "adult"];
const NAMES: [&str; 8] = [
    "a.test",
    "b.a.test",
    "x.test",
    "d.example",
    "www.google.com",
    "html.duckduckgo.com",
    "mask.icloud.com",
    "use-application-dns.net",
];
const ZONES: [&str; 5] = [
    "Europe/London",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "UTC",
];
/// Around both nights in which London's clocks change, around New Year, and in no special week.
const WEEKS: [&str; 4] = [
    "2026-03-27T00:00:00Z",
    "2026-10-23T00:00:00Z",
    "2026-12-29T00:00:00Z",
    "2026-06-08T00:00:00Z",
];

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn pick<T: Copy>(chance: &mut StdRng, from: &[T]) -> T {
    from[chance.random_range(0..from.len())]
}

fn one_in(chance: &mut StdRng, many: u32) -> bool {
    chance.random_range(0..many) == 0
}

fn set<T>(value: T) -> Attributed<T> {
    Attributed {
        value,
        set_by: "model".to_owned(),
        set_at: Timestamp::UNIX_EPOCH,
    }
}

fn slugs(chance: &mut StdRng) -> BTreeSet<String> {
    (0..chance.random_range(0..3))
        .map(|_| pick(chance, &SLUGS).to_owned())
        .collect()
}

fn schedule(chance: &mut StdRng, start: Date) -> Schedule {
    let mut clock = || {
        format!(
            "{:02}:{:02}",
            chance.random_range(0..24),
            pick(chance, &[0, 15, 30, 59])
        )
        .parse()
        .unwrap()
    };
    let from = clock();
    let to = clock();
    let days = DayOfWeek::ALL
        .into_iter()
        .filter(|_| !one_in(chance, 3))
        .collect();
    let except = (0..chance.random_range(0..3)).map(|_| {
        start
            .checked_add(SignedDuration::from_hours(24 * chance.random_range(0..8)))
            .unwrap()
    });
    let except = except.collect();
    Schedule {
        days,
        from,
        to,
        except,
        block: slugs(chance),
        allow: slugs(chance),
        pause: one_in(chance, 6),
    }
}

fn settings(chance: &mut StdRng, start: Timestamp, date: Date) -> Settings {
    let mut settings = Settings::default();
    let state = |chance: &mut StdRng| pick(chance, &[SwitchState::Block, SwitchState::Allow]);
    for _ in 0..chance.random_range(0..3) {
        settings.categories.insert(
            pick(chance, &SLUGS).to_owned(),
            set(Switch {
                state: state(chance),
            }),
        );
    }
    if one_in(chance, 3) {
        let own = CustomName {
            state: state(chance),
            scope: pick(chance, &[Scope::Exact, Scope::Subtree]),
        };
        settings
            .names
            .insert(Name::parse(pick(chance, &NAMES)).unwrap(), set(own));
    }
    for place in 0..chance.random_range(0..3) {
        settings.schedules.insert(
            format!("s{place}").parse().unwrap(),
            set(schedule(chance, date)),
        );
    }
    let later = |chance: &mut StdRng| {
        start + SignedDuration::from_millis(chance.random_range(-3_600_000..200_000_000))
    };
    for place in 0..chance.random_range(0..5_u32).saturating_sub(2) {
        let what = match chance.random_range(0..6) {
            0 => GrantTarget::Everything(chance.random()),
            1 | 2 => GrantTarget::Domain(Name::parse(pick(chance, &NAMES)).unwrap()),
            _ => GrantTarget::Category(pick(chance, &SLUGS).to_owned()),
        };
        settings.grants.insert(
            format!("g{place}").parse().unwrap(),
            set(Grant {
                what,
                until: later(chance),
            }),
        );
    }
    if one_in(chance, 6) {
        settings.pause = Some(set(Pause {
            until: later(chance),
        }));
    }
    for engine in ["google", "duckduckgo"] {
        if one_in(chance, 2) {
            let level = pick(
                chance,
                &[SearchLevel::Off, SearchLevel::Moderate, SearchLevel::Strict],
            );
            settings
                .safe_search
                .insert(engine.to_owned(), set(SafeSearchSetting { level }));
        }
    }
    if one_in(chance, 4) {
        settings.search_unlock = Some(set(Switch {
            state: state(chance),
        }));
    }
    if one_in(chance, 4) {
        settings.bypass = Some(set(Switch {
            state: state(chance),
        }));
    }
    settings
}

fn household(chance: &mut StdRng, start: Timestamp) -> Household {
    let mut household = Household::new("home".parse().unwrap());
    household.time_zone = pick(chance, &ZONES).to_owned();
    let date = start.to_zoned(TimeZone::UTC).date();
    household.preset =
        pick(chance, &[None, Some("light"), Some("strict"), Some("off")]).map(str::to_owned);
    household.filtering = pick(
        chance,
        &[
            Filtering::NotAsked,
            Filtering::On,
            Filtering::On,
            Filtering::On,
            Filtering::Off,
        ],
    );
    household.settings = settings(chance, start, date);
    for place in 0..chance.random_range(0..3) {
        let person = Person {
            name: String::new(),
            settings: settings(chance, start, date),
        };
        household
            .people
            .insert(format!("p{place}").parse().unwrap(), person);
    }
    for place in 0..chance.random_range(0..4) {
        // A person that does not exist stands for one that was deleted.
        let person = pick(chance, &[None, Some("p0"), Some("p1"), Some("p9")])
            .map(|person| person.parse().unwrap());
        let settings = settings(chance, start, date);
        let identifiers = Vec::new();
        let device = Device {
            name: String::new(),
            kind: None,
            person,
            identifiers,
            log: true,
            thing: None,
            settings,
        };
        household
            .devices
            .insert(format!("d{place}").parse().unwrap(), device);
    }
    household
}

fn classification(chance: &mut StdRng, taxonomy: &Taxonomy, name: &Name) -> Classification {
    let mut set = |most: usize| -> CategorySet {
        (0..chance.random_range(0..=most))
            .map(|_| taxonomy.find(pick(chance, &SLUGS)).unwrap())
            .collect()
    };
    let choice = set(2);
    let security = set(1);
    let security = if one_in(chance, 20) {
        security
    } else {
        CategorySet::EMPTY
    };
    let mandatory = one_in(chance, 30);
    let never_block = one_in(chance, 30);
    Classification {
        choice,
        security,
        mandatory,
        never_block,
        builtin: BuiltinNames::shipped().find(name.borrow()),
        ..Classification::NOTHING
    }
}

/// Whether a schedule runs, found by going back through the minutes of the clock to the one in
/// which it would have begun.
///
/// It runs from the first minute that shows its begin on one of its days, up to the last minute
/// that shows its end. A skipped minute is as far after the change as it would have been.
fn holds(schedule: &Schedule, zone: &TimeZone, at: Timestamp) -> bool {
    let instant = |date: Date, clock: &str, is_end: bool| {
        let civil = date.to_datetime(clock.parse().unwrap());
        // All instants of two days at which the clock shows it.
        let middle = civil.to_zoned(TimeZone::UTC).unwrap().timestamp();
        let shows = |minutes: i64| {
            let instant = middle + SignedDuration::from_mins(minutes);
            (zone.to_datetime(instant) == civil).then_some(instant)
        };
        // Offsets of any zone: today a multiple of a quarter of an hour.
        let shown: Vec<Timestamp> = (-60..=60)
            .filter_map(|quarters| shows(quarters * 15))
            .collect();
        let first = shown.first().copied();
        let last = shown.last().copied();
        if is_end { last } else { first }.unwrap_or_else(|| {
            // A skipped minute: by the offset before the change.
            let before = zone.to_offset(middle - SignedDuration::from_hours(15));
            before.to_timestamp(civil).unwrap()
        })
    };
    let today = zone.to_datetime(at).date();
    [today, today.yesterday().unwrap()].into_iter().any(|date| {
        if !schedule.days.contains(&date.weekday().into()) || schedule.except.contains(&date) {
            return false;
        }
        let last = if schedule.to > schedule.from {
            date
        } else {
            date.tomorrow().unwrap()
        };
        let from = instant(date, &schedule.from.to_string(), false);
        let to = instant(last, &schedule.to.to_string(), true);
        from <= at && at < to
    })
}

fn own_list(settings: &Settings, name: &str, blocks_are_off: bool) -> Option<SwitchState> {
    let covers = |entry: &str, scope| {
        name == entry || (scope == Scope::Subtree && name.ends_with(&format!(".{entry}")))
    };
    let kept = settings
        .names
        .iter()
        .filter(|(_, own)| !(blocks_are_off && own.value.state == SwitchState::Block));
    let covering = kept.filter(|(entry, own)| covers(&entry.to_string(), own.value.scope));
    covering
        .max_by_key(|(entry, _)| entry.to_string().split('.').count())
        .map(|(_, own)| own.value.state)
}

/// The layers in words: the layer, and its categories or target.
fn model(
    household: &Household,
    device: Option<&Device>,
    name: &str,
    said: Classification,
    taxonomy: &Taxonomy,
    at: Timestamp,
) -> (String, BTreeSet<String>) {
    let default = "light";
    let word = |word: &str| (word.to_owned(), BTreeSet::new());
    let is_off = household.filtering == Filtering::Off;
    let zone = TimeZone::get(&household.time_zone).unwrap();
    let person = device.and_then(|device| household.people.get(device.person.as_ref()?));
    let nearest: Vec<(&str, &Settings)> = [
        device.map(|device| ("device", &device.settings)),
        person.map(|person| ("person", &person.settings)),
        Some(("household", &household.settings)),
    ]
    .into_iter()
    .flatten()
    .collect();
    // The safe search of the name, for any client.
    let search = {
        let level = |engine: &str| {
            nearest
                .iter()
                .find_map(|(_, settings)| settings.safe_search.get(engine))
                .map(|search| search.value.level)
        };
        let is_on =
            |engine: &str| !is_off && level(engine).is_some_and(|level| level != SearchLevel::Off);
        match name {
            "www.google.com" if is_on("google") => Some((
                "safe-search".to_owned(),
                ["forcesafesearch.google.com".to_owned()].into(),
            )),
            "html.duckduckgo.com" if is_on("duckduckgo") => Some(word("safe-search-deny")),
            _ => None,
        }
    };
    let unlock = nearest
        .iter()
        .find_map(|(_, settings)| settings.search_unlock.as_ref())
        .map(|switch| switch.value.state);
    // An allow keeps the safe search of a name, unless the search unlock is set.
    let opened_by = |layer: &str| {
        search
            .clone()
            .filter(|_| unlock != Some(SwitchState::Allow))
            .unwrap_or_else(|| word(layer))
    };
    if said.mandatory {
        return word("mandatory");
    }
    if said.never_block {
        return opened_by("never-block");
    }
    for (whose, settings) in &nearest {
        if own_list(settings, name, is_off) == Some(SwitchState::Allow) {
            return opened_by(&format!("{whose}-allow"));
        }
    }
    // Something that lasts until a part of a second lasts to its end: clocks of the data path show
    // whole seconds.
    let lasts = |until: Timestamp| {
        at.as_second() < until.as_second() + i64::from(until.subsec_nanosecond() > 0)
    };
    let preset = household.preset.as_deref().unwrap_or(default);
    let slugs = |set: CategorySet| {
        taxonomy
            .slugs(set)
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let is_blocked = |slug: &String| {
        for (_, settings) in &nearest {
            let running: Vec<&Schedule> = settings
                .schedules
                .values()
                .map(|schedule| &schedule.value)
                .filter(|schedule| holds(schedule, &zone, at))
                .collect();
            if running.iter().any(|schedule| schedule.block.contains(slug)) {
                return true;
            }
            if running.iter().any(|schedule| schedule.allow.contains(slug)) {
                return false;
            }
        }
        match nearest
            .iter()
            .find_map(|(_, settings)| settings.categories.get(slug))
        {
            Some(switch) => switch.value.state == SwitchState::Block,
            None => taxonomy
                .category(taxonomy.find(slug).unwrap())
                .presets
                .iter()
                .any(|other| other == preset),
        }
    };
    let choice = slugs(said.choice);
    let blocked: BTreeSet<String> = choice
        .iter()
        .filter(|slug| !is_off && is_blocked(slug))
        .cloned()
        .collect();
    if !is_off {
        let granted: Vec<&GrantTarget> = nearest
            .iter()
            .flat_map(|(_, settings)| settings.grants.values())
            .filter(|grant| lasts(grant.value.until))
            .map(|grant| &grant.value.what)
            .collect();
        let opened: BTreeSet<String> = granted
            .iter()
            .filter_map(|what| {
                if let GrantTarget::Category(slug) = what {
                    Some(slug.clone())
                } else {
                    None
                }
            })
            .collect();
        let is_open = granted.iter().any(|what| match what {
            GrantTarget::Everything(is_all) => *is_all,
            GrantTarget::Domain(domain) => {
                name == domain.to_string() || name.ends_with(&format!(".{domain}"))
            }
            GrantTarget::Category(_) => false,
        });
        if is_open || !choice.is_disjoint(&opened) && blocked.is_subset(&opened) {
            return opened_by("grant");
        }
    }
    for (whose, settings) in &nearest {
        if own_list(settings, name, is_off) == Some(SwitchState::Block) {
            return word(&format!("{whose}-deny"));
        }
    }
    let is_paused = |settings: &Settings| {
        settings
            .pause
            .as_ref()
            .is_some_and(|pause| lasts(pause.value.until))
            || settings
                .schedules
                .values()
                .any(|schedule| schedule.value.pause && holds(&schedule.value, &zone, at))
    };
    if !is_off && nearest.iter().any(|(_, settings)| is_paused(settings)) {
        return word("paused");
    }
    if !said.security.is_empty() {
        return ("security".to_owned(), slugs(said.security));
    }
    if !blocked.is_empty() {
        return ("category".to_owned(), blocked);
    }
    let is_filtered = household.filtering == Filtering::On
        || household.filtering == Filtering::NotAsked && preset != "off";
    let bypass = nearest
        .iter()
        .find_map(|(_, settings)| settings.bypass.as_ref())
        .is_none_or(|switch| switch.value.state == SwitchState::Block);
    if matches!(name, "mask.icloud.com" | "use-application-dns.net") && is_filtered && bypass {
        return word("bypass");
    }
    if let Some(search) = search {
        return search;
    }
    word("default")
}

#[test]
fn decisions_at_random_instants_equal_a_model_that_reads_the_documents() {
    let decisions = number("HOURS_DECISIONS", 1_000_000);
    let seed = number("HOURS_SEED", 7);
    println!("HOURS_DECISIONS={decisions} HOURS_SEED={seed}");
    let taxonomy = Taxonomy::shipped();
    let mut chance = StdRng::seed_from_u64(seed);
    let refused = BypassPrevention {
        canary: true,
        relay: true,
    };
    let defaults = OperatorDefaults {
        preset: taxonomy.preset("light").unwrap(),
        bypass: refused,
    };
    let mut layers: BTreeMap<String, usize> = BTreeMap::new();
    let mut compiled = 0;
    for _ in 0..decisions as usize / DECISIONS_EACH {
        let mut at: Timestamp = pick(&mut chance, &WEEKS).parse().unwrap();
        let household = household(&mut chance, at);
        let compile = |at| Arc::new(HouseholdRules::compile(&household, &taxonomy, defaults, at));
        let mut rules = compile(at);
        let mut patience = 0;
        for _ in 0..DECISIONS_EACH {
            at += SignedDuration::from_millis(chance.random_range(0..1_500_000));
            let now = UnixSeconds::of(at);
            // The recompilation may be late, but not unlimited: records cover a few changes ahead.
            if now >= rules.until() {
                patience += 1;
            }
            if patience > 2 {
                (rules, patience) = (compile(at), 0);
                compiled += 1;
                assert!(rules.until() > now, "a record says what holds now");
            }
            let place = chance.random_range(0..=household.devices.len());
            let device = household.devices.iter().nth(place);
            let client = EffectivePolicy::of(
                &rules,
                device.and_then(|(id, _)| rules.device_by_id(id)),
                now,
            );
            let name = pick(&mut chance, &NAMES);
            let parsed = Name::parse(name).unwrap();
            let said = classification(&mut chance, &taxonomy, &parsed);
            let verdict = decide(&client, parsed.borrow(), &said);
            let mut because: BTreeSet<String> = taxonomy
                .slugs(verdict.categories)
                .into_iter()
                .map(str::to_owned)
                .collect();
            because.extend(verdict.safe_search_target().map(ToString::to_string));
            let expected = model(
                &household,
                device.map(|(_, device)| device),
                name,
                said,
                &taxonomy,
                at,
            );
            assert_eq!(
                (verdict.layer.as_str().to_owned(), because),
                expected,
                "{name} at {at}, {said:?}, {device:?}\n{household:?}"
            );
            *layers.entry(expected.0).or_default() += 1;
        }
    }
    println!("{layers:?}, compiled anew {compiled} times");
    assert_eq!(
        layers.len(),
        16,
        "every layer decided something: {layers:?}"
    );
    assert_eq!(BuiltinName::default(), BuiltinName::None);
}
