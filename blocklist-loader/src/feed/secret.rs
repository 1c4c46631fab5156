//! Secrets of a definition: literal, in the environment, or in a file.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

/// Prefix of a secret that names an environment variable.
const ENVIRONMENT: &str = "env:";

/// Prefix of a secret that names a file.
const FILE: &str = "file:";

/// A secret: its text, `env:NAME` or `file:PATH`. It is never displayed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text as the configuration has it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself. It is read anew for each use, so that a changed secret needs no restart.
    ///
    /// # Errors
    /// The environment variable or the file is missing, or has no usable content.
    pub fn reveal(&self) -> Result<String, String> {
        let words = if let Some(name) = self.0.strip_prefix(ENVIRONMENT) {
            std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))?
        } else if let Some(path) = self.0.strip_prefix(FILE) {
            std::fs::read_to_string(path)
                .map_err(|error| format!("reading {path}: {error}"))?
                .trim_end()
                .to_owned()
        } else {
            self.0.clone()
        };
        let is_plain =
            !words.is_empty() && !words.contains(|character: char| character.is_control());
        is_plain
            .then_some(words)
            .ok_or_else(|| "the secret is empty or has more than one line".to_owned())
    }

    /// The secret, where the definition contains it literally.
    pub(super) fn literal(&self) -> Option<&str> {
        (!is_reference(&self.0)).then_some(&*self.0)
    }

    /// The secret with a relative path of its file resolved against a folder.
    #[must_use]
    pub fn rooted(self, base: &Path) -> Self {
        match self.0.strip_prefix(FILE) {
            Some(path) => Self(format!("{FILE}{}", base.join(path).display())),
            None => self,
        }
    }
}

/// Whether a text refers to an environment variable or a file.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with(ENVIRONMENT) || text.starts_with(FILE)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
