//! Limits on what a feed that was defined over the API may reach. An API key must not allow its
//! holder to read files of this machine, refer to its secrets or send requests to its network. Only
//! the configuration file may do that.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What definitions of the API may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The folder that local sources must be in after symbolic links are resolved; absent: no local
    /// sources.
    pub folder: Option<PathBuf>,
    /// Whether sources may have addresses outside the public Internet.
    pub allow_private: bool,
}

/// What is wrong with a definition of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    /// A reference to a secret of this machine.
    #[error(
        "{0} is a reference to this machine (env: or file:), which a feed defined over the API must not have; write the secret itself"
    )]
    SecretReference(&'static str),
    /// A local source, while no folder for local sources is set.
    #[error(
        "source is a path, which a feed defined over the API must not have: lists.api_folder is not set"
    )]
    NoFolder,
    /// A local source outside the folder.
    #[error("source is outside of lists.api_folder, or links to the outside")]
    OutsideFolder,
    /// An address outside the public Internet.
    #[error(
        "{0} is for sources that are not of the public Internet, which a feed defined over the API must not have: lists.api_allow_private is false"
    )]
    Private(&'static str),
}

impl OutOfBounds {
    /// Stable code for API answers.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::SecretReference(_) => "secret_reference",
            Self::NoFolder | Self::OutsideFolder => "local_source",
            Self::Private(_) => "private_address",
        }
    }

    /// The key that is wrong.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::SecretReference(key) | Self::Private(key) => key,
            Self::NoFolder | Self::OutsideFolder => "source",
        }
    }
}
