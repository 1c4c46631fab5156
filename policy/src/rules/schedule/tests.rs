//! Times of schedules, time zones included, and what loosens a schedule.

use super::*;

fn schedule(from: &str, to: &str) -> Schedule {
    let [from, to] = [from, to].map(|text| text.parse().unwrap());
    let (block, allow, except) = Default::default();
    Schedule {
        days: DayOfWeek::ALL.into(),
        from,
        to,
        block,
        allow,
        pause: true,
        except,
    }
}

fn spans(schedule: &Schedule, date: &str) -> Option<String> {
    let zone = TimeZone::get("Europe/London").unwrap();
    let (from, to) = schedule.span(&zone, date.parse().unwrap())?;
    Some(format!("{} {}", from.timestamp()?, to.timestamp()?))
}

#[test]
fn clock_times_are_read_strictly() {
    assert_eq!("21:30".parse::<ClockTime>().unwrap().to_string(), "21:30");
    for wrong in [
        "", "24:00", "9:30", "21:60", "21:3", "+1:30", "21:30:00", "2130",
    ] {
        assert!(wrong.parse::<ClockTime>().is_err(), "{wrong:?}");
    }
}

#[test]
fn bedtime_holds_over_midnight_and_in_both_nights_in_which_clocks_change() {
    let bedtime = schedule("21:30", "06:30");
    assert_eq!(
        spans(&bedtime, "2026-01-15").unwrap(),
        "2026-01-15T21:30:00Z 2026-01-16T06:30:00Z"
    );
    // Clocks go forward at 01:00 on the 29th and back at 02:00 on the 25th: nine hours by the
    // clock are eight and ten.
    assert_eq!(
        spans(&bedtime, "2026-03-28").unwrap(),
        "2026-03-28T21:30:00Z 2026-03-29T05:30:00Z"
    );
    assert_eq!(
        spans(&bedtime, "2026-10-24").unwrap(),
        "2026-10-24T20:30:00Z 2026-10-25T06:30:00Z"
    );
}

#[test]
fn times_that_come_twice_or_not_at_all_leave_no_gap() {
    // 01:15 and 01:45 are skipped on the 29th of March and occur twice on the 25th of October.
    assert_eq!(
        spans(&schedule("01:15", "01:45"), "2026-03-29").unwrap(),
        "2026-03-29T01:15:00Z 2026-03-29T01:45:00Z"
    );
    assert_eq!(
        spans(&schedule("01:15", "01:45"), "2026-10-25").unwrap(),
        "2026-10-25T00:15:00Z 2026-10-25T01:45:00Z"
    );
    assert_eq!(
        spans(&schedule("08:00", "08:00"), "2026-03-28").unwrap(),
        "2026-03-28T08:00:00Z 2026-03-29T07:00:00Z"
    );
}

#[test]
fn a_schedule_begins_on_its_days_and_not_on_its_exceptions() {
    let mut school = schedule("21:30", "06:30");
    school.days = [DayOfWeek::Sun, DayOfWeek::Mon].into();
    school.except = ["2026-12-28".parse().unwrap()].into();
    assert!(spans(&school, "2026-12-20").is_some(), "a Sunday");
    assert!(spans(&school, "2026-12-22").is_none(), "a Tuesday");
    assert!(
        spans(&school, "2026-12-28").is_none(),
        "a Monday of holidays"
    );
    let zone = TimeZone::get("Europe/London").unwrap();
    let next = school
        .next_begin(&zone, "2026-12-27T22:00:00Z".parse().unwrap())
        .unwrap();
    assert_eq!(next.to_string(), "2027-01-03T21:30:00Z");
    let (from, _) = school
        .running(&zone, "2026-12-28T03:00:00Z".parse().unwrap())
        .unwrap();
    assert_eq!(from.to_string(), "2026-12-27T21:30:00Z");
}

/// A schedule with one change.
fn with(schedule: &Schedule, change: impl FnOnce(&mut Schedule)) -> Schedule {
    let mut changed = schedule.clone();
    change(&mut changed);
    changed
}

#[test]
fn a_schedule_that_blocks_at_fewer_hours_or_less_is_loosened() {
    let slugs = |slugs: &[&str]| {
        slugs
            .iter()
            .map(|slug| (*slug).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let bedtime = schedule("21:30", "06:30");
    let weekend = with(&bedtime, |schedule| {
        schedule.days = [DayOfWeek::Sat, DayOfWeek::Sun].into()
    });
    let holidays = with(&bedtime, |schedule| {
        schedule.except = ["2026-12-28".parse().unwrap()].into()
    });
    let homework = with(&schedule("16:00", "18:00"), |schedule| {
        (schedule.pause, schedule.block) = (false, slugs(&["games", "social"]));
    });
    let quiet = with(&homework, |schedule| schedule.pause = true);
    let games = with(&homework, |schedule| schedule.block = slugs(&["games"]));
    // Each row changes the first schedule into the second: whether that loosens it, and whether
    // the reverse does.
    for (what, one, other, there, back) in [
        ("nothing", &bedtime, &bedtime, false, false),
        (
            "it ends later",
            &bedtime,
            &schedule("21:30", "07:00"),
            false,
            true,
        ),
        (
            "it begins later",
            &bedtime,
            &schedule("22:00", "06:30"),
            true,
            false,
        ),
        (
            "both ends move the same way",
            &bedtime,
            &schedule("22:30", "07:30"),
            true,
            true,
        ),
        (
            "it ends before midnight",
            &bedtime,
            &schedule("21:30", "23:30"),
            true,
            false,
        ),
        (
            "it ends at midnight",
            &bedtime,
            &schedule("21:30", "00:00"),
            true,
            false,
        ),
        (
            "the night becomes the day",
            &bedtime,
            &schedule("06:30", "21:30"),
            true,
            true,
        ),
        (
            "it holds all day",
            &schedule("08:00", "08:00"),
            &schedule("08:00", "07:59"),
            true,
            false,
        ),
        ("fewer days", &bedtime, &weekend, true, false),
        ("a holiday", &bedtime, &holidays, true, false),
        ("fewer categories", &homework, &games, true, false),
        (
            "the pause ends and the block stays",
            &quiet,
            &homework,
            true,
            false,
        ),
        (
            "the block ends and the pause stays",
            &quiet,
            &with(&quiet, |schedule| schedule.block.clear()),
            true,
            false,
        ),
    ] {
        assert_eq!(
            Schedule::is_loosened(Some(one), Some(other)),
            there,
            "{what}"
        );
        assert_eq!(
            Schedule::is_loosened(Some(other), Some(one)),
            back,
            "{what}, undone"
        );
    }
    for blocking in [&bedtime, &homework, &quiet] {
        assert!(
            Schedule::is_loosened(Some(blocking), None)
                && !Schedule::is_loosened(None, Some(blocking))
        );
    }
}

#[test]
fn a_schedule_that_allows_at_more_hours_or_more_is_loosened() {
    let allow = |from: &str, to: &str, allowed: &[&str]| {
        with(&schedule(from, to), |schedule| {
            (schedule.pause, schedule.allow) = (
                false,
                allowed.iter().map(|slug| (*slug).to_owned()).collect(),
            );
        })
    };
    let evening = allow("19:00", "20:00", &["games"]);
    for (what, one, other, there, back) in [
        ("nothing", &evening, &evening, false, false),
        (
            "it ends later",
            &evening,
            &allow("19:00", "21:00", &["games"]),
            true,
            false,
        ),
        (
            "it begins later",
            &evening,
            &allow("19:30", "20:00", &["games"]),
            false,
            true,
        ),
        (
            "it ends in the morning",
            &evening,
            &allow("19:00", "02:00", &["games"]),
            true,
            false,
        ),
        (
            "more is allowed",
            &evening,
            &allow("19:00", "20:00", &["games", "social"]),
            true,
            false,
        ),
        (
            "something else is allowed",
            &evening,
            &allow("19:00", "20:00", &["social"]),
            true,
            true,
        ),
        (
            "fewer days",
            &evening,
            &with(&evening, |schedule| schedule.days = [DayOfWeek::Sat].into()),
            false,
            true,
        ),
        (
            "a pause instead",
            &evening,
            &schedule("19:00", "20:00"),
            false,
            true,
        ),
    ] {
        assert_eq!(
            Schedule::is_loosened(Some(one), Some(other)),
            there,
            "{what}"
        );
        assert_eq!(
            Schedule::is_loosened(Some(other), Some(one)),
            back,
            "{what}, undone"
        );
    }
    assert!(
        Schedule::is_loosened(None, Some(&evening)) && !Schedule::is_loosened(Some(&evening), None)
    );
}

#[test]
fn an_overnight_schedule_runs_from_evening_to_morning_and_begins_again() {
    let zone = TimeZone::UTC;
    let bedtime = schedule("21:30", "06:30");
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let night = Some((at("2026-06-01T21:30:00Z"), at("2026-06-02T06:30:00Z")));
    for (instant, running, next) in [
        ("2026-06-01T21:29:59Z", None, "2026-06-01T21:30:00Z"),
        ("2026-06-01T21:30:00Z", night, "2026-06-02T21:30:00Z"),
        ("2026-06-02T00:00:00Z", night, "2026-06-02T21:30:00Z"),
        ("2026-06-02T06:29:59Z", night, "2026-06-02T21:30:00Z"),
        ("2026-06-02T06:30:00Z", None, "2026-06-02T21:30:00Z"),
    ] {
        assert_eq!(bedtime.running(&zone, at(instant)), running, "{instant}");
        assert_eq!(
            bedtime.next_begin(&zone, at(instant)),
            Some(at(next)),
            "{instant}"
        );
    }
}

#[test]
fn grants_survive_json_with_their_author() {
    let json = r#"{"category":"games","until":"2026-01-01T10:00:00Z","set_by":"key:1","set_at":"2026-01-01T09:15:00Z"}"#;
    let grant: crate::rules::household::Attributed<Grant> = serde_json::from_str(json).unwrap();
    assert_eq!(grant.value.what, GrantTarget::Category("games".to_owned()));
    assert_eq!(serde_json::to_string(&grant).unwrap(), json);
    let all: Grant =
        serde_json::from_str(r#"{"everything":true,"until":"2026-01-01T10:00:00Z"}"#).unwrap();
    assert_eq!(all.what, GrantTarget::Everything(true));
}
