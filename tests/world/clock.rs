//! The wall clock that the daemon sees, by Debian's libfaketime: the program has no knob for it, so
//! what is tested is what runs.
//!
//! A file holds how far that clock is from the real one. It goes on by itself, also while the
//! daemon is down; time that is measured, not read off a clock, is always real.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// A clock that is set.
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// A clock whose file is in `folder`, set to this time.
    pub(super) fn new(folder: &Path, time: &str) -> Self {
        let clock = Self {
            file: folder.join("clock"),
        };
        clock.set(time);
        clock
    }

    /// Sets it: `2030-01-01 12:00:00`, in UTC.
    pub fn set(&self, time: &str) {
        let civil: DateTime = time
            .parse()
            .unwrap_or_else(|error| panic!("{time:?}: {error}"));
        let wanted = civil
            .to_zoned(TimeZone::UTC)
            .expect("a time of our days")
            .timestamp();
        self.publish(wanted.as_nanosecond() - real());
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let by = i128::try_from(by.as_nanos()).expect("less than ages");
        self.publish(self.ahead() + by);
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_nanosecond(real() + self.ahead()).expect("a time of our days")
    }

    /// What the daemon must be started with.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        let pairs = [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // Files keep their times: a clock that jumps changes no list.
            ("NO_FAKE_STAT", "1".to_owned()),
            ("TZ", "UTC".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Nanoseconds that it is ahead of the real one.
    fn ahead(&self) -> i128 {
        let text = fs::read_to_string(&self.file).expect("the clock's file is ours");
        let (sign, digits) = text.trim().split_at(1);
        let (seconds, nanos) = digits.split_once('.').expect("we wrote it");
        let ahead = seconds.parse::<i128>().expect("digits") * 1_000_000_000
            + nanos.parse::<i128>().expect("digits");
        if sign == "-" { -ahead } else { ahead }
    }

    /// In one step: whoever reads it finds the old or the new.
    fn publish(&self, ahead: i128) {
        let sign = if ahead < 0 { '-' } else { '+' };
        let ahead = ahead.unsigned_abs();
        let text = format!(
            "{sign}{}.{:09}\n",
            ahead / 1_000_000_000,
            ahead % 1_000_000_000
        );
        let aside = self.file.with_extension("new");
        fs::write(&aside, text)
            .and_then(|()| fs::rename(&aside, &self.file))
            .expect("the folder is ours");
    }
}

fn real() -> i128 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i128::try_from(since.as_nanos()).expect("less than ages")
}

/// The library, in the folder of whatever machine this is.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    files
        .find(|file| file.exists())
        .expect("libfaketime is missing: make tools/tests installs it")
}
