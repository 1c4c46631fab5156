//! The identity of a store, and how a node knows that it had one.
//!
//! The database holds the identity; two markers repeat it, one beside the file and one in the
//! folder of the lists, each with the newest signed head of the audit. So a file that is gone,
//! empty, or another node's is not taken for a first start, and rows that were cut off the audit's
//! end are missed.

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

/// Behind the name of the database.
const MARKER_SUFFIX: &str = ".node";
/// In the folder of the lists.
const MARKER_IN_LISTS: &str = "store.node";
/// Behind the name of the database: the private key with which heads of the audit are signed.
pub(crate) const KEY_SUFFIX: &str = ".audit-key";

/// Where a node keeps what belongs to its store.
#[derive(Debug, Clone, Copy)]
pub struct StorePaths<'h> {
    /// The store.
    pub url: &'h str,
    /// The folder of the lists.
    pub lists: &'h Path,
}

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// The identity of the store.
    pub store: String,
    /// Since when it is this node's, for people.
    pub since: Timestamp,
    /// The newest signed head of its audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

/// The markers of a node.
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

    /// Those that are there, with their paths.
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

    /// Writes both. The first failure is returned after the other one was tried.
    pub(crate) fn write(&self, marker: &Marker, is_synced: bool) -> io::Result<()> {
        let text = serde_json::to_string_pretty(marker).expect("a marker is plain data") + "\n";
        self.places
            .iter()
            .map(|path| replace(path, &text, &self.store, is_synced))
            .fold(Ok(()), io::Result::and)
    }

    /// Puts both aside, for a store that begins anew.
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
