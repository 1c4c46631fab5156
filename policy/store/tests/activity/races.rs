//! Concurrent counting, writing, reading and erasing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use policy_store::{
    ActivityStore,
    activity::{CountedQuery, ErasureScope},
};

use crate::{HOUR, Place, asked, at, blocked, id, note, told};

const NAME: &str = "very-secret.example";

/// Writes, reads and expires until it is stopped.
fn busy(
    activity: &Arc<ActivityStore>,
    is_over: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    (0..3)
        .map(|kind| {
            let activity = activity.clone();
            let is_over = is_over.clone();
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    match kind {
                        0 => drop(activity.write_all(at(HOUR, 0)).await.unwrap()),
                        1 => drop(asked(&activity, "home", at(HOUR, 0)).await),
                        _ => drop(activity.expire(at(HOUR, 0)).await.unwrap()),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_erasure_holds_during_concurrent_counting_and_writing() {
    for what in [
        Some(ErasureScope::All),
        Some(ErasureScope::Device(id("tv"))),
        Some(ErasureScope::Unknown),
        Some(ErasureScope::Names),
        None,
    ] {
        let place = Place::new();
        let activity = Arc::new(place.open().await);
        let [is_over, is_wanted] = [false, true].map(|is| Arc::new(AtomicBool::new(is)));
        let writers = busy(&activity, &is_over);
        let counters: Vec<_> = (0..4)
            .map(|_| {
                let activity = activity.clone();
                let is_over = is_over.clone();
                let is_wanted = is_wanted.clone();
                let key = if what == Some(ErasureScope::Unknown) {
                    ""
                } else {
                    "tv"
                };
                tokio::spawn(async move {
                    let mut second = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        second += 1;
                        // Also queries that are younger than the mark: the caller says that they
                        // are not wanted.
                        let some = (0..5).map(|more| {
                            blocked("home", key, at(HOUR, second % 3_600 + more), NAME)
                        });
                        let others = (0..20)
                            .map(|number| told(&format!("other-{number}"), "tv", at(HOUR, 0)));
                        activity.note(
                            some.chain(others),
                            |told| {
                                told.household.as_str() != "home"
                                    || is_wanted.load(Ordering::Relaxed)
                            },
                            at(HOUR, 0),
                        );
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        // Until something of it is in the file.
        while place.finds(NAME) == 0 {
            tokio::task::yield_now().await;
        }
        is_wanted.store(false, Ordering::Relaxed);
        match &what {
            Some(what) => activity
                .forget(&id("home"), what.clone(), at(HOUR, 0))
                .await
                .unwrap(),
            None => activity.keep(&id("home"), 0, at(HOUR, 0)).await.unwrap(),
        }
        let names = async || {
            let hours = crate::read_all(&activity, "home", at(HOUR, 0)).await;
            hours
                .iter()
                .flat_map(|hour| hour.devices.values())
                .map(|device| device.names.len())
                .sum::<usize>()
        };
        for _ in 0..20 {
            assert_eq!(names().await, 0, "{what:?}");
            assert!(
                what == Some(ErasureScope::Names)
                    || asked(&activity, "home", at(HOUR, 0)).await == 0,
                "{what:?}"
            );
            tokio::task::yield_now().await;
        }
        is_over.store(true, Ordering::Relaxed);
        for task in writers.into_iter().chain(counters) {
            task.await.unwrap();
        }
        activity.close().await;
        assert_eq!(place.finds(NAME), 0, "{what:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_erasures_exactly_the_later_queries_are_there() {
    let place = Place::new();
    let activity = Arc::new(place.open().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let writers = busy(&activity, &is_over);
    let homes: Vec<_> = (0..30)
        .map(|number| {
            let activity = activity.clone();
            tokio::spawn(async move {
                let home = format!("home-{number}");
                let before =
                    |count: i64| (0..count).map(|second| told(&home, "tv", at(HOUR, second)));
                for _ in 0..20 {
                    note(&activity, before(10), at(HOUR, 10));
                    tokio::task::yield_now().await;
                }
                let count = 10 + number;
                let erased = at(HOUR, 9);
                activity
                    .forget(&id(&home), ErasureScope::All, erased)
                    .await
                    .unwrap();
                for _ in 0..20 {
                    // Earlier queries are still on their way, mixed with later ones.
                    note(
                        &activity,
                        before(10).chain([CountedQuery {
                            at: at(HOUR, 10),
                            ..told(&home, "tv", erased)
                        }]),
                        at(HOUR, 10),
                    );
                    tokio::task::yield_now().await;
                }
                note(
                    &activity,
                    (20..count).map(|second| told(&home, "tv", at(HOUR, second))),
                    at(HOUR, 40),
                );
                (home, 20 + (count - 20).max(0))
            })
        })
        .collect();
    let mut expected = Vec::new();
    for home in homes {
        expected.push(home.await.unwrap());
    }
    is_over.store(true, Ordering::Relaxed);
    for task in writers {
        task.await.unwrap();
    }
    activity.close().await;
    let activity = place.open().await;
    for (home, count) in expected {
        assert_eq!(
            asked(&activity, &home, at(HOUR, 0)).await.cast_signed(),
            count,
            "{home}"
        );
    }
}

/// Locks the file as another process; until it ends, a write waits with the entries that it took
/// out of memory.
async fn occupy(place: &Place) -> sqlx::Transaction<'static, sqlx::Sqlite> {
    place
        .raw()
        .await
        .begin_with("BEGIN IMMEDIATE")
        .await
        .unwrap()
}

#[tokio::test]
async fn counts_between_memory_and_file_during_an_erasure_are_erased() {
    let place = Place::new();
    let activity = place.open().await;
    for round in 0..12 {
        let now = at(HOUR, round * 10);
        note(
            &activity,
            (0..500).map(|number| {
                blocked(
                    "home",
                    &format!("d{}", number % 9),
                    now,
                    &format!("n{number}.example"),
                )
            }),
            now,
        );
        note(&activity, [told("other", "tv", now)], now);
        let other = occupy(&place).await;
        let home = id("home");
        let what = if round % 2 == 0 {
            ErasureScope::All
        } else {
            ErasureScope::Names
        };
        let forget = async {
            match round % 3 {
                0 => activity.keep(&home, 0, now).await.unwrap(),
                _ => activity.forget(&home, what.clone(), now).await.unwrap(),
            }
        };
        let (written, (), ()) = tokio::join!(activity.write_all(now), forget, async {
            other.rollback().await.unwrap()
        });
        assert_eq!(written.unwrap(), 2);
        let hours = crate::read_all(&activity, "home", now).await;
        let names: usize = hours
            .iter()
            .flat_map(|hour| hour.devices.values())
            .map(|device| device.names.len())
            .sum();
        assert_eq!(names, 0, "round {round}");
        assert_eq!(
            hours.is_empty(),
            round % 3 == 0 || round % 2 == 0,
            "round {round}"
        );
        assert_eq!(
            asked(&activity, "other", now).await.cast_signed(),
            round + 1
        );
        activity
            .forget(&home, ErasureScope::All, now)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_writing_that_is_given_up_before_its_commit_loses_nothing() {
    let place = Place::new();
    let activity = place.open().await;
    let now = at(HOUR, 0);
    for round in 1..6 {
        note(
            &activity,
            (0..3).map(|number| told(&format!("home-{number}"), "tv", now)),
            now,
        );
        let other = occupy(&place).await;
        {
            let mut writing = std::pin::pin!(activity.write_all(now));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(writing.as_mut().poll(&mut context).is_pending());
        }
        other.rollback().await.unwrap();
        for number in 0..3 {
            assert_eq!(
                asked(&activity, &format!("home-{number}"), now).await,
                round
            );
        }
    }
    assert_eq!(activity.write_all(now).await.unwrap(), 3);
}

#[tokio::test]
async fn a_writing_that_is_given_up_wherever_it_may_be_counts_nothing_twice() {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };
    let place = Place::new();
    let activity = place.open().await;
    // The future is dropped after a few or many polls, at every possible point. Within the commit a
    // count may be lost; none may be counted twice.
    for patience in (1..400).step_by(3) {
        note(
            &activity,
            [told("home", &format!("d{patience}"), at(HOUR, 0))],
            at(HOUR, 0),
        );
        {
            let mut writing = pin!(activity.write_all(at(HOUR, 0)));
            for _ in 0..patience {
                let mut context = Context::from_waker(Waker::noop());
                if let Poll::Ready(written) = writing.as_mut().poll(&mut context) {
                    written.unwrap();
                    break;
                }
                // SQLite works in a thread of its own.
                std::thread::yield_now();
            }
        }
        let hours = crate::read_all(&activity, "home", at(HOUR, 0)).await;
        assert!(
            hours
                .iter()
                .flat_map(|hour| hour.devices.values())
                .all(|device| device.asked == 1),
            "{patience}"
        );
    }
    activity.write_all(at(HOUR, 0)).await.unwrap();
    let hours = crate::read_all(&activity, "home", at(HOUR, 0)).await;
    assert!(
        hours
            .iter()
            .flat_map(|hour| hour.devices.values())
            .all(|device| device.asked == 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_erasures_get_a_turn_during_long_deletions() {
    let place = Place::new();
    let activity = Arc::new(place.open().await);
    let now = at(HOUR, 0);
    note(
        &activity,
        (0..20_000).map(|number| told(&format!("home-{number}"), "tv", now)),
        now,
    );
    activity.write_all(now).await.unwrap();
    let later = at(HOUR + 1_000, 0);
    let raw = place.raw().await;
    let count = async |what: &'static str| {
        sqlx::query_scalar::<_, i64>(what)
            .fetch_one(&raw)
            .await
            .unwrap()
    };
    for is_expiry in [false, true] {
        let what = if is_expiry {
            "SELECT count(*) FROM activity WHERE hour < 501000"
        } else {
            "SELECT count(*) FROM activity WHERE until > 500025"
        };
        let long = tokio::spawn({
            let activity = activity.clone();
            async move {
                if is_expiry {
                    activity.expire(later).await.map(drop)
                } else {
                    activity.bound(1).await
                }
            }
        });
        while count(what).await == 20_000 {
            tokio::task::yield_now().await;
        }
        note(
            &activity,
            [told("late", "tv", later), told("later", "tv", later)],
            later,
        );
        assert_eq!(activity.write_all(later).await.unwrap(), 2);
        activity
            .forget(&id("later"), ErasureScope::All, at(HOUR - 1, 0))
            .await
            .unwrap();
        let left = count(what).await;
        assert!(
            left > 5_000,
            "of 20,000 rows {left} were left when the others had their turns"
        );
        long.await.unwrap().unwrap();
        assert!(count(what).await <= 1);
    }
    assert_eq!(asked(&activity, "late", later).await, 2);
}
