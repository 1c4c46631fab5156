//! What an answer to a request opens: whether it opens the name at all, and nothing beside it.

use std::sync::Arc;

use control::Control;
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    decide::{EffectivePolicy, Layer, Verdict, decide},
    lists::{blocklist::Classification, public_suffix::is_at_or_above_suffix},
    name::Name,
    rules::{
        builtin_names::{BuiltinName, BuiltinNames},
        compiled::HouseholdRules,
        household::{Household, Id, SearchLevel},
    },
    unix_seconds::UnixSeconds,
};

use crate::{Context, problem::Problem, routes::mandates::ordered};

/// The record types of addresses (RFC 1035, section 3.2.2, and RFC 3596, section 2.1).
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// The verdict of the data path on a name for a device, and on the chain of its addresses.
pub(super) async fn verdict_for(
    context: &Context,
    asker: &EffectivePolicy,
    household: &Id,
    name: &Name,
    listed: &Classification,
) -> Verdict {
    let own = decide(asker, name.borrow(), listed);
    if own.is_block() {
        return own;
    }
    let explain = |record_type| {
        context.control.explainer.explain(
            asker.clone(),
            Some(household),
            name.clone(),
            record_type,
            None,
        )
    };
    let (four, six) = tokio::join!(explain(TYPE_A), explain(TYPE_AAAA));
    [four.verdict, six.verdict]
        .into_iter()
        .find(|verdict| verdict.is_block())
        .unwrap_or(own)
}

/// Refuses a request that no answer could grant, or for a name that is not blocked.
pub(super) fn refuse_pointless(
    asker: &EffectivePolicy,
    name: &Name,
    listed: &Classification,
    verdict: Verdict,
) -> Result<(), Problem> {
    let standards = asker.flags();
    let is_closed = match listed.builtin {
        BuiltinName::SearchClosed(engine) => standards.level(engine) != SearchLevel::Off,
        _ => verdict.layer == Layer::SafeSearchDeny,
    };
    if verdict.layer == Layer::Mandatory {
        Err(ordered())
    } else if is_closed && !standards.unlocks_search() {
        let detail = format!(
            "{name} is blocked by safe search, which an answer does not lift; the level of safe search does"
        );
        Err(Problem::conflict("safe_search", detail).with_field("name".to_owned()))
    } else if !verdict.is_block() {
        Err(Problem::conflict(
            "not_blocked",
            format!("{name} is not blocked for this device"),
        )
        .with_field("name".to_owned()))
    } else {
        Ok(())
    }
}

/// Refuses a name whose allow opens more than a site: the names below it are others', or one of them
/// is by which software asks whether the network wants a filter.
pub(super) fn refuse_wide(asker: &EffectivePolicy, name: &Name) -> Result<(), Problem> {
    if is_at_or_above_suffix(name.borrow()) {
        let detail = format!("{name} is no domain of one company: names below it are others'");
        return Err(Problem::value("name", "public_suffix", detail));
    }
    let mut bypass = BuiltinNames::shipped().bypass_below(name.borrow());
    match bypass.find(|(_, meaning)| asker.flags().prevents(*meaning)) {
        Some((bypass, _)) => {
            let detail = format!(
                "an allow of {name} opens {bypass}, by which a browser or a device leaves the filter; the switch `bypass` permits that"
            );
            Err(Problem::conflict("bypass", detail).with_field("name".to_owned()))
        }
        None => Ok(()),
    }
}

/// The categories for which a name is blocked, by slug. None where an own list decides: a category
/// that is allowed does not open the name.
pub(super) fn categories_of(
    taxonomy: &Taxonomy,
    asker: &EffectivePolicy,
    listed: &Classification,
    verdict: &Verdict,
) -> Vec<String> {
    let is_own = matches!(
        verdict.layer,
        Layer::DeviceDeny | Layer::PersonDeny | Layer::HouseholdDeny
    );
    if is_own {
        return Vec::new();
    }
    let blocked = listed
        .choice
        .intersection(asker.blocked())
        .union(listed.security)
        .union(verdict.categories);
    let slugs = taxonomy.slugs(blocked).into_iter();
    slugs.map(str::to_owned).collect()
}

/// Refuses an answer after which the name is blocked for the device as before: another category,
/// another level, or a pause blocks it, too.
pub(super) fn check_open(
    control: &Control,
    household: &Household,
    device: &Id,
    name: &Name,
) -> Result<(), Problem> {
    let now = Timestamp::now();
    let rules = HouseholdRules::compile(household, &control.taxonomy, control.defaults, now);
    let rules = Arc::new(rules);
    let asker = EffectivePolicy::of(&rules, rules.device_by_id(device), UnixSeconds::of(now));
    let listed = control.lists.load().classify(name.borrow());
    let verdict = decide(&asker, name.borrow(), &listed);
    match verdict.is_block() {
        true => {
            let detail = format!(
                "{name} would stay blocked for the device, by the layer {}",
                verdict.layer.as_str()
            );
            Err(Problem::conflict("still_blocked", detail).with_field("scope".to_owned()))
        }
        false => Ok(()),
    }
}
