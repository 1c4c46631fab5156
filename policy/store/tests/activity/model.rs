//! Random operations against a simple model: a list of all queries.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use policy::name::Name;
use policy_store::activity::{
    BlockedName, BlockedQuery, BypassSign, CountedQuery, DeviceHour, ErasureScope, HouseholdHour,
    Sighting,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{HOUR, Place, at, device, id, read_all};

const HOMES: [&str; 3] = ["a", "b", "c"];
const DEVICES: [&str; 4] = ["", "phone", "tv", "pc"];
const SLUGS: [&str; 4] = ["ads", "casino", "games", "malware"];
const LAYERS: [&str; 3] = ["category", "own-deny", "paused"];
const SIGNS: [BypassSign; 4] = [
    BypassSign::Relay,
    BypassSign::Doh,
    BypassSign::Vpn,
    BypassSign::Proxy,
];

fn some_told(chance: &mut StdRng, at: Timestamp, days: u16) -> CountedQuery {
    let slugs = |chance: &mut StdRng| {
        SLUGS
            .iter()
            .filter(|_| chance.random_ratio(1, 3))
            .map(|&slug| slug.into())
            .collect::<Vec<_>>()
    };
    let categories = slugs(chance);
    let blocked = chance.random_ratio(1, 3).then(|| BlockedQuery {
        layer: LAYERS.choose(chance).unwrap(),
        categories: slugs(chance),
        name: chance
            .random_ratio(3, 4)
            .then(|| Name::parse(&format!("n{}.example", chance.random_range(0..40))).unwrap()),
    });
    let sign = chance
        .random_ratio(1, 10)
        .then(|| *SIGNS.choose(chance).unwrap());
    let household = id(HOMES.choose(chance).unwrap());
    CountedQuery {
        household,
        device: device(DEVICES.choose(chance).unwrap()),
        at,
        days,
        categories,
        blocked,
        sign,
    }
}

/// The expected counts, computed from all queries that were not erased.
fn naive(all: &[CountedQuery], household: &str, now: Timestamp) -> Vec<HouseholdHour> {
    let mut hours: BTreeMap<i64, HouseholdHour> = BTreeMap::new();
    for told in all
        .iter()
        .filter(|told| told.household.as_str() == household)
    {
        let number = told.at.as_second() / 3_600;
        let end = at(number + 1, 0);
        if now >= end + SignedDuration::from_hours(24 * i64::from(told.days)) {
            continue;
        }
        let hour = hours.entry(number).or_insert_with(|| HouseholdHour {
            hour: at(number, 0),
            devices: BTreeMap::new(),
        });
        let DeviceHour {
            asked,
            blocked,
            last,
            sign,
            categories,
            names,
            ..
        } = hour.devices.entry(told.device.clone()).or_default();
        *asked += 1;
        match told.sign {
            Some(kind) if sign.is_none_or(|known| known.at <= told.at) => {
                *sign = Some(Sighting { kind, at: told.at })
            }
            Some(_) => {}
            None => *last = Some(last.map_or(told.at, |last| last.max(told.at))),
        }
        for slug in SLUGS {
            let is_listed = told.categories.iter().any(|listed| **listed == *slug);
            let is_blocked = told
                .blocked
                .iter()
                .any(|blocked| blocked.categories.iter().any(|listed| **listed == *slug));
            if is_listed || is_blocked {
                let counted = categories.entry(slug.into()).or_default();
                counted.asked += 1;
                counted.blocked += u64::from(is_blocked);
            }
        }
        let Some(why) = &told.blocked else { continue };
        *blocked += 1;
        let Some(name) = &why.name else { continue };
        let fresh = BlockedName {
            count: 0,
            layer: why.layer.into(),
            categories: why.categories.clone(),
            last: told.at,
        };
        let known = names
            .entry(name.to_string().into())
            .or_insert_with(|| fresh.clone());
        if known.last <= told.at {
            *known = BlockedName {
                count: known.count,
                ..fresh
            };
        }
        known.count += 1;
    }
    hours.into_values().collect()
}

#[tokio::test]
async fn in_any_order_of_events_the_counts_are_those_of_a_naive_list() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let seed = number("ACTIVITY_SEED", 3);
    let steps = number("ACTIVITY_STEPS", 500);
    println!("ACTIVITY_SEED={seed} ACTIVITY_STEPS={steps}");
    let mut chance = StdRng::seed_from_u64(seed);
    let place = Place::new();
    let mut activity = place.open().await;
    let mut all: Vec<CountedQuery> = Vec::new();
    let mut days = BTreeMap::from(HOMES.map(|home| (home, 4_u16)));
    let mut now = at(HOUR, 0);
    let mut decided = at(HOUR, 0);
    for step in 0..steps {
        now += SignedDuration::from_secs(chance.random_range(1..2_400));
        let home = *HOMES.choose(&mut chance).unwrap();
        match chance.random_range(0..100) {
            0..55 => {
                // Some are late, but none is from before the last decision: those are dropped, as
                // another test shows.
                let batch: Vec<CountedQuery> = (0..chance.random_range(1..60))
                    .map(|_| {
                        let late = chance
                            .random_range(0..(now.duration_since(decided).as_secs()).min(5_000));
                        let told = some_told(&mut chance, now - SignedDuration::from_secs(late), 0);
                        let days = days[told.household.as_str()];
                        CountedQuery { days, ..told }
                    })
                    .collect();
                activity.note(batch.clone(), |_| true, now);
                all.extend(batch.into_iter().filter(|told| told.days > 0));
            }
            55..70 => drop(activity.write(now).await.unwrap()),
            70..76 => drop(activity.write_all(now).await.unwrap()),
            76..80 => {
                activity.close().await;
                activity = place.open().await;
            }
            80..88 => drop(activity.expire(now).await.unwrap()),
            88..97 => {
                let key = device(DEVICES.choose(&mut chance).unwrap());
                let what = match (chance.random_range(0..6), &key) {
                    (0, _) => ErasureScope::All,
                    (1 | 2, _) => ErasureScope::Names,
                    (_, Some(id)) => ErasureScope::Device(id.clone()),
                    (_, None) => ErasureScope::Unknown,
                };
                activity.forget(&id(home), what.clone(), now).await.unwrap();
                all.retain_mut(|told| {
                    if told.household.as_str() == home && what == ErasureScope::Names {
                        told.blocked
                            .iter_mut()
                            .for_each(|blocked| blocked.name = None);
                    }
                    told.household.as_str() != home
                        || !(what == ErasureScope::All
                            || (what != ErasureScope::Names && told.device == key))
                });
                decided = now;
            }
            _ => {
                let shorter = days[home].saturating_sub(1);
                activity.keep(&id(home), shorter, now).await.unwrap();
                all.iter_mut()
                    .filter(|told| told.household.as_str() == home)
                    .for_each(|told| told.days = shorter);
                all.retain(|told| told.days > 0);
                // After a retention of 0, the household wants later queries to be kept again.
                days.insert(home, if shorter == 0 { 4 } else { shorter });
                decided = now;
                if shorter == 0 {
                    activity.keep(&id(home), 4, now).await.unwrap();
                }
            }
        }
        for home in HOMES {
            assert_eq!(
                read_all(&activity, home, now).await,
                naive(&all, home, now),
                "{home} after step {step}, seed {seed}"
            );
        }
    }
    assert_eq!(activity.dropped(), 0);
}
