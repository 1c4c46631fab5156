//! What can be erased of a household's activity.

use policy::rules::household::Id;

/// What is to be forgotten of a household.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErasureScope {
    /// All of it.
    All,
    /// What one device did.
    Device(Id),
    /// The activity of unnamed devices.
    Unknown,
    /// Which names were blocked; that they were, stays counted.
    Names,
}
