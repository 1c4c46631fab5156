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
mod tests;
