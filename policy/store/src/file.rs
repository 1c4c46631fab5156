//! The file of a store, before SQLite opens it and while it is open: its content, access to it, the
//! lock of the daemon, and whether the path still leads to the open file.
//!
//! Nothing here opens a database file that exists: closing a second descriptor of it would drop
//! SQLite's locks (POSIX advisory locks belong to the process, not to the descriptor).

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};

use crate::error::StoreError;

/// Mode of files that the program creates: owner only.
const FILE_MODE: u32 = 0o600;
/// Mode of folders that the program creates.
const FOLDER_MODE: u32 = 0o700;
/// The mode bits of group and others.
const OTHERS: u32 = 0o077;
/// A file system with less room than this is nearly full: a write may fail, so one is tried.
const ROOM_LOW_OCTETS: u64 = 1 << 20;

/// The content at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileContent {
    Missing,
    Empty,
    /// A file that is not empty.
    Filled,
}

/// The path in a URL.
pub(crate) fn file_of(url: &str) -> Result<&Path, StoreError> {
    let (scheme, path) = url.split_once(':').unwrap_or((url, ""));
    if scheme != "sqlite" {
        return Err(StoreError::Engine {
            scheme: scheme.to_owned(),
        });
    }
    let path = path.strip_prefix("//").unwrap_or(path);
    // SQLite's `:memory:` would be another database in each connection.
    if path.is_empty() || path.starts_with(':') {
        Err(StoreError::NoFile(url.to_owned()))
    } else {
        Ok(Path::new(path))
    }
}

/// The path of a file beside the store: the same name with a suffix.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Checks the content at a path, without opening it.
pub(crate) fn look(path: &Path) -> Result<FileContent, StoreError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(StoreError::NotAFile {
            path: path.to_owned(),
        }),
        Ok(found) if found.len() == 0 => Ok(FileContent::Empty),
        Ok(_) => Ok(FileContent::Filled),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileContent::Missing),
        Err(source) => Err(StoreError::Access {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Creates the folder of a file, with its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    let made = DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder);
    made.map_err(|source| StoreError::Folder {
        path: folder.to_owned(),
        source,
    })
}

/// Creates an empty file, so that SQLite need not choose its mode. The journal gets the same mode.
pub(crate) fn make_file(path: &Path) -> Result<(), StoreError> {
    let made = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path);
    made.map(drop).map_err(|source| StoreError::Access {
        path: path.to_owned(),
        source,
    })
}

/// Creates a new file that its owner alone can read.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
}

/// Checks that this process may write the file, and create files beside it such as the journal.
pub(crate) fn may_write(path: &Path) -> Result<(), StoreError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    for (path, wanted) in [
        (path, Access::READ_OK | Access::WRITE_OK),
        (folder, Access::WRITE_OK | Access::EXEC_OK),
    ] {
        access(path, wanted).map_err(|error| StoreError::Access {
            path: path.to_owned(),
            source: error.into(),
        })?;
    }
    Ok(())
}

/// Whether the file system of a file is full, or nearly so.
pub(crate) fn has_little_room(path: &Path) -> bool {
    statvfs(path)
        .is_ok_and(|system| system.f_bavail.saturating_mul(system.f_frsize) < ROOM_LOW_OCTETS)
}

/// Removes the rights of group and others from a file and its journal, which an earlier version or
/// a copy may have set. Logs the change.
pub(crate) fn tighten(path: &Path) {
    for path in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        let Some(mode) = fs::metadata(&path)
            .ok()
            .map(|found| found.mode() & 0o777)
            .filter(|mode| mode & OTHERS != 0)
        else {
            continue;
        };
        let file = path.display().to_string();
        let mode = format!("{mode:03o}");
        match fs::set_permissions(&path, Permissions::from_mode(FILE_MODE)) {
            Ok(()) => tracing::warn!(
                file,
                mode,
                "others than the owner had rights to this file; its mode is 600 now"
            ),
            Err(error) => {
                tracing::warn!(file, mode, %error, "others than the owner have rights to this file, and its mode cannot be changed")
            }
        }
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if let Some(mode) = fs::metadata(folder)
        .ok()
        .map(|found| found.mode() & 0o777)
        .filter(|mode| mode & OTHERS != 0)
    {
        let folder = folder.display().to_string();
        let mode = format!("{mode:03o}");
        tracing::warn!(
            folder,
            mode,
            "others than the owner may enter the folder of the store; chmod 700 keeps them out"
        );
    }
}

/// Replaces a small file: writes it aside and renames it. It belongs to the owner of the store,
/// even if root writes it.
pub(crate) fn replace(path: &Path, text: &str, store: &Path, is_synced: bool) -> io::Result<()> {
    let aside = beside(path, &format!(".{}", std::process::id()));
    let write = || {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&aside)?;
        file.write_all(text.as_bytes())?;
        give_to_owner(&aside, store)?;
        if is_synced {
            file.sync_all()?;
        }
        fs::rename(&aside, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&aside)))
}

/// Gives a file that root created to the owner of the store, whose daemon must read it.
pub(crate) fn give_to_owner(path: &Path, store: &Path) -> io::Result<()> {
    let (Ok(store), made) = (fs::metadata(store), fs::metadata(path)?) else {
        return Ok(());
    };
    if (store.uid(), store.gid()) == (made.uid(), made.gid())
        || !rustix::process::geteuid().is_root()
    {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(store.uid()), Some(store.gid()))
}

/// Writes a file that must not exist yet.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The lock that makes this process the only daemon of a store, for its lifetime. Commands beside
/// the daemon do not need it.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Lock {
    /// Takes the lock file beside the store of a URL.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process holds it; [`StoreError::Access`] where the file
    /// cannot be created.
    pub fn take(url: &str) -> Result<Self, StoreError> {
        let path = file_of(url)?;
        make_folder(path)?;
        // Two paths to one file are one store.
        let store = path.canonicalize().or_else(|_| {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            folder
                .canonicalize()
                .map(|folder| folder.join(path.file_name().unwrap_or_default()))
        });
        let lock = beside(
            &store.map_err(|source| StoreError::Access {
                path: path.to_owned(),
                source,
            })?,
            ".lock",
        );
        let failed = |source| StoreError::Access {
            path: lock.clone(),
            source,
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&lock)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let process = holder.trim().parse().ok();
                return Err(StoreError::Locked {
                    path: path.to_owned(),
                    process,
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // For people only; a full disk does not affect the lock.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

/// A file as the file system identifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode(u64, u64);

impl Inode {
    fn of(found: &Metadata) -> Self {
        Self(found.dev(), found.ino())
    }
}

/// The files that SQLite has open. They stay the same as long as one connection is open.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    files: Vec<(PathBuf, Inode)>,
    /// Octets of the database when it was opened. It never shrinks, because it is never vacuumed.
    octets: u64,
}

impl OpenFiles {
    /// Identifies the files of a database. A connection must be open that has read something.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let octets = fs::metadata(path)?.len();
        let files = ["", "-wal", "-shm"].map(|suffix| {
            let path = beside(path, suffix);
            fs::metadata(&path).map(|found| (path, Inode::of(&found)))
        });
        Ok(Self {
            files: files.into_iter().collect::<io::Result<_>>()?,
            octets,
        })
    }

    /// Checks that the paths still lead to these files. Data written to a file without a path is
    /// lost with the process.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (number, (path, inode)) in self.files.iter().enumerate() {
            let name = path.display();
            match fs::metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(format!("{name} was removed while it was open"));
                }
                Err(error) => return Err(format!("{name} cannot be looked at: {error}")),
                Ok(found) if Inode::of(&found) != *inode => {
                    return Err(format!(
                        "{name} was replaced by another file while it was open"
                    ));
                }
                Ok(found) if number == 0 && found.len() < self.octets => {
                    return Err(format!("{name} was cut short while it was open"));
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }
}
