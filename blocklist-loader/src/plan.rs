//! What a build shall build.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use policy::name::Name;
use serde::{Deserialize, Serialize};

use crate::feed::{Bounds, Feed};

/// What is to be built, and where. Plain data, so that a daemon can pass it to a build process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// The feeds in the order of the configuration, with absolute sources.
    pub feeds: Vec<Feed>,
    /// The folder of the artefacts; created if it is missing.
    pub directory: PathBuf,
    /// Whether to build even if nothing changed.
    pub force: bool,
    /// The number of the new generation, where the caller has reserved one.
    pub generation: Option<u64>,
    /// The operator's own names, which no feed may block.
    pub own_names: Vec<Name>,
    /// Versions that an operator has approved although a gate refused them, by feed.
    pub approved: BTreeMap<String, String>,
    /// Feeds that were rolled back and are released from being held.
    pub released: Vec<String>,
    /// Source limits of feeds defined over the API, by name. The feeds' own JSON does not carry
    /// them.
    pub bounds: BTreeMap<String, Bounds>,
    /// Feeds whose definitions exceed these limits. They are not read and keep the entries they
    /// had.
    pub barred: BTreeSet<String>,
}

impl Plan {
    /// Gives each feed of the API its limits, which are lost where a plan is sent as JSON.
    pub fn bound(&mut self) {
        for feed in &mut self.feeds {
            feed.bounds = self.bounds.get(&feed.name).cloned();
        }
    }
}
