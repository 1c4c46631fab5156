//! The artefacts in their folder: `generation-0000000042.oxl`, the highest number the newest. A number is never given
//! twice, so a name always means the same octets.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Digits of a generation in a file's name, so that names sort as numbers do.
const DIGITS: usize = 10;
const PREFIX: &str = "generation-";
const SUFFIX: &str = ".oxl";
/// Between an artefact's name and a process id, in the name of a file that is still being written.
const WRITING: &str = ".oxl.writing-";
/// Held by the one process that builds.
const LOCK: &str = "building.lock";

/// One artefact in the folder. That it is there does not say that it can be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Artefact {
    /// Its generation, by its name.
    pub generation: u64,
    /// The file.
    pub path: PathBuf,
}

/// The artefacts of a folder, newest first. A folder that is not there holds none.
///
/// # Errors
/// The folder cannot be listed.
pub fn newest(directory: &Path) -> io::Result<Vec<Artefact>> {
    let mut artefacts = Vec::new();
    for path in entries(directory)? {
        let generation = path.file_name().and_then(|name| generation_of(name.to_str()?));
        artefacts.extend(generation.map(|generation| Artefact { generation, path }));
    }
    artefacts.sort_by(|a, b| b.cmp(a));
    Ok(artefacts)
}

/// Deletes all artefacts but the newest `keep`, and says which.
///
/// # Errors
/// The folder cannot be listed, or a file not deleted.
pub fn prune(directory: &Path, keep: usize) -> io::Result<Vec<Artefact>> {
    let old: Vec<Artefact> = newest(directory)?.into_iter().skip(keep).collect();
    for artefact in &old {
        std::fs::remove_file(&artefact.path)?;
    }
    Ok(old)
}

/// Where the artefact of a generation lies.
pub(crate) fn path_of(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{generation:0DIGITS$}{SUFFIX}"))
}

/// Makes this process the only one that builds in the folder, for as long as the file lives; waits for another one. What
/// a builder that was killed left half-written is swept away.
pub(crate) fn lock(directory: &Path) -> io::Result<File> {
    let lock = File::options().create(true).truncate(false).write(true).open(directory.join(LOCK))?;
    lock.lock()?;
    for path in entries(directory)? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains(WRITING)) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(lock)
}

fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (digits.len() >= DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_only_the_oldest_are_pruned() {
        let folder = tempfile::tempdir().unwrap();
        for generation in [3, 11, 2, 12_345_678_901] {
            std::fs::write(path_of(folder.path(), generation), "").unwrap();
        }
        for other in ["generation-1.oxl", "generation-0000000009.oxl.writing-7", "generation-+000000009.oxl", "notes.txt"] {
            std::fs::write(folder.path().join(other), "").unwrap();
        }
        let generations = |artefacts: Vec<Artefact>| artefacts.iter().map(|artefact| artefact.generation).collect::<Vec<_>>();
        assert_eq!(generations(newest(folder.path()).unwrap()), [12_345_678_901, 11, 3, 2]);
        assert_eq!(generations(prune(folder.path(), 2).unwrap()), [3, 2]);
        assert_eq!(generations(newest(folder.path()).unwrap()), [12_345_678_901, 11]);
        assert!(folder.path().join("notes.txt").exists());
        assert!(prune(folder.path(), 9).unwrap().is_empty());
        assert!(newest(&folder.path().join("absent")).unwrap().is_empty());
    }

    #[test]
    fn what_a_killed_builder_left_is_swept_away() {
        let folder = tempfile::tempdir().unwrap();
        let half = folder.path().join("generation-0000000009.oxl.writing-7");
        std::fs::write(&half, "").unwrap();
        let _lock = lock(folder.path()).unwrap();
        assert!(!half.exists());
    }
}
