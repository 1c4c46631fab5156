//! A delta: the difference between a generation and its parent. For each name that changed, it
//! holds all entries that the name has from now on.
//!
//! ```text
//! 8    magic "OXDELTA\n"; version, length of the header and header as in an artefact: the header is the new generation's
//! …    for each name: octets of its key (2), the key, the number of its marks (2), 10 octets a mark
//! 32   SHA-256 of everything above
//! ```
//!
//! A delta holds entries and not octets of the artefact: one of ten thousand names takes half a
//! megabyte, applies to any base, is written in milliseconds, and shows an auditor what changed.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::lists::{
    artefact::{
        ArtefactError, DELTA_MAGIC, Envelope, Header, WrittenArtefact, io, open_envelope,
        push_marks, read_marks, write_aside, write_envelope,
    },
    entry::ListEntry,
    index_key::is_key,
};

/// The key of a name, and all its entries from now on; none if the name is no longer listed.
pub type NameChange = (Box<[u8]>, Vec<ListEntry>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    pub path: PathBuf,
    /// The header of the new generation; `parent` is the generation that the delta continues.
    pub header: Header,
    /// The changed names. Entries refer to answers by index: first the answers of the parent that
    /// its entries use, then, behind all of the parent's, those of this header. If the parent is
    /// folded in between, its unused answers are gone.
    pub changes: Vec<NameChange>,
    /// In hexadecimal; empty until [`Self::write`].
    pub sha256: String,
}

impl Delta {
    /// Writes it to its path: aside, synced, renamed.
    ///
    /// # Errors
    /// The step that failed; then no file is at the path.
    pub fn write(&mut self) -> Result<WrittenArtefact, ArtefactError> {
        let mut body = Vec::new();
        for (key, marks) in &self.changes {
            let length = u16::try_from(key.len())
                .map_err(|_| ArtefactError::TooMany(usize::from(u16::MAX), "octets of a key"))?;
            body.extend(length.to_be_bytes());
            body.extend_from_slice(key);
            push_marks(&mut body, marks.iter().copied())?;
        }
        let path = &self.path;
        let header = &self.header;
        let sha256 = &mut self.sha256;
        write_aside(path, |file| {
            let written = write_envelope(
                BufWriter::new(file),
                DELTA_MAGIC,
                header,
                |out: &mut dyn Write| out.write_all(&body),
            );
            let (file, hash) = written.map_err(io("writing", path))?;
            *sha256 = hash;
            file.into_inner()
                .map_err(|error| io("writing", path)(error.into_error()))
        })?;
        let octets = std::fs::metadata(path)
            .map_err(io("measuring", path))?
            .len();
        Ok(WrittenArtefact {
            path: path.clone(),
            header: header.clone(),
            octets,
        })
    }

    /// Reads and verifies a delta.
    ///
    /// # Errors
    /// The file is damaged, or no delta.
    pub fn read(path: &Path) -> Result<Self, ArtefactError> {
        let damaged = |what| ArtefactError::Damaged {
            path: path.to_owned(),
            what,
        };
        let Envelope {
            octets,
            header: header_range,
            body_end,
            sha256,
        } = open_envelope(path, DELTA_MAGIC)?;
        let header = Header::read(&octets[header_range.clone()]).map_err(damaged)?;
        if header.parent.is_none() {
            return Err(damaged("it names no parent"));
        }
        let mut rest = &octets[header_range.end..body_end];
        let mut changes = Vec::new();
        while !rest.is_empty() {
            // Indices of answers are checked when the parent is known.
            let change = read_change(&mut rest, &header)
                .ok_or_else(|| damaged("its changes cannot be read"))?;
            changes.push(change);
        }
        Ok(Self {
            path: path.to_owned(),
            header,
            changes,
            sha256,
        })
    }
}

fn read_change(rest: &mut &[u8], header: &Header) -> Option<NameChange> {
    let (length, tail) = rest.split_first_chunk::<2>()?;
    let (key, mut tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let marks = read_marks(&mut tail, header, usize::MAX)?;
    *rest = tail;
    if !is_key(key) {
        return None;
    }
    Some((key.into(), marks))
}
