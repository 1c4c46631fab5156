//! The parts of a household's activity that can be erased.

use policy::rules::household::Id;

/// A part of a household's activity to erase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErasureScope {
    All,
    /// The activity of one device.
    Device(Id),
    /// The activity of unnamed devices.
    Unknown,
    /// The blocked names; the counts stay.
    Names,
}
