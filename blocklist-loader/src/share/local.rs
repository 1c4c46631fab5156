//! Local state of sharing: the last manifest that was seen, and the digests of local files.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    error::{ShareError, disk},
    manifest::StoredObject,
};
use crate::digest::hexadecimal;

const MEMORY: &str = "share.json";
const LOCK: &str = "share.lock";
const BUFFER_OCTETS: usize = 1 << 18;
/// An artefact ends with the SHA-256 of everything before.
const HASH_OCTETS: u64 = 32;

/// The last manifest that was seen, stored so that no older one is accepted after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SeenManifest {
    /// The key that signed it. With another key the sequence starts over.
    pub(super) public_key: String,
    pub(super) sequence: u64,
    /// Digest of the signed document.
    pub(super) sha256: String,
}

impl SeenManifest {
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join(MEMORY)
    }

    /// The stored state for manifests of this key. An unreadable file is an error, because losing
    /// the state would permit a replay.
    pub(super) fn read(directory: &Path, public_key: &str) -> Result<Option<Self>, ShareError> {
        let path = Self::path(directory);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk("reading", &path)(error)),
        };
        let memory: Self =
            serde_json::from_slice(&text).map_err(|error| disk("reading", &path)(error.into()))?;
        Ok(Some(memory).filter(|memory| memory.public_key == public_key))
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), ShareError> {
        let path = Self::path(directory);
        let write = || {
            let mut aside = tempfile::Builder::new()
                .prefix(".share-")
                .tempfile_in(directory)?;
            aside.write_all(&serde_json::to_vec(self)?)?;
            aside.as_file().sync_all()?;
            aside.persist(&path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(disk("writing", &path))
    }
}

/// Makes this process the only one that shares a folder, while the returned file is open.
pub(super) fn lock(directory: &Path) -> Result<File, ShareError> {
    std::fs::create_dir_all(directory).map_err(disk("creating", directory))?;
    let path = directory.join(LOCK);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(disk("opening", &path))?;
    lock.try_lock().map_err(|error| {
        disk("locking (another process shares this folder)", &path)(error.into())
    })?;
    Ok(lock)
}

/// The digest of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileDigest {
    pub(super) object: StoredObject,
    /// Whether the file ends with the hash of everything before, as every complete artefact does.
    pub(super) is_whole: bool,
}

/// Digests of files, computed once, because the files never change.
#[derive(Debug, Clone, Default)]
pub(super) struct DigestCache(Arc<Mutex<HashMap<PathBuf, (FileStamp, FileDigest)>>>);

/// Length, inode and modification time (seconds and nanoseconds).
type FileStamp = (u64, u64, i64, i64);

impl DigestCache {
    /// The digest of a file, read if needed; `None` where there is no file.
    pub(super) fn of(&self, path: &Path) -> Result<Option<FileDigest>, ShareError> {
        let read = || -> io::Result<FileDigest> {
            let mut file = File::open(path)?;
            let metadata = file.metadata()?;
            let stamp = (
                metadata.len(),
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec(),
            );
            let known = self
                .0
                .lock()
                .expect("nothing panics while it holds the lock")
                .get(path)
                .cloned();
            if let Some((at, digested)) = known
                && at == stamp
            {
                return Ok(digested);
            }
            let digested = digest(&mut file, metadata.len())?;
            self.0
                .lock()
                .expect("nothing panics while it holds the lock")
                .insert(path.to_owned(), (stamp, digested.clone()));
            Ok(digested)
        };
        match read() {
            Ok(digested) => Ok(Some(digested)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.0
                    .lock()
                    .expect("nothing panics while it holds the lock")
                    .remove(path);
                Ok(None)
            }
            Err(error) => Err(disk("reading", path)(error)),
        }
    }
}

fn digest(file: &mut File, octets: u64) -> io::Result<FileDigest> {
    let mut hash = Sha256::new();
    let body = hash_reader(&mut hash, file, octets.saturating_sub(HASH_OCTETS))?;
    let of_body = hash.clone().finalize();
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    hash.update(&end);
    let object = StoredObject {
        sha256: hexadecimal(&hash.finalize()),
        octets: body + end.len() as u64,
    };
    Ok(FileDigest {
        object,
        is_whole: of_body[..] == end[..],
    })
}

/// Hashes at most `octets` octets of a reader; returns how many there were.
pub(super) fn hash_reader(
    hash: &mut Sha256,
    reader: &mut impl Read,
    octets: u64,
) -> io::Result<u64> {
    let mut reader = reader.take(octets);
    let mut buffer = vec![0; BUFFER_OCTETS];
    let mut sum = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(sum),
            count => {
                hash.update(&buffer[..count]);
                sum += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_memory_of_what_was_seen_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(SeenManifest::read(folder.path(), "a").unwrap(), None);
        let memory = SeenManifest {
            public_key: "a".to_owned(),
            sequence: 7,
            sha256: "0".to_owned(),
        };
        memory.write(folder.path()).unwrap();
        assert_eq!(
            SeenManifest::read(folder.path(), "a").unwrap(),
            Some(memory)
        );
        assert_eq!(SeenManifest::read(folder.path(), "b").unwrap(), None);
        std::fs::write(SeenManifest::path(folder.path()), "{").unwrap();
        assert!(matches!(
            SeenManifest::read(folder.path(), "a"),
            Err(ShareError::Disk { .. })
        ));
        let _lock = lock(folder.path()).unwrap();
        assert!(lock(folder.path()).is_err());
    }

    #[test]
    fn a_file_is_whole_when_it_ends_with_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let digests = DigestCache::default();
        assert_eq!(digests.of(&path).unwrap(), None);
        let mut octets = b"content".to_vec();
        octets.extend(Sha256::digest(b"content"));
        std::fs::write(&path, &octets).unwrap();
        let whole = digests.of(&path).unwrap().unwrap();
        assert_eq!(
            whole.object,
            StoredObject {
                sha256: hexadecimal(&Sha256::digest(&octets)),
                octets: 39
            }
        );
        assert!(whole.is_whole);
        for other in [&octets[..38], b"c", b""] {
            std::fs::write(&path, other).unwrap();
            let digested = digests.of(&path).unwrap().unwrap();
            assert!(!digested.is_whole && digested.object.octets == other.len() as u64);
        }
    }
}
