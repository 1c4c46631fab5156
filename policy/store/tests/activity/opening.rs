//! Files: ours, foreign, broken, reopened, large.

use std::time::Instant;

use policy_store::{
    ActivityStore, Store, StoreError,
    activity::{BATCH_ROWS_MAX, HOUR_NAMES_MAX, WAITING_MAX},
};

use crate::{HOUR, Place, asked, at, blocked, device, id, note, read_all, told};

#[tokio::test]
async fn counts_read_the_same_before_and_after_they_are_written() {
    let place = Place::new();
    let now = at(HOUR, 100);
    let activity = place.open().await;
    note(
        &activity,
        [
            blocked("home", "tv", now, "bet.example"),
            told("home", "", now),
            told("other", "tv", now),
        ],
        now,
    );
    let first = read_all(&activity, "home", now).await;
    assert_eq!(first[0].hour, at(HOUR, 0));
    let tv = &first[0].devices[&device("tv")];
    assert_eq!(
        (tv.asked, tv.blocked, tv.last, tv.names["bet.example"].count),
        (1, 1, Some(now), 1)
    );
    // Nothing is written before the five minutes are over.
    assert_eq!(activity.write(at(HOUR, 399)).await.unwrap(), 0);
    assert_eq!(activity.write(at(HOUR, 400)).await.unwrap(), 2);
    assert_eq!(read_all(&activity, "home", now).await, first);
    note(
        &activity,
        [told("home", "tv", at(HOUR, 200))],
        at(HOUR, 200),
    );
    assert_eq!(
        asked(&activity, "home", now).await,
        3,
        "what is written and what waits is added up"
    );
    activity.close().await;
    let activity = place.open().await;
    assert_eq!(asked(&activity, "home", now).await, 3, "closing writes");
    let only = activity
        .read(
            &id("home"),
            Some(&device("")),
            at(HOUR, 0),
            at(HOUR, 1),
            now,
        )
        .await
        .unwrap();
    assert_eq!(only[0].devices.keys().collect::<Vec<_>>(), [&device("")]);
    assert!(
        activity
            .read(
                &id("home"),
                Some(&device("pc")),
                at(HOUR, 0),
                at(HOUR, 1),
                now
            )
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_hour_is_read_where_a_part_of_it_is_asked_for() {
    let place = Place::new();
    let activity = place.open().await;
    for hour in 0..4 {
        note(
            &activity,
            [told("home", "tv", at(HOUR + hour, 0))],
            at(HOUR + hour, 0),
        );
        if hour == 1 {
            activity.write_all(at(HOUR + 1, 0)).await.unwrap();
        }
    }
    for (from, to, hours) in [
        (at(HOUR, 0), at(HOUR + 4, 0), 0..4),
        (at(HOUR, 3_599), at(HOUR + 1, 0), 0..1),
        (at(HOUR, 3_599), at(HOUR + 2, 1), 0..3),
        (at(HOUR + 2, 0), at(HOUR + 2, 0), 0..0),
        (at(HOUR + 3, 0), at(HOUR, 0), 0..0),
        (jiff::Timestamp::MIN, jiff::Timestamp::MAX, 0..4),
    ] {
        let read = activity
            .read(&id("home"), None, from, to, at(HOUR + 4, 0))
            .await
            .unwrap();
        let expected: Vec<_> = hours.map(|hour| at(HOUR + hour, 0)).collect();
        assert_eq!(
            read.iter().map(|hour| hour.hour).collect::<Vec<_>>(),
            expected,
            "{from} {to}"
        );
    }
}

#[tokio::test]
async fn an_unreadable_row_is_left_out_and_replaced_by_new_counts() {
    let place = Place::new();
    let activity = place.open().await;
    for hour in 0..3 {
        note(
            &activity,
            [told("home", "tv", at(HOUR + hour, 0))],
            at(HOUR + 2, 0),
        );
    }
    activity.write_all(at(HOUR + 2, 0)).await.unwrap();
    let raw = place.raw().await;
    for (hour, document) in [(HOUR, "'{'"), (HOUR + 1, "CAST(x'ff00fe' AS TEXT)")] {
        let break_it = format!("UPDATE activity SET document = {document} WHERE hour = {hour}");
        sqlx::query(sqlx::AssertSqlSafe(break_it))
            .execute(&raw)
            .await
            .unwrap();
    }
    let hours = |hours: Vec<policy_store::activity::HouseholdHour>| {
        hours.iter().map(|hour| hour.hour).collect::<Vec<_>>()
    };
    assert_eq!(
        hours(read_all(&activity, "home", at(HOUR + 2, 0)).await),
        [at(HOUR + 2, 0)]
    );
    note(
        &activity,
        [told("home", "pc", at(HOUR, 0))],
        at(HOUR + 2, 0),
    );
    activity.write_all(at(HOUR + 2, 0)).await.unwrap();
    let read = read_all(&activity, "home", at(HOUR + 2, 0)).await;
    assert_eq!(hours(read.clone()), [at(HOUR, 0), at(HOUR + 2, 0)]);
    assert_eq!(read[0].devices[&device("pc")].asked, 1);
    // An unreadable row may contain what is to be erased.
    activity
        .forget(
            &id("home"),
            policy_store::activity::ErasureScope::Names,
            at(HOUR + 2, 0),
        )
        .await
        .unwrap();
    let (rows,): (i64,) = sqlx::query_as("SELECT count(*) FROM activity")
        .fetch_one(&raw)
        .await
        .unwrap();
    assert_eq!(rows, 2);
}

#[tokio::test]
async fn a_file_that_is_no_store_of_activity_is_left_as_it_is() {
    let place = Place::new();
    std::fs::create_dir_all(place.file().parent().unwrap()).unwrap();
    let refused = async |what: &str, is_right: fn(&StoreError) -> bool| {
        let before = std::fs::read(place.file()).unwrap();
        let error = ActivityStore::open(&place.url()).await.unwrap_err();
        assert!(is_right(&error), "{what}: {error:?}");
        assert_eq!(std::fs::read(place.file()).unwrap(), before, "{what}");
    };
    std::fs::write(
        place.file(),
        "not a database at all, and long enough to have a header of one: ".repeat(20),
    )
    .unwrap();
    refused("a text", |error| matches!(error, StoreError::Open { .. })).await;
    std::fs::remove_file(place.file()).unwrap();
    Store::open(&place.url()).await.unwrap().close().await;
    refused("the policy store", |error| {
        matches!(error, StoreError::Foreign { .. })
    })
    .await;
    std::fs::remove_file(place.file()).unwrap();
    place.open().await.close().await;
    let raw = place.raw().await;
    let newer = "INSERT INTO _sqlx_migrations VALUES (9999, 'newer', 0, TRUE, x'00', 0)";
    sqlx::query(newer).execute(&raw).await.unwrap();
    raw.close().await;
    refused("a newer one", |error| {
        matches!(error, StoreError::Newer { version: 9999, .. })
    })
    .await;
    // And in reverse.
    assert!(matches!(
        Store::open(&place.url()).await,
        Err(StoreError::Foreign { .. })
    ));
    for url in ["sqlite::memory:", "sqlite:", "postgres:x"] {
        assert!(
            matches!(
                ActivityStore::open(url).await,
                Err(StoreError::NoFile(_) | StoreError::Engine { .. })
            ),
            "{url}"
        );
    }
}

#[tokio::test]
async fn households_are_listed_once_each_in_pages() {
    let place = Place::new();
    let activity = place.open().await;
    for number in 0..25 {
        note(
            &activity,
            (0..5).map(|hour| told(&format!("home-{number:02}"), "tv", at(HOUR + hour, 0))),
            at(HOUR + 5, 0),
        );
    }
    assert!(
        activity.households(None, 10).await.unwrap().is_empty(),
        "only what is in the file"
    );
    activity.write_all(at(HOUR + 5, 0)).await.unwrap();
    let mut found = Vec::new();
    let mut after = None;
    let mut pages = 0;
    loop {
        let page = activity.households(after.as_ref(), 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        pages += 1;
        found.extend(page.iter().map(ToString::to_string));
    }
    assert_eq!(
        (pages, found),
        (
            3,
            (0..25).map(|number| format!("home-{number:02}")).collect()
        )
    );
}

#[tokio::test]
async fn full_memory_drops_and_counts_new_households_and_is_written_at_once() {
    let place = Place::new();
    let activity = place.open().await;
    let now = at(HOUR, 0);
    let homes = |range: std::ops::Range<usize>| {
        range.map(|number| told(&format!("home-{number}"), "tv", at(HOUR, 0)))
    };
    note(&activity, homes(0..WAITING_MAX / 2 - 1), now);
    assert!(!activity.is_crowded());
    assert_eq!(activity.write(now).await.unwrap(), 0);
    note(
        &activity,
        homes(WAITING_MAX / 2 - 1..WAITING_MAX + 300),
        now,
    );
    assert!(activity.is_crowded());
    assert_eq!(activity.dropped(), 300);
    note(&activity, homes(0..100), now);
    assert_eq!(activity.dropped(), 300, "who has a place goes on");
    assert_eq!(
        (
            asked(&activity, "home-0", now).await,
            asked(&activity, &format!("home-{WAITING_MAX}"), now).await
        ),
        (2, 0)
    );
    // A failing disk loses nothing, and each entry is tried once.
    let raw = place.raw().await;
    sqlx::query(
        "CREATE TRIGGER fail BEFORE INSERT ON activity BEGIN SELECT raise(ABORT, 'no'); END",
    )
    .execute(&raw)
    .await
    .unwrap();
    activity.write(now).await.unwrap_err();
    assert_eq!(
        (
            asked(&activity, "home-0", now).await,
            asked(&activity, "home-150000", now).await
        ),
        (2, 1)
    );
    assert!(activity.is_crowded());
    assert_eq!(activity.dropped(), 300);
}

#[tokio::test]
async fn a_batch_that_cannot_be_written_holds_up_no_other() {
    let place = Place::new();
    let activity = place.open().await;
    let raw = place.raw().await;
    let now = at(HOUR, 0);
    let fail = "CREATE TRIGGER fail BEFORE INSERT ON activity WHEN NEW.household = 'bad' BEGIN SELECT raise(ABORT, 'no'); END";
    sqlx::query(fail).execute(&raw).await.unwrap();
    note(&activity, [told("bad", "tv", now)], now);
    for number in 0..BATCH_ROWS_MAX * 3 - 1 {
        note(&activity, [told(&format!("home-{number}"), "tv", now)], now);
    }
    for round in 0..3 {
        note(
            &activity,
            [told("bad", "tv", now), told("late", "tv", now)],
            now,
        );
        let error = activity.write_all(now).await.unwrap_err();
        assert!(matches!(error, StoreError::Database { .. }), "{error:?}");
        let written: i64 = sqlx::query_scalar("SELECT count(*) FROM activity")
            .fetch_one(&raw)
            .await
            .unwrap();
        // Rows in the same transaction as the bad one fail as well; `late` does so the first time
        // and is separate from then on.
        assert!(written as usize >= BATCH_ROWS_MAX * 2, "{written}");
        assert_eq!(
            (
                asked(&activity, "bad", now).await,
                asked(&activity, "late", now).await
            ),
            (round + 2, round + 1)
        );
    }
    sqlx::query("DROP TRIGGER fail")
        .execute(&raw)
        .await
        .unwrap();
    activity.write_all(now).await.unwrap();
    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM activity")
        .fetch_one(&raw)
        .await
        .unwrap();
    assert_eq!(
        (written as usize, asked(&activity, "bad", now).await),
        (BATCH_ROWS_MAX * 3 + 1, 4)
    );
}

#[tokio::test]
async fn a_household_has_so_many_names_in_an_hour_wherever_they_are_added_up() {
    let place = Place::new();
    let activity = place.open().await;
    let now = at(HOUR, 0);
    let names = |range: std::ops::Range<usize>| {
        range.map(move |number| {
            blocked(
                "home",
                &format!("d{}", number % 20),
                now,
                &format!("n{number}.example"),
            )
        })
    };
    let sums = async || {
        let hours = read_all(&activity, "home", now).await;
        let devices = || hours.iter().flat_map(|hour| hour.devices.values());
        (
            devices().map(|device| device.names.len()).sum::<usize>(),
            devices().map(|device| device.names_more).sum::<u64>(),
        )
    };
    note(&activity, names(0..250), now);
    activity.write_all(now).await.unwrap();
    note(&activity, names(200..HOUR_NAMES_MAX + 100), now);
    assert_eq!(sums().await, (HOUR_NAMES_MAX, 100), "file and memory");
    activity.write_all(now).await.unwrap();
    assert_eq!(sums().await, (HOUR_NAMES_MAX, 100), "the file");
    note(&activity, names(500..600), now);
    activity.write_all(now).await.unwrap();
    assert_eq!(sums().await, (HOUR_NAMES_MAX, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_households_are_written_while_others_are_read() {
    let number = |name: &str, default: i64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let homes = number("ACTIVITY_HOMES", 2_000);
    let place = Place::new();
    let activity = std::sync::Arc::new(place.open().await);
    let mut longest = std::time::Duration::ZERO;
    for round in 1..=2 {
        let now = at(HOUR, 60 * round);
        for number in 0..homes {
            // A typical household: some devices, some names.
            let home = format!("home-{number}");
            let some = (0..3).flat_map(|key| {
                let key = format!("device-{key}");
                [
                    told(&home, &key, now),
                    blocked(
                        &home,
                        &key,
                        now,
                        &format!("tracker-{}.example", number % 50),
                    ),
                    told(&home, &key, now),
                ]
            });
            note(&activity, some, now);
        }
        let start = Instant::now();
        let writing = tokio::spawn({
            let activity = activity.clone();
            async move { activity.write_all(now).await.unwrap() }
        });
        while !writing.is_finished() {
            let start = Instant::now();
            assert_eq!(
                asked(&activity, "home-1", now).await,
                9 * round.cast_unsigned()
            );
            longest = longest.max(start.elapsed());
            tokio::task::yield_now().await;
        }
        assert_eq!(writing.await.unwrap() as i64, homes);
        println!(
            "round {round}: {homes} homes in {:?}; the longest reading {longest:?}",
            start.elapsed()
        );
    }
    let start = Instant::now();
    assert_eq!(
        activity
            .expire(at(HOUR + 169, 0))
            .await
            .unwrap()
            .cast_signed(),
        homes
    );
    println!("expired in {:?}", start.elapsed());
}
