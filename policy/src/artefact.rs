//! The artefact: all feeds, compiled into one file. Writer and reader stand side by side so that they cannot disagree.
//!
//! ```text
//! 8    magic "OXPLIST\n"
//! 4    format version, big endian, as all numbers here
//! 4    length of the header
//! …    header: JSON, a Header
//! …    mark sets: per set the number of marks (2), then 4 octets a mark, see listing.rs
//! …    the FST: reversed names (name.rs) to the place of a mark set
//! 32   SHA-256 of everything above
//! ```
//!
//! A file is written aside, synced and renamed, so a reader sees all of it or nothing, and the reader checks the hash and
//! the whole structure before it believes any of it. Mark sets are few (one for each combination of feeds that list a
//! name), ordered by how often they occur: small values make a small FST.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    listing::{MARK_OCTETS, Mark, NO_CATEGORY, Scope, Tier},
    name::NameRef,
};

const MAGIC: &[u8; 8] = b"OXPLIST\n";
/// Raised with every change of the format; an artefact of another version is refused and built anew from the feeds.
pub const FORMAT_VERSION: u32 = 1;
const HASH_OCTETS: usize = 32;
/// An artefact above this is not one of ours: a bound for what a wrong file can make the reader allocate. In octets.
const ARTEFACT_OCTETS_MAX: u64 = 16 << 30;

/// What an artefact says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Which generation this is: 1 for the first that this installation built, then one more each time.
    pub generation: u64,
    /// When it was built, RFC 3339.
    pub built_at: jiff::Timestamp,
    /// The feeds, in the order by which marks name them.
    pub feeds: Vec<FeedSummary>,
    /// The categories' slugs, in the order by which marks name them.
    pub categories: Vec<String>,
    /// Distinct names.
    pub names: u64,
    /// Entries of all feeds; a name that three feeds list counts three times.
    pub entries: u64,
    /// Length of the mark sets, in octets.
    pub mark_sets_octets: u64,
    /// Length of the FST, in octets.
    pub fst_octets: u64,
}

/// What became of one feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedSummary {
    /// The feed's name in the configuration.
    pub name: String,
    /// Where it came from, as configured.
    pub source: String,
    /// Its format, as configured.
    pub format: String,
    /// What a bare name in it means; absent where the format's own syntax says it.
    pub scope: Option<Scope>,
    /// Who decides about it.
    pub tier: Tier,
    /// Digest of the feed's definition: an entry built under another definition is not carried on.
    pub definition: String,
    /// Digest of paths, sizes and times of change of the files it was read from: whether it must be read again.
    pub fingerprint: String,
    /// Why the feed was refused this time; its entries are then those of the generation before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What was understood of it and what was not.
    pub report: FeedReport,
}

/// What was understood of a feed and what was not: bad lines are data, never an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedReport {
    /// Lines read, comments and blank ones included.
    pub lines: u64,
    /// Entries taken.
    pub entries: u64,
    /// Rows with a path: kept out of the lists, because a path never blocks its domain.
    pub paths: u64,
    /// Rows in a syntax that this format's subset does not know.
    pub unsupported: u64,
    /// Rows that hold no name.
    pub bad: u64,
    /// Subtree entries at a public suffix: refused at a top-level name, narrowed to the name itself at a longer one (`co.uk`).
    pub public_suffixes: u64,
    /// Rows of folders or codes that the configuration maps to no category.
    pub unmapped: u64,
    /// SHA-256 of what was read, in hexadecimal.
    pub sha256: String,
    /// The first few complaints, for the person who mends the feed.
    pub samples: Vec<Complaint>,
}

/// One row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    #[error("{path} has format version {version}, this program reads {FORMAT_VERSION}: build the lists again")]
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
    #[error("{path} names the category {slug:?}, which the taxonomy does not have: build the lists again")]
    UnknownCategory {
        /// The file.
        path: PathBuf,
        /// The category.
        slug: String,
    },
    /// More distinct marks, or more feeds, than the format has room for.
    #[error("more than {0} {1} do not fit into one artefact")]
    TooMany(usize, &'static str),
}

/// Collects what the feeds say, then writes it in one go.
///
/// Names lie in one arena, entries are 16 octets each, so ten million names take about half a gigabyte and no
/// allocation each.
#[derive(Default)]
pub struct Builder {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    marks: Vec<Mark>,
    mark_places: HashMap<Mark, u16>,
    last_mark: Option<(Mark, u16)>,
}

/// A place in a [`Builder`] to go back to.
#[derive(Debug)]
pub struct Checkpoint {
    arena: usize,
    entries: usize,
}

/// One name with one mark; the first octets of the key stand here so that sorting seldom touches the arena.
#[derive(Clone, Copy)]
struct Entry {
    head: u64,
    offset: u32,
    length: u16,
    mark: u16,
}

/// What was written, for the log and for the one who asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// Its header.
    pub header: Header,
    /// Its length in octets.
    pub octets: u64,
}

impl Builder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one entry. Order and repetition do not matter.
    ///
    /// # Errors
    /// [`ArtefactError::TooMany`] when the format has no room for more.
    pub fn push(&mut self, name: NameRef<'_>, mark: Mark) -> Result<(), ArtefactError> {
        let (offset, mark) = self.room_for(mark)?;
        name.write_key(&mut self.arena);
        self.note(offset, mark);
        Ok(())
    }

    /// Adds one entry by its reversed key, as [`crate::blocklist::Blocklist::for_each_name`] gives it.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_key(&mut self, key: &[u8], mark: Mark) -> Result<(), ArtefactError> {
        let (offset, mark) = self.room_for(mark)?;
        self.arena.extend_from_slice(key);
        self.note(offset, mark);
        Ok(())
    }

    /// Where the builder stands, for [`Self::rewind`].
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { arena: self.arena.len(), entries: self.entries.len() }
    }

    /// Forgets what was added since a checkpoint: a feed that turns out bad at its end leaves nothing behind.
    pub fn rewind(&mut self, checkpoint: &Checkpoint) {
        self.arena.truncate(checkpoint.arena);
        self.entries.truncate(checkpoint.entries);
    }

    fn room_for(&mut self, mark: Mark) -> Result<(u32, u16), ArtefactError> {
        let offset = u32::try_from(self.arena.len()).map_err(|_| ArtefactError::TooMany(u32::MAX as usize, "octets of names"))?;
        // A feed gives one mark millions of times on end; that question is not worth a hash.
        if let Some((last, place)) = self.last_mark
            && last == mark
        {
            return Ok((offset, place));
        }
        let place = match self.mark_places.get(&mark) {
            Some(&place) => place,
            None => {
                let place = u16::try_from(self.marks.len()).map_err(|_| ArtefactError::TooMany(usize::from(u16::MAX), "distinct marks"))?;
                self.marks.push(mark);
                self.mark_places.insert(mark, place);
                place
            }
        };
        self.last_mark = Some((mark, place));
        Ok((offset, place))
    }

    /// Notes the entry whose key is the arena from `offset` on.
    fn note(&mut self, offset: u32, mark: u16) {
        let key = &self.arena[offset as usize..];
        let mut head = [0; 8];
        let shared = key.len().min(8);
        head[..shared].copy_from_slice(&key[..shared]);
        let length = u16::try_from(key.len()).expect("a key has at most twice the octets of a name");
        self.entries.push(Entry { head: u64::from_be_bytes(head), offset, length, mark });
    }

    /// How many entries were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the artefact to `path`: aside, synced, renamed. `header`'s counts and lengths are filled in here.
    ///
    /// # Errors
    /// The step that failed; a file that stood at `path` is then untouched.
    pub fn write(mut self, mut header: Header, path: &Path) -> Result<Written, ArtefactError> {
        let (names, sets) = self.group();
        header.entries = self.entries.len() as u64;
        header.names = names.len() as u64;
        let mut set_octets = Vec::new();
        for set in &sets {
            let count = u16::try_from(set.len()).map_err(|_| ArtefactError::TooMany(usize::from(u16::MAX), "marks of one name"))?;
            set_octets.extend(count.to_be_bytes());
            set.iter().for_each(|&mark| set_octets.extend(self.marks[usize::from(mark)].to_octets()));
        }
        header.mark_sets_octets = set_octets.len() as u64;
        write_aside(path, |folder| self.write_sections(folder, &mut header, &names, &set_octets, path))?;
        let octets = std::fs::metadata(path).map_err(io("measuring", path))?.len();
        Ok(Written { path: path.to_owned(), header, octets })
    }

    /// Sorts, and gives each distinct name its mark set; sets are numbered by falling frequency.
    fn group(&mut self) -> (Vec<(u32, u32)>, Vec<Vec<u16>>) {
        let arena = &self.arena;
        self.entries.sort_unstable_by(|a, b| {
            a.head.cmp(&b.head).then_with(|| key_of(arena, a).cmp(key_of(arena, b))).then_with(|| a.mark.cmp(&b.mark))
        });
        let mut names: Vec<(u32, u32)> = Vec::new();
        let mut places: HashMap<Vec<u16>, u32> = HashMap::new();
        let mut counts: Vec<u64> = Vec::new();
        let mut marks: Vec<u16> = Vec::new();
        let mut at = 0;
        while at < self.entries.len() {
            let key = key_of(arena, &self.entries[at]);
            let same = self.entries[at..].iter().take_while(|entry| key_of(arena, entry) == key).count();
            marks.clear();
            marks.extend(self.entries[at..at + same].iter().map(|entry| entry.mark));
            marks.dedup();
            let place = match places.get(marks.as_slice()) {
                Some(&place) => place,
                None => {
                    let place = u32::try_from(places.len()).expect("fewer sets than entries, and those are below 2^32");
                    places.insert(marks.clone(), place);
                    counts.push(0);
                    place
                }
            };
            counts[place as usize] += 1;
            names.push((u32::try_from(at).expect("the arena bounds the entries"), place));
            at += same;
        }
        let mut order: Vec<u32> = (0..u32::try_from(counts.len()).expect("as above")).collect();
        order.sort_by_key(|&place| (std::cmp::Reverse(counts[place as usize]), place));
        let mut rank = vec![0; order.len()];
        let mut sets = vec![Vec::new(); order.len()];
        order.iter().enumerate().for_each(|(position, &place)| rank[place as usize] = u32::try_from(position).expect("as above"));
        places.into_iter().for_each(|(set, place)| sets[rank[place as usize] as usize] = set);
        names.iter_mut().for_each(|(_, place)| *place = rank[*place as usize]);
        (names, sets)
    }

    fn write_sections(
        &self,
        file: File,
        header: &mut Header,
        names: &[(u32, u32)],
        set_octets: &[u8],
        path: &Path,
    ) -> Result<File, ArtefactError> {
        // The header holds the FST's length, so the FST is built first, in a nameless file beside its place.
        let fst_error = |source| ArtefactError::Fst { path: path.to_owned(), source };
        let scratch = tempfile_beside(path)?;
        let mut builder = fst::raw::Builder::new(BufWriter::new(scratch)).map_err(fst_error)?;
        for &(entry, place) in names {
            builder.insert(key_of(&self.arena, &self.entries[entry as usize]), u64::from(place)).map_err(fst_error)?;
        }
        let mut scratch = builder.into_inner().map_err(fst_error)?.into_inner().map_err(|error| io("writing", path)(error.into_error()))?;
        header.fst_octets = scratch.metadata().map_err(io("measuring", path))?.len();
        let json = serde_json::to_vec(header).expect("a header is plain data");
        let mut out = Hashing { inner: BufWriter::new(file), hash: Sha256::new() };
        let copied: std::io::Result<()> = (|| {
            out.write_all(MAGIC)?;
            out.write_all(&FORMAT_VERSION.to_be_bytes())?;
            out.write_all(&u32::try_from(json.len()).map_err(std::io::Error::other)?.to_be_bytes())?;
            out.write_all(&json)?;
            out.write_all(set_octets)?;
            std::io::Seek::rewind(&mut scratch)?;
            std::io::copy(&mut scratch, &mut out)?;
            Ok(())
        })();
        copied.map_err(io("writing", path))?;
        let Hashing { mut inner, hash } = out;
        inner.write_all(&hash.finalize()).map_err(io("writing", path))?;
        inner.into_inner().map_err(|error| io("writing", path)(error.into_error()))
    }
}

fn key_of<'a>(arena: &'a [u8], entry: &Entry) -> &'a [u8] {
    &arena[entry.offset as usize..entry.offset as usize + usize::from(entry.length)]
}

/// Writes a file so that a crash at any instant leaves the old one or the new one: aside, sync, rename, sync the folder.
fn write_aside(path: &Path, write: impl FnOnce(File) -> Result<File, ArtefactError>) -> Result<(), ArtefactError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".writing-{}", std::process::id()));
    let aside = PathBuf::from(aside);
    let written = File::create(&aside)
        .map_err(io("creating", &aside))
        .and_then(write)
        .and_then(|file| file.sync_all().map_err(io("syncing", &aside)))
        .and_then(|()| std::fs::rename(&aside, path).map_err(io("renaming to", path)))
        .and_then(|()| File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("syncing", folder)));
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = std::fs::remove_file(&aside);
    }
    written
}

/// A file without a name, on the file system of `path`; gone when closed.
fn tempfile_beside(path: &Path) -> Result<File, ArtefactError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder).map_err(io("creating a temporary file in", folder))
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
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

fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ArtefactError {
    let path = path.to_owned();
    move |source| ArtefactError::Io { step, path, source }
}

/// An artefact that was read and found whole.
pub(crate) struct Contents {
    pub(crate) header: Header,
    pub(crate) mark_sets: Vec<Vec<Mark>>,
    pub(crate) octets: Vec<u8>,
    pub(crate) fst: std::ops::Range<usize>,
    pub(crate) sha256: String,
}

/// Reads and verifies all of an artefact.
pub(crate) fn read(path: &Path) -> Result<Contents, ArtefactError> {
    let damaged = |what| ArtefactError::Damaged { path: path.to_owned(), what };
    let octets = read_bounded(path)?;
    if octets.len() < 16 || octets[..8] != *MAGIC {
        return Err(ArtefactError::NotAnArtefact(path.to_owned()));
    }
    let number = |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().expect("four octets"));
    if number(8) != FORMAT_VERSION {
        return Err(ArtefactError::Version { path: path.to_owned(), version: number(8) });
    }
    let body = octets.len().checked_sub(HASH_OCTETS).ok_or_else(|| damaged("it ends early"))?;
    let hash = Sha256::digest(&octets[..body]);
    if hash[..] != octets[body..] {
        return Err(damaged("its hash does not match"));
    }
    // What follows is what our own writer hashed; it is checked all the same, for a writer can be wrong too.
    let header_end = 16 + number(12) as usize;
    let header = octets.get(16..header_end.min(body)).ok_or_else(|| damaged("its header ends early"))?;
    let header: Header = serde_json::from_slice(header).map_err(|_| damaged("its header cannot be read"))?;
    let sets_end = header_end.saturating_add(usize::try_from(header.mark_sets_octets).unwrap_or(usize::MAX));
    let fst_end = sets_end.saturating_add(usize::try_from(header.fst_octets).unwrap_or(usize::MAX));
    if fst_end != body {
        return Err(damaged("its sections do not fill it"));
    }
    let mark_sets = read_mark_sets(&octets[header_end..sets_end], &header).ok_or_else(|| damaged("its mark sets cannot be read"))?;
    let sha256 = hash.iter().map(|octet| format!("{octet:02x}")).collect();
    Ok(Contents { header, mark_sets, octets, fst: sets_end..fst_end, sha256 })
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ArtefactError> {
    let mut file = File::open(path).map_err(io("opening", path))?;
    let length = file.metadata().map_err(io("measuring", path))?.len();
    if length > ARTEFACT_OCTETS_MAX {
        return Err(ArtefactError::Damaged { path: path.to_owned(), what: "it is longer than any artefact" });
    }
    let mut octets = Vec::with_capacity(usize::try_from(length).expect("bounded above"));
    file.read_to_end(&mut octets).map_err(io("reading", path))?;
    Ok(octets)
}

fn read_mark_sets(mut octets: &[u8], header: &Header) -> Option<Vec<Vec<Mark>>> {
    let mut sets = Vec::new();
    while !octets.is_empty() {
        let (count, rest) = octets.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*count)) * MARK_OCTETS;
        let marks = rest.get(..length)?.as_chunks::<MARK_OCTETS>().0.iter().map(|&mark| {
            let mark = Mark::from_octets(mark)?;
            (usize::from(mark.feed) < header.feeds.len()
                && (mark.category == NO_CATEGORY || usize::from(mark.category) < header.categories.len()))
            .then_some(mark)
        });
        sets.push(marks.collect::<Option<_>>()?);
        octets = &rest[length..];
    }
    Some(sets)
}
