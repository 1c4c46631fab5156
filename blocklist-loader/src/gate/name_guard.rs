//! Checks the names that a version must cover and those that it must not.

use std::collections::HashSet;

use policy::{
    lists::entry::{EntryAction, Polarity, Tier},
    name::{Name, NameRef},
};

use super::refusal::{Gate, Refusal};
use crate::{
    feed::Feed,
    rows::{EntryRule, ParsedEntry},
};

/// Records the entries that could cover a canary or one of the operator's own names while a feed is
/// read.
pub(crate) struct NameGuard<'f> {
    feed: &'f Feed,
    own: &'f [Name],
    /// The names themselves and all their ancestors.
    ancestors: HashSet<Box<[u8]>>,
    heard: Vec<(Name, EntryRule)>,
}

impl<'f> NameGuard<'f> {
    pub(crate) fn new(feed: &'f Feed, own: &'f [Name]) -> Self {
        // A feed of names that are never blocked may list the operator's own.
        let own = if feed.tier == Tier::NeverBlock {
            &[]
        } else {
            own
        };
        let mut guard = Self {
            feed,
            own,
            ancestors: HashSet::new(),
            heard: Vec::new(),
        };
        for name in canaries(&feed.must_match)
            .chain(canaries(&feed.must_not_match))
            .chain(own.iter().cloned())
        {
            guard.ancestors.extend(
                name.borrow()
                    .ancestors()
                    .map(|ancestor| ancestor.wire().into()),
            );
        }
        guard
    }

    /// All names whose entries are recorded.
    pub(crate) fn names(&self) -> impl Iterator<Item = NameRef<'_>> {
        self.ancestors
            .iter()
            .filter_map(|wire| NameRef::from_wire(wire).ok())
    }

    pub(crate) fn observe(&mut self, entry: &ParsedEntry<'_>) {
        if entry.path.is_none() && self.ancestors.contains(entry.name.wire()) {
            self.heard.push((entry.name.to_owned(), entry.rule));
        }
    }

    /// Checks the canaries.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let must = canaries(&self.feed.must_match).find(|name| !self.is_denied(name));
        if let Some(name) = must {
            return Err(Refusal::new(
                Gate::Canary,
                format!("it does not cover {name}, which its must_match names"),
            ));
        }
        if let Some(name) = canaries(&self.feed.must_not_match).find(|name| self.is_denied(name)) {
            return Err(Refusal::new(
                Gate::Canary,
                format!("it covers {name}, which its must_not_match names"),
            ));
        }
        Ok(())
    }

    /// The own names that the version would block.
    pub(crate) fn own_names_denied(&self) -> Vec<Name> {
        self.own
            .iter()
            .filter(|name| self.is_denied(name))
            .cloned()
            .collect()
    }

    /// Applies the precedence within a feed: `$important`, then the longer name, then allow before
    /// deny.
    fn is_denied(&self, name: &Name) -> bool {
        let covering = self.heard.iter().filter(|(entry, rule)| {
            name.borrow().is_within(entry.borrow())
                && rule.scope.covers(entry == name)
                && rule.action != EntryAction::RedirectToProxy
        });
        let rank = |(entry, rule): &&(Name, EntryRule)| {
            (
                rule.important,
                entry.borrow().label_count(),
                rule.polarity == Polarity::Allow,
            )
        };
        covering
            .max_by_key(rank)
            .is_some_and(|(_, rule)| rule.polarity == Polarity::Deny)
    }
}

/// Canary names. [`Feed::check`] has refused invalid ones.
fn canaries(names: &[String]) -> impl Iterator<Item = Name> {
    names.iter().filter_map(|name| Name::parse(name).ok())
}
