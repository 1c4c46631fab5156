//! Decides about a name and about an answer. The order of the layers is defined here and nowhere
//! else.
//!
//! A decision is a pure function of the client's policy, the name and its classification: no clock,
//! lock, disk or allocation.

use std::iter;

pub use crate::{
    effective_policy::EffectivePolicy,
    verdict::{Action, Layer, SafeSearch, Verdict},
};
use crate::{
    lists::{
        classification::{Classification, Listing},
        entry::Tier,
    },
    name::NameRef,
    rules::{builtin_names::BuiltinName, safe_search::SearchLevel},
};

/// Decides about one name. The first layer that matches decides, from the top:
///
/// 1. mandatory deny: a mandate in force, then feeds
/// 2. operator never-block
/// 3. the device's allow, then its person's, then the household's
/// 4. a running grant
/// 5. the device's deny, then its person's, then the household's
/// 6. paused
/// 7. operator security
/// 8. category mask
/// 9. bypass names: by these, software asks whether the network wants a filter
/// 10. search hosts without a safe address
/// 11. a thing's domains: for the queried name alone, because an allowed domain may lead to another
///     company's servers
/// 12. safe search
/// 13. default allow
///
/// Layers 2 to 4 allow a search engine's name but keep its safe search: layers 10 and 12 then apply
/// as well, unless the policy's `search_unlock` is set. A household that chose no filtering has no
/// safe search.
///
/// Inside one custom list the most specific entry decides, see
/// [`crate::rules::custom_names::CustomNames::find`]. A name of which only paths are listed is not
/// blocked. It goes to the proxy: always for a mandatory feed, for other feeds where no other layer
/// matches.
#[must_use]
#[inline]
pub fn decide(
    policy: &EffectivePolicy,
    name: NameRef<'_>,
    classification: &Classification,
) -> Verdict {
    decide_hop(policy, name, classification, true)
}

/// Decides about the queried name, or about one behind it.
#[inline]
fn decide_hop(
    policy: &EffectivePolicy,
    name: NameRef<'_>,
    classification: &Classification,
    is_queried: bool,
) -> Verdict {
    let verdict = decide_name(policy, name, classification, is_queried);
    if !classification.has_paths() || verdict.is_block() {
        verdict
    } else {
        decide_paths(policy, verdict, classification)
    }
}

/// Decides about a name with listed paths that is not blocked. Out of line: few names have paths.
#[cold]
#[inline(never)]
fn decide_paths(
    policy: &EffectivePolicy,
    verdict: Verdict,
    classification: &Classification,
) -> Verdict {
    let choice = classification.path_choice.intersection(policy.blocked());
    let is_default = verdict.layer == Layer::Default;
    let listing = if classification.path_mandatory {
        classification.path_listing(Tier::Mandatory, None)
    } else if is_default && classification.path_security {
        classification.path_listing(Tier::Security, None)
    } else if is_default && !choice.is_empty() {
        classification.path_listing(Tier::Choice, Some(choice))
    } else {
        return verdict;
    };
    let paths = match listing.map(|listing| listing.action) {
        Some(Action::RedirectToProxy { paths, .. }) => paths,
        _ => 0,
    };
    let search = match verdict.action {
        Action::SafeSearch(search) => Some(search),
        _ => None,
    };
    Verdict {
        action: Action::RedirectToProxy { paths, search },
        feed: listing.map(|listing| listing.feed).or(verdict.feed),
        ..verdict
    }
}

#[inline]
fn decide_name(
    policy: &EffectivePolicy,
    name: NameRef<'_>,
    classification: &Classification,
    is_queried: bool,
) -> Verdict {
    if classification.mandatory {
        return match classification.mandate {
            Some(mandate) => Verdict {
                action: Action::Mandate(mandate),
                ..Verdict::of_layer(Layer::Mandatory)
            },
            None => by_feed(
                Layer::Mandatory,
                classification.listing(Tier::Mandatory, None),
            ),
        };
    }
    if classification.never_block {
        let feed = classification.listing(Tier::NeverBlock, None);
        let verdict = Verdict {
            feed: feed.map(|listing| listing.feed),
            ..Verdict::of_layer(Layer::NeverBlock)
        };
        return allow(policy, classification.builtin, verdict);
    }
    if let Some(layer) = policy.decide_custom(name, classification.choice) {
        let verdict = Verdict::of_layer(layer);
        return if layer.allows_chain() {
            allow(policy, classification.builtin, verdict)
        } else {
            verdict
        };
    }
    if policy.flags().is_restricted() {
        return decide_restricted(policy, name, classification, is_queried);
    }
    decide_listed(policy, classification)
}

/// Decides for a client whose Internet is paused, or that is a thing. Out of line: few are.
#[cold]
#[inline(never)]
fn decide_restricted(
    policy: &EffectivePolicy,
    name: NameRef<'_>,
    classification: &Classification,
    is_queried: bool,
) -> Verdict {
    if policy.flags().is_paused() {
        return Verdict::of_layer(Layer::Paused);
    }
    let verdict = decide_listed(policy, classification);
    let is_blocked = is_queried
        && !verdict.is_block()
        && policy
            .thing()
            .is_some_and(|(_, _, thing)| thing.blocks(name));
    if is_blocked {
        Verdict::of_layer(Layer::Thing)
    } else {
        verdict
    }
}

/// Decides by the lists and built-in names, which no layer above matches.
#[inline]
fn decide_listed(policy: &EffectivePolicy, classification: &Classification) -> Verdict {
    if !classification.security.is_empty() {
        let categories = classification.security;
        return Verdict {
            categories,
            ..by_feed(
                Layer::Security,
                classification.listing(Tier::Security, Some(categories)),
            )
        };
    }
    let categories = classification.choice.intersection(policy.blocked());
    if !categories.is_empty() {
        return Verdict {
            categories,
            ..by_feed(
                Layer::Category,
                classification.listing(Tier::Choice, Some(categories)),
            )
        };
    }
    if classification.builtin == BuiltinName::None {
        Verdict::of_layer(Layer::Default)
    } else {
        decide_builtin(policy, classification.builtin)
    }
}

/// The verdict of a layer that a feed decides for, with the feed's action.
#[inline]
fn by_feed(layer: Layer, listing: Option<Listing>) -> Verdict {
    let verdict = Verdict::of_layer(layer);
    listing.map_or(verdict, |Listing { action, feed, .. }| Verdict {
        action,
        feed: Some(feed),
        ..verdict
    })
}

/// Decides about a built-in name that no layer above matches.
#[cold]
#[inline(never)]
fn decide_builtin(policy: &EffectivePolicy, builtin: BuiltinName) -> Verdict {
    match builtin {
        BuiltinName::Search(engine) => match policy.flags().level(engine) {
            SearchLevel::Off => Verdict::of_layer(Layer::Default),
            level => Verdict {
                action: Action::SafeSearch(SafeSearch { engine, level }),
                ..Verdict::of_layer(Layer::SafeSearch)
            },
        },
        BuiltinName::SearchClosed(engine) => match policy.flags().level(engine) {
            SearchLevel::Off => Verdict::of_layer(Layer::Default),
            _ => Verdict::of_layer(Layer::SafeSearchDeny),
        },
        builtin if policy.flags().prevents(builtin) => Verdict {
            action: Action::Nxdomain,
            ..Verdict::of_layer(Layer::Bypass)
        },
        _ => Verdict::of_layer(Layer::Default),
    }
}

/// Applies safe search to a verdict that allows a name: an allow, a grant, or the never-block list.
#[inline]
fn allow(policy: &EffectivePolicy, builtin: BuiltinName, verdict: Verdict) -> Verdict {
    match builtin {
        BuiltinName::Search(_) | BuiltinName::SearchClosed(_)
            if !policy.flags().unlocks_search() =>
        {
            allow_search(policy, builtin, verdict)
        }
        _ => verdict,
    }
}

#[cold]
#[inline(never)]
fn allow_search(policy: &EffectivePolicy, builtin: BuiltinName, verdict: Verdict) -> Verdict {
    let search = decide_builtin(policy, builtin);
    match search.layer {
        Layer::Default => verdict,
        _ => Verdict {
            allowed_by: verdict.allowed_by.or(Some(verdict.layer)),
            ..search
        },
    }
}

/// Decides about an answer: the verdict of the queried name, then each name of its alias chain and
/// each of its addresses in order.
///
/// The first block decides. An allow of the queried name covers the whole chain; an allow of a name
/// behind it covers nothing else. Where nothing blocks, the first name of the chain with safe search
/// applies it to the query. Returns the hop that decided; 0 is the queried name.
#[must_use]
#[inline]
pub fn review<'n>(
    policy: &EffectivePolicy,
    queried: Verdict,
    mut chain: impl Iterator<Item = (NameRef<'n>, &'n Classification)>,
) -> (Verdict, usize) {
    if queried.is_block() {
        return (queried, 0);
    }
    match chain.next() {
        None => (queried, 0),
        Some(first) => review_chain(policy, queried, iter::once(first).chain(chain)),
    }
}

/// Decides about the names and addresses behind an allowed name. Out of line: most answers have
/// none that is listed.
#[inline(never)]
fn review_chain<'n>(
    policy: &EffectivePolicy,
    queried: Verdict,
    chain: impl Iterator<Item = (NameRef<'n>, &'n Classification)>,
) -> (Verdict, usize) {
    // A mandate overrides every allow, also for the names behind an allowed name.
    let covers = queried.layer.allows_chain() || queried.allowed_by.is_some();
    let mut decided = (queried, 0);
    for (hop, (name, classification)) in (1..).zip(chain) {
        let verdict = if covers && !classification.mandatory {
            allow(policy, classification.builtin, queried)
        } else {
            decide_hop(policy, name, classification, false)
        };
        if verdict.is_block() {
            return (verdict, hop);
        }
        if matches!(verdict.action, Action::SafeSearch(_))
            && decided.0.action == Action::OperatorPolicy
        {
            decided = (verdict, hop);
        }
    }
    decided
}

/// Decides about a name and the answer to it, see [`decide`] and [`review`].
///
/// Where the query asserts another device than its source address proves, or a device of several
/// households, each policy decides about the whole, and the strictest verdict applies: an assertion
/// never relaxes the rules.
#[must_use]
#[inline]
pub fn judge<'n>(
    policy: &EffectivePolicy,
    name: NameRef<'_>,
    classification: &Classification,
    chain: impl Iterator<Item = (NameRef<'n>, &'n Classification)> + Clone,
) -> (Verdict, usize) {
    match policy.asserted() {
        None => review(policy, decide(policy, name, classification), chain),
        Some(_) => judge_all(policy, name, classification, chain),
    }
}

#[cold]
#[inline(never)]
fn judge_all<'n>(
    policy: &EffectivePolicy,
    name: NameRef<'_>,
    classification: &Classification,
    chain: impl Iterator<Item = (NameRef<'n>, &'n Classification)> + Clone,
) -> (Verdict, usize) {
    let judge_one = |policy| review(policy, decide(policy, name, classification), chain.clone());
    let mut strictest = judge_one(policy);
    let mut next = policy.asserted();
    while let Some(asserted) = next {
        let judged = judge_one(asserted);
        if judged.0.strictness() > strictest.0.strictness() {
            strictest = judged;
        }
        next = asserted.asserted();
    }
    strictest
}

#[cfg(test)]
mod tests;
