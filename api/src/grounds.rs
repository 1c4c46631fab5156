//! What an explanation adds to the verdict: who set what decided, and one sentence for somebody on the telephone.
//!
//! The verdict itself is the data path's and is not made here; the household's document only says whose it was.

use jiff::Timestamp;
use policy::{
    category::{CategorySet, Taxonomy},
    decide::Layer,
    explain::Explained,
    household::{Device, Filtering, Household, OwnName, Set, State},
    mandates::Mandate,
    name::Name,
};
use serde::Serialize;

use crate::explain::{Line, shown};

/// Who set what decided.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Setter {
    /// `device`, `household`, `preset`, `operator`, `feed` or `mandate`.
    layer: &'static str,
    /// A key, a preset, a feed or a mandate.
    by: String,
    at: Option<Timestamp>,
}

/// All that a verdict can be traced to.
pub struct Grounds<'a> {
    pub explained: &'a Explained,
    /// Whose query it is; `None` for a line of no household.
    pub line: Option<&'a Line>,
    pub taxonomy: &'a Taxonomy,
    /// The feed of the entry that decided.
    pub feed: Option<String>,
    /// The mandate that decided, as far as it may be seen at all.
    pub mandate: Option<&'a Mandate>,
    /// Whether who set it may not be seen.
    pub is_hidden: bool,
}

impl<'a> Grounds<'a> {
    fn layer(&self) -> Layer {
        self.explained.verdict.layer
    }

    /// The name that decided.
    fn name(&self) -> &'a Name {
        &self.explained.names[self.explained.hop]
    }

    fn household(&self) -> Option<&'a Household> {
        self.line.map(|line| &line.household)
    }

    fn device(&self) -> Option<&'a Device> {
        self.line?.device().map(|(_, device)| device)
    }

    /// The entry of an own list that decided.
    pub fn own_entry(&self) -> Option<(&'a Name, &'a Set<OwnName>)> {
        let line = self.line?;
        let (compiled, document) = match self.layer() {
            Layer::DeviceAllow | Layer::DeviceDeny => (line.rules.names(Some(line.device?)), &self.device()?.names),
            Layer::HouseholdAllow | Layer::HouseholdDeny => (line.rules.names(None), &line.household.names),
            _ => return None,
        };
        let (entry, _) = compiled?.find(self.name().borrow())?;
        document.get_key_value(&entry.to_owned())
    }

    /// The nearest one that says what was decided, from the device up to the operator. An allow by default has one only where
    /// a switch allows what the name is listed for.
    pub fn setter(&self) -> Option<Setter> {
        match self.layer() {
            Layer::Mandatory if self.is_hidden => None,
            Layer::Mandatory if let Some(mandate) = self.mandate => Some(Setter { layer: "mandate", by: mandate.id.to_string(), at: None }),
            Layer::Mandatory | Layer::NeverBlock | Layer::Security => Some(Setter { layer: "feed", by: self.feed.clone()?, at: None }),
            layer @ (Layer::DeviceAllow | Layer::DeviceDeny | Layer::HouseholdAllow | Layer::HouseholdDeny) => {
                let is_device = matches!(layer, Layer::DeviceAllow | Layer::DeviceDeny);
                let (_, set) = self.own_entry()?;
                Some(Setter { layer: if is_device { "device" } else { "household" }, by: set.set_by.clone(), at: Some(set.set_at) })
            }
            Layer::Category => self.switch(self.explained.verdict.categories, State::Block).or_else(|| {
                // A preset that the taxonomy no longer has decides nothing.
                let preset =
                    self.household().and_then(|household| household.preset.clone()).filter(|slug| self.taxonomy.preset(slug).is_some());
                let operator = || Setter { layer: "operator", by: "default preset".to_owned(), at: None };
                Some(preset.map_or_else(operator, |by| Setter { layer: "preset", by, at: None }))
            }),
            Layer::Default if self.is_off() => None,
            Layer::Default => self.switch(self.listed(), State::Allow),
        }
    }

    /// The nearest switch of the first category, if it says `state`.
    fn switch(&self, categories: CategorySet, state: State) -> Option<Setter> {
        let slug = self.taxonomy.slugs(categories).into_iter().next()?;
        let of_device = self.device().and_then(|device| device.categories.get(slug)).map(|set| ("device", set));
        let of_household = || self.household().and_then(|household| household.categories.get(slug)).map(|set| ("household", set));
        let (layer, set) = of_device.or_else(of_household)?;
        (set.value.state == state).then(|| Setter { layer, by: set.set_by.clone(), at: Some(set.set_at) })
    }

    /// The categories that the name is listed for, whether they are blocked here or not.
    fn listed(&self) -> CategorySet {
        self.explained.lists.classify(self.name().borrow()).choice
    }

    fn is_off(&self) -> bool {
        self.household().is_some_and(|household| household.filtering == Filtering::Off)
    }

    fn titles(&self, categories: CategorySet) -> String {
        categories.iter().map(|id| self.taxonomy.category(id).title.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// One plain sentence.
    pub fn reason(&self, setter: Option<&Setter>) -> String {
        let asked = &self.explained.names[0];
        let because_of = match self.explained.hop {
            0 => String::new(),
            _ => format!(" because it leads to {}", shown(self.name().borrow())),
        };
        let titles = self.titles(self.explained.verdict.categories);
        match self.layer() {
            Layer::Mandatory => {
                let basis = self.mandate.map(|mandate| format!(" ({})", mandate.basis.title())).unwrap_or_default();
                format!("{asked} is blocked by order{basis}{because_of}; nobody can lift this.")
            }
            Layer::NeverBlock => format!("{asked} is on the operator's list of names that are never blocked{}.", self.trouble()),
            Layer::DeviceAllow => format!("{asked} is allowed by this device's own list{}.", self.trouble()),
            Layer::HouseholdAllow => format!("{asked} is allowed by the household's own list{}.", self.trouble()),
            Layer::DeviceDeny => format!("{asked} is blocked by this device's own list{because_of}."),
            Layer::HouseholdDeny => format!("{asked} is blocked by the household's own list{because_of}."),
            Layer::Security => format!("{asked} is blocked for everybody's security ({titles}){because_of}."),
            Layer::Category => {
                let by = match setter.map(|setter| setter.layer) {
                    Some("device") => "which somebody blocked for this device",
                    Some("household") => "which somebody blocked for this household",
                    Some("preset") => "which the household's preset blocks",
                    _ => "which the operator's default blocks",
                };
                format!("{asked} is blocked as {titles}, {by}{because_of}.")
            }
            Layer::Default => format!("{asked} is not blocked: {}{}.", self.why_not(setter), self.trouble()),
        }
    }

    /// Why nothing blocks the name.
    fn why_not(&self, setter: Option<&Setter>) -> String {
        let titles = self.titles(self.listed());
        match setter.map(|setter| setter.layer) {
            _ if titles.is_empty() => "it is on no list".to_owned(),
            _ if self.is_off() => format!("it is listed as {titles}, but this household chose no filtering"),
            Some("device") => format!("it is listed as {titles}, which somebody allowed for this device"),
            Some(_) => format!("it is listed as {titles}, which somebody allowed for this household"),
            None => format!("it is listed as {titles}, which is not blocked here"),
        }
    }

    /// What else keeps a name that is not blocked from working.
    fn trouble(&self) -> &'static str {
        match self.explained.answer.rcode.as_str() {
            "NOERROR" => "",
            "NXDOMAIN" => "; but the name does not exist",
            _ => "; but it cannot be resolved at the moment",
        }
    }
}
