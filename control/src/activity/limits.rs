//! The operator's limits on the activity of households.

use jiff::SignedDuration;

/// The operator's limits on what a household may keep.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// The longest retention, in days.
    pub days_max: u16,
    /// A device that asks nothing for so long is called silent.
    pub silent_after: SignedDuration,
}
