//! Search engines with a stricter address: an alias to it replaces the engine's own address (as in
//! RPZ, a CNAME rewrite).

use serde::{Deserialize, Serialize};

use crate::{name::Name, rules::name_source::NameSource};

/// The most search engines: [`crate::rules::flags::PolicyFlags`] has two bits for each.
pub const ENGINES_MAX: usize = 12;

/// How much adult content a search engine leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SearchLevel {
    /// The engine's own address.
    Off,
    /// The engine's moderate level where it has one; otherwise as [`Self::Strict`].
    Moderate,
    /// The engine's strictest level.
    Strict,
}

/// A search engine with an address for safe search.
#[derive(Debug)]
pub struct SearchEngine {
    /// The identifier in JSON.
    pub slug: String,
    /// The name for people.
    pub title: String,
    /// The alias target at level [`SearchLevel::Strict`].
    pub strict: Name,
    /// The alias target at level [`SearchLevel::Moderate`]; `None` where the engine has no such
    /// level.
    pub moderate: Option<Name>,
    /// Where the engine publishes these names.
    pub source: NameSource,
}

impl SearchEngine {
    /// The alias target at a level; `None` at [`SearchLevel::Off`].
    #[must_use]
    pub fn target(&self, level: SearchLevel) -> Option<&Name> {
        match level {
            SearchLevel::Off => None,
            SearchLevel::Moderate => Some(self.moderate.as_ref().unwrap_or(&self.strict)),
            SearchLevel::Strict => Some(&self.strict),
        }
    }
}
