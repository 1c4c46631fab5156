//! The file of a store before SQLite opens it, and beside it: what lies there, whether this process
//! may write it, who else may read it, which process has it, and whether it is still the file that
//! was opened.
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

/// Mode of a file that the program makes: its owner's alone.
const FILE_MODE: u32 = 0o600;
/// Mode of a folder that the program makes.
const FOLDER_MODE: u32 = 0o700;
/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;
/// Less room than this on the file system is little: a write may fail, so one is tried.
const ROOM_LOW_OCTETS: u64 = 1 << 20;

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileContent {
    /// Nothing.
    Missing,
    /// A file without octets.
    Empty,
    /// A file with some.
    Filled,
}

/// The file that a URL names.
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

/// A file beside the store: its name with something behind it.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Looks what lies at the path, without opening it.
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

/// Makes the folder of a file, with those above it, where they are missing.
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

/// Makes a file without octets, so that SQLite need not choose its mode; the journal takes over the
/// mode of the file.
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

/// Whether this process may write the file, and files beside it: the journal stands there.
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

/// Takes the rights of others from a file and its journal, where an earlier version or a copy gave
/// them some. Says what was so.
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

/// Writes a small file aside and puts it in the place of the old one in one step. It belongs to the
/// owner of the store, also where root writes it.
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

/// Gives a file that root made to the owner of the store, whose daemon must read it.
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

/// Writes a file that must not be there yet.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What makes this process the only daemon on a store, for as long as it lives. Commands beside the
/// daemon do not need it.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Lock {
    /// Takes the lock file beside the store that a URL names.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process holds it; [`StoreError::Access`] where the file
    /// cannot be made.
    pub fn take(url: &str) -> Result<Self, StoreError> {
        let path = file_of(url)?;
        make_folder(path)?;
        // Two names of one file are one store.
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
        // Only for people: a full disk takes nothing from the lock.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

/// A file as the file system knows it.
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
    /// Octets of the database when it was opened: it never shrinks, because nothing vacuums it.
    octets: u64,
}

impl OpenFiles {
    /// Notes the files of a database, of which a connection must be open that has read something.
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

    /// Whether the paths still lead to these files. What is written to a file without a path is
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
