//! The spool of a fetched feed: the content that a build reads, and the state that the feed's
//! fetcher keeps with it.
//!
//! ```text
//! state.json                 names the current content and holds the fetcher's state; its rename is the commit
//! content/snapshot-7         one row a line, or a file as it was published
//! content/delta-7-1          changes since the snapshot: lines +row and -row, in order
//! content/delta-7-2          ...
//! ```
//!
//! A writer writes its file under a new name, syncs it, and then replaces `state.json` by one
//! rename. Readers see the old content with the old state before the rename, and the new content
//! with the new state after it. A killed writer leaves a file that `state.json` does not name; the
//! next [`Spool::open`] deletes it. Numbers are never reused, so a reader in another process either
//! finds all files that it was told of or reads `state.json` again.

mod crash;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{
    digest::{HashingWriter, hexadecimal},
    row_change::RowChange,
};

const STATE: &str = "state.json";
/// `state.json` while it is written.
const STATE_ASIDE: &str = "state.json.writing";
const CONTENT: &str = "content";
/// Folder of the spools, inside the folder of the artefacts.
const FEEDS: &str = "feeds";
/// Size of read and write buffers, in octets.
const BUFFER_OCTETS: usize = 256 << 10;
/// The longest row, in octets: four times the longest record data of a zone in escaped form.
const ROW_OCTETS_MAX: u64 = 1 << 20;
/// The most deltas before they are folded into the snapshot; every read opens all of them.
const DELTAS_MAX: u64 = 256;
/// Free space beyond the size of the content that a fetch requires, in octets.
const PROBE_OCTETS: u64 = 1 << 20;
/// Deltas larger than one part in this many of the snapshot are folded into it; every read holds
/// them in memory.
const DELTA_PART_MAX: u64 = 4;
/// How often a reader retries that a writer overtook. No writer here commits so fast.
const LOOKS_MAX: u32 = 100;

/// The part of a row that identifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKey {
    /// The whole row.
    WholeRow,
    /// The octets before the first tab.
    UpToTab,
}

impl RowKey {
    pub(crate) fn of(self, row: &[u8]) -> &[u8] {
        match self {
            Self::WholeRow => row,
            Self::UpToTab => {
                &row[..row
                    .iter()
                    .position(|&octet| octet == b'\t')
                    .unwrap_or(row.len())]
            }
        }
    }
}

/// Content of `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SpoolState<S> {
    /// The number of the snapshot; 0 where there is none.
    snapshot: u64,
    snapshot_octets: u64,
    /// Number of deltas that follow it, numbered from 1.
    deltas: u64,
    delta_octets: u64,
    /// Digest of the content: the same after the same steps, and unchanged by folding.
    content: String,
    state: S,
}

type AnyState = serde_json::Value;

/// Number of snapshots that this process began; makes their temporary names unique.
static WRITERS: AtomicU64 = AtomicU64::new(0);

impl SpoolState<AnyState> {
    fn empty() -> Self {
        Self {
            snapshot: 0,
            snapshot_octets: 0,
            deltas: 0,
            delta_octets: 0,
            content: String::new(),
            state: AnyState::Null,
        }
    }

    fn read(folder: &Path) -> io::Result<Self> {
        match std::fs::read(folder.join(STATE)) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::empty()),
            Err(error) => Err(error),
        }
    }

    /// The current files: the snapshot, then the deltas in order.
    fn files(&self, content: &Path) -> Vec<PathBuf> {
        let deltas =
            (1..=self.deltas).map(|number| content.join(delta_name(self.snapshot, number)));
        (self.snapshot > 0)
            .then(|| content.join(snapshot_name(self.snapshot)))
            .into_iter()
            .chain(deltas)
            .collect()
    }
}

fn snapshot_name(snapshot: u64) -> String {
    format!("snapshot-{snapshot}")
}

fn delta_name(snapshot: u64, delta: u64) -> String {
    format!("delta-{snapshot}-{delta}")
}

/// The folder of a feed's spool. The feed's name is escaped except for letters, digits, `_`, `-`
/// and inner dots.
pub(crate) fn folder_of(directory: &Path, feed: &str) -> PathBuf {
    let is_plain = |place: usize, octet: u8| {
        octet.is_ascii_alphanumeric() || b"_-".contains(&octet) || (octet == b'.' && place > 0)
    };
    let escape = |(place, octet)| {
        if is_plain(place, octet) {
            char::from(octet).to_string()
        } else {
            format!("%{octet:02X}")
        }
    };
    directory
        .join(FEEDS)
        .join(feed.bytes().enumerate().map(escape).collect::<String>())
}

/// The folder of the content inside a spool.
pub(crate) fn content_of(folder: &Path) -> PathBuf {
    folder.join(CONTENT)
}

/// The spool of one feed, as its fetcher uses it. It has one writer; readers may be in other
/// processes.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    folder: PathBuf,
    key: RowKey,
}

impl Spool {
    /// Opens a spool, creates it if it is missing, and deletes the files that a killed writer left.
    ///
    /// # Errors
    /// The file system's error. An unreadable `state.json` counts as missing: everything is fetched
    /// again.
    pub(crate) fn open(folder: &Path, key: RowKey) -> io::Result<Self> {
        let content = content_of(folder);
        std::fs::create_dir_all(&content)?;
        let manifest = match SpoolState::read(folder) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                std::fs::remove_file(folder.join(STATE))?;
                SpoolState::empty()
            }
            manifest => manifest?,
        };
        sweep(&content, &manifest)?;
        Ok(Self {
            folder: folder.to_owned(),
            key,
        })
    }

    /// The fetcher's state that was stored with the current content. `None` before the first fetch,
    /// and where another version of the program wrote a state that this one cannot read.
    pub(crate) fn state<S: DeserializeOwned>(&self) -> Option<S> {
        let manifest = SpoolState::read(&self.folder).ok()?;
        // A state without its content is useless.
        let is_whole = manifest
            .files(&content_of(&self.folder))
            .iter()
            .all(|file| file.is_file());
        is_whole.then(|| serde_json::from_value(manifest.state).ok())?
    }

    /// Stores a new state for the same content.
    pub(crate) fn set_state<S: Serialize>(&self, state: &S) -> io::Result<()> {
        let manifest = SpoolState::read(&self.folder)?;
        self.commit(&SpoolState {
            state: serde_json::to_value(state)?,
            ..manifest
        })
    }

    /// Starts a new content.
    pub(crate) fn snapshot(&self) -> io::Result<SnapshotWriter> {
        // An abandoned writer may still run, so each gets a name of its own.
        let path = content_of(&self.folder).join(format!(
            "writing-{}",
            WRITERS.fetch_add(1, Ordering::Relaxed)
        ));
        let file = BufWriter::with_capacity(BUFFER_OCTETS, crash::create(&path)?);
        let cleanup = RemovedOnDrop {
            path,
            is_kept: false,
        };
        Ok(SnapshotWriter {
            spool: self.clone(),
            file: HashingWriter::new(file),
            cleanup,
        })
    }

    /// Appends changes to the current content.
    pub(crate) fn append<S: Serialize>(&self, rows: &[RowChange], state: &S) -> io::Result<()> {
        let manifest = SpoolState::read(&self.folder)?;
        if manifest.snapshot == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "changes of a content that was never fetched",
            ));
        }
        let mut octets = Vec::new();
        for RowChange { added, row } in rows {
            check_row(row)?;
            octets.push(if *added { b'+' } else { b'-' });
            octets.extend_from_slice(row);
            octets.push(b'\n');
        }
        let deltas = manifest.deltas + 1;
        let path = content_of(&self.folder).join(delta_name(manifest.snapshot, deltas));
        let mut guard = RemovedOnDrop {
            path,
            is_kept: false,
        };
        let mut file = crash::create(&guard.path)?;
        file.write_all(&octets)?;
        crash::sync(&file)?;
        let content = hexadecimal(
            &Sha256::new()
                .chain_update(&manifest.content)
                .chain_update(&octets)
                .finalize(),
        );
        let delta_octets = manifest.delta_octets + octets.len() as u64;
        self.commit(&SpoolState {
            deltas,
            delta_octets,
            content,
            state: serde_json::to_value(state)?,
            ..manifest
        })?;
        guard.is_kept = true;
        Ok(())
    }

    /// Whether the disk accepts as much as the content has, tested by writing it.
    pub(crate) fn has_room(&self) -> bool {
        let octets = SpoolState::read(&self.folder).map_or(0, |manifest| manifest.snapshot_octets)
            + PROBE_OCTETS;
        let path = content_of(&self.folder).join(format!(
            "writing-{}",
            WRITERS.fetch_add(1, Ordering::Relaxed)
        ));
        let probe = RemovedOnDrop {
            path,
            is_kept: false,
        };
        let written = File::create(&probe.path).and_then(|mut file| {
            io::copy(&mut io::repeat(0).take(octets), &mut file)?;
            file.sync_all()
        });
        // Committing the state needs a file of its own.
        let state = File::create(self.folder.join(STATE_ASIDE))
            .and_then(|mut file| file.write_all(&[0; 4096]));
        written.is_ok() && state.is_ok()
    }

    /// Whether the deltas are too many or too large to be read each time.
    pub(crate) fn should_be_folded(&self) -> bool {
        SpoolState::read(&self.folder).is_ok_and(|manifest| {
            manifest.deltas > DELTAS_MAX
                || manifest.delta_octets > manifest.snapshot_octets / DELTA_PART_MAX
        })
    }

    /// Writes the current rows into one snapshot. The content and its digest stay the same.
    pub(crate) fn fold(&self) -> io::Result<()> {
        let manifest = SpoolState::read(&self.folder)?;
        let mut writer = self.snapshot()?;
        let mut written = Ok(());
        for_each_row(&content_of(&self.folder), self.key, &mut |row| {
            if written.is_ok() {
                written = writer.row(row);
            }
        })?;
        written?;
        writer.finish(Some(manifest.content), manifest.state)
    }

    /// Replaces `state.json`: the commit of every change.
    fn commit(&self, manifest: &SpoolState<AnyState>) -> io::Result<()> {
        let aside = self.folder.join(STATE_ASIDE);
        let mut file = crash::create(&aside)?;
        file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
        crash::sync(&file)?;
        // The files must be in their folder before the state that names them.
        crash::sync(&File::open(content_of(&self.folder))?)?;
        crash::rename(&aside, &self.folder.join(STATE))?;
        crash::sync(&File::open(&self.folder)?)
    }
}

/// Deletes the files that the state does not name.
fn sweep(content: &Path, manifest: &SpoolState<AnyState>) -> io::Result<()> {
    let wanted = manifest.files(content);
    for entry in std::fs::read_dir(content)? {
        let path = entry?.path();
        if !wanted.contains(&path) {
            crash::remove(&path)?;
        }
    }
    Ok(())
}

/// Writes a new content. Without [`SnapshotWriter::commit`] it is discarded.
pub(crate) struct SnapshotWriter {
    spool: Spool,
    file: HashingWriter<BufWriter<File>>,
    cleanup: RemovedOnDrop,
}

impl SnapshotWriter {
    pub(crate) fn row(&mut self, row: &[u8]) -> io::Result<()> {
        check_row(row)?;
        self.write_all(row)?;
        self.write_all(b"\n")
    }

    /// Makes this the current content, with this state.
    pub(crate) fn commit<S: Serialize>(self, state: &S) -> io::Result<()> {
        let state = serde_json::to_value(state)?;
        self.finish(None, state)
    }

    /// The digest of the octets so far.
    pub(crate) fn digest(&self) -> String {
        hexadecimal(&self.file.hash.clone().finalize())
    }

    /// Opens what was written so far, from its beginning.
    pub(crate) fn written(&mut self) -> io::Result<File> {
        self.file.flush()?;
        File::open(&self.cleanup.path)
    }

    fn finish(mut self, content: Option<String>, state: AnyState) -> io::Result<()> {
        self.file.flush()?;
        crash::sync(self.file.inner.get_ref())?;
        let content = content.unwrap_or_else(|| self.digest());
        let snapshot = SpoolState::read(&self.spool.folder)?.snapshot + 1;
        let path = content_of(&self.spool.folder).join(snapshot_name(snapshot));
        crash::rename(&self.cleanup.path, &path)?;
        self.cleanup.path = path;
        let manifest = SpoolState {
            snapshot,
            snapshot_octets: self.file.octets,
            deltas: 0,
            delta_octets: 0,
            content,
            state,
        };
        self.spool.commit(&manifest)?;
        self.cleanup.is_kept = true;
        // A leftover file only wastes space; the next start deletes it.
        let _ = sweep(&content_of(&self.spool.folder), &manifest);
        Ok(())
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.file.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that is deleted when its writer is dropped without having finished.
struct RemovedOnDrop {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        if !self.is_kept {
            // Best effort: the next start deletes it.
            let _ = crash::remove(&self.path);
        }
    }
}

fn check_row(row: &[u8]) -> io::Result<()> {
    if row.contains(&b'\n') || row.len() as u64 >= ROW_OCTETS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a row that does not fit a line",
        ));
    }
    Ok(())
}

/// The digest of the current content; empty where there is none.
pub(crate) fn content_digest(content: &Path) -> io::Result<String> {
    SpoolState::read(folder_above(content)).map(|manifest| manifest.content)
}

/// The fetcher's state, for readers.
pub(crate) fn read_state<S: DeserializeOwned>(content: &Path) -> Option<S> {
    serde_json::from_value(SpoolState::read(folder_above(content)).ok()?.state).ok()
}

/// The current files in reading order. None of them ever changes.
pub(crate) fn files(content: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(SpoolState::read(folder_above(content))?.files(content))
}

/// The one file of a feed that is fetched as a whole; `None` before the first fetch.
pub(crate) fn whole_file(content: &Path) -> io::Result<Option<PathBuf>> {
    Ok(files(content)?.into_iter().next())
}

fn folder_above(content: &Path) -> &Path {
    content.parent().unwrap_or(Path::new(""))
}

/// What was read: its digest and the fetcher's state.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) digest: String,
    pub(crate) state: serde_json::Value,
}

/// Visits all current rows: the snapshot with the deltas applied, in memory proportional to the
/// deltas. Rows of the snapshot come first, in its order, then those of the deltas by key. A
/// concurrent writer does not affect what is read.
pub(crate) fn for_each_row(
    content: &Path,
    key: RowKey,
    visit: &mut dyn FnMut(&[u8]),
) -> io::Result<Content> {
    let (files, read) = open_all(content)?;
    let mut files = files.into_iter();
    let Some(snapshot) = files.next() else {
        return Ok(read);
    };
    let mut changed: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    for delta in files {
        for_each_line(delta, &mut |line| {
            let (sign, row) = line.split_first().ok_or_else(damaged)?;
            let of_row = key.of(row).to_owned();
            match sign {
                b'+' => changed.insert(of_row, Some(row.to_owned())),
                b'-' => changed.insert(of_row, None),
                _ => return Err(damaged()),
            };
            Ok(())
        })?;
    }
    for_each_line(snapshot, &mut |row| {
        if changed.is_empty() || !changed.contains_key(key.of(row)) {
            visit(row);
        }
        Ok(())
    })?;
    changed.values().flatten().for_each(|row| visit(row));
    Ok(read)
}

/// Opens all current files as of one moment.
fn open_all(content: &Path) -> io::Result<(Vec<File>, Content)> {
    let mut looks = 0;
    loop {
        let manifest = SpoolState::read(folder_above(content))?;
        match manifest
            .files(content)
            .iter()
            .map(File::open)
            .collect::<io::Result<Vec<File>>>()
        {
            // The writer was faster; `state.json` names other files by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound && looks < LOOKS_MAX => {
                looks += 1
            }
            files => {
                return Ok((
                    files?,
                    Content {
                        digest: manifest.content,
                        state: manifest.state,
                    },
                ));
            }
        }
    }
}

fn for_each_line(file: File, visit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BUFFER_OCTETS, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader
            .by_ref()
            .take(ROW_OCTETS_MAX + 2)
            .read_until(b'\n', &mut line)?
        {
            0 => return Ok(()),
            _ => visit(line.strip_suffix(b"\n").ok_or_else(damaged)?)?,
        }
    }
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a line of the spool is no row: the disk lost something",
    )
}

#[cfg(test)]
mod tests;
