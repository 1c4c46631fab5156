//! What an explanation adds to the verdict: who set the deciding rule, and one sentence to read out.
//!
//! The data path makes the verdict. The household's document only says who set the rule.

use policy::{
    category::{CategorySet, Taxonomy},
    decide::Layer,
    explain::QueryExplanation,
    lists::mandates::Mandate,
    name::Name,
    rules::{
        builtin_names::{BuiltinName, BuiltinNames},
        custom_names::ListOwner,
        household::{Attributed, CustomName, Filtering, Household},
        safe_search::SearchEngine,
        thing::{Thing, ThingMode},
        timeline::zone,
    },
};

use super::display::shown;
use crate::households::{
    provenance::{Provenance, Setter, thing_denial},
    subscriber::Subscriber,
};

/// A verdict, and what it can be traced to.
pub struct VerdictReason<'a> {
    pub explained: &'a QueryExplanation,
    /// `None` for a line without a household.
    pub subscriber: Option<&'a Subscriber>,
    pub taxonomy: &'a Taxonomy,
    /// The feed of the deciding entry.
    pub feed: Option<String>,
    /// The deciding mandate.
    pub mandate: Option<&'a Mandate>,
    /// Whether the reader may not see which mandate decided.
    pub is_hidden: bool,
}

impl<'a> VerdictReason<'a> {
    fn layer(&self) -> Layer {
        self.explained.verdict.layer
    }

    /// The deciding name: the queried one, or one of its chain.
    fn name(&self) -> &'a Name {
        &self.explained.names[self.explained.hop]
    }

    fn household(&self) -> Option<&'a Household> {
        self.subscriber.map(|subscriber| &*subscriber.household)
    }

    fn provenance(&self) -> Option<Provenance<'a>> {
        Some(Provenance {
            subscriber: self.subscriber?,
            taxonomy: self.taxonomy,
        })
    }

    /// The deciding entry of a custom list.
    pub fn own_entry(&self) -> Option<(&'a Name, &'a Attributed<CustomName>)> {
        let subscriber = self.subscriber?;
        let whose = match self.layer() {
            Layer::DeviceAllow | Layer::DeviceDeny => ListOwner::Device(subscriber.device?),
            Layer::PersonAllow | Layer::PersonDeny => ListOwner::PersonOf(subscriber.device),
            Layer::HouseholdAllow | Layer::HouseholdDeny => ListOwner::Household,
            _ => return None,
        };
        let (entry, _) = subscriber.rules.names(whose)?.find(self.name().borrow())?;
        let (_, settings) = subscriber
            .levels()
            .into_iter()
            .find(|(word, _)| Some(*word) == self.own_level())?;
        settings.names.get_key_value(&entry.to_owned())
    }

    /// The level of the deciding custom list.
    fn own_level(&self) -> Option<&'static str> {
        match self.layer() {
            Layer::DeviceAllow | Layer::DeviceDeny => Some("device"),
            Layer::PersonAllow | Layer::PersonDeny => Some("person"),
            Layer::HouseholdAllow | Layer::HouseholdDeny => Some("household"),
            _ => None,
        }
    }

    /// Who set the deciding rule, from the device up to the operator. For an allow by default there
    /// is one only if a switch or a schedule allows a category of the name.
    pub fn setter(&self) -> Option<Setter> {
        match self.layer() {
            Layer::Mandatory if self.is_hidden => None,
            Layer::Mandatory if let Some(mandate) = self.mandate => {
                Some(Setter::new("mandate", mandate.id.to_string()))
            }
            Layer::NeverBlock if self.feed.is_none() => Some(Setter::new("operator", "override")),
            Layer::Mandatory | Layer::NeverBlock | Layer::Security => {
                Some(Setter::new("feed", self.feed.clone()?))
            }
            Layer::DeviceAllow
            | Layer::PersonAllow
            | Layer::HouseholdAllow
            | Layer::DeviceDeny
            | Layer::PersonDeny
            | Layer::HouseholdDeny => Some(Setter::of(self.own_level()?, self.own_entry()?.1)),
            Layer::Grant => self
                .provenance()?
                .granted(self.name().borrow(), self.listed()),
            Layer::Paused => self.provenance()?.paused(),
            Layer::Category => match self.provenance() {
                Some(provenance) => Some(provenance.blocks(self.explained.verdict.categories)),
                None => Some(Setter::of_operator()),
            },
            Layer::Bypass => Some(
                self.provenance()
                    .map_or_else(Setter::of_operator, |provenance| provenance.bypass()),
            ),
            Layer::Thing => self.provenance()?.thing(self.name().borrow()),
            Layer::SafeSearch | Layer::SafeSearchDeny => {
                self.provenance()?.safe_search(&self.engine()?.slug)
            }
            Layer::Default if self.is_off() => None,
            Layer::Default => self.provenance()?.allows(self.listed()),
        }
    }

    /// The search engine of the deciding safe search.
    fn engine(&self) -> Option<&'static SearchEngine> {
        match BuiltinNames::shipped().find(self.name().borrow()) {
            BuiltinName::Search(engine) | BuiltinName::SearchClosed(engine) => {
                BuiltinNames::shipped().engines().get(usize::from(engine))
            }
            BuiltinName::None | BuiltinName::Canary | BuiltinName::Relay => None,
        }
    }

    /// What allows the name, although its safe search stays in force.
    fn although(&self) -> &'static str {
        match self.explained.verdict.allowed_by {
            Some(Layer::NeverBlock) => "; that it is never blocked does not lift this",
            Some(Layer::Grant) => "; that it is open for a while does not lift this",
            Some(_) => "; that it is allowed does not lift this",
            None => "",
        }
    }

    /// The categories of the name, blocked for the subscriber or not.
    fn listed(&self) -> CategorySet {
        self.explained.lists.classify(self.name().borrow()).choice
    }

    fn is_off(&self) -> bool {
        self.household()
            .is_some_and(|household| household.filtering == Filtering::Off)
    }

    fn titles(&self, categories: CategorySet) -> String {
        categories
            .iter()
            .map(|id| self.taxonomy.category(id).title.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The reason in one sentence.
    pub fn sentence(&self, setter: Option<&Setter>) -> String {
        let asked = &self.explained.names[0];
        let because_of = self.because_of();
        let set_for = setter.map_or("household", |setter| setter.layer);
        match self.layer() {
            Layer::Mandatory => {
                let basis = self
                    .mandate
                    .map(|mandate| format!(" ({})", mandate.basis.title()))
                    .unwrap_or_default();
                format!("{asked} is blocked by order{basis}{because_of}; nobody can lift this.")
            }
            Layer::NeverBlock => format!(
                "{asked} is on the operator's list of names that are never blocked{}.",
                self.trouble()
            ),
            Layer::DeviceAllow | Layer::PersonAllow | Layer::HouseholdAllow => format!(
                "{asked} is allowed by {}{}.",
                self.own_list(),
                self.trouble()
            ),
            Layer::DeviceDeny | Layer::PersonDeny | Layer::HouseholdDeny => {
                format!("{asked} is blocked by {}{because_of}.", self.own_list())
            }
            Layer::Grant => format!(
                "{asked} is open for a while{}{}.",
                self.hours(setter),
                self.trouble()
            ),
            Layer::Paused => format!(
                "the Internet is off for this {set_for}{}.",
                self.hours(setter)
            ),
            Layer::Bypass => {
                format!("{asked} is answered so that software keeps to this filter{because_of}.")
            }
            Layer::Thing => self.of_thing(),
            Layer::SafeSearch => format!(
                "{asked} leads to its safe search{because_of}, as set for this {set_for}{}.",
                self.although()
            ),
            Layer::SafeSearchDeny => {
                let title = self.engine().map_or("", |engine| &engine.title);
                format!(
                    "{asked} is blocked{because_of}: {title} has no safe search there, which is set for this {set_for}{}.",
                    self.although()
                )
            }
            Layer::Security => {
                let titles = self.titles(self.explained.verdict.categories);
                format!("{asked} is blocked for everybody's security ({titles}){because_of}.")
            }
            Layer::Category => {
                let titles = self.titles(self.explained.verdict.categories);
                let by = blocked_by(setter);
                format!("{asked} is blocked as {titles}, {by}{because_of}.")
            }
            Layer::Default => format!(
                "{asked} is not blocked: {}{}.",
                self.why_not(setter),
                self.trouble()
            ),
        }
    }

    /// The thing whose lists decided.
    fn thing(&self) -> Option<&'a Thing> {
        let of_thing = self.subscriber.filter(|_| self.layer() == Layer::Thing);
        of_thing?.device()?.1.thing.as_ref()
    }

    /// The entry by which the thing is denied the name.
    pub fn denial(&self) -> Option<&'a Name> {
        let (domain, _) = thing_denial(self.thing()?, self.name().borrow())?;
        Some(domain)
    }

    fn of_thing(&self) -> String {
        let asked = &self.explained.names[0];
        match (self.denial(), self.thing().map(Thing::mode)) {
            (Some(domain), _) => {
                format!("{asked} is blocked: this device may not reach {domain}.")
            }
            (None, Some(ThingMode::Asking)) => format!(
                "{asked} is not among the domains that this device may reach; the parents are asked."
            ),
            (None, _) => format!("{asked} is not among the domains that this device may reach."),
        }
    }

    /// The name of the chain that decided, unless it is the queried one.
    fn because_of(&self) -> String {
        match self.explained.hop {
            0 => String::new(),
            _ if self.is_hidden => String::new(),
            _ => format!(" because it leads to {}", shown(self.name().borrow())),
        }
    }

    /// The deciding custom list.
    fn own_list(&self) -> &'static str {
        match self.own_level() {
            Some("device") => "this device's own list",
            Some("person") => "this person's own list",
            _ => "the household's own list",
        }
    }

    /// When the setting ends, in the household's time zone.
    fn hours(&self, setter: Option<&Setter>) -> String {
        let until = setter.and_then(|setter| setter.until).zip(self.household());
        until.map_or_else(String::new, |(until, household)| {
            let until = until.to_zoned(zone(household));
            let schedule = setter
                .and_then(|setter| setter.schedule.as_ref())
                .map_or_else(String::new, |id| format!(" by the schedule {id}"));
            format!(
                "{schedule} until {:02}:{:02} on {}",
                until.hour(),
                until.minute(),
                until.date()
            )
        })
    }

    /// Why nothing blocks the name.
    fn why_not(&self, setter: Option<&Setter>) -> String {
        let titles = self.titles(self.listed());
        match setter.map(|setter| setter.layer) {
            _ if titles.is_empty() => "it is on no list".to_owned(),
            _ if self.is_off() => {
                format!("it is listed as {titles}, but this household chose no filtering")
            }
            Some(_) if setter.is_some_and(|setter| setter.schedule.is_some()) => {
                format!("it is listed as {titles}, which a schedule allows at this hour")
            }
            Some("device") => {
                format!("it is listed as {titles}, which somebody allowed for this device")
            }
            Some("person") => {
                format!("it is listed as {titles}, which somebody allowed for this person")
            }
            Some(_) => {
                format!("it is listed as {titles}, which somebody allowed for this household")
            }
            None => format!("it is listed as {titles}, which is not blocked here"),
        }
    }

    /// Why a name that is not blocked may not work.
    fn trouble(&self) -> &'static str {
        match self.explained.answer.rcode.as_str() {
            "NOERROR" => "",
            "NXDOMAIN" => "; but the name does not exist",
            _ => "; but it cannot be resolved at the moment",
        }
    }
}

/// What blocks a category.
fn blocked_by(setter: Option<&Setter>) -> &'static str {
    if setter.is_some_and(|setter| setter.schedule.is_some()) {
        return "which a schedule blocks at this hour";
    }
    match setter.map(|setter| setter.layer) {
        Some("person") => "which somebody blocked for this person",
        Some("device") => "which somebody blocked for this device",
        Some("household") => "which somebody blocked for this household",
        Some("preset") => "which the household's preset blocks",
        _ => "which the operator's default blocks",
    }
}
