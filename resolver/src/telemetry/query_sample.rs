//! A sample of queried names with their estimated number of queries, without clients. It shows what
//! a change of the lists would affect.
//!
//! The sampling task drains the workers' rings (see [`crate::telemetry::name_sampler`]), counts names
//! by UTC day in a bounded table, and keeps two days in files:
//!
//! ```text
//! queries-2026-11-21.tsv      NAME <tab> ESTIMATED QUERIES      most queried first
//! ```
//!
//! The sample contains no household, device or address. Names that were sampled once are not
//! written, because they may identify a client; nor are reverse names and names of local networks.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use policy::name::{Name, NameRef};

/// Highest number of names in the table of a day.
const NAMES_MAX: usize = 200_000;
/// Names with fewer samples are not written.
const SAMPLES_MIN: u32 = 2;
/// Days that are kept: today and yesterday (UTC).
const DAYS: i64 = 2;
/// Top labels of reverse names and of names in local networks.
const LOCAL_TOP_LABELS: [&[u8]; 7] = [
    b"arpa",
    b"home",
    b"internal",
    b"lan",
    b"local",
    b"localdomain",
    b"localhost",
];

/// The names of one day, with their number of samples.
struct Day {
    date: Date,
    samples: HashMap<Name, u32>,
}

/// The sample of this node.
pub struct QuerySample {
    folder: PathBuf,
    every: u32,
    day: Mutex<Day>,
}

impl QuerySample {
    /// Continues from the files in this folder. One query of `every` is sampled.
    ///
    /// # Errors
    /// The file of this day cannot be read.
    pub fn open(folder: PathBuf, every: u32, now: Timestamp) -> io::Result<Self> {
        let date = date_of(now);
        let samples_of = |about: u64| {
            u32::try_from(about / u64::from(every.max(1)))
                .unwrap_or(u32::MAX)
                .max(SAMPLES_MIN)
        };
        let samples = read(&file(&folder, date))?
            .map(|(name, about)| (name, samples_of(about)))
            .take(NAMES_MAX)
            .collect();
        Ok(Self {
            folder,
            every,
            day: Mutex::new(Day { date, samples }),
        })
    }

    /// Adds a sampled name.
    pub fn note(&self, name: NameRef<'_>) {
        if is_of_interest(name) {
            self.day().note(name);
        }
    }

    /// Whether the day of the table is over, so that it must be written.
    #[must_use]
    pub fn day_is_over(&self, now: Timestamp) -> bool {
        self.day().date != date_of(now)
    }

    /// Writes the table, begins a new one if the day is over, and removes files older than yesterday.
    ///
    /// # Errors
    /// A file cannot be written or removed. The table is kept, unless its day is over.
    pub fn write(&self, now: Timestamp) -> io::Result<()> {
        let today = date_of(now);
        let (date, mut names) = {
            let mut day = self.day();
            let names: Vec<(Name, u32)> = day
                .samples
                .iter()
                .filter(|(_, samples)| **samples >= SAMPLES_MIN)
                .map(|(name, samples)| (name.clone(), *samples))
                .collect();
            let date = std::mem::replace(&mut day.date, today);
            if date != today {
                day.samples.clear();
            }
            (date, names)
        };
        names.sort_unstable_by(|(name, samples), (other, more)| {
            more.cmp(samples).then_with(|| name.cmp(other))
        });
        if !names.is_empty() {
            self.write_file(&file(&self.folder, date), &names)?;
        }
        self.remove_old(today)
    }

    fn write_file(&self, path: &Path, names: &[(Name, u32)]) -> io::Result<()> {
        let aside = path.with_extension("new");
        let mut out = BufWriter::new(File::create(&aside)?);
        for (name, samples) in names {
            writeln!(
                out,
                "{name}\t{}",
                u64::from(*samples) * u64::from(self.every.max(1))
            )?;
        }
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(aside, path)
    }

    fn remove_old(&self, today: Date) -> io::Result<()> {
        let oldest = today.saturating_sub(jiff::Span::new().days(DAYS - 1));
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if date_of_file(&path).is_some_and(|date| date < oldest) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Yesterday's names, the most queried first, with their estimated number of queries.
    ///
    /// # Errors
    /// The file cannot be read. A missing file is no error.
    pub fn yesterday(&self, now: Timestamp) -> io::Result<impl Iterator<Item = (Name, u64)>> {
        read(&file(
            &self.folder,
            date_of(now).yesterday().unwrap_or(Date::MIN),
        ))
    }

    /// Today's names, in no order, from the table: for a node without a file of yesterday.
    #[must_use]
    pub fn today(&self) -> Vec<(Name, u64)> {
        let every = u64::from(self.every.max(1));
        let names = self
            .day()
            .samples
            .iter()
            .map(|(name, samples)| (name.clone(), *samples))
            .collect::<Vec<_>>();
        names
            .into_iter()
            .filter(|(_, samples)| *samples >= SAMPLES_MIN)
            .map(|(name, samples)| (name, u64::from(samples) * every))
            .collect()
    }

    fn day(&self) -> MutexGuard<'_, Day> {
        self.day
            .lock()
            .expect("no thread panics while it holds the day")
    }
}

impl Day {
    fn note(&mut self, name: NameRef<'_>) {
        if self.samples.len() >= NAMES_MAX {
            self.forget_rare();
        }
        *self.samples.entry(name.to_owned()).or_default() += 1;
    }

    /// Removes the least sampled names, a quarter of the table or more.
    fn forget_rare(&mut self) {
        let mut counts: Vec<u32> = self.samples.values().copied().collect();
        let (_, &mut rare, _) = counts.select_nth_unstable(NAMES_MAX / 4);
        self.samples.retain(|_, samples| *samples > rare);
    }
}

/// Whether a name may be in the sample: at least two labels, of octets that occur in feeds, and not
/// of a local network.
fn is_of_interest(name: NameRef<'_>) -> bool {
    let top = name.labels().last().unwrap_or_default();
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    name.label_count() > 1
        && !LOCAL_TOP_LABELS.contains(&top)
        && name.labels().flatten().all(is_plain)
}

fn date_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

fn file(folder: &Path, date: Date) -> PathBuf {
    folder.join(format!("queries-{date}.tsv"))
}

fn date_of_file(path: &Path) -> Option<Date> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("queries-")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// Reads a file; a missing one is empty. Lines that do not parse are skipped.
fn read(path: &Path) -> io::Result<impl Iterator<Item = (Name, u64)> + use<>> {
    let lines = match File::open(path) {
        Ok(file) => Some(BufReader::new(file).lines()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let parse = |line: String| {
        let (name, about) = line.split_once('\t')?;
        Some((Name::parse(name).ok()?, about.parse().ok()?))
    };
    Ok(lines
        .into_iter()
        .flatten()
        .map_while(Result::ok)
        .filter_map(parse))
}

#[cfg(test)]
mod tests;
