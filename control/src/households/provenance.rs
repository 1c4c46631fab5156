//! Who set a setting: read from the household's document, the nearest level (device, person,
//! household) first.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policy::{
    category::{CategorySet, Taxonomy},
    name::{Name, NameRef},
    rules::{
        household::{Attributed, Id, Settings, SwitchState},
        schedule::{Grant, GrantTarget, Schedule},
        thing::{AttributedDomain, Thing},
        timeline::zone,
    },
};
use serde::Serialize;

use super::subscriber::Subscriber;

/// The level and the author of a setting.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Setter {
    /// `device`, `person`, `household`, `preset`, `operator`, `feed` or `mandate`.
    #[cfg_attr(feature = "schema", schema(schema_with = level_words))]
    pub layer: &'static str,
    /// A key, a preset, a feed or a mandate.
    pub by: String,
    /// When it was set, RFC 3339. Null if that is not known.
    pub at: Option<Timestamp>,
    /// The running schedule that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, nullable = false))]
    pub schedule: Option<Id>,
    /// When the setting ends by itself, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub until: Option<Timestamp>,
}

/// The words for the levels of settings, and of what else decides.
#[cfg(feature = "schema")]
pub fn level_words() -> utoipa::openapi::Object {
    let levels = [
        "device",
        "person",
        "household",
        "preset",
        "operator",
        "feed",
        "mandate",
    ];
    policy::schema::words("The level where it is set.", levels)
}

impl Setter {
    pub fn new(layer: &'static str, by: impl Into<String>) -> Self {
        Self {
            layer,
            by: by.into(),
            at: None,
            schedule: None,
            until: None,
        }
    }

    /// The operator, for settings that a household leaves open.
    pub fn of_operator() -> Self {
        Self::new("operator", "default preset")
    }

    pub fn of<T>(layer: &'static str, set: &Attributed<T>) -> Self {
        Self {
            at: Some(set.set_at),
            ..Self::new(layer, &*set.set_by)
        }
    }
}

/// Looks up who set the settings of a subscriber.
#[derive(Clone, Copy)]
pub struct Provenance<'a> {
    pub subscriber: &'a Subscriber,
    pub taxonomy: &'a Taxonomy,
}

impl<'a> Provenance<'a> {
    fn find<T>(&self, look: impl FnMut((&'static str, &'a Settings)) -> Option<T>) -> Option<T> {
        self.subscriber.levels().into_iter().find_map(look)
    }

    /// What blocks these categories: a running schedule, a switch, the preset, or the operator.
    pub fn blocks(&self, categories: CategorySet) -> Setter {
        let scheduled = self.scheduled(categories, |schedule| &schedule.block);
        scheduled
            .or_else(|| self.switch(categories, SwitchState::Block))
            .unwrap_or_else(|| self.preset())
    }

    /// What allows these categories, if anything does.
    pub fn allows(&self, categories: CategorySet) -> Option<Setter> {
        self.scheduled(categories, |schedule| &schedule.allow)
            .or_else(|| self.switch(categories, SwitchState::Allow))
    }

    /// The preset of the household.
    pub fn preset(&self) -> Setter {
        // A preset that the taxonomy no longer has, has no effect.
        let preset = self
            .subscriber
            .household
            .preset
            .clone()
            .filter(|slug| self.taxonomy.preset(slug).is_some());
        preset.map_or_else(Setter::of_operator, |by| Setter::new("preset", by))
    }

    /// The nearest running grant that opens a name of these categories.
    pub fn granted(&self, name: NameRef<'_>, listed: CategorySet) -> Option<Setter> {
        let opens = |grant: &Grant| match &grant.what {
            GrantTarget::Everything(is_all) => *is_all,
            GrantTarget::Domain(domain) => {
                name.ancestors().any(|ancestor| ancestor == domain.borrow())
            }
            GrantTarget::Category(slug) => self
                .taxonomy
                .find(slug)
                .is_some_and(|category| listed.contains(category)),
        };
        self.find(|(word, settings)| {
            let grant = settings
                .grants
                .values()
                .find(|grant| grant.value.until > self.subscriber.at && opens(&grant.value))?;
            Some(Setter {
                until: Some(grant.value.until),
                ..Setter::of(word, grant)
            })
        })
    }

    /// The nearest pause.
    pub fn paused(&self) -> Option<Setter> {
        let of_level = |(word, settings): (&'static str, &'a Settings)| {
            let pause = settings
                .pause
                .as_ref()
                .filter(|pause| pause.value.until > self.subscriber.at)?;
            Some(Setter {
                until: Some(pause.value.until),
                ..Setter::of(word, pause)
            })
        };
        self.find(of_level)
            .or_else(|| self.running(|schedule| schedule.pause))
    }

    /// Who set whether names for bypassing the filter are answered negatively.
    pub fn bypass(&self) -> Setter {
        self.find(|(word, settings)| Some(Setter::of(word, settings.bypass.as_ref()?)))
            .unwrap_or_else(Setter::of_operator)
    }

    /// Who set whether an allow or a grant also lifts safe search.
    pub fn search_unlock(&self) -> Option<Setter> {
        self.find(|(word, settings)| Some(Setter::of(word, settings.search_unlock.as_ref()?)))
    }

    /// Who denied a name to a thing, or limited the thing to its domains.
    pub fn thing(&self, name: NameRef<'_>) -> Option<Setter> {
        let thing = self.subscriber.device()?.1.thing.as_ref()?;
        let of_entry = thing_denial(thing, name).map(|(_, entry)| Setter::of("device", entry));
        Some(of_entry.unwrap_or_else(|| Setter::of("device", &thing.mode)))
    }

    /// Who set the safe search of an engine.
    pub fn safe_search(&self, engine: &str) -> Option<Setter> {
        self.find(|(word, settings)| Some(Setter::of(word, settings.safe_search.get(engine)?)))
    }

    /// The nearest running schedule with one of these categories.
    fn scheduled(
        &self,
        categories: CategorySet,
        said: fn(&Schedule) -> &BTreeSet<String>,
    ) -> Option<Setter> {
        let slugs = self.taxonomy.slugs(categories);
        self.running(|schedule| slugs.iter().any(|slug| said(schedule).contains(*slug)))
    }

    /// The nearest running schedule that matches.
    fn running(&self, is_it: impl Fn(&Schedule) -> bool) -> Option<Setter> {
        let zone = zone(&self.subscriber.household);
        self.find(|(word, settings)| {
            settings
                .schedules
                .iter()
                .filter(|(_, schedule)| is_it(&schedule.value))
                .find_map(|(id, schedule)| {
                    let (_, until) = schedule.value.running(&zone, self.subscriber.at)?;
                    Some(Setter {
                        schedule: Some(id.clone()),
                        until: Some(until),
                        ..Setter::of(word, schedule)
                    })
                })
        })
    }

    /// The nearest switch of the first category, if its state is `state`.
    fn switch(&self, categories: CategorySet, state: SwitchState) -> Option<Setter> {
        let slug = self.taxonomy.slugs(categories).into_iter().next()?;
        let (layer, set) =
            self.find(|(word, settings)| Some((word, settings.categories.get(slug)?)))?;
        (set.value.state == state).then(|| Setter::of(layer, set))
    }
}

/// The entry by which a thing is denied a name.
pub fn thing_denial<'t>(
    thing: &'t Thing,
    name: NameRef<'_>,
) -> Option<(&'t Name, &'t AttributedDomain)> {
    name.ancestors()
        .find_map(|ancestor| thing.denied.get_key_value(&ancestor.to_owned()))
}
