//! The rules that apply to a device at one instant, everything inherited included.

use crate::{
    category::CategorySet,
    name::{Name, NameRef},
    rules::flags::PolicyFlags,
};

/// The rules that apply to one device at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct EffectiveRules {
    /// The blocked categories.
    pub blocked: CategorySet,
    pub flags: PolicyFlags,
    /// The index of the grants, plus one; 0 without a grant.
    pub grants: u32,
}

/// What the running grants of a device allow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    pub(crate) everything: bool,
    pub(crate) categories: CategorySet,
    pub(crate) names: Vec<Name>,
}

impl Grants {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a name is granted. `choice` are the name's categories, `blocked` those that are
    /// blocked for the client. A granted category allows a name only where no other category blocks
    /// it.
    #[must_use]
    pub fn open(&self, name: NameRef<'_>, choice: CategorySet, blocked: CategorySet) -> bool {
        self.everything
            || !choice.intersection(self.categories).is_empty()
                && choice
                    .intersection(blocked)
                    .without(self.categories)
                    .is_empty()
            || self.names.iter().any(|granted| {
                name.ancestors()
                    .any(|ancestor| ancestor == granted.borrow())
            })
    }
}
