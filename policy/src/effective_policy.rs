//! The policy that applies to one query: what the directory finds for a client.

use std::sync::Arc;

use crate::{
    category::CategorySet,
    name::NameRef,
    rules::{
        compiled::HouseholdRules, custom_names::ListOwner, flags::PolicyFlags,
        household::SwitchState, thing::ThingRules,
    },
    unix_seconds::UnixSeconds,
    verdict::Layer,
};

/// The policy of one client at one instant. The caller loads it once for a query, so that one
/// version of the rules decides about the whole query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectivePolicy {
    blocked: CategorySet,
    flags: PolicyFlags,
    household: Option<HouseholdPart>,
    /// The policy of the device that the query asserts to be from, where that is another one than
    /// the source address proves: see [`crate::decide::judge`].
    asserted: Option<Box<Self>>,
}

/// The household's record, for a client with a custom list, a grant or an activity history, and for
/// a thing. The policy of any other client is its categories and flags.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HouseholdPart {
    rules: Arc<HouseholdRules>,
    device: Option<u16>,
    grants: u32,
}

impl EffectivePolicy {
    /// The policy of a device by its index in the household; `None` is an unnamed device.
    #[must_use]
    pub fn of(rules: &Arc<HouseholdRules>, device: Option<u16>, now: UnixSeconds) -> Self {
        let effective = rules.effective_rules(device, now);
        let needs_record =
            effective.grants != 0 || effective.flags.is_watched() || rules.has_names(device);
        let household = needs_record.then(|| HouseholdPart {
            rules: Arc::clone(rules),
            device,
            grants: effective.grants,
        });
        Self {
            blocked: effective.blocked,
            flags: effective.flags,
            household,
            asserted: None,
        }
    }

    /// A policy without a custom list and without a grant.
    pub(crate) fn of_mask(blocked: CategorySet, flags: PolicyFlags) -> Self {
        Self {
            blocked,
            flags,
            household: None,
            asserted: None,
        }
    }

    /// Adds the policy that the query asserts: [`crate::decide::judge`] applies the stricter of the
    /// two.
    pub(crate) fn under(self, asserted: Self) -> Self {
        Self {
            asserted: Some(Box::new(asserted)),
            ..self
        }
    }

    /// The asserted policy that applies as well.
    #[must_use]
    pub fn asserted(&self) -> Option<&Self> {
        self.asserted.as_deref()
    }

    /// The blocked categories.
    #[must_use]
    pub fn blocked(&self) -> CategorySet {
        self.blocked
    }

    /// The rules that are not about categories.
    #[must_use]
    pub fn flags(&self) -> PolicyFlags {
        self.flags
    }

    /// The household in whose activity the query counts, and the index of the device; `None` where
    /// the query does not count.
    #[must_use]
    pub fn recorded(&self) -> Option<(&Arc<HouseholdRules>, Option<u16>)> {
        self.household
            .as_ref()
            .filter(|_| self.flags.is_recorded())
            .map(|household| (&household.rules, household.device))
    }

    /// The domains of the thing that asks, with its household and its index there; `None` for any
    /// other client.
    #[must_use]
    pub fn thing(&self) -> Option<(&Arc<HouseholdRules>, u16, &ThingRules)> {
        let household = self.household.as_ref().filter(|_| self.flags.is_thing())?;
        let device = household.device?;
        Some((&household.rules, device, household.rules.thing(device)?))
    }

    /// The layer of custom lists and grants that decides about a name; `choice` are the name's
    /// categories.
    #[inline]
    pub(crate) fn decide_custom(&self, name: NameRef<'_>, choice: CategorySet) -> Option<Layer> {
        self.household.as_ref()?.decide(name, choice, self.blocked)
    }
}

impl HouseholdPart {
    #[inline(never)]
    fn decide(
        &self,
        name: NameRef<'_>,
        choice: CategorySet,
        blocked: CategorySet,
    ) -> Option<Layer> {
        let find = |owner| {
            self.rules
                .names(owner)
                .and_then(|names| names.find(name))
                .map(|(_, state)| state)
        };
        let states = [
            self.device
                .and_then(|device| find(ListOwner::Device(device))),
            find(ListOwner::PersonOf(self.device)),
            find(ListOwner::Household),
        ];
        let first = |wanted, layers: [Layer; 3]| {
            states
                .iter()
                .zip(layers)
                .find(|(state, _)| **state == Some(wanted))
                .map(|(_, layer)| layer)
        };
        first(
            SwitchState::Allow,
            [
                Layer::DeviceAllow,
                Layer::PersonAllow,
                Layer::HouseholdAllow,
            ],
        )
        .or_else(|| {
            let grants = self.rules.grants(self.grants);
            grants
                .is_some_and(|grants| grants.open(name, choice, blocked))
                .then_some(Layer::Grant)
        })
        .or_else(|| {
            first(
                SwitchState::Block,
                [Layer::DeviceDeny, Layer::PersonDeny, Layer::HouseholdDeny],
            )
        })
    }
}
