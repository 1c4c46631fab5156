//! Every change of the disk as a step of its own, so that tests can stop the program between any two
//! steps.

use std::{fs::File, io, path::Path};

#[cfg(test)]
std::thread_local! {
    /// Steps until the simulated crash. All steps after it fail.
    pub(super) static STEPS_LEFT: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

/// Whether the simulated crash is still to come.
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
        // Unsynced data may be lost: the test loses half of it.
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
