//! Settings for a limited time: schedules, grants and pauses. Schedules are written in the clock
//! time of the household's zone and compiled to instants.
//!
//! When clocks go back, a clock time can occur twice: a schedule begins at the first occurrence and
//! ends at the last, so that bedtime has no gap of an hour. When clocks go forward, a clock time
//! can be skipped: it then counts as that many minutes after the change (RFC 5545 section 3.3.5).

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use crate::{name::Name, unix_seconds::UnixSeconds};

/// The longest grant, in minutes: a week.
pub const GRANT_MINUTES_MAX: u32 = 7 * 24 * 60;
/// The most dates in [`Schedule::except`].
pub const EXCEPTIONS_MAX: usize = 366;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DayOfWeek {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl DayOfWeek {
    /// All days, from Monday on.
    pub const ALL: [Self; 7] = [
        Self::Mon,
        Self::Tue,
        Self::Wed,
        Self::Thu,
        Self::Fri,
        Self::Sat,
        Self::Sun,
    ];
}

impl From<Weekday> for DayOfWeek {
    fn from(day: Weekday) -> Self {
        Self::ALL[usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)]
    }
}

/// A time of day, to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockTime {
    minutes: u16,
}

/// The text is not a [`ClockTime`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time of day such as 21:30")]
pub struct ClockTimeError(String);

impl FromStr for ClockTime {
    type Err = ClockTimeError;

    fn from_str(text: &str) -> Result<Self, ClockTimeError> {
        let number = |part: &str, below: u16| {
            let is_number = part.len() == 2 && part.bytes().all(|octet| octet.is_ascii_digit());
            part.parse::<u16>()
                .ok()
                .filter(|number| is_number && *number < below)
        };
        let parts = text
            .split_once(':')
            .and_then(|(hours, minutes)| Some((number(hours, 24)?, number(minutes, 60)?)));
        let (hours, minutes) =
            parts.ok_or_else(|| ClockTimeError(text.chars().take(32).collect()))?;
        Ok(Self {
            minutes: hours * 60 + minutes,
        })
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

impl Serialize for ClockTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClockTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl ClockTime {
    fn on_a_clock(self) -> Time {
        let [hour, minute] = [self.minutes / 60, self.minutes % 60]
            .map(|part| i8::try_from(part).expect("below 60"));
        Time::constant(hour, minute, 0, 0)
    }
}

/// What is in force at certain hours of certain days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Schedule {
    /// The days on which it begins.
    pub days: BTreeSet<DayOfWeek>,
    /// When it begins, by the clocks of the household, such as `21:30`.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub from: ClockTime,
    /// When it ends: on the next day, unless that is later than it begins.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub to: ClockTime,
    /// Categories that are blocked meanwhile, by slug.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub block: BTreeSet<String>,
    /// Categories that are allowed meanwhile, by slug.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub allow: BTreeSet<String>,
    /// Whether the Internet is paused meanwhile.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub pause: bool,
    /// Dates on which it does not begin: holidays. Absent if there is none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub except: BTreeSet<Date>,
}

/// The time in which a schedule runs: begin (inclusive) and end (exclusive).
pub(crate) type Span = (UnixSeconds, UnixSeconds);

impl Schedule {
    /// The time in which it runs, if it begins on this date.
    pub(crate) fn span(&self, zone: &TimeZone, date: Date) -> Option<Span> {
        if !self.days.contains(&date.weekday().into()) || self.except.contains(&date) {
            return None;
        }
        let last = if self.to > self.from {
            date
        } else {
            date.checked_add(1.day()).ok()?
        };
        let begin = zone
            .to_ambiguous_timestamp(date.to_datetime(self.from.on_a_clock()))
            .compatible()
            .ok()?;
        let end = zone
            .to_ambiguous_timestamp(last.to_datetime(self.to.on_a_clock()))
            .later()
            .ok()?;
        (begin < end).then(|| (UnixSeconds::of(begin), UnixSeconds::of(end)))
    }

    /// The time in which it runs, if it runs at this instant.
    #[must_use]
    pub fn running(&self, zone: &TimeZone, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let today = zone.to_datetime(at).date();
        let dates = [Some(today), today.yesterday().ok()].into_iter().flatten();
        let (from, to) = dates
            .filter_map(|date| self.span(zone, date))
            .find(|(from, to)| (*from..*to).contains(&UnixSeconds::of(at)))?;
        from.timestamp().zip(to.timestamp())
    }

    /// Whether a change or the removal of a schedule may permit something that was blocked.
    #[must_use]
    pub fn is_loosened(was: Option<&Self>, is: Option<&Self>) -> bool {
        let blocks = |schedule: &&Self| schedule.pause || !schedule.block.is_empty();
        let blocks_less = was.filter(blocks).is_some_and(|was| {
            !is.is_some_and(|is| {
                is.covers_hours_of(was)
                    && is.block.is_superset(&was.block)
                    && (is.pause || !was.pause)
            })
        });
        let allows = |schedule: &&Self| !schedule.allow.is_empty();
        let allows_more = is.filter(allows).is_some_and(|is| {
            !was.is_some_and(|was| was.covers_hours_of(is) && was.allow.is_superset(&is.allow))
        });
        blocks_less || allows_more
    }

    /// Whether it runs at all times at which another one does.
    fn covers_hours_of(&self, other: &Self) -> bool {
        let end = |schedule: &Self| {
            schedule.to.minutes
                + if schedule.to > schedule.from {
                    0
                } else {
                    24 * 60
                }
        };
        self.days.is_superset(&other.days)
            && self.except.is_subset(&other.except)
            && self.from <= other.from
            && end(self) >= end(other)
    }

    /// Its next begin, within ten days.
    #[must_use]
    pub fn next_begin(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let today = zone.to_datetime(after).date();
        let dates = (0..10).filter_map(|days| today.checked_add(days.days()).ok());
        let begins = dates
            .filter_map(|date| self.span(zone, date))
            .map(|(begin, _)| begin);
        begins
            .filter(|begin| *begin > UnixSeconds::of(after))
            .min()?
            .timestamp()
    }
}

/// What a grant allows. One key, as in `{"category": "games"}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantTarget {
    /// A category, for names that no other category blocks.
    Category(String),
    /// A name and all names below it.
    Domain(Name),
    /// Everything; `false` is nothing.
    Everything(bool),
}

/// Something that is allowed for a time, as a reward or an answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Grant {
    #[serde(flatten)]
    #[cfg_attr(feature = "schema", schema(inline))]
    pub what: GrantTarget,
    /// When it ends by itself, RFC 3339.
    pub until: Timestamp,
}

/// The Internet is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pause {
    /// When it is on again by itself, RFC 3339.
    pub until: Timestamp,
}

#[cfg(test)]
mod tests {
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
            Schedule::is_loosened(None, Some(&evening))
                && !Schedule::is_loosened(Some(&evening), None)
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
}
