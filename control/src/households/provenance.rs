//! Who set what holds for a line: read from the household's document, the nearest level first.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policy::{
    category::{CategorySet, Taxonomy},
    name::NameRef,
    rules::{
        household::{Id, Set, Settings, State},
        schedule::{Grant, Granted, Schedule},
        timeline::zone,
    },
};
use serde::Serialize;

use super::subscriber::Subscriber;

/// Who set what decided.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Setter {
    /// `device`, `person`, `household`, `preset`, `operator`, `feed` or `mandate`.
    pub layer: &'static str,
    /// A key, a preset, a feed or a mandate.
    pub by: String,
    pub at: Option<Timestamp>,
    /// The schedule by which it holds at this hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Id>,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
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

    /// The operator, for those who set nothing.
    pub fn of_operator() -> Self {
        Self::new("operator", "default preset")
    }

    pub fn of<T>(layer: &'static str, set: &Set<T>) -> Self {
        Self {
            at: Some(set.set_at),
            ..Self::new(layer, &*set.set_by)
        }
    }
}

/// What is set for a line.
#[derive(Clone, Copy)]
pub struct Provenance<'a> {
    pub subscriber: &'a Subscriber,
    pub taxonomy: &'a Taxonomy,
}

impl<'a> Provenance<'a> {
    fn find<T>(&self, look: impl FnMut((&'static str, &'a Settings)) -> Option<T>) -> Option<T> {
        self.subscriber.levels().into_iter().find_map(look)
    }

    /// Who blocks these categories: a schedule that runs, a switch, the preset, or the operator.
    pub fn blocks(&self, categories: CategorySet) -> Setter {
        let scheduled = self.scheduled(categories, |schedule| &schedule.block);
        scheduled
            .or_else(|| self.switch(categories, State::Block))
            .unwrap_or_else(|| self.preset())
    }

    /// Who allows them, where somebody does.
    pub fn allows(&self, categories: CategorySet) -> Option<Setter> {
        self.scheduled(categories, |schedule| &schedule.allow)
            .or_else(|| self.switch(categories, State::Allow))
    }

    /// What the household starts from.
    pub fn preset(&self) -> Setter {
        // A preset that the taxonomy no longer has decides nothing.
        let preset = self
            .subscriber
            .household
            .preset
            .clone()
            .filter(|slug| self.taxonomy.preset(slug).is_some());
        preset.map_or_else(Setter::of_operator, |by| Setter::new("preset", by))
    }

    /// The nearest running grant that opens a name listed for these categories.
    pub fn granted(&self, name: NameRef<'_>, listed: CategorySet) -> Option<Setter> {
        let opens = |grant: &Grant| match &grant.what {
            Granted::Everything(is_all) => *is_all,
            Granted::Domain(domain) => name.ancestors().any(|ancestor| ancestor == domain.borrow()),
            Granted::Category(slug) => self
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

    /// Who says whether the names by which devices would go around the filter are answered
    /// negatively.
    pub fn bypass(&self) -> Setter {
        self.find(|(word, settings)| Some(Setter::of(word, settings.bypass.as_ref()?)))
            .unwrap_or_else(Setter::of_operator)
    }

    /// Who says whether an allow or a grant also lifts safe search, where somebody does.
    pub fn search_unlock(&self) -> Option<Setter> {
        self.find(|(word, settings)| Some(Setter::of(word, settings.search_unlock.as_ref()?)))
    }

    /// Who set the safe search of an engine.
    pub fn safe_search(&self, engine: &str) -> Option<Setter> {
        self.find(|(word, settings)| Some(Setter::of(word, settings.safe_search.get(engine)?)))
    }

    /// The nearest running schedule that says something of one of these categories.
    fn scheduled(
        &self,
        categories: CategorySet,
        said: fn(&Schedule) -> &BTreeSet<String>,
    ) -> Option<Setter> {
        let slugs = self.taxonomy.slugs(categories);
        self.running(|schedule| slugs.iter().any(|slug| said(schedule).contains(*slug)))
    }

    /// The nearest running schedule of a kind.
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

    /// The nearest switch of the first category, if it says `state`.
    fn switch(&self, categories: CategorySet, state: State) -> Option<Setter> {
        let slug = self.taxonomy.slugs(categories).into_iter().next()?;
        let (layer, set) =
            self.find(|(word, settings)| Some((word, settings.categories.get(slug)?)))?;
        (set.value.state == state).then(|| Setter::of(layer, set))
    }
}
