//! The compiled lists, and the bounds of feeds that are defined over the API.

use std::path::{Component, Path, PathBuf};

use blocklist_loader::{Bounds, share};
use policy::name::Name;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// `[lists]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListsConfig {
    /// The folder of the artefacts.
    pub directory: PathBuf,
    /// How many whole generations are kept, with the deltas between them.
    pub keep: usize,
    /// The operator's own names, which no feed may block: the portal, the API, the landing page.
    pub own_names: Vec<Name>,
    /// One of so many queries is sampled by its name. 0: none.
    pub query_sample: u32,
    /// The folder for local sources of feeds defined over the API. Absent: such feeds have no local
    /// source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_folder: Option<PathBuf>,
    /// Whether feeds defined over the API may use addresses outside the public Internet.
    pub api_allow_private: bool,
    /// How nodes share lists. Absent: they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<share::ShareSettings>,
}

impl Default for ListsConfig {
    fn default() -> Self {
        Self {
            directory: "data/lists".into(),
            keep: 3,
            own_names: Vec::new(),
            query_sample: 64,
            api_folder: None,
            api_allow_private: false,
            share: None,
        }
    }
}

impl ListsConfig {
    /// The bounds of feeds that are defined over the API.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            folder: self.api_folder.clone(),
            allow_private: self.api_allow_private,
        }
    }
}

/// The absolute path without links and `..`, as far as the path exists; what does not exist yet is
/// appended as it is written, with `..` taken literally.
fn real_path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => _ = plain.pop(),
            part => plain.push(part),
        }
        if let Ok(real) = plain.canonicalize() {
            plain = real;
        }
    }
    plain
}

/// Checks that all values are in their ranges.
pub fn check(lists: &ListsConfig) -> Result<(), ConfigError> {
    let value = |key, is_good, error| ConfigError::unless(is_good, key, error);
    value("lists.keep", (1..=1_000).contains(&lists.keep), "1 to 1000")?;
    value(
        "lists.query_sample",
        lists.query_sample <= 1_000_000,
        "0 to 1000000",
    )?;
    // An artefact or a spool is no list, and one feed must not read what another one fetched.
    let directory = real_path(&lists.directory);
    let holds_ours = |folder: &PathBuf| {
        let real = real_path(folder);
        folder.as_os_str().is_empty()
            || directory.starts_with(&real)
            || real.starts_with(&directory)
    };
    value(
        "lists.api_folder",
        !lists.api_folder.as_ref().is_some_and(holds_ours),
        "a folder of its own, neither in lists.directory nor around it",
    )?;
    match &lists.share {
        Some(share) => share
            .check()
            .map_err(|fault| ConfigError::Value("lists.share", fault.to_string())),
        None => Ok(()),
    }
}
