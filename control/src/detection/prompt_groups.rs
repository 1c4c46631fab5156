//! A prompt as a family reads it: domains grouped by who owns them, and which of them are the
//! thing's own maker's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use policy::{
    name::Name,
    rules::household::{Device, DeviceIdentifier, Id},
};
use policy_store::{Prompt, PromptAnswer, PromptDomain, PromptState};
use serde::Serialize;

use super::{
    guess::most_frequent,
    makers::{Maker, Makers},
};
use crate::Control;

/// A question to the household: what one of its things wants to reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Prompt))]
pub struct GroupedPrompt {
    pub id: String,
    /// The thing.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub device: Id,
    /// When it was first asked, RFC 3339.
    pub at: Timestamp,
    pub state: PromptState,
    /// The maker of the thing, as far as it is known: `maker` answers by it. Null if it is not.
    pub maker: Option<String>,
    /// The domains by their owner.
    pub groups: Vec<PromptGroup>,
    /// The answer. Absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub answer: Option<PromptAnswer>,
    /// The key that answered. Absent while there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub answered_by: Option<String>,
    /// When it was answered, RFC 3339. Absent while there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub answered_at: Option<Timestamp>,
}

/// Domains of one owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PromptGroup {
    /// The maker that the domains are known for; the domain itself where none is known.
    pub owner: String,
    /// The category of the first domain that a list has, by slug. Null if no list has one.
    pub category: Option<String>,
    /// The seat of the owner, ISO 3166-1. Absent if the owner is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub country: Option<String>,
    pub domains: Vec<PromptDomain>,
}

impl GroupedPrompt {
    /// Groups a prompt of a device.
    pub fn of(control: &Control, prompt: Prompt, device: Option<&Device>) -> Self {
        let maker = device.and_then(|device| maker_of(control, device, &prompt.domains));
        let mut groups: BTreeMap<String, PromptGroup> = BTreeMap::new();
        for domain in prompt.domains {
            let owner = owner(&domain);
            let key = owner.map_or_else(|| domain.domain.to_string(), |owner| owner.name.clone());
            let entry = groups.entry(key.clone());
            let group = entry.or_insert_with(|| PromptGroup {
                owner: key,
                category: None,
                country: owner.map(|owner| owner.country.clone()),
                domains: Vec::new(),
            });
            let category = group.category.take();
            group.category = category.or_else(|| category_of(control, &domain));
            group.domains.push(domain);
        }
        let answer = prompt.answer;
        Self {
            id: prompt.id,
            device: prompt.device,
            at: prompt.at,
            state: prompt.state,
            maker: maker.map(|maker| maker.name.clone()),
            groups: groups.into_values().collect(),
            answer: answer.as_ref().map(|answered| answered.answer),
            answered_at: answer.as_ref().map(|answered| answered.answered_at),
            answered_by: answer.map(|answered| answered.answered_by),
        }
    }

    /// The domains that an answer allows, and those that it denies. `None` if it goes by a maker that
    /// is not known.
    #[must_use]
    pub fn split(&self, answer: PromptAnswer) -> Option<(Vec<Name>, Vec<Name>)> {
        let is_allowed = |group: &PromptGroup| match answer {
            PromptAnswer::Yes => true,
            PromptAnswer::No => false,
            PromptAnswer::Maker => Some(&group.owner) == self.maker.as_ref(),
        };
        if answer == PromptAnswer::Maker && self.maker.is_none() {
            return None;
        }
        let (mut allowed, mut denied) = (Vec::new(), Vec::new());
        for group in &self.groups {
            let list = if is_allowed(group) {
                &mut allowed
            } else {
                &mut denied
            };
            list.extend(group.domains.iter().map(|domain| domain.domain.clone()));
        }
        Some((allowed, denied))
    }
}

/// The maker that a domain is known for: by one of the names asked for, or by itself.
fn owner(domain: &PromptDomain) -> Option<&'static Maker> {
    let mut names = std::iter::once(&domain.domain).chain(&domain.names);
    names.find_map(|name| Makers::shipped().by_name(name.borrow()))
}

/// The first category of a domain, or of one of its names.
fn category_of(control: &Control, domain: &PromptDomain) -> Option<String> {
    let lists = control.lists.current();
    let mut names = std::iter::once(&domain.domain).chain(&domain.names);
    let category = names.find_map(|name| {
        let listed = lists.classify(name.borrow());
        listed.security.union(listed.choice).iter().next()
    })?;
    Some(control.taxonomy.category(category).slug.clone())
}

/// The maker of a thing: of its MAC address; else that of most domains that it may reach, or wants.
fn maker_of(control: &Control, device: &Device, wanted: &[PromptDomain]) -> Option<&'static Maker> {
    let by_mac = device.identifiers.iter().find_map(|identifier| {
        let DeviceIdentifier::Mac(mac) = identifier else {
            return None;
        };
        let registered = control.mac_register.maker(*mac)?;
        Makers::shipped().by_registered(registered)
    });
    let by_names = || {
        let allowed = device.thing.iter().flat_map(|thing| thing.allowed.keys());
        let allowed = allowed.filter_map(|name| {
            let maker = Makers::shipped().by_name(name.borrow())?;
            Some((maker, name.clone()))
        });
        let wanted = wanted
            .iter()
            .filter_map(|domain| Some((owner(domain)?, domain.domain.clone())));
        most_frequent(&allowed.chain(wanted).collect::<Vec<_>>())
    };
    by_mac.or_else(by_names)
}
