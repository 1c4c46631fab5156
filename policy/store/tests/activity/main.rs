//! The store of activity: counts add up, and erased activity is gone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod forgetting;
mod model;
mod opening;
mod races;
mod reading;

use std::path::Path;

use jiff::Timestamp;
use policy::{name::Name, rules::household::Id};
use policy_store::{
    ActivityStore,
    activity::{BlockedQuery, CountedQuery, DeviceKey, HouseholdHour},
};

/// The hour in which most tests begin.
const HOUR: i64 = 500_000;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("sqlite:{}/deep/activity.db", self.0.path().display())
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("deep/activity.db")
    }

    /// The file, as another process opens it.
    async fn raw(&self) -> sqlx::SqlitePool {
        sqlx::SqlitePool::connect(&format!("sqlite:{}", self.file().display()))
            .await
            .unwrap()
    }

    async fn open(&self) -> ActivityStore {
        ActivityStore::open(&self.url()).await.unwrap()
    }

    /// How often a text occurs in the files of the store.
    fn finds(&self, text: &str) -> usize {
        let count = |path: &Path| {
            let octets = std::fs::read(path).unwrap();
            String::from_utf8_lossy(&octets).matches(text).count()
        };
        std::fs::read_dir(self.0.path().join("deep"))
            .unwrap()
            .map(|entry| count(&entry.unwrap().path()))
            .sum()
    }
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn device(text: &str) -> DeviceKey {
    (!text.is_empty()).then(|| id(text))
}

/// A second of an hour.
fn at(hour: i64, second: i64) -> Timestamp {
    Timestamp::from_second(hour * 3_600 + second).unwrap()
}

fn told(household: &str, key: &str, at: Timestamp) -> CountedQuery {
    let categories = vec!["games".into()];
    CountedQuery {
        household: id(household),
        device: device(key),
        at,
        days: 7,
        categories,
        blocked: None,
        sign: None,
    }
}

fn blocked(household: &str, key: &str, at: Timestamp, name: &str) -> CountedQuery {
    let blocked = BlockedQuery {
        layer: "category",
        categories: vec!["games".into()],
        name: Some(Name::parse(name).unwrap()),
    };
    CountedQuery {
        blocked: Some(blocked),
        ..told(household, key, at)
    }
}

fn note(activity: &ActivityStore, told: impl IntoIterator<Item = CountedQuery>, now: Timestamp) {
    activity.note(told, |_| true, now);
}

async fn read_all(activity: &ActivityStore, household: &str, now: Timestamp) -> Vec<HouseholdHour> {
    activity
        .read(
            &id(household),
            None,
            Timestamp::UNIX_EPOCH,
            at(HOUR + 100_000, 0),
            now,
        )
        .await
        .unwrap()
}

/// The number of counted queries of a household.
async fn asked(activity: &ActivityStore, household: &str, now: Timestamp) -> u64 {
    let hours = read_all(activity, household, now).await;
    hours
        .iter()
        .flat_map(|hour| hour.devices.values())
        .map(|device| device.asked)
        .sum()
}
