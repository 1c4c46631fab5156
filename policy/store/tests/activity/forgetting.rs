//! Deletion of activity: by the clock, by a shorter retention, and by an erasure.

use policy_store::activity::{CountedQuery, ErasureScope};

use crate::{HOUR, Place, asked, at, blocked, device, id, note, read_all, told};

const NAME: &str = "very-secret.example";

#[tokio::test]
async fn an_hour_is_kept_to_the_last_second_of_its_days_and_then_gone() {
    for is_written in [true, false] {
        let place = Place::new();
        let activity = place.open().await;
        for (home, days) in [("one", 1), ("seven", 7)] {
            note(
                &activity,
                [CountedQuery {
                    days,
                    ..blocked(home, "tv", at(HOUR, 3_599), NAME)
                }],
                at(HOUR, 3_599),
            );
        }
        if is_written {
            activity.write_all(at(HOUR, 3_599)).await.unwrap();
            assert!(place.finds(NAME) > 0);
        }
        for (home, days) in [("one", 1), ("seven", 7)] {
            let behind = HOUR + 1 + 24 * days;
            assert_eq!(activity.expire(at(behind - 1, 3_599)).await.unwrap(), 0);
            assert_eq!(asked(&activity, home, at(behind - 1, 3_599)).await, 1);
            assert_eq!(
                asked(&activity, home, at(behind, 0)).await,
                0,
                "before anything is deleted"
            );
            assert_eq!(
                activity.expire(at(behind, 0)).await.unwrap(),
                u64::from(is_written)
            );
            assert_eq!(asked(&activity, home, at(behind - 1, 0)).await, 0);
        }
        assert_eq!(place.finds(NAME), 0);
        assert_eq!(activity.write_all(at(HOUR, 3_599)).await.unwrap(), 0);
        // Counts that become due before they are written are never written.
        note(
            &activity,
            [CountedQuery {
                days: 1,
                ..blocked("one", "tv", at(HOUR, 0), NAME)
            }],
            at(HOUR, 0),
        );
        assert_eq!(activity.write_all(at(HOUR + 25, 0)).await.unwrap(), 0);
        assert_eq!(place.finds(NAME), 0);
    }
}

#[tokio::test]
async fn each_kind_of_forgetting_takes_just_what_it_says() {
    let now = at(HOUR + 2, 0);
    // The scope of the erasure, and what is left: queries of `tv`, of unnamed devices, and names.
    for (what, left) in [
        (ErasureScope::All, [0, 0, 0]),
        (ErasureScope::Device(id("tv")), [0, 3, 3]),
        (ErasureScope::Device(id("pc")), [3, 3, 6]),
        (ErasureScope::Unknown, [3, 0, 3]),
        (ErasureScope::Names, [3, 3, 0]),
    ] {
        let place = Place::new();
        let activity = place.open().await;
        let everything = |hour| ["tv", ""].map(|key| blocked("home", key, at(hour, 0), NAME));
        note(&activity, everything(HOUR), now);
        note(&activity, everything(HOUR + 1), now);
        note(
            &activity,
            [blocked("other", "tv", at(HOUR, 0), "other.example")],
            now,
        );
        activity.write_all(now).await.unwrap();
        // Pending counts beside the row of the same hour.
        note(&activity, everything(HOUR + 1), now);
        activity
            .forget(&id("home"), what.clone(), now)
            .await
            .unwrap();
        for is_reopened in [false, true] {
            let hours = read_all(&activity, "home", now).await;
            let sum = |key: &str| {
                hours
                    .iter()
                    .filter_map(|hour| hour.devices.get(&device(key)))
                    .map(|device| device.asked)
                    .sum::<u64>()
            };
            let names = hours.iter().flat_map(|hour| {
                hour.devices
                    .values()
                    .flat_map(|device| device.names.values())
            });
            assert_eq!(
                [sum("tv"), sum(""), names.map(|name| name.count).sum()],
                left,
                "{what:?} {is_reopened}"
            );
            let is_left = left[2] > 0;
            assert_eq!(place.finds(NAME) > 0, is_left, "{what:?}");
            assert_eq!(asked(&activity, "other", now).await, 1);
            activity.write_all(now).await.unwrap();
        }
        // Queries from before are still on their way; later ones count.
        note(&activity, everything(HOUR + 1), now);
        note(&activity, everything(HOUR + 3), at(HOUR + 3, 0));
        activity.close().await;
        let activity = place.open().await;
        let late = u64::from(left[0] > 0) + u64::from(left[1] > 0);
        assert_eq!(
            asked(&activity, "home", now).await,
            left[0] + left[1] + late + 2,
            "{what:?}"
        );
    }
}

#[tokio::test]
async fn a_shorter_retention_applies_to_existing_counts_and_0_erases_all() {
    let place = Place::new();
    let activity = place.open().await;
    let now = at(HOUR + 60, 0);
    let fill = |name: &str| {
        for hour in [HOUR, HOUR + 30, HOUR + 60] {
            note(&activity, [blocked("home", "tv", at(hour, 0), name)], now);
        }
    };
    fill(NAME);
    activity.write_all(now).await.unwrap();
    fill("waiting.example");
    note(&activity, [told("other", "tv", at(HOUR, 0))], now);
    let hours = async |now| {
        let hours = read_all(&activity, "home", now).await;
        hours
            .iter()
            .map(|hour| {
                (
                    hour.hour.as_second() / 3_600 - HOUR,
                    hour.devices[&device("tv")].asked,
                )
            })
            .collect::<Vec<_>>()
    };
    activity.keep(&id("home"), 7, now).await.unwrap();
    assert_eq!(hours(now).await, [(0, 2), (30, 2), (60, 2)]);
    activity.keep(&id("home"), 2, now).await.unwrap();
    assert_eq!(hours(now).await, [(30, 2), (60, 2)]);
    assert_eq!(place.finds(NAME), 2);
    // A longer retention does not prolong counts of a shorter one.
    activity.keep(&id("home"), 30, now).await.unwrap();
    activity.write_all(now).await.unwrap();
    assert_eq!(hours(at(HOUR + 78, 3_599)).await, [(30, 2), (60, 2)]);
    assert_eq!(hours(at(HOUR + 79, 0)).await, [(60, 2)]);
    assert_eq!(activity.expire(at(HOUR + 79, 0)).await.unwrap(), 1);
    // A query under the old retention arrives late.
    activity
        .keep(&id("home"), 1, at(HOUR + 79, 0))
        .await
        .unwrap();
    note(
        &activity,
        [CountedQuery {
            days: 90,
            ..told("home", "tv", at(HOUR + 79, 0))
        }],
        at(HOUR + 79, 0),
    );
    assert_eq!(hours(at(HOUR + 79, 0)).await, [(60, 2), (79, 1)]);
    assert_eq!(hours(at(HOUR + 104, 0)).await, []);
    note(
        &activity,
        [blocked("home", "tv", at(HOUR + 79, 1), NAME)],
        at(HOUR + 79, 1),
    );
    activity.write_all(at(HOUR + 79, 1)).await.unwrap();
    activity
        .keep(&id("home"), 0, at(HOUR + 79, 1))
        .await
        .unwrap();
    assert_eq!(hours(at(HOUR + 79, 1)).await, []);
    assert_eq!((place.finds(NAME), place.finds("waiting.example")), (0, 0));
    assert_eq!(asked(&activity, "other", now).await, 1);
}

/// Deleted octets tend to remain in the pages of a file that has grown, was overwritten and had
/// rows removed.
#[tokio::test]
async fn the_files_hold_nothing_of_an_erased_household() {
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
    let seed = std::env::var("ACTIVITY_SEED").map_or(11, |text| text.parse().unwrap());
    println!("ACTIVITY_SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let place = Place::new();
    let activity = place.open().await;
    let name = |home: usize| format!("secret-of-{home}-only.example");
    let mut homes: Vec<usize> = (0..400).collect();
    for round in 0..4 {
        let now = at(HOUR + round, 0);
        for &home in &homes {
            let device = format!("device-{}", chance.random_range(0..4));
            // Rows of all sizes, some of several pages.
            let many = if chance.random_ratio(1, 8) {
                150
            } else {
                chance.random_range(0..8)
            };
            let fill = (0..many)
                .map(|number| format!("filler-{number}-{}", name(home)))
                .chain([name(home)]);
            note(
                &activity,
                fill.map(|name| blocked(&format!("home-{home}"), &device, now, &name)),
                now,
            );
        }
        activity.write_all(now).await.unwrap();
        homes.shuffle(&mut chance);
        for home in homes.split_off(homes.len() - 60) {
            let home_id = id(&format!("home-{home}"));
            match chance.random_range(0..3) {
                0 => activity
                    .forget(&home_id, ErasureScope::All, now)
                    .await
                    .unwrap(),
                1 => activity
                    .forget(&home_id, ErasureScope::Names, now)
                    .await
                    .unwrap(),
                _ => activity.keep(&home_id, 0, now).await.unwrap(),
            }
            assert_eq!(place.finds(&name(home)), 0, "{home} in round {round}");
        }
    }
    assert!(homes.iter().all(|home| place.finds(&name(*home)) > 0));
    activity.expire(at(HOUR + 1_000, 0)).await.unwrap();
    assert_eq!(place.finds("secret-of"), 0);
}

#[tokio::test]
async fn the_operators_bound_holds_for_all_that_is_kept_and_not_for_what_comes() {
    let place = Place::new();
    let activity = place.open().await;
    let now = at(HOUR + 60, 0);
    // Rows of several batches, and some pending ones.
    let fill = |days: u16| {
        (0..700).flat_map(move |home| {
            [0, 40].map(|hour| CountedQuery {
                days,
                ..told(&format!("home-{home:03}"), "tv", at(HOUR + hour, 0))
            })
        })
    };
    note(&activity, fill(30), now);
    note(
        &activity,
        [CountedQuery {
            days: 1,
            ..told("short", "tv", at(HOUR + 40, 0))
        }],
        now,
    );
    activity.write_all(now).await.unwrap();
    note(
        &activity,
        [CountedQuery {
            days: 30,
            ..told("waits", "tv", at(HOUR + 40, 0))
        }],
        now,
    );
    activity.bound(90).await.unwrap();
    assert_eq!(activity.expire(now).await.unwrap(), 0);
    activity.bound(2).await.unwrap();
    assert_eq!(asked(&activity, "home-699", at(HOUR + 48, 3_599)).await, 2);
    assert_eq!(asked(&activity, "home-699", now).await, 1);
    assert_eq!(activity.expire(now).await.unwrap(), 700);
    for (home, hour) in [
        ("home-000", 88),
        ("home-699", 88),
        ("waits", 88),
        ("short", 64),
    ] {
        assert_eq!(
            asked(&activity, home, at(HOUR + hour, 3_599)).await,
            1,
            "{home}"
        );
        assert_eq!(
            asked(&activity, home, at(HOUR + hour + 1, 0)).await,
            0,
            "{home}"
        );
    }
    // A longer limit prolongs nothing; later queries are limited by the caller.
    activity.bound(9).await.unwrap();
    note(
        &activity,
        [CountedQuery {
            days: 30,
            ..told("home-000", "tv", now)
        }],
        now,
    );
    assert_eq!(asked(&activity, "home-000", at(HOUR + 100, 0)).await, 1);
    // With 0 everything is due at once, even the current hour.
    note(&activity, [blocked("home-001", "tv", now, NAME)], now);
    activity.write_all(now).await.unwrap();
    note(&activity, [blocked("home-002", "tv", now, NAME)], now);
    activity.bound(0).await.unwrap();
    for home in [
        "home-000", "home-001", "home-002", "home-699", "short", "waits",
    ] {
        assert_eq!(asked(&activity, home, now).await, 0, "{home}");
    }
    activity.expire(now).await.unwrap();
    assert_eq!(
        (
            place.finds(NAME),
            activity.households(None, 9).await.unwrap()
        ),
        (0, vec![])
    );
    note(&activity, [told("home-002", "tv", now)], now);
    assert_eq!(asked(&activity, "home-002", now).await, 1);
}

#[tokio::test]
async fn counts_of_future_hours_are_deleted_with_due_ones() {
    let place = Place::new();
    let activity = place.open().await;
    // The clock was ahead by half a year.
    let ahead = HOUR + 4_000;
    for home in 0..600 {
        let home = format!("home-{home}");
        note(
            &activity,
            [0, 1, 2].map(|hour| blocked(&home, "tv", at(ahead + hour, 0), NAME)),
            at(ahead, 0),
        );
        note(
            &activity,
            [0, 1].map(|hour| told(&home, "tv", at(HOUR + hour, 0))),
            at(HOUR, 0),
        );
    }
    activity.write_all(at(HOUR, 0)).await.unwrap();
    note(
        &activity,
        [blocked("home-0", "pc", at(ahead, 0), NAME)],
        at(ahead, 0),
    );
    assert_eq!(activity.expire(at(HOUR, 3_599)).await.unwrap(), 1_800);
    assert_eq!(place.finds(NAME), 0);
    let hours: Vec<_> = read_all(&activity, "home-0", at(HOUR, 0))
        .await
        .iter()
        .map(|hour| hour.hour)
        .collect();
    assert_eq!(
        hours,
        [at(HOUR, 0), at(HOUR + 1, 0)],
        "a clock may be a little ahead"
    );
    // It is set back once more.
    assert_eq!(activity.expire(at(HOUR - 1, 0)).await.unwrap(), 600);
    activity.write_all(at(HOUR - 1, 0)).await.unwrap();
    assert_eq!(asked(&activity, "home-0", at(HOUR, 0)).await, 1);
    // The clock was ahead within one hour and was corrected.
    for is_written in [true, false] {
        note(
            &activity,
            [blocked("home-0", "pc", at(ahead, 0), NAME)],
            at(ahead, 0),
        );
        if is_written {
            activity.write_all(at(HOUR - 1, 0)).await.unwrap();
        }
        assert_eq!(
            activity.expire(at(HOUR - 1, 0)).await.unwrap(),
            u64::from(is_written)
        );
        activity.write_all(at(HOUR - 1, 0)).await.unwrap();
        assert_eq!(
            (
                place.finds(NAME),
                asked(&activity, "home-0", at(HOUR, 0)).await
            ),
            (0, 1)
        );
    }
}

#[tokio::test]
async fn what_a_reading_process_keeps_in_the_journal_goes_when_it_is_done() {
    let place = Place::new();
    let activity = place.open().await;
    let now = at(HOUR, 0);
    note(
        &activity,
        [blocked("home", "tv", now, NAME), told("other", "tv", now)],
        now,
    );
    activity.write_all(now).await.unwrap();
    let raw = place.raw().await;
    let mut reader = raw.begin().await.unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM activity")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    assert_eq!(rows, 2);
    activity
        .forget(&id("home"), ErasureScope::All, now)
        .await
        .unwrap();
    // Erased for readers of this store, and still visible to a reader that began before.
    assert_eq!(asked(&activity, "home", now).await, 0);
    assert!(place.finds(NAME) > 0);
    assert_eq!(activity.expire(now).await.unwrap(), 0);
    assert!(place.finds(NAME) > 0);
    reader.rollback().await.unwrap();
    raw.close().await;
    assert_eq!(activity.expire(now).await.unwrap(), 0);
    assert_eq!(place.finds(NAME), 0);
    assert_eq!(asked(&activity, "other", now).await, 1);
}

#[tokio::test]
async fn a_forgetting_that_is_given_up_leaves_nothing_in_the_journal_for_long() {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };
    let place = Place::new();
    let activity = place.open().await;
    let now = at(HOUR, 0);
    for patience in (1..200).step_by(3) {
        note(&activity, [blocked("home", "tv", now, NAME)], now);
        activity.write_all(now).await.unwrap();
        {
            let home = id("home");
            let mut forgetting = pin!(activity.forget(&home, ErasureScope::All, now));
            for _ in 0..patience {
                if let Poll::Ready(forgotten) = forgetting
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                {
                    forgotten.unwrap();
                    break;
                }
                std::thread::yield_now();
            }
        }
        // Either it was not erased, or it is gone. A cancelled call may still finish during the
        // next one, which then completes the erasure.
        let mut is_so = false;
        for _ in 0..10 {
            activity.expire(now).await.unwrap();
            is_so = (place.finds(NAME) > 0) == (asked(&activity, "home", now).await > 0);
            if is_so {
                break;
            }
        }
        assert!(is_so, "{patience}");
        activity
            .forget(&id("home"), ErasureScope::All, at(HOUR - 1, 0))
            .await
            .unwrap();
    }
}
