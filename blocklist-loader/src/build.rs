//! Builds the next generation from all feeds: reads them, writes the artefact, opens it again and
//! verifies it before it is announced.
//!
//! A refused feed keeps the entries of the previous generation if its definition is unchanged; the
//! other feeds continue. A failed build leaves everything in use as it was.

mod generation;
mod need;
pub(crate) mod result;

use std::{fs::File, path::Path};

use policy::{
    category::Taxonomy,
    lists::{
        artefact::{ArtefactError, Header, WrittenArtefact},
        blocklist::Blocklist,
    },
};

use self::generation::GenerationBuild;
pub use self::{
    need::{BuildNeed, needs_building, waiting},
    result::{BuildError, BuildOutcome, Built, RefusedFeed},
};
use crate::{
    feed::Feed,
    generations::{lock, newest, path_of},
    last_check,
    plan::Plan,
};

/// Builds the next generation, if it would differ. Refused and held feeds keep their entries of
/// `previous`.
///
/// # Errors
/// After a [`BuildError`] the folder has the same content as before.
pub fn build(
    plan: &Plan,
    taxonomy: &Taxonomy,
    previous: Option<&Blocklist>,
    now: jiff::Timestamp,
) -> Result<BuildOutcome, BuildError> {
    let mut bounded = plan.clone();
    bounded.bound();
    let plan = &bounded;
    Feed::check_all(&plan.feeds, taxonomy)?;
    let need = needs_building(plan, previous.map(Blocklist::header));
    let same = previous.filter(|_| !plan.force);
    if let Some(previous) = same.filter(|_| need == BuildNeed::Nothing) {
        return Ok(BuildOutcome::Unchanged {
            generation: previous.generation(),
            refused: last_check::refusals(plan, previous.header()),
        });
    }
    let (generation, _lock) = begin(plan, previous)?;
    let write_error = |source| BuildError::Write { generation, source };
    let mut build = GenerationBuild::new(plan, previous, generation, now);
    // Changed feeds are read first. If all of them are refused or equal the live content, the other
    // feeds need not be read.
    if let Some(previous) = same.filter(|_| need == BuildNeed::Content)
        && let Some(refused) = build.read_changed(previous).map_err(write_error)?
    {
        return Ok(BuildOutcome::Unchanged {
            generation: previous.generation(),
            refused,
        });
    }
    let (builder, header, refused) = build.finish().map_err(write_error)?;
    let path = path_of(&plan.directory, generation);
    let written = builder
        .write(header, previous, &path)
        .map_err(write_error)?;
    verify(&path, &written, taxonomy)
        .map_err(|source| BuildError::Verify { generation, source })?;
    Ok(BuildOutcome::Built(Box::new(Built { written, refused })))
}

/// Locks the folder of the artefacts and returns the number of the next generation.
fn begin(plan: &Plan, previous: Option<&Blocklist>) -> Result<(u64, File), BuildError> {
    let failed = |step| {
        move |source| BuildError::Directory {
            step,
            path: plan.directory.clone(),
            source,
        }
    };
    std::fs::create_dir_all(&plan.directory).map_err(failed("creating"))?;
    let lock = lock(&plan.directory).map_err(failed("locking"))?;
    // An unreadable file still occupies its number: the same number must never stand for other
    // octets.
    let highest = newest(&plan.directory)
        .map_err(failed("listing"))?
        .first()
        .map_or(0, |artefact| artefact.generation);
    let next = highest.max(previous.map_or(0, Blocklist::generation)) + 1;
    Ok((plan.generation.unwrap_or(next), lock))
}

/// Opens the written artefact as its users do; deletes it if it is not the intended one.
fn verify(
    path: &Path,
    written: &WrittenArtefact,
    taxonomy: &Taxonomy,
) -> Result<(), ArtefactError> {
    let opened = Blocklist::open(path, taxonomy).and_then(|opened| {
        let differs = || ArtefactError::Damaged {
            path: path.to_owned(),
            what: "its header is not the one written",
        };
        // Opened lists keep the answers beside the header.
        let header = Header {
            answers: opened.answers().to_vec(),
            ..opened.header().clone()
        };
        if header == written.header {
            Ok(())
        } else {
            Err(differs())
        }
    });
    if opened.is_err() {
        // Best effort: the error above is the one that matters, and every reader refuses a bad
        // artefact.
        let _ = std::fs::remove_file(path);
    }
    opened
}
