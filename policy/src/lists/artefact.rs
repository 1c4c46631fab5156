//! The artefact: all feeds, compiled into one file. The writer stands beside it in
//! [`crate::lists::builder`], what differs between two generations in [`crate::lists::delta`].
//!
//! ```text
//! 8    magic "OXPLIST\n"
//! 4    format version, big endian, as all numbers here
//! 4    length of the header
//! …    header: JSON, a Header
//! …    mark sets: per set the number of marks (2), then 10 octets a mark, see listing.rs
//! …    the FST: reversed names (name.rs), addresses and paths (key.rs) to the place of a mark set
//! 32   SHA-256 of everything above
//! ```
//!
//! A file is written aside, synced and renamed, so a reader sees all of it or nothing, and the
//! reader checks the hash and the whole structure before it believes any of it. Mark sets are few
//! (one for each combination of feeds that list a name), ordered by how often they occur: small
//! values make a small FST.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::lists::entry::{
    EntryAction, ListEntry, LocalData, MARK_OCTETS, NO_CATEGORY, Scope, Tier,
};

pub(crate) const MAGIC: &[u8; 8] = b"OXPLIST\n";
/// Begins a delta, see [`crate::lists::delta`].
pub(crate) const DELTA_MAGIC: &[u8; 8] = b"OXDELTA\n";
/// Raised with every change of the format; an artefact of another version is refused and built anew
/// from the feeds.
pub const FORMAT_VERSION: u32 = 2;
const HASH_OCTETS: usize = 32;
/// An artefact above this is not one of ours: a bound for what a wrong file can make the reader
/// allocate. In octets.
const ARTEFACT_OCTETS_MAX: u64 = 16 << 30;

/// What an artefact says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Which generation this is: 1 for the first that this installation built, then a higher one
    /// each time.
    pub generation: u64,
    /// The generation that this one was made from, where it was not built of the feeds alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// When it was built, RFC 3339.
    pub built_at: jiff::Timestamp,
    /// The feeds, in the order by which marks name them.
    pub feeds: Vec<FeedSummary>,
    /// Feeds that were defined when these lists were gone back to and that they do not have: they
    /// stay out until they are let go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<String>,
    /// The categories' slugs, in the order by which marks name them.
    pub categories: Vec<String>,
    /// When entries came, by the place that [`crate::lists::entry::ListEntry::arrival`] names: the oldest
    /// first. The first place stands for its time and all before.
    #[serde(default)]
    pub arrivals: Vec<jiff::Timestamp>,
    /// What [`crate::lists::entry::EntryAction::LocalData`] answers; of a delta, what it adds to its parent's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<LocalData>,
    /// Distinct names, address prefixes and paths.
    pub names: u64,
    /// Entries of all feeds; a name that three feeds list counts three times, and one that a feed
    /// lists twice in the same way once.
    pub entries: u64,
    /// Length of the mark sets, in octets.
    pub mark_sets_octets: u64,
    /// Length of the FST, in octets.
    pub fst_octets: u64,
}

impl Header {
    /// A header without feeds.
    #[must_use]
    pub fn of(generation: u64, built_at: jiff::Timestamp) -> Self {
        Self {
            generation,
            parent: None,
            built_at,
            feeds: Vec::new(),
            held_back: Vec::new(),
            categories: Vec::new(),
            arrivals: Vec::new(),
            answers: Vec::new(),
            names: 0,
            entries: 0,
            mark_sets_octets: 0,
            fst_octets: 0,
        }
    }
}

/// Times that marks can name.
pub(crate) const ARRIVALS_MAX: usize = 1 << 16;

impl Header {
    /// Reads one, and checks that marks can name all that it lists.
    pub(crate) fn read(json: &[u8]) -> Result<Self, &'static str> {
        let header: Self = serde_json::from_slice(json).map_err(|_| "its header cannot be read")?;
        let is_nameable = header.feeds.len() <= 1 << 16
            && header.categories.len() <= usize::from(NO_CATEGORY)
            && header.arrivals.len() <= ARRIVALS_MAX;
        if is_nameable {
            Ok(header)
        } else {
            Err("its header lists more than marks can name")
        }
    }

    /// Whether marks of the one name in the other the same feeds and categories, with the same
    /// meaning.
    pub(crate) fn is_continued_by(&self, other: &Self) -> bool {
        self.feeds.len() == other.feeds.len()
            && self.categories == other.categories
            && self.feeds.iter().zip(&other.feeds).all(|(one, other)| {
                (&one.name, one.tier, one.most_specific)
                    == (&other.name, other.tier, other.most_specific)
            })
    }
}

/// The text in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// An address without user information and query, in which providers put licence keys. Other text
/// stays as it is. An artefact is read by every node, and by every reader of a shared folder.
#[must_use]
pub fn without_secrets(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, format!("?{HIDDEN}")),
        None => (rest, String::new()),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}{query}"),
        None => format!("{scheme}://{host}{path}{query}"),
    }
}

/// What became of one feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedSummary {
    /// The feed's name in the configuration.
    pub name: String,
    /// Where it came from, as configured, [without secrets](without_secrets).
    pub source: String,
    /// Its format, as configured.
    pub format: String,
    /// What a bare name in it means; absent where the format's own syntax says it.
    pub scope: Option<Scope>,
    /// Who decides about it.
    pub tier: Tier,
    /// Digest of the feed's definition: an entry built under another definition is not carried on.
    pub definition: String,
    /// Digest of paths, sizes and times of change of the files it was read from: whether it must be
    /// read again.
    pub fingerprint: String,
    /// Whether a deeper entry replaces what shallower ones of this feed say, instead of adding to
    /// it.
    #[serde(default)]
    pub most_specific: bool,
    /// The version whose entries these are: a zone's serial, a sequence number, or the beginning of
    /// a SHA-256.
    #[serde(default)]
    pub version: String,
    /// The generation in which that version came.
    #[serde(default)]
    pub generation: u64,
    /// When the entries were last read from their source and found good.
    #[serde(default)]
    pub read_at: jiff::Timestamp,
    /// Whether an operator rolled the feed back. It keeps this version until the operator resumes
    /// it.
    #[serde(default)]
    pub held: bool,
    /// Whether the feed was no longer defined when these lists were gone back to: its entries stand
    /// in the file and say nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// What was refused, if the newest version was; the entries are then those of the version
    /// before. Lists of this version do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RejectedVersion>,
    /// What was understood of it and what was not.
    pub report: FeedReport,
}

impl FeedSummary {
    /// A feed of which nothing was read.
    #[must_use]
    pub fn new(name: &str, tier: Tier) -> Self {
        Self {
            name: name.to_owned(),
            source: String::new(),
            format: String::new(),
            scope: None,
            tier,
            definition: String::new(),
            fingerprint: String::new(),
            most_specific: false,
            version: String::new(),
            generation: 0,
            read_at: jiff::Timestamp::UNIX_EPOCH,
            held: false,
            withdrawn: false,
            refused: None,
            report: FeedReport::default(),
        }
    }
}

/// A version of a feed that a gate stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedVersion {
    /// Which version.
    pub version: String,
    /// Which gate, in a word that stays.
    pub gate: String,
    /// The same for people.
    pub detail: String,
    /// Entries that it would have had.
    pub entries: u64,
    /// When.
    pub at: jiff::Timestamp,
}

/// What was understood of a feed and what was not: bad lines are data, never an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FeedReport {
    /// Lines read, comments and blank ones included.
    pub lines: u64,
    /// Entries taken.
    pub entries: u64,
    /// Entries with a path: they never block their host.
    pub paths: u64,
    /// Entries about addresses of answers.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub addresses: u64,
    /// Rows in a syntax that this format's subset does not know.
    pub unsupported: u64,
    /// Rows that hold no name.
    pub bad: u64,
    /// Subtree entries at a public suffix: refused at a top-level name, narrowed to the name itself
    /// at a longer one (`co.uk`).
    pub public_suffixes: u64,
    /// Of those, how many at a suffix of a registry; such as `github.io`, which is not one, are
    /// listed every day.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub registry_suffixes: u64,
    /// Names of the operator's own that its entries cover: excepted from them.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required))]
    pub own_names: u64,
    /// Rows of folders or codes that the configuration maps to no category.
    pub unmapped: u64,
    /// SHA-256 of what was read, in hexadecimal.
    pub sha256: String,
    /// The first few complaints, for the person who mends the feed.
    pub samples: Vec<Complaint>,
}

/// One row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Complaint {
    /// The file, where the feed is a folder.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The row, shortened, with what cannot be printed replaced.
    pub text: String,
    /// What is wrong.
    pub reason: String,
}

/// What can be wrong with an artefact, by step.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// The file system refused.
    #[error("{step} {path}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The FST could not be written.
    #[error("writing the transducer of {path}")]
    Fst {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        #[source]
        source: fst::Error,
    },
    /// Not an artefact at all.
    #[error("{0} is not a list artefact")]
    NotAnArtefact(PathBuf),
    /// Of another format version.
    #[error(
        "{path} has format version {version}, this program reads {FORMAT_VERSION}: build the lists again"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says it is.
        version: u32,
    },
    /// Shorter or longer than it says, or its hash does not match.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not add up.
        what: &'static str,
    },
    /// It names a category that the taxonomy does not have.
    #[error(
        "{path} names the category {slug:?}, which the taxonomy does not have: build the lists again"
    )]
    UnknownCategory {
        /// The file.
        path: PathBuf,
        /// The category.
        slug: String,
    },
    /// More distinct marks, or more feeds, than the format has room for.
    #[error("more than {0} {1} do not fit into one artefact")]
    TooMany(usize, &'static str),
    /// A delta of another parent, or of one that is not there.
    #[error("{path} continues generation {parent}, which is not at hand")]
    NoParent {
        /// The file.
        path: PathBuf,
        /// What it continues.
        parent: u64,
    },
}

/// What was written, for the log and for the one who asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WrittenArtefact {
    /// The file.
    pub path: PathBuf,
    /// Its header.
    pub header: Header,
    /// Its length in octets.
    pub octets: u64,
}

/// Writes a file so that a crash at any instant leaves the old one or the new one: aside, sync,
/// rename, sync the folder.
pub(crate) fn write_aside(
    path: &Path,
    write: impl FnOnce(File) -> Result<File, ArtefactError>,
) -> Result<(), ArtefactError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".writing-{}", std::process::id()));
    let aside = PathBuf::from(aside);
    let written = File::create(&aside)
        .map_err(io("creating", &aside))
        .and_then(write)
        .and_then(|file| file.sync_all().map_err(io("syncing", &aside)))
        .and_then(|()| std::fs::rename(&aside, path).map_err(io("renaming to", path)))
        .and_then(|()| {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(io("syncing", folder))
        });
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = std::fs::remove_file(&aside);
    }
    written
}

/// A file without a name, on the file system of `path`; gone when closed.
pub(crate) fn tempfile_beside(path: &Path) -> Result<File, ArtefactError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder).map_err(io("creating a temporary file in", folder))
}

pub(crate) struct Hashing<W> {
    pub(crate) inner: W,
    pub(crate) hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(octets)?;
        self.hash.update(&octets[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ArtefactError {
    let path = path.to_owned();
    move |source| ArtefactError::Io { step, path, source }
}

/// An artefact that was read and found whole.
pub(crate) struct Contents {
    pub(crate) header: Header,
    pub(crate) mark_sets: Vec<Vec<ListEntry>>,
    pub(crate) octets: Vec<u8>,
    pub(crate) fst: std::ops::Range<usize>,
    pub(crate) sha256: String,
}

/// A file of ours that was read and whose hash is right: its header as text, and what follows.
pub(crate) struct Envelope {
    pub(crate) octets: Vec<u8>,
    pub(crate) header: std::ops::Range<usize>,
    /// Where the hash begins.
    pub(crate) body_end: usize,
    pub(crate) sha256: String,
}

/// Reads a file that begins with a magic, a version and a length of its header, and ends with the
/// hash of all that.
pub(crate) fn open_envelope(path: &Path, magic: &[u8; 8]) -> Result<Envelope, ArtefactError> {
    let damaged = |what| ArtefactError::Damaged {
        path: path.to_owned(),
        what,
    };
    let octets = read_bounded(path)?;
    if octets.len() < 16 || octets[..8] != *magic {
        return Err(ArtefactError::NotAnArtefact(path.to_owned()));
    }
    let number =
        |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().expect("four octets"));
    if number(8) != FORMAT_VERSION {
        return Err(ArtefactError::Version {
            path: path.to_owned(),
            version: number(8),
        });
    }
    let body_end = octets
        .len()
        .checked_sub(HASH_OCTETS)
        .ok_or_else(|| damaged("it ends early"))?;
    let hash = Sha256::digest(&octets[..body_end]);
    if hash[..] != octets[body_end..] {
        return Err(damaged("its hash does not match"));
    }
    // What follows is what our own writer hashed; it is checked all the same, for a writer can be
    // wrong too.
    let header = 16..16 + number(12) as usize;
    if header.end > body_end {
        return Err(damaged("its header ends early"));
    }
    Ok(Envelope {
        header,
        body_end,
        sha256: hexadecimal(&hash),
        octets,
    })
}

/// Writes the envelope around what `write` writes.
pub(crate) fn write_envelope<W: Write>(
    file: W,
    magic: &[u8; 8],
    header: &Header,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> std::io::Result<(W, String)> {
    let json = serde_json::to_vec(header).map_err(std::io::Error::other)?;
    let mut out = Hashing {
        inner: file,
        hash: Sha256::new(),
    };
    out.write_all(magic)?;
    out.write_all(&FORMAT_VERSION.to_be_bytes())?;
    out.write_all(
        &u32::try_from(json.len())
            .map_err(std::io::Error::other)?
            .to_be_bytes(),
    )?;
    out.write_all(&json)?;
    write(&mut out)?;
    let Hashing { mut inner, hash } = out;
    let hash = hash.finalize();
    inner.write_all(&hash)?;
    Ok((inner, hexadecimal(&hash)))
}

/// Octets in hexadecimal, as digests are written.
#[must_use]
pub fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Reads and verifies all of an artefact.
pub(crate) fn read(path: &Path) -> Result<Contents, ArtefactError> {
    let damaged = |what| ArtefactError::Damaged {
        path: path.to_owned(),
        what,
    };
    let Envelope {
        octets,
        header: header_range,
        body_end,
        sha256,
    } = open_envelope(path, MAGIC)?;
    let header = Header::read(&octets[header_range.clone()]).map_err(damaged)?;
    let sets_end = header_range
        .end
        .saturating_add(usize::try_from(header.mark_sets_octets).unwrap_or(usize::MAX));
    let fst_end = sets_end.saturating_add(usize::try_from(header.fst_octets).unwrap_or(usize::MAX));
    if fst_end != body_end {
        return Err(damaged("its sections do not fill it"));
    }
    let mark_sets = read_mark_sets(&octets[header_range.end..sets_end], &header)
        .ok_or_else(|| damaged("its mark sets cannot be read"))?;
    Ok(Contents {
        header,
        mark_sets,
        octets,
        fst: sets_end..fst_end,
        sha256,
    })
}

/// The header of an artefact or of a delta, without reading or checking what follows it.
///
/// # Errors
/// It is not a file of ours.
pub fn peek(path: &Path) -> Result<Header, ArtefactError> {
    let mut file = File::open(path).map_err(io("opening", path))?;
    let mut start = [0; 16];
    file.read_exact(&mut start).map_err(io("reading", path))?;
    if start[..8] != *MAGIC && start[..8] != *DELTA_MAGIC {
        return Err(ArtefactError::NotAnArtefact(path.to_owned()));
    }
    let number = |at: usize| u32::from_be_bytes(start[at..at + 4].try_into().expect("four octets"));
    if number(8) != FORMAT_VERSION {
        return Err(ArtefactError::Version {
            path: path.to_owned(),
            version: number(8),
        });
    }
    let mut header = Vec::new();
    file.take(u64::from(number(12)))
        .read_to_end(&mut header)
        .map_err(io("reading", path))?;
    serde_json::from_slice(&header).map_err(|_| ArtefactError::Damaged {
        path: path.to_owned(),
        what: "its header cannot be read",
    })
}

/// The SHA-256 that stands at the end of an artefact or a delta, in hexadecimal, unchecked.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = [0; HASH_OCTETS];
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(-(HASH_OCTETS as i64)))?;
    file.read_exact(&mut hash)?;
    Ok(hexadecimal(&hash))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ArtefactError> {
    let mut file = File::open(path).map_err(io("opening", path))?;
    let length = file.metadata().map_err(io("measuring", path))?.len();
    if length > ARTEFACT_OCTETS_MAX {
        return Err(ArtefactError::Damaged {
            path: path.to_owned(),
            what: "it is longer than any artefact",
        });
    }
    let mut octets = Vec::with_capacity(usize::try_from(length).expect("bounded above"));
    file.read_to_end(&mut octets).map_err(io("reading", path))?;
    Ok(octets)
}

fn read_mark_sets(mut octets: &[u8], header: &Header) -> Option<Vec<Vec<ListEntry>>> {
    let mut sets = Vec::new();
    while !octets.is_empty() {
        sets.push(read_marks(&mut octets, header, header.answers.len())?);
    }
    Some(sets)
}

/// Reads the number of marks and that many marks, each of which must name what exists; moves on
/// behind them.
pub(crate) fn read_marks(
    octets: &mut &[u8],
    header: &Header,
    answers: usize,
) -> Option<Vec<ListEntry>> {
    let (count, rest) = octets.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*count)) * MARK_OCTETS;
    let marks = rest
        .get(..length)?
        .as_chunks::<MARK_OCTETS>()
        .0
        .iter()
        .map(|&mark| {
            let mark = ListEntry::from_octets(mark)?;
            let is_sound = usize::from(mark.feed) < header.feeds.len()
                && (mark.category == NO_CATEGORY
                    || usize::from(mark.category) < header.categories.len())
                && (mark.action != EntryAction::LocalData || (mark.data as usize) < answers);
            is_sound.then_some(mark)
        });
    *octets = &rest[length..];
    marks.collect()
}

/// Writes marks as [`read_marks`] reads them.
pub(crate) fn push_marks(
    octets: &mut Vec<u8>,
    marks: impl ExactSizeIterator<Item = ListEntry>,
) -> Result<(), ArtefactError> {
    let count = u16::try_from(marks.len())
        .map_err(|_| ArtefactError::TooMany(usize::from(u16::MAX), "marks of one name"))?;
    octets.extend(count.to_be_bytes());
    marks.for_each(|mark| octets.extend(mark.to_octets()));
    Ok(())
}
