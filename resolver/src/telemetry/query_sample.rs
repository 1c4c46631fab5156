//! What is asked for, as a sample: names and about how often, of nobody in particular. It tells
//! what a change of the lists would do.
//!
//! Each worker counts down to the one of so many queries whose name it puts into a bounded ring;
//! whoever empties the rings counts names by day (UTC) in a bounded table, and keeps two days of
//! them in files:
//!
//! ```text
//! queries-2026-11-21.tsv      NAME <tab> ABOUT HOW MANY QUERIES      most asked first
//! ```
//!
//! No household, device or address is known here. A name that the sample met only once is not
//! written, because it may say who asked; nor is one that is about addresses, or not of the
//! Internet at all.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use policy::name::{NAME_OCTETS_MAX, Name, NameRef};
use rtrb::{Consumer, Producer, RingBuffer};

/// Sampled names that wait, for each worker: a tenth of a second of a million queries a second, one
/// of 64 sampled.
const RING_NAMES: usize = 1 << 11;
/// Names of one day that are counted at a time.
const NAMES_MAX: usize = 200_000;
/// A name that was met less often is not written.
const MET_MIN: u32 = 2;
/// How many days are kept: this one and the one before.
const DAYS: i64 = 2;
/// Top labels of names that are of addresses or of a home, and say more of who asks than of what is
/// asked.
const NOT_OF_THE_INTERNET: [&[u8]; 7] = [
    b"arpa",
    b"home",
    b"internal",
    b"lan",
    b"local",
    b"localdomain",
    b"localhost",
];

/// A name on its way from a worker: with its room, for a worker allocates nothing.
pub struct CarriedName {
    octets: [u8; NAME_OCTETS_MAX],
    length: u8,
}

impl CarriedName {
    pub(crate) fn of(name: NameRef<'_>) -> Self {
        let wire = name.wire();
        let mut octets = [0; NAME_OCTETS_MAX];
        octets[..wire.len()].copy_from_slice(wire);
        Self {
            octets,
            length: u8::try_from(wire.len()).expect("a name has at most 255 octets"),
        }
    }

    /// The name.
    #[must_use]
    pub fn borrow(&self) -> NameRef<'_> {
        NameRef::from_wire(&self.octets[..usize::from(self.length)]).expect("it was a name")
    }
}

/// A worker's part: a countdown and a ring.
pub struct Asked {
    left: u32,
    every: u32,
    ring: Producer<CarriedName>,
}

impl Asked {
    /// Takes one of `every` names; none where that is 0.
    #[must_use]
    pub fn one_of(every: u32) -> (Self, Consumer<CarriedName>) {
        let (producer, consumer) = RingBuffer::new(if every == 0 { 1 } else { RING_NAMES });
        (
            Self {
                left: every,
                every,
                ring: producer,
            },
            consumer,
        )
    }

    /// A name is asked for.
    pub fn note(&mut self, name: NameRef<'_>) {
        // Without sampling this counts down from 0 around the numbers there are, to a ring that
        // nobody empties.
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            self.take(name);
        }
    }

    #[cold]
    #[inline(never)]
    fn take(&mut self, name: NameRef<'_>) {
        self.left = self.every;
        // A full ring loses names evenly, which is what a sample does anyway.
        let _ = self.ring.push(CarriedName::of(name));
    }
}

/// The names of some day, as they are counted.
struct Day {
    date: Date,
    met: HashMap<Name, u32>,
}

/// The sample of this node.
pub struct QuerySample {
    folder: PathBuf,
    every: u32,
    day: Mutex<Day>,
}

impl QuerySample {
    /// Goes on where the files in this folder end. `every` is the one of so many queries that is
    /// sampled.
    ///
    /// # Errors
    /// The system's, where this day's file cannot be read.
    pub fn open(folder: PathBuf, every: u32, now: Timestamp) -> io::Result<Self> {
        let date = date_of(now);
        let met = |about: u64| {
            u32::try_from(about / u64::from(every.max(1)))
                .unwrap_or(u32::MAX)
                .max(MET_MIN)
        };
        let met = read(&file(&folder, date))?
            .map(|(name, about)| (name, met(about)))
            .take(NAMES_MAX)
            .collect();
        Ok(Self {
            folder,
            every,
            day: Mutex::new(Day { date, met }),
        })
    }

    /// Counts a sampled name.
    pub fn note(&self, name: NameRef<'_>) {
        if is_of_interest(name) {
            self.day().note(name);
        }
    }

    /// Whether another day has begun than the one that is counted: then it is time to write.
    #[must_use]
    pub fn day_is_over(&self, now: Timestamp) -> bool {
        self.day().date != date_of(now)
    }

    /// Writes what was counted, begins a new day where one has begun, and removes the days before
    /// the last one.
    ///
    /// # Errors
    /// The system's; what was counted is kept then, but for the end of a day.
    pub fn write(&self, now: Timestamp) -> io::Result<()> {
        let today = date_of(now);
        let (date, mut names) = {
            let mut day = self.day();
            let names: Vec<(Name, u32)> = day
                .met
                .iter()
                .filter(|(_, met)| **met >= MET_MIN)
                .map(|(name, met)| (name.clone(), *met))
                .collect();
            let date = std::mem::replace(&mut day.date, today);
            if date != today {
                day.met.clear();
            }
            (date, names)
        };
        names.sort_unstable_by(|(name, met), (other, more)| {
            more.cmp(met).then_with(|| name.cmp(other))
        });
        if !names.is_empty() {
            self.write_file(&file(&self.folder, date), &names)?;
        }
        self.remove_old(today)
    }

    fn write_file(&self, path: &Path, names: &[(Name, u32)]) -> io::Result<()> {
        let aside = path.with_extension("new");
        let mut out = BufWriter::new(File::create(&aside)?);
        for (name, met) in names {
            writeln!(
                out,
                "{name}\t{}",
                u64::from(*met) * u64::from(self.every.max(1))
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

    /// Yesterday's names, the most asked first, and about how many queries each had; none where
    /// nothing was sampled.
    ///
    /// # Errors
    /// The system's, where there is a file that cannot be read.
    pub fn yesterday(&self, now: Timestamp) -> io::Result<impl Iterator<Item = (Name, u64)>> {
        read(&file(
            &self.folder,
            date_of(now).yesterday().unwrap_or(Date::MIN),
        ))
    }

    /// The same of this day until now, from what is counted: for a node that has no yesterday yet.
    #[must_use]
    pub fn today(&self) -> Vec<(Name, u64)> {
        let every = u64::from(self.every.max(1));
        let names = self
            .day()
            .met
            .iter()
            .map(|(name, met)| (name.clone(), *met))
            .collect::<Vec<_>>();
        names
            .into_iter()
            .filter(|(_, met)| *met >= MET_MIN)
            .map(|(name, met)| (name, u64::from(met) * every))
            .collect()
    }

    fn day(&self) -> MutexGuard<'_, Day> {
        self.day
            .lock()
            .expect("nothing panics while it holds the day")
    }
}

impl Day {
    fn note(&mut self, name: NameRef<'_>) {
        if self.met.len() >= NAMES_MAX {
            self.forget_rare();
        }
        *self.met.entry(name.to_owned()).or_default() += 1;
    }

    /// Makes room for a quarter: the names that were met least often go, whatever was met more
    /// often stays.
    fn forget_rare(&mut self) {
        let mut counts: Vec<u32> = self.met.values().copied().collect();
        let (_, &mut rare, _) = counts.select_nth_unstable(NAMES_MAX / 4);
        self.met.retain(|_, met| *met > rare);
    }
}

/// Names that say something of the Internet, and nothing of a home; no feed lists any of other
/// octets.
fn is_of_interest(name: NameRef<'_>) -> bool {
    let top = name.labels().last().unwrap_or_default();
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    name.label_count() > 1
        && !NOT_OF_THE_INTERNET.contains(&top)
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

/// What a file says; nothing where there is none. A line that cannot be read is left out.
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
