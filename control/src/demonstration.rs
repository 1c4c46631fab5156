//! A household for a first look: three people, eight devices, their settings, and a week of activity
//! that nothing asked for. The same seed makes the same week.
//!
//! It is an ordinary household, marked by its identifier and its `external_ref`. Removing it removes
//! all of this.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use policy::{
    name::Name,
    rules::household::{Household, Id},
};
use policy_store::{
    ActivityStore, Author, ChangeError, KeyError, LINK_AGE_MAX, NewKey, Role, StoreError,
    activity::{BlockedQuery, CountedQuery},
};
use serde_json::{Value, json};

use crate::{
    Control,
    households::write::{WriteError, change},
};

/// The identifier of the household, and the value of its `external_ref`.
const NAME: &str = "demonstration";
/// Who has made it, in the audit and on its settings.
const MAKER: &str = "demonstration";
/// For how many days there is activity, and for how many it is kept.
const DAYS: i64 = 7;
const DAYS_KEPT: u16 = 30;
/// The beginning of the sequence that the week is drawn from.
const SEED: u64 = 0x0d15_ea5e;

/// Names that the devices ask for: device, name, its categories, whether it is blocked, and how
/// often an hour. The domain `example` is reserved (RFC 2606).
const ASKED: [(&str, &str, &[&str], bool, u64); 20] = [
    ("ella-phone", "videos.example", &["youtube"], false, 14),
    ("ella-phone", "chat.example", &["whatsapp"], false, 9),
    ("ella-phone", "dares.example", &["violence"], true, 1),
    ("ella-phone", "tracker.example", &["ads"], true, 5),
    ("ella-phone", "drawing.example", &[], false, 6),
    ("ella-phone", "free-coins.example", &["gambling"], true, 1),
    ("tom-console", "play.example", &["games"], false, 16),
    ("tom-console", "voice.example", &["discord"], false, 4),
    ("tom-tablet", "school.example", &["education"], false, 11),
    ("tom-tablet", "clips.example", &["tiktok"], false, 7),
    ("tom-tablet", "bets.example", &["gambling"], true, 2),
    ("tom-tablet", "adult.example", &["adult"], true, 1),
    ("alex-laptop", "news.example", &["news"], false, 8),
    ("alex-laptop", "bank.example", &[], false, 2),
    ("alex-laptop", "parcel-fee.example", &["phishing"], true, 1),
    ("television", "films.example", &["netflix"], false, 10),
    ("television", "viewing-habits.example", &["ads"], true, 8),
    ("camera", "cloud.camera.example", &[], false, 4),
    ("speaker", "radio.example", &[], false, 3),
    ("printer", "ink.example", &[], false, 1),
];

/// Why the demonstration is not there.
#[derive(Debug, thiserror::Error)]
pub enum DemonstrationError {
    #[error("making the household {NAME}")]
    Household(#[from] WriteError<serde_json::Error>),
    #[error("making a link to the household {NAME}")]
    Link(#[from] KeyError),
    #[error("the store of households")]
    Store(#[from] StoreError),
    #[error("the store of activity")]
    Activity(#[source] StoreError),
}

/// Whether a household is the one of the demonstration.
pub fn is_demonstration(household: &Household) -> bool {
    household.id.as_str() == NAME && household.external_ref.as_deref() == Some(NAME)
}

/// Makes the household, if there is none of its name, and a link that opens it once. Returns the
/// secret of the link; `None` if a household of this name exists that is none of ours.
pub async fn prepare(
    control: &Arc<Control>,
    now: Timestamp,
) -> Result<Option<String>, DemonstrationError> {
    let by = Author {
        actor: MAKER.to_owned(),
        role: Role::Operator.to_string(),
    };
    let id: Id = NAME.parse().expect("it is an identifier");
    match control.store.household(&id).await? {
        Some(household) if !is_demonstration(&household) => return Ok(None),
        Some(_) => {}
        None => make(control, &by, &id, now).await?,
    }
    control.store.remove_links_of(&id, MAKER).await?;
    let new = NewKey::new(Role::Parent, Some(id), None, "Demonstration")?;
    let (secret, _) = control.store.make_link(&by, new, LINK_AGE_MAX, now).await?;
    Ok(Some(secret))
}

async fn make(
    control: &Arc<Control>,
    by: &Author,
    id: &Id,
    now: Timestamp,
) -> Result<(), DemonstrationError> {
    // Queries of this machine are its own, unless they are another household's already.
    match put(control, by, id, document(now, &["127.0.0.1/32", "::1/128"])).await {
        Err(WriteError::Change(ChangeError::NetworkTaken { .. })) => {
            put(control, by, id, document(now, &[])).await?;
        }
        made => made?,
    }
    if let Some(activity) = &control.activity {
        record(activity, id, now);
        let written = activity.write_all(now).await;
        written.map_err(DemonstrationError::Activity)?;
    }
    Ok(())
}

async fn put(
    control: &Arc<Control>,
    by: &Author,
    id: &Id,
    document: Value,
) -> Result<(), WriteError<serde_json::Error>> {
    let edit = move |_| Ok((Some(serde_json::from_value(document)?), ()));
    change(control, by, id.clone(), Some(0), edit).await?;
    Ok(())
}

/// The household as a document.
fn document(now: Timestamp, networks: &[&str]) -> Value {
    let set = |value: Value| {
        let mut set = value;
        set["set_by"] = MAKER.into();
        set["set_at"] = json!(now);
        set
    };
    let block = || set(json!({ "state": "block" }));
    let allow = || set(json!({ "state": "allow" }));
    let device = |name: &str, kind: &str, person: Option<&str>, octet: u8| {
        let mut device = json!({
            "name": name, "kind": kind, "log": true,
            "identifiers": [{ "mac": format!("00:00:5e:00:53:{octet:02x}") }],
            "categories": {}, "names": {},
        });
        if let Some(person) = person {
            device["person"] = person.into();
        }
        device
    };
    let every_day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let school_days = &every_day[..5];
    let school_nights = ["sun", "mon", "tue", "wed", "thu"];
    let bedtime = |days: &[&str], from: &str, to: &str| {
        set(
            json!({ "days": days, "from": from, "to": to, "block": [], "allow": [], "pause": true }),
        )
    };
    let homework = set(json!({
        "days": school_days, "from": "16:00", "to": "17:30",
        "block": ["games", "tiktok", "youtube"], "allow": [], "pause": false,
    }));
    json!({
        "id": NAME, "version": 0, "time_zone": "Europe/London", "preset": "moderate",
        "filtering": "on", "choice": set(json!({ "channel": "app" })), "external_ref": NAME,
        "locale": "en-GB", "networks": networks,
        "history": set(json!({ "days": DAYS_KEPT, "names": true, "unknown_devices": true })),
        "categories": { "ads": block() },
        "names": { "parcel-fee.example": set(json!({ "state": "block", "scope": "subtree" })) },
        "safe_search": { "google": set(json!({ "level": "strict" })) },
        "people": {
            "ella": {
                "name": "Ella", "categories": { "tiktok": block() }, "names": {},
                "schedules": { "bedtime": bedtime(&every_day, "20:00", "07:00") },
                "safe_search": { "youtube": set(json!({ "level": "strict" })) },
            },
            "tom": {
                "name": "Tom", "categories": { "dating": block() },
                "names": { "bets.example": set(json!({ "state": "block", "scope": "subtree" })) },
                "schedules": {
                    "bedtime": bedtime(&school_nights, "22:00", "06:30"), "homework": homework,
                },
            },
            "alex": { "name": "Alex", "categories": { "dating": allow() }, "names": {} },
        },
        "devices": {
            "ella-phone": device("Ella's phone", "phone", Some("ella"), 1),
            "tom-tablet": device("Tom's tablet", "tablet", Some("tom"), 2),
            "tom-console": device("Tom's console", "console", Some("tom"), 3),
            "alex-laptop": device("Alex's laptop", "laptop", Some("alex"), 4),
            "television": device("Television", "television", None, 5),
            "camera": device("Front-door camera", "camera", None, 6),
            "speaker": device("Kitchen speaker", "speaker", None, 7),
            "printer": device("Printer", "printer", None, 8),
        },
    })
}

/// A sequence of numbers (SplitMix64) that is the same at each start.
struct Draw(u64);

impl Draw {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

/// Counts a week of queries.
fn record(activity: &ActivityStore, id: &Id, now: Timestamp) {
    let queries = week(id, now);
    activity.note(queries, |_| true, now);
}

/// The queries of a week, hour by hour.
fn week(id: &Id, now: Timestamp) -> Vec<CountedQuery> {
    let zone = TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC);
    let mut draw = Draw(SEED);
    let mut queries = Vec::new();
    for hours_ago in (0..DAYS * 24).rev() {
        let hour = now - SignedDuration::from_hours(hours_ago);
        let clock = i64::from(hour.to_zoned(zone.clone()).hour());
        for (device, name, categories, is_blocked, often) in ASKED {
            let count = draw.below(2 * often * share(device, clock) / 4 + 1);
            for _ in 0..count {
                let seconds = SignedDuration::from_secs(draw.below(3_600).cast_signed());
                queries.push(query(
                    id,
                    (device, name, categories, is_blocked),
                    hour - seconds,
                ));
            }
        }
    }
    queries
}

/// How busy a device is at an hour of the day, in quarters.
fn share(device: &str, clock: i64) -> u64 {
    match (device, clock) {
        ("camera" | "speaker" | "printer", _) => 2,
        (_, 0..=5) => 0,
        ("ella-phone" | "tom-tablet" | "tom-console", 9..=14) => 0,
        ("ella-phone", 20..) => 0,
        (_, 17..=21) => 4,
        _ => 2,
    }
}

fn query(
    id: &Id,
    (device, name, categories, is_blocked): (&str, &str, &[&str], bool),
    at: Timestamp,
) -> CountedQuery {
    let categories: Vec<Arc<str>> = categories.iter().map(|slug| Arc::from(*slug)).collect();
    let blocked = is_blocked.then(|| BlockedQuery {
        layer: policy::decide::Layer::Category.as_str(),
        categories: categories.clone(),
        name: Name::parse(name).ok(),
    });
    CountedQuery {
        household: id.clone(),
        device: device.parse().ok(),
        at,
        days: DAYS_KEPT,
        categories,
        blocked,
        sign: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use policy::category::Taxonomy;

    use super::*;

    fn now() -> Timestamp {
        "2030-06-03T20:15:02Z".parse().unwrap()
    }

    #[test]
    fn the_household_is_one_that_the_taxonomy_knows() {
        let home: Household = serde_json::from_value(document(now(), &[])).unwrap();
        assert!(is_demonstration(&home));
        assert_eq!((home.people.len(), home.devices.len()), (3, 8));
        let taxonomy = Taxonomy::shipped();
        assert!(taxonomy.preset(home.preset.as_deref().unwrap()).is_some());
        let settings = home.people.values().map(|person| &person.settings);
        for settings in settings.chain([&home.settings]) {
            let scheduled = settings.schedules.values().flat_map(|set| &set.value.block);
            for slug in settings.categories.keys().chain(scheduled) {
                assert!(taxonomy.find(slug).is_some(), "{slug}");
            }
        }
        for (_, name, categories, ..) in ASKED {
            assert!(name.ends_with(".example"), "{name}");
            for slug in categories {
                assert!(taxonomy.find(slug).is_some(), "{slug}");
            }
        }
    }

    #[test]
    fn the_week_is_the_same_each_time_and_of_the_households_devices() {
        let id: Id = NAME.parse().unwrap();
        let told = || -> Vec<String> {
            week(&id, now())
                .iter()
                .map(|query| format!("{query:?}"))
                .collect()
        };
        assert_eq!(told(), told());
        let queries = week(&id, now());
        assert!(
            (1_000..20_000).contains(&queries.len()),
            "{}",
            queries.len()
        );
        let home: Household = serde_json::from_value(document(now(), &[])).unwrap();
        let devices: BTreeSet<&Id> = queries
            .iter()
            .filter_map(|query| query.device.as_ref())
            .collect();
        assert!(
            devices
                .iter()
                .all(|device| home.devices.contains_key(*device))
        );
        assert!(queries.iter().any(|query| query.blocked.is_some()));
        assert!(queries.iter().all(|query| query.at <= now()));
    }
}
