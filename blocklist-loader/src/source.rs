//! The files of a feed: which they are, whether they changed, and their lines after decompression.
//! The module knows nothing of formats except squidGuard's fixed file names.

use std::{
    fs::Metadata,
    io::{self, BufRead, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    confined::open_within,
    digest::{HashingReader, hexadecimal},
    feed::{Feed, Format},
    fetch::category_state,
    spool,
    unpack::{self, UnpackError, Unpacked},
};

/// The longest line, in octets. A hosts line with a hundred names has 25 thousand. The limit keeps
/// a file without line ends from being read into memory.
const LINE_OCTETS_MAX: u64 = 1 << 20;
/// The UTF-8 byte order entry, which some editors write.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a file of a feed contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Rows of the feed's format; for squidGuard, the file `domains`.
    Names,
    /// squidGuard's file `urls`.
    Urls,
}

/// One file of a feed.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    /// The path within the feed, as complaints show it.
    pub(crate) label: String,
    /// The folder that contains the file; `categories` maps its name.
    pub(crate) folder: String,
    pub(crate) kind: FileKind,
    /// The folder that the file must be in after symbolic links are resolved; absent: no limit.
    pub(crate) within: Option<PathBuf>,
}

/// What [`read`] visits, in order.
pub(crate) enum SourceItem<'a> {
    /// Lines of this file follow: its label, its folder, its kind.
    File(&'a str, &'a str, FileKind),
    /// A line without its line end.
    Line(&'a [u8]),
}

/// Why a file cannot be read as text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("{step} {path}: {source}")]
    Io {
        step: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0} is neither a file nor a folder")]
    NotAFile(PathBuf),
    #[error(
        "{0} is a file; format \"squidguard\" is a folder that holds domains and urls, or folders of them, or a tar archive of that"
    )]
    NotAFolder(PathBuf),
    #[error("{0} is an archive; only format \"squidguard\" is read from archives")]
    Archive(PathBuf),
    #[error("unpacking {path}: {source}")]
    Unpack { path: PathBuf, source: UnpackError },
    #[error("nothing was fetched yet")]
    NotFetched,
    #[error("line {line} of {path} holds NUL octets: binary data, not a list")]
    Binary { path: PathBuf, line: u64 },
    #[error("line {line} of {path} is longer than {LINE_OCTETS_MAX} octets: not a list")]
    LineTooLong { path: PathBuf, line: u64 },
}

/// Why reading an archive's members stopped.
enum MemberError {
    Archive(io::Error),
    Source(SourceError),
}

impl From<io::Error> for MemberError {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

/// The folder of the content of a fetched feed.
pub(crate) fn content(feed: &Feed, directory: &Path) -> PathBuf {
    spool::content_of(&spool::folder_of(directory, &feed.name))
}

/// The files of a feed in a stable order: its local source, or the spooled content. `directory` is
/// the folder of the artefacts.
pub(crate) fn files(feed: &Feed, directory: &Path) -> Result<Vec<SourceFile>, SourceError> {
    if feed.is_fetched() {
        return fetched_file(feed, directory);
    }
    let source = Path::new(&feed.source);
    let metadata = look_at(source)?;
    let mut files = match (metadata.is_dir(), feed.format) {
        (true, Format::Squidguard) => squidguard_files(source)?,
        (true, _) => folder_files(source)?,
        (false, _) if metadata.is_file() => {
            vec![file_at(source.to_owned(), name_of(source), FileKind::Names)]
        }
        (false, _) => return Err(SourceError::NotAFile(source.to_owned())),
    };
    for file in &mut files {
        file.within = feed.within().map(Path::to_owned);
    }
    Ok(files)
}

/// The spooled file, with the name that its provider uses.
fn fetched_file(feed: &Feed, directory: &Path) -> Result<Vec<SourceFile>, SourceError> {
    let content = content(feed, directory);
    let file = spool::whole_file(&content).map_err(|source| SourceError::Io {
        step: "looking at",
        path: content,
        source,
    })?;
    let path = file.ok_or(SourceError::NotFetched)?;
    Ok(vec![SourceFile {
        path,
        label: published_name(&feed.source),
        folder: String::new(),
        kind: FileKind::Names,
        within: None,
    }])
}

/// The last segment of a URL's path.
pub(crate) fn published_name(source: &str) -> String {
    let path = source.split(['?', '#']).next().unwrap_or(source);
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// All regular files of a folder except those whose name begins with a dot.
fn folder_files(folder: &Path) -> Result<Vec<SourceFile>, SourceError> {
    let mut files = Vec::new();
    for path in children(folder)? {
        if look_at(&path)?.is_file() {
            let label = name_of(&path);
            files.push(file_at(path, label, FileKind::Names));
        }
    }
    Ok(files)
}

/// `domains` and `urls` of the folder itself, or else of each of its sub-folders.
fn squidguard_files(folder: &Path) -> Result<Vec<SourceFile>, SourceError> {
    let mut files = category_files(folder, "")?;
    if files.is_empty() {
        for path in children(folder)? {
            if look_at(&path)?.is_dir() {
                files.extend(category_files(&path, &format!("{}/", name_of(&path)))?);
            }
        }
    }
    Ok(files)
}

fn category_files(folder: &Path, prefix: &str) -> Result<Vec<SourceFile>, SourceError> {
    let mut files = Vec::new();
    for (name, kind) in [("domains", FileKind::Names), ("urls", FileKind::Urls)] {
        let path = folder.join(name);
        match look_at(&path) {
            Ok(metadata) if metadata.is_file() => {
                files.push(file_at(path, format!("{prefix}{name}"), kind))
            }
            Err(SourceError::Io { source, .. }) if source.kind() != io::ErrorKind::NotFound => {
                return Err(SourceError::Io {
                    step: "looking at",
                    path,
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(files)
}

fn file_at(path: PathBuf, label: String, kind: FileKind) -> SourceFile {
    let folder = path.parent().map(name_of).unwrap_or_default();
    SourceFile {
        path,
        label,
        folder,
        kind,
        within: None,
    }
}

fn children(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let failed = |source| SourceError::Io {
        step: "listing",
        path: folder.to_owned(),
        source,
    };
    let mut children = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !name_of(&path).starts_with('.') {
            children.push(path);
        }
    }
    children.sort();
    Ok(children)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn look_at(path: &Path) -> Result<Metadata, SourceError> {
    std::fs::metadata(path).map_err(|source| SourceError::Io {
        step: "looking at",
        path: path.to_owned(),
        source,
    })
}

/// Digest of the metadata of a feed's files, without reading them. For files that cannot be
/// examined, the digest covers the error. Spooled content was digested when it was written.
pub(crate) fn fingerprint(feed: &Feed, directory: &Path) -> String {
    let mut hash = Sha256::new();
    let mut note = |fact: String| {
        hash.update(fact.len().to_be_bytes());
        hash.update(fact);
    };
    if feed.is_fetched() {
        let digest = spool::content_digest(&content(feed, directory))
            .unwrap_or_else(|error| error.to_string());
        return fingerprint_of_content(feed, directory, digest);
    }
    match files(feed, directory) {
        Ok(files) => {
            for file in files {
                note(file.path.to_string_lossy().into_owned());
                match look_at(&file.path) {
                    // The inode's change time shows what the modification time can hide: a copy
                    // that preserves times, or a rename over the file.
                    Ok(metadata) => note(format!(
                        "{} {} {}.{} {}.{}",
                        metadata.ino(),
                        metadata.len(),
                        metadata.mtime(),
                        metadata.mtime_nsec(),
                        metadata.ctime(),
                        metadata.ctime_nsec()
                    )),
                    Err(error) => note(error.to_string()),
                }
            }
        }
        Err(error) => note(error.to_string()),
    }
    hexadecimal(&hash.finalize())
}

/// The fingerprint of a fetched feed whose content has this digest.
pub(crate) fn fingerprint_of_content(feed: &Feed, directory: &Path, digest: String) -> String {
    let mut facts = vec![digest];
    if feed.format == Format::CategoryFeed {
        facts.push(category_state::codenames(&content(feed, directory)));
    }
    let hash = facts.iter().fold(Sha256::new(), |hash, fact| {
        hash.chain_update(fact.len().to_be_bytes())
            .chain_update(fact)
    });
    hexadecimal(&hash.finalize())
}

/// Reads a file, or all lists in an archive, line by line. All octets of the file go through the
/// hash.
pub(crate) fn read(
    file: &SourceFile,
    format: Format,
    octets_max: u64,
    hash: &mut Sha256,
    mut visit: impl FnMut(SourceItem<'_>),
) -> Result<(), SourceError> {
    let path = &file.path;
    let opened = open_within(path, file.within.as_deref());
    let opened = opened.map_err(|source| SourceError::Io {
        step: "opening",
        path: path.clone(),
        source,
    })?;
    let mut raw = HashingReader {
        inner: opened,
        hash,
    };
    let unpacked = unpack::unpack(
        &mut raw,
        &file.label,
        octets_max,
        |Unpacked { reader, is_archive }| match (is_archive, format) {
            (true, Format::Squidguard) => read_archive(path, reader, &mut visit),
            (true, _) => Err(SourceError::Archive(path.clone())),
            // A folder would have been listed, so no other kind of file can follow.
            (false, Format::Squidguard)
                if !matches!(file.label.rsplit('/').next(), Some("domains" | "urls")) =>
            {
                Err(SourceError::NotAFolder(path.clone()))
            }
            (false, _) => {
                visit(SourceItem::File(&file.label, &file.folder, file.kind));
                for_each_line(path, reader, |line| visit(SourceItem::Line(line)))
            }
        },
    );
    match unpacked {
        Ok(result) => result,
        Err(UnpackError::Io(source)) => Err(SourceError::Io {
            step: "reading",
            path: path.clone(),
            source,
        }),
        Err(source) => Err(SourceError::Unpack {
            path: path.clone(),
            source,
        }),
    }
}

/// Reads `domains` and `urls` in an archive, in any folder. Member paths are labels only; nothing
/// is written to disk.
fn read_archive(
    path: &Path,
    reader: &mut dyn BufRead,
    visit: &mut impl FnMut(SourceItem<'_>),
) -> Result<(), SourceError> {
    let read = unpack::for_each_member(reader, |parts, member| {
        let [folders @ .., name] = parts else {
            return Ok(());
        };
        let kind = match name.as_str() {
            "domains" => FileKind::Names,
            "urls" => FileKind::Urls,
            _ => return Ok(()),
        };
        visit(SourceItem::File(
            &parts.join("/"),
            folders.last().map_or("", String::as_str),
            kind,
        ));
        let mut member = io::BufReader::new(member);
        for_each_line(path, &mut member, |line| visit(SourceItem::Line(line)))
            .map_err(MemberError::Source)
    });
    read.map_err(|error| match error {
        MemberError::Source(error) => error,
        MemberError::Archive(source) => SourceError::Unpack {
            path: path.to_owned(),
            source: UnpackError::Damaged("tar", source),
        },
    })
}

/// Visits each line without its line end.
fn for_each_line(
    path: &Path,
    reader: &mut dyn BufRead,
    mut visit: impl FnMut(&[u8]),
) -> Result<(), SourceError> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = reader
            .take(LINE_OCTETS_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|source| SourceError::Io {
                step: "reading",
                path: path.to_owned(),
                source,
            })?;
        if length == 0 {
            break;
        }
        if line.contains(&0) {
            return Err(SourceError::Binary {
                path: path.to_owned(),
                line: number,
            });
        }
        if length as u64 == LINE_OCTETS_MAX && !line.ends_with(b"\n") {
            return Err(SourceError::LineTooLong {
                path: path.to_owned(),
                line: number,
            });
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        visit(if number == 1 {
            text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
        } else {
            text
        });
    }
    Ok(())
}
