//! What an operator needs to judge a refused version: a copy of it, and the names that it would
//! block or unblock.
//!
//! ```text
//! feeds/<name>/refused/version       which version the rest is about
//! feeds/<name>/refused/changes.tsv   a line for each name: + or -, the category's slug or "-", the name
//! feeds/<name>/refused/content/      the version as it came: its files, or a snapshot and the deltas that lead to it
//! ```

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use policy::{
    lists::{
        blocklist::NameCursor,
        entry::{EntryAction, ListEntry, NO_CATEGORY, Polarity},
    },
    name::name_of_key,
};

use crate::{
    confined::open_within,
    feed::Feed,
    source,
    spool::{self, folder_of},
};

const FOLDER: &str = "refused";
const VERSION: &str = "version";
const CHANGES: &str = "changes.tsv";
const CONTENT: &str = "content";

/// One name that a refused version would block or unblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameDiff {
    /// Whether the name would be blocked; otherwise it would be unblocked.
    pub blocked: bool,
    /// The category; `None` where the feed assigns none.
    pub category: Option<String>,
    /// The name, the name that encodes an address prefix, or a host with a path.
    pub name: String,
}

/// Visits the changes of the kept version and returns its name. `None` where no version of this
/// feed is kept.
///
/// # Errors
/// The files cannot be read.
pub fn changes(
    directory: &Path,
    feed: &str,
    mut visit: impl FnMut(NameDiff),
) -> io::Result<Option<String>> {
    let folder = folder_of(directory, feed).join(FOLDER);
    let version = match std::fs::read_to_string(folder.join(VERSION)) {
        Ok(version) => version,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for line in BufReader::new(File::open(folder.join(CHANGES))?).lines() {
        let line = line?;
        let mut cells = line.splitn(3, '\t');
        if let (Some(sign), Some(slug), Some(name)) = (cells.next(), cells.next(), cells.next()) {
            visit(NameDiff {
                blocked: sign == "+",
                category: (slug != "-").then(|| slug.to_owned()),
                name: name.to_owned(),
            });
        }
    }
    Ok(Some(version))
}

/// Keeps a refused version in place of the one kept before. The file `version` is written last:
/// without it the copy is incomplete.
pub(crate) fn keep(
    directory: &Path,
    feed: &Feed,
    version: &str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(directory, &feed.name).join(FOLDER);
    if std::fs::read_to_string(folder.join(VERSION)).is_ok_and(|kept| kept == version) {
        return Ok(());
    }
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir_all(folder.join(CONTENT))?,
    }
    let mut out = BufWriter::new(File::create(folder.join(CHANGES))?);
    write(&mut out)?;
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    for (place, path) in content(directory, feed).into_iter().enumerate() {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // Several folders of one feed have files of the same name.
        let kept = folder.join(CONTENT).join(format!("{place:04}-{name}"));
        // Files of a spool never change, so a hard link is as good as a copy.
        if !feed.is_fetched() {
            match open_within(&path, feed.within()) {
                Ok(mut from) => drop(io::copy(&mut from, &mut File::create(&kept)?)?),
                // A feed of the API whose link leads outside its folder was refused for that; no
                // copy is kept.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        } else if std::fs::hard_link(&path, &kept).is_err() {
            std::fs::copy(&path, &kept)?;
        }
    }
    std::fs::write(folder.join(VERSION), version)
}

/// Keeps the changes that refused rows would cause.
///
/// # Errors
/// The file system's error.
pub fn keep_changes(
    directory: &Path,
    feed: &Feed,
    version: &str,
    changes: &[NameDiff],
) -> io::Result<()> {
    keep(directory, feed, version, |out| {
        changes.iter().try_for_each(
            |NameDiff {
                 blocked,
                 category,
                 name,
             }| {
                let sign = if *blocked { '+' } else { '-' };
                writeln!(
                    out,
                    "{sign}\t{}\t{name}",
                    category.as_deref().unwrap_or("-")
                )
            },
        )
    })
}

/// The files of a version: its source, or the snapshot and deltas of its spool.
fn content(directory: &Path, feed: &Feed) -> Vec<PathBuf> {
    if feed.is_fetched() {
        return spool::files(&source::content(feed, directory)).unwrap_or_default();
    }
    source::files(feed, directory)
        .map(|files| files.into_iter().map(|file| file.path).collect())
        .unwrap_or_default()
}

/// The names of a feed in the live lists.
pub(crate) struct Before<'l> {
    pub(crate) names: Option<NameCursor<'l>>,
    /// Index of the feed; `None` where the lists do not have it.
    pub(crate) place: Option<u16>,
    /// Slugs of the categories, by index.
    pub(crate) slugs: &'l [String],
}

/// The names of a feed in the refused version.
pub(crate) struct Now<'n> {
    /// Entries in the order of their keys.
    pub(crate) entries: &'n [(&'n [u8], ListEntry)],
    pub(crate) place: u16,
    pub(crate) slugs: &'n [String],
}

/// The category slugs of one key, each with whether the entry is about a path.
type ListedSet = BTreeSet<(String, bool)>;

impl Before<'_> {
    /// The next key that the feed blocks, with its categories.
    fn next(&mut self) -> Option<(Vec<u8>, ListedSet)> {
        let names = self.names.as_mut().filter(|_| self.place.is_some())?;
        while let Some((key, marks)) = names.next() {
            let listed = listed(marks.iter(), self.place, self.slugs);
            if !listed.is_empty() {
                return Some((key.to_vec(), listed));
            }
        }
        None
    }
}

/// The categories that a feed's entries block.
fn listed<'m>(
    marks: impl Iterator<Item = &'m ListEntry>,
    feed: Option<u16>,
    slugs: &[String],
) -> ListedSet {
    let slug = |category: u8| match category {
        NO_CATEGORY => "-".to_owned(),
        place => slugs.get(usize::from(place)).cloned().unwrap_or_default(),
    };
    marks
        .filter(|mark| {
            Some(mark.feed) == feed
                && mark.polarity == Polarity::Deny
                && mark.action != EntryAction::RedirectToProxy
        })
        .map(|mark| (slug(mark.category), mark.action == EntryAction::Path))
        .collect()
}

/// Writes the differences between the names of one feed before and now. Both are sorted by key.
pub(crate) fn write_changes(
    out: &mut dyn Write,
    mut before: Before<'_>,
    now: Now<'_>,
) -> io::Result<()> {
    let mut old = before.next();
    let mut entries = now.entries;
    let nothing = ListedSet::new();
    loop {
        let key = match (
            old.as_ref().map(|(key, _)| key.as_slice()),
            entries.first().map(|(key, _)| *key),
        ) {
            (None, None) => return Ok(()),
            (Some(old), Some(new)) => old.min(new).to_vec(),
            (Some(key), None) | (None, Some(key)) => key.to_vec(),
        };
        let count = entries
            .iter()
            .take_while(|(new, _)| *new == key.as_slice())
            .count();
        let (same, rest) = entries.split_at(count);
        let has = listed(
            same.iter().map(|(_, mark)| mark),
            Some(now.place),
            now.slugs,
        );
        let is_old = old.as_ref().is_some_and(|(old, _)| *old == key);
        let had = old
            .as_ref()
            .filter(|_| is_old)
            .map_or(&nothing, |(_, listed)| listed);
        for (sign, (slug, is_path)) in had
            .difference(&has)
            .map(|listed| ('-', listed))
            .chain(has.difference(had).map(|listed| ('+', listed)))
        {
            writeln!(out, "{sign}\t{slug}\t{}", shown(&key, *is_path))?;
        }
        entries = rest;
        if is_old {
            old = before.next();
        }
    }
}

/// A key for people: a name, or a host and its path.
pub(crate) fn shown(key: &[u8], is_path: bool) -> String {
    if !is_path {
        return name_of_key(key)
            .map(|name| name.to_string())
            .unwrap_or_default();
    }
    let (host, path) = policy::lists::index_key::split_path(key);
    let host = name_of_key(host)
        .map(|name| name.to_string())
        .unwrap_or_default();
    format!(
        "{host}{}",
        String::from_utf8_lossy(&path).replace(['\t', '\n', '\r'], " ")
    )
}
