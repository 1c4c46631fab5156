//! Taking, putting back, erasing and expiring pending counts.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn told(household: &str, device: Option<&str>, second: i64) -> CountedQuery {
    let household = household.parse().unwrap();
    let device = device.map(|id| id.parse().unwrap());
    CountedQuery {
        household,
        device,
        at: at(second),
        days: 1,
        categories: Vec::new(),
        blocked: None,
        sign: None,
    }
}

fn asked(entries: &[Entry]) -> Vec<(&str, i64, u64)> {
    entries
        .iter()
        .map(|entry| {
            (
                entry.household.as_str(),
                entry.hour,
                entry.waited.counts.asked(),
            )
        })
        .collect()
}

fn take(waiting: &mut PendingCounts, second: i64, is_all: bool) -> Vec<Entry> {
    let mut places = waiting.places();
    waiting.take(at(second), is_all, 9, &mut places)
}

#[test]
fn households_are_taken_after_waiting_or_when_the_clock_was_set_back() {
    let mut waiting = PendingCounts::default();
    waiting.count(told("b", None, 3_599), at(4_000));
    waiting.count(told("b", None, 3_600), at(4_030));
    waiting.count(told("a", None, 3_601), at(4_030));
    assert!(take(&mut waiting, 4_299, false).is_empty());
    assert_eq!(
        asked(&take(&mut waiting, 4_300, false)),
        [("b", 0, 1), ("b", 1, 1)]
    );
    assert!(take(&mut waiting, 4_329, false).is_empty());
    assert_eq!(asked(&take(&mut waiting, 4_029, false)), [("a", 1, 1)]);
    assert_eq!(
        (waiting.entries, waiting.pieces, waiting.order.len()),
        (0, 0, 0)
    );
}

#[test]
fn entries_put_back_count_as_older_and_wait_behind_all_others() {
    let mut waiting = PendingCounts::default();
    for (home, second) in [("a", 4_000), ("b", 4_001), ("c", 4_002)] {
        waiting.count(told(home, None, 4_000), at(second));
    }
    let mut places = waiting.places();
    let taken = waiting.take(at(4_300), true, 2, &mut places);
    assert_eq!((asked(&taken), places), (vec![("a", 1, 1), ("b", 1, 1)], 1));
    waiting.count(told("a", Some("tv"), 4_299), at(4_299));
    waiting.put_back(taken, at(4_300));
    assert_eq!((waiting.entries, waiting.pieces), (3, 4));
    // Of all places, one is left; places that were tried are not tried again.
    assert_eq!(
        asked(&waiting.take(at(4_302), true, 9, &mut places)),
        [("c", 1, 1)]
    );
    assert_eq!(asked(&waiting.take(at(4_302), true, 9, &mut places)), []);
    assert!(take(&mut waiting, 4_302, false).is_empty());
    // A household that began to wait again already has its place.
    assert_eq!(asked(&take(&mut waiting, 4_599, false)), [("a", 1, 2)]);
    assert_eq!(asked(&take(&mut waiting, 4_600, false)), [("b", 1, 1)]);
    assert_eq!(
        (waiting.entries, waiting.pieces, waiting.order.len()),
        (0, 0, 0)
    );
}

#[test]
fn a_household_that_was_erased_and_begins_again_waits_again() {
    let mut waiting = PendingCounts::default();
    waiting.count(told("a", None, 4_000), at(4_000));
    waiting.count(told("b", None, 4_000), at(4_001));
    waiting.forget(&"a".parse().unwrap(), &ErasureScope::All, at(4_002));
    waiting.count(told("a", None, 4_003), at(4_003));
    assert_eq!(asked(&take(&mut waiting, 4_302, false)), [("b", 1, 1)]);
    assert_eq!(asked(&take(&mut waiting, 4_303, false)), [("a", 1, 1)]);
    assert_eq!((waiting.entries, waiting.order.len()), (0, 0));
}

#[test]
fn due_hours_and_future_hours_are_deleted() {
    let mut waiting = PendingCounts::default();
    for hour in [10, 11, 12, 13] {
        waiting.count(
            CountedQuery {
                days: 9,
                ..told("a", Some("tv"), hour * 3_600)
            },
            at(hour * 3_600),
        );
    }
    waiting.expire(at(11 * 3_600));
    assert_eq!((waiting.entries, waiting.pieces), (3, 3));
    waiting.bound(2);
    let until: Vec<i64> = waiting
        .hours(&"a".parse().unwrap(), 0..99, at(0))
        .values()
        .map(|waited| waited.until)
        .collect();
    assert_eq!(until, [59, 60, 61]);
    waiting.expire(at(59 * 3_600));
    assert_eq!(waiting.entries, 2);
    // Entries that come back are checked again, even in the same hour.
    let taken = take(&mut waiting, 59 * 3_600, true);
    waiting.expire(at(61 * 3_600));
    waiting.put_back(taken, at(61 * 3_600));
    waiting.expire(at(61 * 3_600));
    assert_eq!((waiting.entries, waiting.pieces), (0, 0));
    waiting.count(told("a", Some("tv"), 61 * 3_600), at(61 * 3_600));
    waiting.bound(0);
    assert_eq!(
        (waiting.entries, waiting.pieces, waiting.homes.len()),
        (0, 0, 0)
    );
    // No mark is left, so wanted queries count from then on.
    waiting.count(told("a", Some("tv"), 61 * 3_600), at(61 * 3_600));
    assert_eq!(waiting.entries, 1);
}

#[test]
fn a_decision_looks_at_the_marks_of_its_own_household_only() {
    let mut waiting = PendingCounts::default();
    for home in ["a", "b"] {
        waiting.forget(&home.parse().unwrap(), &ErasureScope::Unknown, at(5_000));
        waiting.forget(&home.parse().unwrap(), &ErasureScope::Names, at(5_001));
    }
    waiting.forget(&"a".parse().unwrap(), &ErasureScope::All, at(5_700));
    let marks = |waiting: &PendingCounts| {
        ["a", "b"].map(|home| {
            waiting
                .marks
                .get(&home.parse::<Id>().unwrap())
                .map_or(0, Vec::len)
        })
    };
    assert_eq!(marks(&waiting), [1, 2]);
    waiting.expire(at(5_700));
    assert_eq!(marks(&waiting), [1, 0]);
    // Not each time, because recording waits meanwhile.
    waiting.forget(&"b".parse().unwrap(), &ErasureScope::Names, at(5_000));
    take(&mut waiting, 5_759, true);
    assert_eq!(marks(&waiting), [1, 1]);
    take(&mut waiting, 5_760, true);
    assert_eq!(marks(&waiting), [1, 0]);
}

#[test]
fn dropped_queries_are_added_up_to_the_end_of_numbers() {
    let mut waiting = PendingCounts::default();
    waiting.add_dropped(u64::MAX);
    waiting.add_dropped(2);
    assert_eq!(waiting.dropped(), u64::MAX);
}

#[test]
fn queries_on_their_way_undo_nothing_and_those_behind_count() {
    let home: Id = "home".parse().unwrap();
    let tv: Id = "tv".parse().unwrap();
    let mut waiting = PendingCounts::default();
    waiting.forget(&home, &ErasureScope::Device(tv), at(5_000));
    for second in [5_000, 5_001] {
        waiting.count(told("home", Some("tv"), second), at(5_010));
        waiting.count(told("home", None, second), at(5_010));
        waiting.count(told("other", Some("tv"), second), at(5_010));
    }
    assert_eq!(
        asked(&take(&mut waiting, 5_010, true)),
        [("home", 1, 3), ("other", 1, 2)]
    );
    waiting.keep(&home, 0, at(5_020));
    waiting.count(told("home", None, 5_020), at(5_030));
    assert_eq!(waiting.entries, 0);
    // A mark is kept as long as anything can be on its way; a clock that was set back ends it.
    for later in [5_020 + 601, 5_020 - 601] {
        waiting.keep(&home, 0, at(5_020));
        take(&mut waiting, later, true);
        assert!(waiting.marks.is_empty());
    }
    for number in 0..MARKS_MAX * 2 {
        waiting.forget(
            &home,
            &ErasureScope::Device(format!("d{number}").parse().unwrap()),
            at(6_000),
        );
        waiting.forget(&home, &ErasureScope::All, at(6_000));
    }
    assert_eq!(waiting.marks[&home].len(), MARKS_MAX);
}

#[test]
fn an_hour_under_two_promises_keeps_the_shorter_one() {
    let mut waiting = PendingCounts::default();
    for days in [9, 2, 5] {
        waiting.count(
            CountedQuery {
                days,
                ..told("home", None, 3_600)
            },
            at(3_600),
        );
    }
    assert_eq!(take(&mut waiting, 3_600, true)[0].waited.until, 1 + 48 + 1);
    // Late, and already due.
    waiting.count(told("home", None, 0), at(25 * 3_600));
    waiting.count(
        CountedQuery {
            days: 0,
            ..told("home", None, 90_000)
        },
        at(90_000),
    );
    assert_eq!((waiting.entries, waiting.dropped), (0, 0));
}
