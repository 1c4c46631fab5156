//! The registry of all mandates of a node, and which of them are in force. The caller passes the
//! time; no clock is read here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::Timestamp;

use crate::{
    lists::{
        blocklist::Blocklist,
        current::CurrentLists,
        mandates::{ActiveMandates, Mandate, MandatePhase},
    },
    name::Name,
    rules::household::Id,
};

/// All mandates. Those in force are put into the current lists.
pub struct MandateRegistry {
    lists: Arc<CurrentLists>,
    state: Mutex<RegistryState>,
}

#[derive(Default)]
struct RegistryState {
    all: BTreeMap<Id, Arc<Mandate>>,
    /// Names that only a mandate may block, each from one time until another.
    lifted: BTreeMap<Name, (Timestamp, Timestamp)>,
    /// The period in which the mandates in the current lists are right; `None` where it is not
    /// known.
    valid: Option<(Timestamp, Option<Timestamp>)>,
}

impl RegistryState {
    /// Whether no mandate begins or ends between the last change and `now`. A clock can also go
    /// back.
    fn is_valid(&self, now: Timestamp) -> bool {
        self.valid
            .is_some_and(|(from, until)| from <= now && until.is_none_or(|until| now < until))
    }

    fn lifted_at(&self, at: Timestamp) -> impl Iterator<Item = &Name> {
        self.lifted
            .iter()
            .filter(move |(_, (from, until))| (*from..*until).contains(&at))
            .map(|(name, _)| name)
    }

    /// The mandates in force at a time.
    fn set(&self, at: Timestamp) -> ActiveMandates {
        let active = self
            .all
            .values()
            .filter(|mandate| mandate.phase(at) == MandatePhase::Active)
            .cloned()
            .collect();
        ActiveMandates::of(active).lifting(self.lifted_at(at))
    }
}

impl MandateRegistry {
    #[must_use]
    pub fn new(lists: Arc<CurrentLists>) -> Self {
        Self {
            lists,
            state: Mutex::default(),
        }
    }

    /// Replaces all mandates: at start, by those of the store.
    pub fn fill(&self, all: impl IntoIterator<Item = Mandate>, now: Timestamp) {
        let mut state = self.state();
        state.all = all
            .into_iter()
            .map(|mandate| (mandate.id.clone(), Arc::new(mandate)))
            .collect();
        self.renew(&mut state, now);
    }

    /// Adds a mandate, or replaces the one with its identifier. Queries are judged by it when this
    /// returns.
    pub fn put(&self, mandate: Mandate, now: Timestamp) {
        let mut state = self.state();
        state.all.insert(mandate.id.clone(), Arc::new(mandate));
        self.renew(&mut state, now);
    }

    /// Removes a mandate. Queries are no longer judged by it when this returns.
    pub fn remove(&self, id: &Id, now: Timestamp) {
        let mut state = self.state();
        state.all.remove(id);
        self.renew(&mut state, now);
    }

    /// Replaces the names that only a mandate may block, each from one time until another. Queries
    /// are judged by them when this returns.
    pub fn lift(
        &self,
        names: impl IntoIterator<Item = (Name, (Timestamp, Timestamp))>,
        now: Timestamp,
    ) {
        let mut state = self.state();
        state.lifted = names.into_iter().collect();
        self.renew(&mut state, now);
    }

    /// The number of names that only a mandate may block.
    #[must_use]
    pub fn count_lifted(&self, now: Timestamp) -> usize {
        self.state().lifted_at(now).count()
    }

    /// Puts the mandates of `now` in force, if others are. Returns the time of the next change.
    pub fn refresh(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.state();
        if !state.is_valid(now) {
            self.renew(&mut state, now);
        }
        state.valid.and_then(|(_, until)| until)
    }

    /// Returns lists as of a time: under those of these mandates that were in force then.
    #[must_use]
    pub fn at(
        &self,
        lists: &Arc<Blocklist>,
        mandates: Vec<Mandate>,
        at: Timestamp,
    ) -> Arc<Blocklist> {
        let all = mandates
            .into_iter()
            .map(|mandate| (mandate.id.clone(), Arc::new(mandate)))
            .collect();
        let then = RegistryState {
            all,
            lifted: self.state().lifted.clone(),
            valid: None,
        };
        lists.with_mandates(&Arc::new(then.set(at)))
    }

    /// The number of mandates in each phase.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> [(MandatePhase, usize); 3] {
        let state = self.state();
        [
            MandatePhase::Active,
            MandatePhase::Pending,
            MandatePhase::Expired,
        ]
        .map(|phase| {
            (
                phase,
                state
                    .all
                    .values()
                    .filter(|mandate| mandate.phase(now) == phase)
                    .count(),
            )
        })
    }

    fn renew(&self, state: &mut RegistryState, now: Timestamp) {
        let changes = state
            .all
            .values()
            .flat_map(|mandate| [mandate.not_before, mandate.not_after])
            .flatten();
        let changes = changes.chain(
            state
                .lifted
                .values()
                .flat_map(|(from, until)| [*from, *until]),
        );
        state.valid = Some((now, changes.filter(|change| *change > now).min()));
        self.lists.set_mandates(Arc::new(state.set(now)));
    }

    fn state(&self) -> MutexGuard<'_, RegistryState> {
        self.state
            .lock()
            .expect("nothing panics while it holds the mandates")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{category::Taxonomy, lists::mandates::MandateDocument};

    fn mandate(id: &str, name: &str, not_before: Option<i64>, not_after: Option<i64>) -> Mandate {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let document = MandateDocument {
            name: Some(name.to_owned()),
            basis: "iwf".to_owned(),
            not_before: not_before.map(at),
            not_after: not_after.map(at),
            ..MandateDocument::default()
        };
        Mandate::read(id.parse().unwrap(), document).unwrap()
    }

    fn empty() -> Arc<Blocklist> {
        Arc::new(Blocklist::empty(&Taxonomy::shipped()))
    }

    #[test]
    fn the_lists_have_the_mandates_in_force_even_if_the_clock_goes_back() {
        let lists = Arc::new(CurrentLists::new(empty()));
        let registry = MandateRegistry::new(Arc::clone(&lists));
        let at = |second| Timestamp::from_second(second).unwrap();
        let is_mandatory = |name: &str| {
            lists
                .load()
                .classify(Name::parse(name).unwrap().borrow())
                .mandatory
        };
        registry.fill(
            [
                mandate("a", "a.example", Some(10), Some(20)),
                mandate("b", "b.example", None, None),
            ],
            at(0),
        );
        let counts = |now| registry.count(at(now)).map(|(_, count)| count);
        for (now, a, next) in [
            (5, false, Some(10)),
            (10, true, Some(20)),
            (19, true, Some(20)),
            (20, false, None),
            (15, true, Some(20)),
        ] {
            assert_eq!(registry.refresh(at(now)), next.map(at), "{now}");
            assert_eq!(
                (is_mandatory("www.a.example"), is_mandatory("b.example")),
                (a, true),
                "{now}"
            );
        }
        assert_eq!(
            (counts(0), counts(15), counts(99)),
            ([1, 1, 0], [2, 0, 0], [1, 0, 1])
        );
        // Later generations have the mandates as well.
        let stamp = lists.load().stamp();
        let swaps = lists.swaps().0;
        lists.install(empty());
        assert!(is_mandatory("a.example") && lists.load().stamp() == stamp);
        assert_eq!(lists.swaps().0, swaps + 1, "a mandate is no new generation");
        registry.remove(&"a".parse().unwrap(), at(15));
        assert!(!is_mandatory("a.example") && lists.load().stamp() != stamp);
        registry.put(mandate("b", "c.example", None, None), at(15));
        assert!(!is_mandatory("b.example") && is_mandatory("c.example"));
        assert!(
            lists.feeds_of(lists.load().stamp()).is_some(),
            "hits of its feeds find their names"
        );
    }

    #[test]
    fn a_lifted_name_is_blocked_by_mandates_only_until_its_end() {
        let lists = Arc::new(CurrentLists::new(empty()));
        let registry = MandateRegistry::new(Arc::clone(&lists));
        let at = |second| Timestamp::from_second(second).unwrap();
        let class = |name: &str| lists.load().classify(Name::parse(name).unwrap().borrow());
        registry.fill([mandate("a", "ordered.example", None, None)], at(0));
        let stamp = lists.load().stamp();
        let lifted = ["mild.example", "ordered.example"]
            .map(|name| (Name::parse(name).unwrap(), (at(0), at(20))));
        registry.lift(lifted, at(0));
        assert_ne!(lists.load().stamp(), stamp, "names are classified again");
        assert!(
            class("mild.example").never_block
                && class("www.mild.example").never_block
                && !class("example").never_block
        );
        assert!(class("ordered.example").mandatory, "a mandate stands above");
        lists.install(empty());
        assert!(
            class("mild.example").never_block,
            "a later generation has it, too"
        );
        assert_eq!(
            (registry.refresh(at(19)), registry.count_lifted(at(19))),
            (Some(at(20)), 2)
        );
        assert_eq!(
            (registry.refresh(at(20)), registry.count_lifted(at(20))),
            (None, 0)
        );
        assert!(!class("mild.example").never_block);
        assert_eq!(lists.load().stamp(), stamp);
        let mild = Name::parse("mild.example").unwrap();
        assert!(
            registry
                .at(&lists.current(), Vec::new(), at(19))
                .classify(mild.borrow())
                .never_block,
            "the past is known"
        );
    }
}
