//! Things: devices that are to reach certain domains only, such as a camera. The document of a
//! thing, and what it compiles to.
//!
//! | mode | a domain on no list |
//! |---|---|
//! | `off` | answered; the lists have no effect |
//! | `learning` | answered, and added to the allowed ones by the control plane |
//! | `asking` | blocked, and the parents are asked |
//! | `locked` | blocked |
//!
//! A domain covers its name and all names below it; of two entries the longer one decides. An
//! allowed domain is not blocked by the thing's lists. It opens nothing that another layer blocks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    name::{Name, NameRef},
    rules::household::Attributed,
};

/// The most domains in each of the two lists of a thing. A camera or a television reaches some
/// dozens.
pub const THING_DOMAINS_MAX: usize = 256;

/// How a thing is limited to its domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ThingMode {
    /// Not at all.
    #[default]
    Off,
    /// Only denied domains are blocked. New domains are added to the allowed ones.
    Learning,
    /// Only allowed domains are answered. New domains are asked about.
    Asking,
    /// Only allowed domains are answered.
    Locked,
}

impl ThingMode {
    /// Whether a domain on no list is blocked.
    #[must_use]
    pub fn blocks_new(self) -> bool {
        matches!(self, Self::Asking | Self::Locked)
    }
}

/// A thing as the document of its device has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = ThingOfDevice))]
pub struct Thing {
    #[serde(flatten)]
    pub mode: AttributedMode,
    /// The domains that it may reach.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required, value_type = BTreeMap<String, AttributedDomain>))]
    pub allowed: BTreeMap<Name, AttributedDomain>,
    /// The domains that it may not reach.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required, value_type = BTreeMap<String, AttributedDomain>))]
    pub denied: BTreeMap<Name, AttributedDomain>,
}

/// The mode of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ThingSetting {
    pub mode: ThingMode,
}

/// An entry of a thing's list, beside its author: the domain is the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ThingDomain {}

// Names for the fields of documents: the derive of a schema would compose one of the generic type.
pub type AttributedMode = Attributed<ThingSetting>;
pub type AttributedDomain = Attributed<ThingDomain>;

impl Thing {
    /// A thing without domains.
    #[must_use]
    pub fn new(mode: AttributedMode) -> Self {
        Self {
            mode,
            allowed: BTreeMap::new(),
            denied: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn mode(&self) -> ThingMode {
        self.mode.value.mode
    }

    /// Whether it is blocked from a name. For the comparison of documents.
    pub(crate) fn blocks(&self, name: NameRef<'_>) -> bool {
        ThingRules::compile(self).is_some_and(|rules| rules.blocks(name))
    }
}

/// What the lists of a thing say about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThingEntry {
    Allowed,
    Denied,
}

/// A compiled thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThingRules {
    mode: ThingMode,
    /// Sorted by name.
    domains: Box<[(Name, ThingEntry)]>,
}

impl ThingRules {
    /// Compiles a thing; `None` for one that is off.
    pub(crate) fn compile(thing: &Thing) -> Option<Self> {
        if thing.mode() == ThingMode::Off {
            return None;
        }
        let allowed = thing.allowed.keys().map(|name| (name, ThingEntry::Allowed));
        let denied = thing.denied.keys().map(|name| (name, ThingEntry::Denied));
        // A name on both lists is denied.
        let domains: BTreeMap<&Name, ThingEntry> = allowed.chain(denied).collect();
        let domains = domains.into_iter();
        Some(Self {
            mode: thing.mode(),
            domains: domains.map(|(name, entry)| (name.clone(), entry)).collect(),
        })
    }

    #[must_use]
    pub fn mode(&self) -> ThingMode {
        self.mode
    }

    /// The longest entry that covers a name.
    #[must_use]
    pub fn find(&self, name: NameRef<'_>) -> Option<(NameRef<'_>, ThingEntry)> {
        name.ancestors().find_map(|ancestor| {
            let place = self
                .domains
                .binary_search_by(|(domain, _)| domain.borrow().cmp(&ancestor));
            let (domain, entry) = &self.domains[place.ok()?];
            Some((domain.borrow(), *entry))
        })
    }

    /// Whether the thing is blocked from a name.
    #[must_use]
    pub fn blocks(&self, name: NameRef<'_>) -> bool {
        match self.find(name) {
            Some((_, entry)) => entry == ThingEntry::Denied,
            None => self.mode.blocks_new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn set<T>(value: T) -> Attributed<T> {
        Attributed {
            value,
            set_by: "key:1".to_owned(),
            set_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn thing(mode: ThingMode, allowed: &[&str], denied: &[&str]) -> Thing {
        let list = |names: &[&str]| {
            let names = names.iter().map(|name| Name::parse(name).unwrap());
            names.map(|name| (name, set(ThingDomain {}))).collect()
        };
        Thing {
            mode: set(ThingSetting { mode }),
            allowed: list(allowed),
            denied: list(denied),
        }
    }

    /// The names of these that are blocked.
    fn blocked<'n>(thing: &Thing, names: &[&'n str]) -> Vec<&'n str> {
        let is_blocked = |name: &str| thing.blocks(Name::parse(name).unwrap().borrow());
        names
            .iter()
            .copied()
            .filter(|name| is_blocked(name))
            .collect()
    }

    #[test]
    fn the_longest_entry_decides_and_the_mode_about_all_other_names() {
        let names = ["a.maker.test", "maker.test", "ads.maker.test", "new.test"];
        let with = |mode| {
            let thing = thing(mode, &["maker.test"], &["ads.maker.test"]);
            blocked(&thing, &names)
        };
        assert_eq!(with(ThingMode::Off), [""; 0]);
        assert_eq!(with(ThingMode::Learning), ["ads.maker.test"]);
        for mode in [ThingMode::Asking, ThingMode::Locked] {
            assert_eq!(with(mode), ["ads.maker.test", "new.test"]);
        }
    }

    #[test]
    fn a_domain_on_both_lists_is_denied() {
        let thing = thing(ThingMode::Learning, &["maker.test"], &["maker.test"]);
        assert_eq!(blocked(&thing, &["a.maker.test"]), ["a.maker.test"]);
    }

    #[test]
    fn a_thing_survives_json() {
        let thing = thing(ThingMode::Asking, &["maker.test"], &[]);
        let json = serde_json::to_value(&thing).unwrap();
        let at = "1970-01-01T00:00:00Z";
        let expected = serde_json::json!({
            "mode": "asking", "set_by": "key:1", "set_at": at,
            "allowed": { "maker.test": { "set_by": "key:1", "set_at": at } }, "denied": {},
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Thing>(json).unwrap(), thing);
    }
}
