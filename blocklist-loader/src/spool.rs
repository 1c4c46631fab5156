//! The spool of a fetched feed: what the build reads in place of the source, and what its fetcher
//! must remember.
//!
//! ```text
//! state.json                 names the content that counts, and what the fetcher knows of it: the one point of commitment
//! content/snapshot-7         one row a line, or a file as it was published
//! content/delta-7-1          what changed since: lines +row and -row, in order
//! content/delta-7-2          …
//! ```
//!
//! A step writes its file under a name that nobody was told, syncs it, and then replaces
//! `state.json` by one rename. Before the rename everybody sees the old content with the old state,
//! after it the new content with the new state; what a killed writer leaves is a file that
//! `state.json` does not name, swept away by the next [`Spool::open`]. Numbers are not given twice,
//! so a reader in another process either finds all the files it was told of or looks again.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{fetch::RowChange, source::hexadecimal};

const STATE: &str = "state.json";
/// `state.json` while it is written.
const STATE_ASIDE: &str = "state.json.writing";
const CONTENT: &str = "content";
/// Folders of the spools, within that of the artefacts.
const FEEDS: &str = "feeds";
/// How much of a file is in memory at once, in octets.
const BUFFER_OCTETS: usize = 256 << 10;
/// The longest row, in octets: the longest record data a zone can have, escaped, has a quarter of
/// it.
const ROW_OCTETS_MAX: u64 = 1 << 20;
/// More deltas than this are folded into the snapshot: every read opens all of them.
const DELTAS_MAX: u64 = 256;
/// What the disk must take beside the content that there is before a fetch is worth while, in
/// octets.
const PROBE_OCTETS: u64 = 1 << 20;
/// Deltas larger than this part of the snapshot are folded into it: every read holds them in
/// memory.
const DELTA_PART_MAX: u64 = 4;
/// How often a reader that was overtaken by a writer looks again. A writer that is faster every
/// time is none of ours.
const LOOKS_MAX: u32 = 100;

/// What makes two rows speak of the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKey {
    /// All of it.
    WholeRow,
    /// What stands before the first tab.
    UpToTab,
}

impl RowKey {
    /// The key of a row.
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

/// What `state.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SpoolState<S> {
    /// The number of the snapshot; 0 where there is none.
    snapshot: u64,
    snapshot_octets: u64,
    /// How many deltas follow it, numbered from 1.
    deltas: u64,
    delta_octets: u64,
    /// Digest of what was put in: the same after the same steps, and unmoved by folding.
    content: String,
    state: S,
}

type AnyState = serde_json::Value;

/// How many snapshots this process began.
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

    /// The files that count: snapshot, then deltas in order.
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

/// The folder of a feed's spool. Names of feeds are anything people write, so all but the plainest
/// characters are escaped.
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

/// Where in a spool its content lies.
pub(crate) fn content_of(folder: &Path) -> PathBuf {
    folder.join(CONTENT)
}

/// The spool of one feed, as its fetcher holds it. There is one writer; readers may be other
/// processes.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    folder: PathBuf,
    key: RowKey,
}

impl Spool {
    /// Opens a spool, made if it is not there, and sweeps what a killed writer left.
    ///
    /// # Errors
    /// The folder refuses. A `state.json` that cannot be read is as one that is not there:
    /// everything is fetched anew.
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

    /// What the fetcher remembered with the content that counts. None where nothing was fetched
    /// yet, and where another version of this program wrote what this one does not understand.
    pub(crate) fn state<S: DeserializeOwned>(&self) -> Option<S> {
        let manifest = SpoolState::read(&self.folder).ok()?;
        // Content that is gone cannot be built on.
        let is_whole = manifest
            .files(&content_of(&self.folder))
            .iter()
            .all(|file| file.is_file());
        is_whole.then(|| serde_json::from_value(manifest.state).ok())?
    }

    /// Remembers something else about the same content.
    pub(crate) fn set_state<S: Serialize>(&self, state: &S) -> io::Result<()> {
        let manifest = SpoolState::read(&self.folder)?;
        self.commit(&SpoolState {
            state: serde_json::to_value(state)?,
            ..manifest
        })
    }

    /// Begins a new content.
    pub(crate) fn snapshot(&self) -> io::Result<SnapshotWriter> {
        // A writer that nobody waits for any more may still be there, so no two have one name.
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
            octets: 0,
            hash: Sha256::new(),
            file,
            cleanup,
        })
    }

    /// Adds what changed since the content that counts.
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

    /// Whether the disk takes as much again as the content has, by writing it.
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
        // The state is committed by way of a file of its own.
        let state = File::create(self.folder.join(STATE_ASIDE))
            .and_then(|mut file| file.write_all(&[0; 4096]));
        written.is_ok() && state.is_ok()
    }

    /// Whether reading the deltas has become a burden.
    pub(crate) fn should_be_folded(&self) -> bool {
        SpoolState::read(&self.folder).is_ok_and(|manifest| {
            manifest.deltas > DELTAS_MAX
                || manifest.delta_octets > manifest.snapshot_octets / DELTA_PART_MAX
        })
    }

    /// Writes the rows as they stand into one snapshot. The content is the same, and so is its
    /// digest.
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

    /// The one point of commitment.
    fn commit(&self, manifest: &SpoolState<AnyState>) -> io::Result<()> {
        let aside = self.folder.join(STATE_ASIDE);
        let mut file = crash::create(&aside)?;
        file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
        crash::sync(&file)?;
        // The files that the state names must be in their folder before the state is.
        crash::sync(&File::open(content_of(&self.folder))?)?;
        crash::rename(&aside, &self.folder.join(STATE))?;
        crash::sync(&File::open(&self.folder)?)
    }
}

/// Deletes what the state does not name.
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

/// Writes a new content; without [`SnapshotWriter::commit`] it never was.
pub(crate) struct SnapshotWriter {
    spool: Spool,
    octets: u64,
    hash: Sha256,
    file: BufWriter<File>,
    cleanup: RemovedOnDrop,
}

impl SnapshotWriter {
    /// Adds a row.
    pub(crate) fn row(&mut self, row: &[u8]) -> io::Result<()> {
        check_row(row)?;
        self.write_all(row)?;
        self.write_all(b"\n")
    }

    /// From now on this content counts, and with it this state.
    pub(crate) fn commit<S: Serialize>(self, state: &S) -> io::Result<()> {
        let state = serde_json::to_value(state)?;
        self.finish(None, state)
    }

    /// The digest of the octets so far.
    pub(crate) fn digest(&self) -> String {
        hexadecimal(&self.hash.clone().finalize())
    }

    /// What was written so far, to be read from its beginning.
    pub(crate) fn written(&mut self) -> io::Result<File> {
        self.file.flush()?;
        File::open(&self.cleanup.path)
    }

    fn finish(mut self, content: Option<String>, state: AnyState) -> io::Result<()> {
        self.file.flush()?;
        crash::sync(self.file.get_ref())?;
        let content = content.unwrap_or_else(|| self.digest());
        let snapshot = SpoolState::read(&self.spool.folder)?.snapshot + 1;
        let path = content_of(&self.spool.folder).join(snapshot_name(snapshot));
        crash::rename(&self.cleanup.path, &path)?;
        self.cleanup.path = path;
        let manifest = SpoolState {
            snapshot,
            snapshot_octets: self.octets,
            deltas: 0,
            delta_octets: 0,
            content,
            state,
        };
        self.spool.commit(&manifest)?;
        self.cleanup.is_kept = true;
        // What is no longer named is dead weight, no fault: the next start sweeps it again.
        let _ = sweep(&content_of(&self.spool.folder), &manifest);
        Ok(())
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let length = self.file.write(octets)?;
        self.hash.update(&octets[..length]);
        self.octets += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that goes when its writer gives up.
struct RemovedOnDrop {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        if !self.is_kept {
            // Best effort: the next start sweeps it.
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

/// The digest of the content that counts; empty where there is none.
pub(crate) fn content_digest(content: &Path) -> io::Result<String> {
    SpoolState::read(folder_above(content)).map(|manifest| manifest.content)
}

/// What the fetcher remembered, for readers.
pub(crate) fn read_state<S: DeserializeOwned>(content: &Path) -> Option<S> {
    serde_json::from_value(SpoolState::read(folder_above(content)).ok()?.state).ok()
}

/// The files that count, in the order in which they are read. None of them ever changes.
pub(crate) fn files(content: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(SpoolState::read(folder_above(content))?.files(content))
}

/// The one file of a feed that is fetched as a whole; none before the first fetch.
pub(crate) fn whole_file(content: &Path) -> io::Result<Option<PathBuf>> {
    Ok(files(content)?.into_iter().next())
}

fn folder_above(content: &Path) -> &Path {
    content.parent().unwrap_or(Path::new(""))
}

/// What was read: its digest, and what the fetcher remembered of it.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) digest: String,
    pub(crate) state: serde_json::Value,
}

/// All rows as they stand: the snapshot with the deltas applied, in memory proportional to the
/// deltas only. Rows of the snapshot come first, in its order, then those of the deltas by key. A
/// writer meanwhile changes nothing of what is read.
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

/// Opens all the files that count at one moment.
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
            // The writer was faster, and has told of other files by now.
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

/// What changes the disk, step by step, so that tests can end the program between any two of them.
mod crash {
    use std::{fs::File, io, path::Path};

    #[cfg(test)]
    std::thread_local! {
        /// Steps until the crash, after which nothing happens any more.
        pub(super) static STEPS_LEFT: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
    }

    /// Whether the program still runs.
    fn lives() -> bool {
        #[cfg(test)]
        return STEPS_LEFT.get().is_none_or(|left| {
            STEPS_LEFT.set(Some(left.saturating_sub(1)));
            left > 0
        });
        #[cfg(not(test))]
        true
    }

    fn step(act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if lives() {
            act()
        } else {
            Err(io::Error::other("crashed"))
        }
    }

    pub(super) fn create(path: &Path) -> io::Result<File> {
        step(|| Ok(()))?;
        File::create(path)
    }

    pub(super) fn sync(file: &File) -> io::Result<()> {
        let synced = step(|| file.sync_all());
        if cfg!(test) && synced.is_err() && file.metadata()?.is_file() {
            // What was not synced may be lost: half of it is.
            file.set_len(file.metadata()?.len() / 2)?;
        }
        synced
    }

    pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
        step(|| std::fs::rename(from, to))
    }

    pub(super) fn remove(path: &Path) -> io::Result<()> {
        step(|| std::fs::remove_file(path))
    }
}

#[cfg(test)]
mod tests;
