//! Reading pages of rows in the file together with pending counts.

use std::sync::Arc;

use jiff::Timestamp;
use policy_store::activity::{ErasureScope, HouseholdHour};

use crate::{HOUR, Place, at, device, id, note, read_all, told};

#[tokio::test]
async fn each_hour_is_visited_once_and_oldest_first() {
    // Written hours, and pending hours: before, between, within and after the pages.
    let even: Vec<i64> = (0..600).step_by(2).collect();
    for (written, waiting) in [
        (vec![], vec![3, 1]),
        (even[..100].to_vec(), vec![]),
        (even[..100].to_vec(), vec![-5, 1, 100, 198, 199, 900]),
        (
            even[..200].to_vec(),
            vec![197, 198, 199, 200, 201, 397, 398, 399],
        ),
        (even.clone(), (0..600).step_by(3).collect()),
        ((0..250).collect(), vec![99, 100, 101, 249, 250]),
    ] {
        let place = Place::new();
        let activity = place.open().await;
        let now = at(HOUR, 0);
        let some = |hours: &[i64]| {
            hours
                .iter()
                .map(|hour| policy_store::activity::CountedQuery {
                    days: 90,
                    ..told("home", "tv", at(HOUR + hour, 0))
                })
                .collect::<Vec<_>>()
        };
        note(&activity, some(&written), now);
        assert_eq!(activity.write_all(now).await.unwrap(), written.len());
        note(&activity, some(&waiting), now);
        note(&activity, [told("other", "tv", now)], now);
        let mut expected: std::collections::BTreeMap<i64, u64> = Default::default();
        written
            .iter()
            .chain(&waiting)
            .for_each(|hour| *expected.entry(*hour).or_default() += 1);
        let mut visited = Vec::new();
        let visit = |hour: HouseholdHour| {
            visited.push((
                hour.hour.as_second() / 3_600 - HOUR,
                hour.devices[&device("tv")].asked,
            ))
        };
        activity
            .visit(
                &id("home"),
                None,
                Timestamp::MIN,
                Timestamp::MAX,
                now,
                visit,
            )
            .await
            .unwrap();
        assert_eq!(visited, expected.clone().into_iter().collect::<Vec<_>>());
        let read = activity
            .read(
                &id("home"),
                Some(&device("tv")),
                at(HOUR + 50, 1),
                at(HOUR + 250, 0),
                now,
            )
            .await
            .unwrap();
        let read: Vec<i64> = read
            .iter()
            .map(|hour| hour.hour.as_second() / 3_600 - HOUR)
            .collect();
        assert_eq!(
            read,
            expected
                .into_keys()
                .filter(|hour| (50..250).contains(hour))
                .collect::<Vec<_>>()
        );
        assert_eq!(
            activity
                .read(
                    &id("home"),
                    Some(&device("")),
                    Timestamp::MIN,
                    Timestamp::MAX,
                    now
                )
                .await
                .unwrap(),
            []
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_hour_is_complete_and_read_once_during_writes_and_erasures() {
    let place = Place::new();
    let activity = Arc::new(place.open().await);
    let now = at(HOUR + 350, 0);
    // In each hour two devices query at the same time, repeatedly.
    let round = || {
        (0..350).flat_map(|hour| {
            ["tv", "pc"].map(|key| policy_store::activity::CountedQuery {
                days: 90,
                ..told("home", key, at(HOUR + hour, 0))
            })
        })
    };
    note(&activity, round(), now);
    let writing = tokio::spawn({
        let activity = activity.clone();
        async move {
            for number in 0..12 {
                note(&activity, round(), now);
                activity.write_all(now).await.unwrap();
                if number % 4 == 3 {
                    activity
                        .forget(&id("home"), ErasureScope::All, at(HOUR - 1, 0))
                        .await
                        .unwrap();
                }
            }
        }
    });
    let mut visits = 0;
    while !writing.is_finished() || visits == 0 {
        let mut last = Timestamp::MIN;
        let visit = |hour: HouseholdHour| {
            assert!(hour.hour > last);
            last = hour.hour;
            assert_eq!(
                hour.devices[&device("tv")].asked,
                hour.devices[&device("pc")].asked
            );
        };
        activity
            .visit(
                &id("home"),
                None,
                Timestamp::MIN,
                Timestamp::MAX,
                now,
                visit,
            )
            .await
            .unwrap();
        visits += 1;
    }
    writing.await.unwrap();
    println!("{visits} visits");
    assert_eq!(read_all(&activity, "home", now).await, []);
}
