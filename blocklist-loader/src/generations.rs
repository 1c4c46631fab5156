//! The artefacts of generations in their folder. `generation-0000000042.oxl` is a full artefact;
//! `generation-0000000043.oxd` is the delta to its parent. A generation may have both, with equal
//! content. A number is never reused, so a file name always means the same octets.
//!
//! ```text
//! 40.oxl <- 41.oxd <- 42.oxd <- 43.oxd      43 opens as 42.oxl with one delta: the nearest full artefact is used
//!                     42.oxl                 (folded from 40 and its deltas)
//! ```

use std::{
    collections::HashSet,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use policy::{
    category::Taxonomy,
    lists::{
        artefact::{ArtefactError, peek},
        blocklist::Blocklist,
        delta::Delta,
    },
};

/// Digits of a generation in a file's name, so that names sort like numbers.
const DIGITS: usize = 10;
const PREFIX: &str = "generation-";
/// Between an artefact's name and a process id, while the file is written.
const WRITING: &str = ".oxl.writing-";
/// The same for a delta, which the daemon writes while another process builds.
const WRITING_DELTA: &str = ".oxd.writing-";
/// Lock file of the one process that builds.
const LOCK: &str = "building.lock";
/// The longest chain of deltas: one a second for a day. A daemon that folds every few hundred stays
/// far below.
const CHAIN_MAX: usize = 100_000;

/// Whether a file is a full artefact or a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtefactKind {
    Full,
    /// The difference from its parent.
    Delta,
}

impl ArtefactKind {
    /// The extension of the file name.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Full => ".oxl",
            Self::Delta => ".oxd",
        }
    }
}

/// One artefact in the folder. Its presence does not mean that it can be opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Artefact {
    /// The generation in the file name.
    pub generation: u64,
    pub kind: ArtefactKind,
    pub path: PathBuf,
}

/// Why a generation cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder has no file of it or of a parent that it needs.
    #[error("generation {generation} is not in {directory}")]
    Missing { generation: u64, directory: PathBuf },
    /// A file of it or of a parent that it needs cannot be used.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// A file whose header states another generation than its name, or a parent that is not older.
    #[error("{path} says that it is generation {generation} and continues {parent:?}")]
    Misplaced {
        path: PathBuf,
        /// The generation in the header.
        generation: u64,
        /// The parent in the header.
        parent: Option<u64>,
    },
    /// The chain of deltas is longer than [`CHAIN_MAX`].
    #[error("generation {0} needs more than {CHAIN_MAX} deltas")]
    TooLong(u64),
}

/// The generations of a folder, newest first, each once, with the full artefact where there is one.
/// A missing folder has none.
///
/// # Errors
/// The folder cannot be listed.
pub fn newest(directory: &Path) -> io::Result<Vec<Artefact>> {
    let mut artefacts = files(directory)?;
    artefacts.dedup_by_key(|artefact| artefact.generation);
    Ok(artefacts)
}

/// Opens a generation: the nearest full artefact and the deltas from there.
///
/// # Errors
/// An [`OpenError`].
pub fn open(
    directory: &Path,
    generation: u64,
    taxonomy: &Taxonomy,
) -> Result<Arc<Blocklist>, OpenError> {
    let mut deltas = Vec::new();
    let mut at = generation;
    let base = loop {
        let full = path_of(directory, at);
        let delta = delta_path(directory, at);
        let is_delta = delta.exists();
        if full.exists() {
            match open_full(&full, at, taxonomy) {
                Ok(base) => break base,
                // A folded file is redundant: if it is damaged, its deltas have the same content.
                Err(error) if is_delta => {
                    tracing::warn!(%error, generation = at, "a folded generation cannot be opened; its deltas are used")
                }
                Err(error) => return Err(error),
            }
        }
        if !is_delta {
            return Err(OpenError::Missing {
                generation: at,
                directory: directory.to_owned(),
            });
        }
        if deltas.len() == CHAIN_MAX {
            return Err(OpenError::TooLong(generation));
        }
        let delta = Delta::read(&delta)?;
        let parent = parent_of(&delta.path, at, &delta.header)?;
        deltas.push(delta);
        at = parent;
    };
    deltas.reverse();
    Ok(if deltas.is_empty() {
        base
    } else {
        base.with_deltas(&deltas, taxonomy)?
    })
}

fn open_full(
    path: &Path,
    generation: u64,
    taxonomy: &Taxonomy,
) -> Result<Arc<Blocklist>, OpenError> {
    let lists = Blocklist::open(path, taxonomy)?;
    if lists.generation() == generation {
        return Ok(lists);
    }
    Err(OpenError::Misplaced {
        path: path.to_owned(),
        generation: lists.generation(),
        parent: lists.header().parent,
    })
}

/// The parent that the delta of a generation names. A parent has a smaller number, so the chain has
/// no cycle.
fn parent_of(
    path: &Path,
    generation: u64,
    header: &policy::lists::artefact::Header,
) -> Result<u64, OpenError> {
    let misplaced = || OpenError::Misplaced {
        path: path.to_owned(),
        generation: header.generation,
        parent: header.parent,
    };
    header
        .parent
        .filter(|&parent| header.generation == generation && parent < generation)
        .ok_or_else(misplaced)
}

/// The files that [`open`] would read, the full artefact first. Reads headers only.
///
/// # Errors
/// An [`OpenError`].
pub fn chain(directory: &Path, generation: u64) -> Result<Vec<Artefact>, OpenError> {
    let mut chain = Vec::new();
    let mut at = generation;
    loop {
        let full = path_of(directory, at);
        if full.exists() {
            chain.push(Artefact {
                generation: at,
                kind: ArtefactKind::Full,
                path: full,
            });
            chain.reverse();
            return Ok(chain);
        }
        let path = delta_path(directory, at);
        if !path.exists() {
            return Err(OpenError::Missing {
                generation: at,
                directory: directory.to_owned(),
            });
        }
        if chain.len() == CHAIN_MAX {
            return Err(OpenError::TooLong(generation));
        }
        let parent = parent_of(&path, at, &peek(&path)?)?;
        chain.push(Artefact {
            generation: at,
            kind: ArtefactKind::Delta,
            path,
        });
        at = parent;
    }
}

/// [`prune_around`] without a live generation.
///
/// # Errors
/// The folder cannot be listed, or a file not deleted.
pub fn prune(directory: &Path, keep: usize) -> io::Result<Vec<Artefact>> {
    prune_around(directory, keep, None)
}

/// Deletes everything older than the newest `keep` full artefacts, except what a newer delta or the
/// live generation depends on; returns the deleted files.
///
/// # Errors
/// The folder cannot be listed, or a file not deleted.
pub fn prune_around(directory: &Path, keep: usize, live: Option<u64>) -> io::Result<Vec<Artefact>> {
    let all = files(directory)?;
    let Some(needed) = needed(&all, directory, keep, live) else {
        return Ok(Vec::new());
    };
    // Newest first: if the process is killed in between, no delta is left without its parent.
    let superfluous: Vec<Artefact> = all
        .into_iter()
        .filter(|artefact| !needed.contains(&artefact.generation))
        .collect();
    for artefact in &superfluous {
        std::fs::remove_file(&artefact.path)?;
    }
    Ok(superfluous)
}

/// The generations that must stay; `None` where all must.
fn needed(
    all: &[Artefact],
    directory: &Path,
    keep: usize,
    live: Option<u64>,
) -> Option<HashSet<u64>> {
    let newest_full: Vec<u64> = all
        .iter()
        .filter(|artefact| artefact.kind == ArtefactKind::Full)
        .map(|artefact| artefact.generation)
        .collect();
    let oldest = *newest_full.get(keep.max(1) - 1)?;
    let full: HashSet<u64> = newest_full.into_iter().collect();
    let live = live.filter(|live| all.iter().any(|artefact| artefact.generation == *live));
    // Nothing is deleted unless the chain of the live generation is known.
    let mut needed: HashSet<u64> = match live {
        Some(live) => chain(directory, live)
            .ok()?
            .iter()
            .map(|artefact| artefact.generation)
            .collect(),
        None => HashSet::new(),
    };
    for mut at in all
        .iter()
        .map(|artefact| artefact.generation)
        .filter(|&generation| generation >= oldest)
    {
        // Each generation is visited once, although many chains share it. One that cannot be opened
        // depends on nothing.
        while needed.insert(at) && !full.contains(&at) {
            let path = delta_path(directory, at);
            match peek(&path)
                .map_err(OpenError::from)
                .and_then(|header| parent_of(&path, at, &header))
            {
                Ok(parent) => at = parent,
                Err(_) => break,
            }
        }
    }
    Some(needed)
}

/// The files that [`prune_around`] would keep.
pub(crate) fn kept(directory: &Path, keep: usize, live: u64) -> io::Result<Vec<Artefact>> {
    let all = files(directory)?;
    let needed = needed(&all, directory, keep, Some(live));
    Ok(all
        .into_iter()
        .filter(|artefact| {
            needed
                .as_ref()
                .is_none_or(|needed| needed.contains(&artefact.generation))
        })
        .collect())
}

/// Path of the full artefact of a generation.
#[must_use]
pub fn path_of(directory: &Path, generation: u64) -> PathBuf {
    file_of(directory, generation, ArtefactKind::Full)
}

/// Path of the delta of a generation.
#[must_use]
pub fn delta_path(directory: &Path, generation: u64) -> PathBuf {
    file_of(directory, generation, ArtefactKind::Delta)
}

pub(crate) fn file_of(directory: &Path, generation: u64, kind: ArtefactKind) -> PathBuf {
    directory.join(format!("{PREFIX}{generation:0DIGITS$}{}", kind.suffix()))
}

/// Makes this process the only one that builds in the folder while the returned file is open; waits
/// for another builder. Deletes the temporary files of killed builders.
///
/// # Errors
/// The file system's error.
pub fn lock(directory: &Path) -> io::Result<File> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join(LOCK))?;
    lock.lock()?;
    for path in entries(directory)? {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        // The daemon writes deltas without this lock, so only the files of dead processes are
        // leftovers.
        let is_orphan = |pid: &str| {
            pid.parse::<u32>()
                .is_ok_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        };
        if name.contains(WRITING)
            || name
                .split_once(WRITING_DELTA)
                .is_some_and(|(_, pid)| is_orphan(pid))
        {
            std::fs::remove_file(path)?;
        }
    }
    Ok(lock)
}

/// All artefacts, newest first; of one generation the full artefact first.
pub(crate) fn files(directory: &Path) -> io::Result<Vec<Artefact>> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        let said = path
            .file_name()
            .and_then(|name| generation_of(name.to_str()?));
        files.extend(said.map(|(generation, kind)| Artefact {
            generation,
            kind,
            path,
        }));
    }
    files.sort_by(|a, b| b.generation.cmp(&a.generation).then_with(|| a.cmp(b)));
    Ok(files)
}

fn generation_of(name: &str) -> Option<(u64, ArtefactKind)> {
    let rest = name.strip_prefix(PREFIX)?;
    let (kind, digits) = [ArtefactKind::Full, ArtefactKind::Delta]
        .into_iter()
        .find_map(|kind| Some((kind, rest.strip_suffix(kind.suffix())?)))?;
    let is_number = digits.len() >= DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    Some((is_number.then(|| digits.parse().ok())??, kind))
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
