//! Files that must be inside a folder, whatever symbolic links point to.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Component, Path},
};

/// Whether a path is inside a folder after symbolic links and `..` are resolved. For a path that
/// does not exist, the nearest existing ancestor decides.
pub(crate) fn leads_within(path: &Path, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    if let Ok(path) = path.canonicalize() {
        return path.starts_with(folder);
    }
    // A dangling link may get a target later, and `..` behind a missing component cannot be
    // resolved.
    let there = path
        .ancestors()
        .find(|ancestor| ancestor.symlink_metadata().is_ok());
    let Some((there, missing)) =
        there.and_then(|there| Some((there, path.strip_prefix(there).ok()?)))
    else {
        return false;
    };
    let is_plain = missing
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    is_plain
        && there
            .canonicalize()
            .is_ok_and(|there| there.starts_with(folder))
}

/// Opens a file that must be inside a folder. The check is repeated on the opened descriptor, so a
/// link that changes in between has no effect.
pub(crate) fn open_within(path: &Path, within: Option<&Path>) -> io::Result<File> {
    let Some(folder) = within else {
        return File::open(path);
    };
    let outside = || {
        io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is outside of lists.api_folder",
        )
    };
    if !leads_within(path, folder) {
        return Err(outside());
    }
    let file = File::open(path)?;
    let lies = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if lies.starts_with(folder.canonicalize()?) {
        Ok(file)
    } else {
        Err(outside())
    }
}
