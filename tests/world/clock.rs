//! The wall clock of the daemon, set by Debian's libfaketime: the program has no test setting for
//! it, so the tested program is the shipped one.
//!
//! A file holds the offset from the real clock. The fake clock keeps running, also while the daemon
//! is down. Monotonic time is always real.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// A wall clock that a test can set.
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

    /// Sets the clock: `2030-01-01 12:00:00`, in UTC.
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

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        let by = i128::try_from(by.as_nanos()).expect("less than ages");
        self.publish(self.ahead() + by);
    }

    /// The time of the clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_nanosecond(real() + self.ahead()).expect("a time of our days")
    }

    /// The environment variables that the daemon needs.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        let pairs = [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // File times are not faked, so that a jump of the clock changes no list.
            ("NO_FAKE_STAT", "1".to_owned()),
            ("TZ", "UTC".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// The offset from the real clock in nanoseconds.
    fn ahead(&self) -> i128 {
        let text = fs::read_to_string(&self.file).expect("the clock's file is ours");
        let (sign, digits) = text.trim().split_at(1);
        let (seconds, nanos) = digits.split_once('.').expect("we wrote it");
        let ahead = seconds.parse::<i128>().expect("digits") * 1_000_000_000
            + nanos.parse::<i128>().expect("digits");
        if sign == "-" { -ahead } else { ahead }
    }

    /// In one step, so that readers find the old or the new offset.
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

/// The library, in the folder of this machine's architecture.
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
