//! The identity of a store, and how a node remembers it.
//!
//! The database holds the identity. Two markers repeat it, one beside the file and one in the
//! folder of the lists, each with the newest signed head of the audit. A file that is missing,
//! empty or another node's is therefore not taken for a first start, and rows removed from the end
//! of the audit are noticed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    error::StoreError,
    file::{beside, replace},
};

/// Suffix of the marker beside the database.
const MARKER_SUFFIX: &str = ".node";
/// Name of the marker in the folder of the lists.
const MARKER_IN_LISTS: &str = "store.node";
/// Suffix of the file with the private key that signs heads of the audit.
pub(crate) const KEY_SUFFIX: &str = ".audit-key";

/// The places where a node keeps its store and markers.
#[derive(Debug, Clone, Copy)]
pub struct StorePaths<'h> {
    /// The URL of the store.
    pub url: &'h str,
    pub lists: &'h Path,
}

/// The content of a marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub store: String,
    /// Since when it is this node's store; for people.
    pub since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Markers {
    store: PathBuf,
    places: Vec<PathBuf>,
}

impl Markers {
    pub(crate) fn of(store: &Path, lists: &Path) -> Self {
        Self {
            store: store.to_owned(),
            places: vec![beside(store, MARKER_SUFFIX), lists.join(MARKER_IN_LISTS)],
        }
    }

    /// Reads the existing markers, with their paths.
    pub(crate) fn read(&self) -> Result<Vec<(&Path, Marker)>, StoreError> {
        let mut found = Vec::new();
        for path in &self.places {
            match fs::read_to_string(path) {
                Ok(text) => {
                    let unusable = |error: serde_json::Error| StoreError::Unusable {
                        path: path.clone(),
                        detail: format!("no marker: {error}"),
                    };
                    found.push((
                        path.as_path(),
                        serde_json::from_str(&text).map_err(unusable)?,
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(StoreError::Access {
                        path: path.clone(),
                        source,
                    });
                }
            }
        }
        Ok(found)
    }

    /// Writes both markers. Tries both, and returns the first failure.
    pub(crate) fn write(&self, marker: &Marker, is_synced: bool) -> io::Result<()> {
        let text = serde_json::to_string_pretty(marker).expect("a marker is plain data") + "\n";
        self.places
            .iter()
            .map(|path| replace(path, &text, &self.store, is_synced))
            .fold(Ok(()), io::Result::and)
    }

    /// Renames both markers, for a store that begins anew.
    pub(crate) fn put_aside(&self) -> Result<(), StoreError> {
        for path in &self.places {
            match fs::rename(path, beside(path, ".old")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::Access {
                        path: path.clone(),
                        source: error,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}
