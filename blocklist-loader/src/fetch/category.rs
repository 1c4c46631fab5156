//! Fetches a category feed over HTTP or from a folder: a manifest that is polled every few seconds,
//! snapshots, deltas and a code map. `docs/category-feed.md` describes the format.
//!
//! ```text
//! feed.json -> changed? -> route: deltas from our sequence, or the newest snapshot and its deltas
//!           -> download the files, verify SHA-256 and size of each -> unpack all of them -> spool
//! ```
//!
//! The spool is written after all files have been verified; each version is committed in one step.

use std::{
    fs::File,
    io::{self, BufRead, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Url;
use sha2::Digest;
use tokio::time::Instant;

use super::{
    category_state::{State, names_of},
    client::{self, HttpAnswer, HttpClient, Validators},
    error::{FetchError, disk, unpack_failed},
    fetched::Fetched,
    manifest::{Codes, FeedManifest, PublishedFile, Route},
};
use crate::{
    confined::open_within,
    digest::{HashingWriter, hexadecimal, sha256},
    feed::Feed,
    gate::Gate,
    parse::category_row::Row,
    row_change::RowChange,
    spool::{self, RowKey, SnapshotWriter, Spool},
    unpack::{self, Unpacked},
};

const MANIFEST: &str = "feed.json";
const CODES: &str = "feed-codes.json";
/// How often the code map is fetched if the manifest does not state that it changed.
const CODES_INTERVAL: Duration = Duration::from_secs(60);
/// The most octets of all deltas of one fetch, unpacked: they are held in memory. A node that is
/// further behind takes a snapshot.
const DELTA_OCTETS_MAX: u64 = 256 << 20;
/// The most octets of a manifest or a code map.
const DOCUMENT_OCTETS_MAX: u64 = 16 << 20;
/// The longest row, in octets.
const ROW_OCTETS_MAX: u64 = 64 << 10;

/// Where a feed is published.
enum FeedLocation {
    Http(Box<HttpClient>),
    /// A folder, and the folder that its files must be in after links are resolved.
    Folder(PathBuf, Option<PathBuf>),
}

/// The fetcher of one category feed.
pub struct CategoryFeed {
    place: FeedLocation,
    source: String,
    manifest_name: String,
    spool: Spool,
    folder: PathBuf,
    octets_max: u64,
    timeout: Duration,
    codes_asked: Option<Instant>,
}

/// The files of a version, verified and unpacked.
#[derive(Default)]
struct Download {
    snapshot: Option<(SnapshotWriter, u64)>,
    /// The changes of each delta, and the version that it leads to.
    deltas: Vec<(Vec<RowChange>, u64)>,
}

impl CategoryFeed {
    pub(crate) fn new(feed: &Feed, directory: &Path) -> Result<Self, FetchError> {
        let folder = spool::folder_of(directory, &feed.name);
        let spool = Spool::open(&folder, RowKey::UpToTab).map_err(disk)?;
        let is_remote = feed.source.starts_with("http://") || feed.source.starts_with("https://");
        // A URL that ends in `.json` is the manifest; any other is the folder.
        let (base, manifest_name) = match feed.source.rsplit_once('/') {
            Some((base, name)) if name.ends_with(".json") => (format!("{base}/"), name.to_owned()),
            _ => (
                format!("{}/", feed.source.trim_end_matches('/')),
                MANIFEST.to_owned(),
            ),
        };
        let place = match is_remote {
            true => FeedLocation::Http(Box::new(HttpClient::new(&Feed {
                source: base,
                ..feed.clone()
            })?)),
            false => FeedLocation::Folder(PathBuf::from(base), feed.within().map(Path::to_owned)),
        };
        Ok(Self {
            place,
            source: feed.source.clone(),
            manifest_name,
            spool,
            folder,
            octets_max: feed.octets_max(),
            timeout: Duration::from_secs(feed.timeout_s.into()),
            codes_asked: None,
        })
    }

    pub(crate) fn spool(&self) -> &Spool {
        &self.spool
    }

    pub(crate) async fn fetch(&mut self) -> Result<Fetched, FetchError> {
        let known: Option<State> = self
            .spool
            .state()
            .filter(|state: &State| state.source == self.source);
        let late = |_| {
            FetchError::new(
                Gate::Time,
                format!(
                    "{} took longer than {} s",
                    self.source,
                    self.timeout.as_secs()
                ),
            )
        };
        let looked = tokio::time::timeout(self.timeout, self.look(known.as_ref()))
            .await
            .map_err(late)??;
        let Some((download, state)) = looked else {
            return Ok(Fetched::Unchanged);
        };
        self.codes_asked = Some(Instant::now());
        let spool = self.spool.clone();
        let renamed = known
            .as_ref()
            .is_some_and(|known| names_of(&known.codes) != names_of(&state.codes));
        let fetched = tokio::task::spawn_blocking(move || {
            put(&spool, download, state, known.as_ref(), renamed)
        });
        fetched
            .await
            .map_err(|error| disk(io::Error::other(error)))?
            .map_err(disk)
    }

    /// All new files and the new state; `None` where nothing is new.
    async fn look(&self, known: Option<&State>) -> Result<Option<(Download, State)>, FetchError> {
        let validators = known
            .map(|known| known.validators.clone())
            .unwrap_or_default();
        let document = self.document(&self.manifest_name, &validators).await?;
        let is_codes_time = self
            .codes_asked
            .is_none_or(|asked| asked.elapsed() >= CODES_INTERVAL);
        let (json, validators) = match (document, known) {
            (Some((json, validators)), _) => (json, validators),
            (None, Some(known)) if is_codes_time => {
                let (codes, codes_sha256) = self.codes(None, Some(known)).await?;
                let state = State {
                    codes,
                    codes_sha256,
                    ..known.clone()
                };
                return Ok(Some((Download::default(), state)));
            }
            (None, _) => return Ok(None),
        };
        let digest = sha256(&json);
        let malformed =
            |reason| FetchError::new(Gate::Format, format!("{}: {reason}", self.manifest_name));
        let manifest = FeedManifest::parse(&json).map_err(malformed)?;
        if let Some(known) = known
            && known.manifest == digest
            && !is_codes_time
        {
            return Ok(None);
        }
        let (codes, codes_sha256) = self.codes(Some(&manifest), known).await?;
        let state = |sequence: u64| State {
            source: self.source.clone(),
            id: manifest.id.clone(),
            sequence,
            files: manifest.files(),
            manifest: digest.clone(),
            validators: validators.clone(),
            codes: codes.clone(),
            codes_sha256: codes_sha256.clone(),
        };
        let have = known
            .filter(|known| !is_reset(&manifest, known))
            .map(|known| known.sequence);
        if let (Some(known), true) = (known, have.is_some() && have == manifest.newest()) {
            return Ok(Some((Download::default(), state(known.sequence))));
        }
        let (download, last) = self.update(&manifest, have).await?;
        Ok(Some((download, state(last))))
    }

    /// Downloads the files that lead from a version to the newest one; also returns the version
    /// that was reached.
    async fn update(
        &self,
        manifest: &FeedManifest,
        have: Option<u64>,
    ) -> Result<(Download, u64), FetchError> {
        let route_from = |have| {
            let no_route = |reason| {
                FetchError::new(Gate::Sequence, format!("{}: {reason}", self.manifest_name))
            };
            manifest.route(have).map_err(no_route)
        };
        let route = route_from(have)?;
        match self.download_route(&route).await {
            // The deltas are too large to be held in memory.
            Err(error) if error.gate == Gate::Size && route.snapshot.is_none() => {
                self.download_route(&route_from(None)?).await
            }
            downloaded => downloaded,
        }
    }

    /// Downloads and unpacks all files of a route.
    async fn download_route(&self, route: &Route<'_>) -> Result<(Download, u64), FetchError> {
        let mut files = Vec::new();
        let mut last = None;
        for published in route
            .snapshot
            .into_iter()
            .chain(route.deltas.iter().copied())
        {
            files.push((
                self.download(published).await?,
                published.file.clone(),
                published.sequence,
            ));
            last = Some(published.sequence);
        }
        let last = last.ok_or_else(|| {
            FetchError::new(
                Gate::Sequence,
                format!("{} leads nowhere", self.manifest_name),
            )
        })?;
        let has_snapshot = route.snapshot.is_some();
        let spool = self.spool.clone();
        let octets_max = self.octets_max;
        let unpacked = tokio::task::spawn_blocking(move || {
            let mut files = files.into_iter();
            let mut snapshot = None;
            if has_snapshot && let Some((file, name, sequence)) = files.next() {
                snapshot = Some((
                    read_snapshot(file, &name, octets_max, spool.snapshot().map_err(disk)?)?,
                    sequence,
                ));
            }
            let mut deltas = Vec::new();
            let mut left = octets_max.min(DELTA_OCTETS_MAX);
            for (file, name, sequence) in files {
                deltas.push((read_delta(file, &name, &mut left)?, sequence));
            }
            Ok(Download { snapshot, deltas })
        });
        let download: Result<Download, FetchError> = unpacked
            .await
            .map_err(|error| disk(io::Error::other(error)))?;
        Ok((download?, last))
    }

    /// Downloads one file, still compressed, into an unnamed file.
    async fn download(&self, published: &PublishedFile) -> Result<File, FetchError> {
        let octets_max = published
            .size
            .unwrap_or(self.octets_max)
            .min(self.octets_max);
        let file = tempfile::tempfile_in(&self.folder).map_err(disk)?;
        let hashing = HashingWriter::new(file);
        let written = match &self.place {
            FeedLocation::Http(client) => match client
                .get(&join(client, &published.file)?, &Validators::default())
                .await?
            {
                HttpAnswer::Content(response, _) => {
                    client::store(response, octets_max, hashing).await?
                }
                HttpAnswer::NotModified => {
                    return Err(FetchError::new(
                        Gate::Transport,
                        format!("{} came without content", published.file),
                    ));
                }
            },
            FeedLocation::Folder(folder, within) => {
                let path = folder.join(&published.file);
                let within = within.clone();
                let copied = tokio::task::spawn_blocking(move || {
                    copy(&path, within.as_deref(), octets_max, hashing)
                });
                copied
                    .await
                    .map_err(|error| disk(io::Error::other(error)))??
            }
        };
        let HashingWriter {
            inner: mut file,
            hash,
            octets,
        } = written;
        if let Some(size) = published.size.filter(|size| *size != octets) {
            return Err(FetchError::new(
                Gate::Size,
                format!(
                    "{} has {octets} octets, the manifest says {size}",
                    published.file
                ),
            ));
        }
        let digest = hexadecimal(&hash.finalize());
        if digest != published.sha256 {
            let detail = format!(
                "the SHA-256 of {} is {digest}, the manifest says {}",
                published.file, published.sha256
            );
            return Err(FetchError::new(Gate::Checksum, detail));
        }
        file.rewind().map_err(disk)?;
        Ok(file)
    }

    /// The code map. It may be missing if the manifest does not name it.
    async fn codes(
        &self,
        manifest: Option<&FeedManifest>,
        known: Option<&State>,
    ) -> Result<(Codes, String), FetchError> {
        let named = manifest.and_then(|manifest| manifest.codes.as_ref());
        let pinned = named.and_then(|codes| codes.sha256.as_ref());
        if let Some(known) = known
            && pinned == Some(&known.codes_sha256)
        {
            return Ok((known.codes.clone(), known.codes_sha256.clone()));
        }
        let name = named.map_or(CODES, |codes| &codes.file);
        let json = match self.document(name, &Validators::default()).await {
            Ok(document) => document.map(|(json, _)| json).unwrap_or_default(),
            Err(error) if named.is_none() && error.gate == Gate::Transport => {
                return Ok(known
                    .map(|known| (known.codes.clone(), known.codes_sha256.clone()))
                    .unwrap_or_default());
            }
            Err(error) => return Err(error),
        };
        let digest = sha256(&json);
        if let Some(stated) = pinned.filter(|stated| **stated != digest) {
            return Err(FetchError::new(
                Gate::Checksum,
                format!("the SHA-256 of {name} is {digest}, the manifest says {stated}"),
            ));
        }
        let codes = Codes::parse(&json)
            .map_err(|reason| FetchError::new(Gate::Format, format!("{name}: {reason}")))?;
        Ok((codes, digest))
    }

    /// A document of the feed; `None` if it is unchanged.
    async fn document(
        &self,
        name: &str,
        known: &Validators,
    ) -> Result<Option<(Vec<u8>, Validators)>, FetchError> {
        match &self.place {
            FeedLocation::Http(client) => match client.get(&join(client, name)?, known).await? {
                HttpAnswer::NotModified => Ok(None),
                HttpAnswer::Content(response, validators) => Ok(Some((
                    client::store(response, DOCUMENT_OCTETS_MAX, Vec::new()).await?,
                    validators,
                ))),
            },
            FeedLocation::Folder(folder, within) => {
                let hashing = HashingWriter::new(Vec::new());
                let copied = copy(
                    &folder.join(name),
                    within.as_deref(),
                    DOCUMENT_OCTETS_MAX,
                    hashing,
                )?;
                Ok(Some((copied.inner, Validators::default())))
            }
        }
    }
}

/// Whether the producer has started over, or may have: the spooled content cannot be continued.
fn is_reset(manifest: &FeedManifest, known: &State) -> bool {
    let is_other = manifest.id.is_some() && manifest.id != known.id;
    let is_behind = manifest
        .newest()
        .is_none_or(|newest| newest < known.sequence);
    is_other || is_behind || !manifest.continues(&known.files)
}

/// Commits everything to the spool, version by version.
fn put(
    spool: &Spool,
    download: Download,
    state: State,
    known: Option<&State>,
    renamed: bool,
) -> io::Result<Fetched> {
    let Download { snapshot, deltas } = download;
    let version = state.sequence.to_string();
    let is_new = snapshot.is_some() || !deltas.is_empty();
    let had_snapshot = snapshot.is_some();
    // The manifest is stored only with the last version, so that an interrupted update is repeated.
    let at = |sequence: u64| State {
        sequence,
        manifest: String::new(),
        validators: Validators::default(),
        ..state.clone()
    };
    if let Some((writer, sequence)) = snapshot {
        writer.commit(&at(sequence))?;
    }
    let mut rows = Vec::new();
    for (changes, sequence) in deltas {
        spool.append(&changes, &at(sequence))?;
        rows.extend(changes);
    }
    spool.set_state(&state)?;
    Ok(match known {
        _ if had_snapshot || renamed => Fetched::Replaced { version },
        Some(known) if is_new => Fetched::Changed {
            from: known.sequence.to_string(),
            version,
            rows,
        },
        _ => Fetched::Unchanged,
    })
}

fn join(client: &HttpClient, file: &str) -> Result<Url, FetchError> {
    let joined = client.source().join(file);
    joined.map_err(|error| {
        FetchError::because(
            Gate::Transport,
            format!("{file:?} is no name of a file"),
            error,
        )
    })
}

fn copy<W: Write>(
    path: &Path,
    within: Option<&Path>,
    octets_max: u64,
    mut to: HashingWriter<W>,
) -> Result<HashingWriter<W>, FetchError> {
    let failed = |error| {
        FetchError::because(
            Gate::Transport,
            format!("reading {}", path.display()),
            error,
        )
    };
    let from = open_within(path, within).map_err(failed)?;
    io::copy(&mut from.take(octets_max + 1), &mut to).map_err(failed)?;
    if to.octets > octets_max {
        return Err(FetchError::new(
            Gate::Size,
            format!("{} has more than {octets_max} octets", path.display()),
        ));
    }
    Ok(to)
}

/// Why reading rows stopped.
enum RowError {
    Io(io::Error),
    TooLong(u64),
}

/// Visits all rows of a compressed file, without comments and empty lines.
fn for_each_row(
    mut file: File,
    name: &str,
    octets_max: u64,
    mut visit: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), FetchError> {
    let read = unpack::unpack(
        &mut file,
        name,
        octets_max,
        |Unpacked { reader, .. }| {
            let mut line = Vec::new();
            for number in 1.. {
                line.clear();
                let length = reader
                    .take(ROW_OCTETS_MAX)
                    .read_until(b'\n', &mut line)
                    .map_err(RowError::Io)?;
                if length == 0 {
                    break;
                }
                if length as u64 == ROW_OCTETS_MAX && !line.ends_with(b"\n") {
                    return Err(RowError::TooLong(number));
                }
                let row = line.trim_ascii();
                if !row.is_empty() && !row.starts_with(b"#") {
                    visit(row).map_err(RowError::Io)?;
                }
            }
            Ok(())
        },
    );
    match read {
        Ok(Ok(())) => Ok(()),
        Ok(Err(RowError::TooLong(line))) => Err(FetchError::new(
            Gate::Format,
            format!("{name}: line {line} is longer than {ROW_OCTETS_MAX} octets: no row"),
        )),
        Ok(Err(RowError::Io(error))) => Err(disk(error)),
        Err(error) => Err(unpack_failed(name, error)),
    }
}

fn read_snapshot(
    file: File,
    name: &str,
    octets_max: u64,
    mut writer: SnapshotWriter,
) -> Result<SnapshotWriter, FetchError> {
    for_each_row(file, name, octets_max, |row| {
        writer.row(&Row::parse(row).normal())
    })?;
    Ok(writer)
}

/// Reads a delta. A row replaces the codes of its key; a row without codes removes the key. If all
/// rows begin with a sign, the sign states which it is.
fn read_delta(file: File, name: &str, octets_left: &mut u64) -> Result<Vec<RowChange>, FetchError> {
    let mut rows: Vec<Vec<u8>> = Vec::new();
    let most = *octets_left;
    for_each_row(file, name, most, |row| {
        *octets_left = octets_left.saturating_sub(row.len() as u64 + 1);
        rows.push(row.to_owned());
        Ok(())
    })?;
    let is_signed = rows
        .iter()
        .all(|row| row.starts_with(b"+") || row.starts_with(b"-"));
    let change = |row: &Vec<u8>| {
        let (is_removal, text) = if is_signed {
            (row[0] == b'-', row[1..].trim_ascii_start())
        } else {
            (false, &row[..])
        };
        let row = Row::parse(text);
        match is_removal || row.codes().next().is_none() {
            true => RowChange::removed(row.key()),
            false => RowChange::added(row.normal()),
        }
    };
    Ok(rows.iter().map(change).collect())
}

#[cfg(test)]
mod tests;
