//! The artefact: all feeds, compiled into one file. [`crate::lists::builder`] writes it;
//! [`crate::lists::delta`] holds the difference between two generations.
//!
//! ```text
//! 8    magic "OXPLIST\n"
//! 4    format version, big endian, as all numbers here
//! 4    length of the header
//! …    header: JSON, a Header
//! …    mark sets: per set the number of marks (2), then 10 octets a mark, see entry.rs
//! …    the FST: reversed names (name.rs), addresses and paths (index_key.rs) to the index of a mark set
//! 32   SHA-256 of everything above
//! ```
//!
//! A file is written aside, synced and renamed, so that a reader sees all of it or nothing. The
//! reader checks the hash and the whole structure before it uses any of it. There are few mark sets
//! (one for each combination of feeds that list a name). They are ordered by frequency, because
//! small values make a small FST.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::lists::feed_summary::{
    Complaint, FeedReport, FeedSummary, HIDDEN, RejectedVersion, without_secrets,
};

use crate::lists::entry::{EntryAction, ListEntry, LocalData, MARK_OCTETS, NO_CATEGORY};

pub(crate) const MAGIC: &[u8; 8] = b"OXPLIST\n";
/// The magic of a delta, see [`crate::lists::delta`].
pub(crate) const DELTA_MAGIC: &[u8; 8] = b"OXDELTA\n";
/// Raised with every change of the format. An artefact of another version is refused, and the lists
/// are built again from the feeds.
pub const FORMAT_VERSION: u32 = 2;
const HASH_OCTETS: usize = 32;
/// The longest artefact that the reader accepts, in octets. Limits what a wrong file can make it
/// allocate.
const ARTEFACT_OCTETS_MAX: u64 = 16 << 30;

/// The metadata of an artefact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The number of the generation: 1 for the first that this installation built, increasing.
    pub generation: u64,
    /// The generation that this one was made from; `None` where it was built from the feeds alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// The time of the build.
    pub built_at: jiff::Timestamp,
    /// The feeds; marks refer to them by index.
    pub feeds: Vec<FeedSummary>,
    /// Feeds that were defined when the operator rolled the lists back to this generation and that
    /// it does not have. They stay out until the operator resumes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<String>,
    /// The slugs of the categories; marks refer to them by index.
    pub categories: Vec<String>,
    /// Arrival times of entries, oldest first; [`crate::lists::entry::ListEntry::arrival`] is an
    /// index here. The first time stands for itself and all times before.
    #[serde(default)]
    pub arrivals: Vec<jiff::Timestamp>,
    /// Records that [`crate::lists::entry::EntryAction::LocalData`] answers with. In a delta: those
    /// added to the parent's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<LocalData>,
    /// Distinct names, address prefixes and paths.
    pub names: u64,
    /// Entries of all feeds. A name that three feeds list counts three times; one that a feed lists
    /// twice in the same way counts once.
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

/// The most arrival times that a mark's 16 bits can refer to.
pub(crate) const ARRIVALS_MAX: usize = 1 << 16;

impl Header {
    /// Reads a header, and checks that marks can refer to all of its tables.
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

    /// Whether marks of both mean the same feeds and categories.
    pub(crate) fn is_continued_by(&self, other: &Self) -> bool {
        self.feeds.len() == other.feeds.len()
            && self.categories == other.categories
            && self.feeds.iter().zip(&other.feeds).all(|(one, other)| {
                (&one.name, one.tier, one.most_specific)
                    == (&other.name, other.tier, other.most_specific)
            })
    }
}

/// The failure of a step with an artefact.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    #[error("{step} {path}")]
    Io {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("writing the transducer of {path}")]
    Fst {
        path: PathBuf,
        #[source]
        source: fst::Error,
    },
    #[error("{0} is not a list artefact")]
    NotAnArtefact(PathBuf),
    /// The file has another format version.
    #[error(
        "{path} has format version {version}, this program reads {FORMAT_VERSION}: build the lists again"
    )]
    Version { path: PathBuf, version: u32 },
    /// The length, the hash or the structure is wrong.
    #[error("{path} is damaged: {what}")]
    Damaged { path: PathBuf, what: &'static str },
    /// The header names a category that the taxonomy does not have.
    #[error(
        "{path} names the category {slug:?}, which the taxonomy does not have: build the lists again"
    )]
    UnknownCategory { path: PathBuf, slug: String },
    /// More distinct marks, or more feeds, than the format has room for.
    #[error("more than {0} {1} do not fit into one artefact")]
    TooMany(usize, &'static str),
    /// The delta's parent is another generation, or is missing.
    #[error("{path} continues generation {parent}, which is not at hand")]
    NoParent { path: PathBuf, parent: u64 },
}

/// The result of writing, for logs and callers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WrittenArtefact {
    pub path: PathBuf,
    pub header: Header,
    /// The file's length in octets.
    pub octets: u64,
}

/// Writes a file so that a crash at any moment leaves the old one or the new one: write aside,
/// sync, rename, sync the folder.
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
        // Best effort: the first error is the one to report.
        let _ = std::fs::remove_file(&aside);
    }
    written
}

/// Creates an unnamed file in the folder of `path`; it disappears when it is closed.
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

/// An artefact that was read and verified.
pub(crate) struct Contents {
    pub(crate) header: Header,
    pub(crate) mark_sets: Vec<Vec<ListEntry>>,
    pub(crate) octets: Vec<u8>,
    pub(crate) fst: std::ops::Range<usize>,
    pub(crate) sha256: String,
}

/// A file whose magic, version and hash were checked.
pub(crate) struct Envelope {
    pub(crate) octets: Vec<u8>,
    pub(crate) header: std::ops::Range<usize>,
    /// The offset of the hash.
    pub(crate) body_end: usize,
    pub(crate) sha256: String,
}

/// Reads a file that begins with magic, version and length of the header, and ends with the hash of
/// all octets before it.
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
    // The hash proves that our own writer wrote this. The structure is checked all the same,
    // because a writer can have bugs.
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

/// Writes magic, version and header, then the body by `write`, then the hash. Returns the hash in
/// hexadecimal.
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

/// Formats octets in hexadecimal.
#[must_use]
pub fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Reads and verifies a whole artefact.
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

/// Reads the header of an artefact or a delta, without reading or checking the rest.
///
/// # Errors
/// The file is neither, or cannot be read.
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

/// Reads the SHA-256 at the end of an artefact or a delta, in hexadecimal, without checking it.
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

/// Reads the number of marks and that many marks, and advances `octets` behind them. Each mark must
/// refer to existing rows of the tables.
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

/// Writes marks in the form that [`read_marks`] reads.
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
