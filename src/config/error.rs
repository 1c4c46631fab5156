//! What is wrong with a configuration.

use std::{fmt, path::PathBuf};

/// Why a configuration is refused.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read(PathBuf, std::io::Error),
    /// Not TOML, an unknown key, or a value of the wrong type. The message shows the line.
    Parse(String, Box<toml::de::Error>),
    /// An environment variable that names no key, or has a value of the wrong type.
    Environment(String, String),
    /// A key with a value out of range.
    Value(&'static str, String),
    /// A feed with a definition that cannot be used.
    Feed(blocklist_loader::FeedError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "reading {}: {error}", path.display()),
            Self::Parse(file, error) => write!(f, "{file}: {error}"),
            Self::Environment(variable, error) => {
                write!(f, "environment variable {variable}: {error}")
            }
            Self::Value(key, error) => write!(f, "{key}: {error}"),
            Self::Feed(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// Refuses the value of a key, unless it is good.
    pub fn unless(is_good: bool, key: &'static str, error: &str) -> Result<(), Self> {
        match is_good {
            true => Ok(()),
            false => Err(Self::Value(key, error.to_owned())),
        }
    }
}
