//! The operator's defaults for clients and households that chose nothing themselves.

use crate::{
    category::CategorySet,
    rules::{bypass::BypassPrevention, flags::PolicyFlags},
};

/// The operator's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperatorDefaults {
    /// Categories blocked for a household without a preset, and for a client of no household.
    pub preset: CategorySet,
    /// Names answered negatively where filtering is on.
    pub bypass: BypassPrevention,
}

impl OperatorDefaults {
    /// The flags of a client of no household.
    #[must_use]
    pub fn flags(&self) -> PolicyFlags {
        let mut flags = PolicyFlags::NONE;
        if !self.preset.is_empty() {
            flags.prevent_bypass(self.bypass);
        }
        flags
    }
}
