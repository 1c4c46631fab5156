//! All mandates of a node, and which of them are in force. The caller passes the time: no clock is
//! read here.

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

/// All mandates, beside the lists on which those in force hang.
pub struct MandateRegistry {
    lists: Arc<CurrentLists>,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    all: BTreeMap<Id, Arc<Mandate>>,
    /// Names that nothing blocks but an order, from when and until when.
    lifted: BTreeMap<Name, (Timestamp, Timestamp)>,
    /// From when until when what hangs on the lists is right; none where that is not known.
    valid: Option<(Timestamp, Option<Timestamp>)>,
}

impl Shelf {
    /// Whether nothing begins or ends between then and now. Clocks go back, too.
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

    /// What is in force at a time.
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
    /// An empty register beside these lists.
    #[must_use]
    pub fn new(lists: Arc<CurrentLists>) -> Self {
        Self {
            lists,
            shelf: Mutex::default(),
        }
    }

    /// Takes in all mandates of the store: the start.
    pub fn fill(&self, all: impl IntoIterator<Item = Mandate>, now: Timestamp) {
        let mut shelf = self.shelf();
        shelf.all = all
            .into_iter()
            .map(|mandate| (mandate.id.clone(), Arc::new(mandate)))
            .collect();
        self.renew(&mut shelf, now);
    }

    /// Takes in one, in the place of what had its identifier. When this returns, queries are judged
    /// by it.
    pub fn put(&self, mandate: Mandate, now: Timestamp) {
        let mut shelf = self.shelf();
        shelf.all.insert(mandate.id.clone(), Arc::new(mandate));
        self.renew(&mut shelf, now);
    }

    /// Takes one out. When this returns, queries are no longer judged by it.
    pub fn remove(&self, id: &Id, now: Timestamp) {
        let mut shelf = self.shelf();
        shelf.all.remove(id);
        self.renew(&mut shelf, now);
    }

    /// Takes in all names that nothing but an order blocks, each from one time until another, in
    /// the place of what was. When this returns, queries are judged by it.
    pub fn lift(
        &self,
        names: impl IntoIterator<Item = (Name, (Timestamp, Timestamp))>,
        now: Timestamp,
    ) {
        let mut shelf = self.shelf();
        shelf.lifted = names.into_iter().collect();
        self.renew(&mut shelf, now);
    }

    /// How many names nothing but an order blocks.
    #[must_use]
    pub fn count_lifted(&self, now: Timestamp) -> usize {
        self.shelf().lifted_at(now).count()
    }

    /// Hangs on the lists what is in force now, where that is another set than before, and says
    /// until when it is.
    pub fn keep(&self, now: Timestamp) -> Option<Timestamp> {
        let mut shelf = self.shelf();
        if !shelf.is_valid(now) {
            self.renew(&mut shelf, now);
        }
        shelf.valid.and_then(|(_, until)| until)
    }

    /// Lists as they were at a time, under those of these mandates that were in force then.
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
        let then = Shelf {
            all,
            lifted: self.shelf().lifted.clone(),
            valid: None,
        };
        lists.with_mandates(&Arc::new(then.set(at)))
    }

    /// How many are in force, are to come, and are over.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> [(MandatePhase, usize); 3] {
        let shelf = self.shelf();
        [
            MandatePhase::Active,
            MandatePhase::Pending,
            MandatePhase::Expired,
        ]
        .map(|phase| {
            (
                phase,
                shelf
                    .all
                    .values()
                    .filter(|mandate| mandate.phase(now) == phase)
                    .count(),
            )
        })
    }

    fn renew(&self, shelf: &mut Shelf, now: Timestamp) {
        let changes = shelf
            .all
            .values()
            .flat_map(|mandate| [mandate.not_before, mandate.not_after])
            .flatten();
        let changes = changes.chain(
            shelf
                .lifted
                .values()
                .flat_map(|(from, until)| [*from, *until]),
        );
        shelf.valid = Some((now, changes.filter(|change| *change > now).min()));
        self.lists.order(Arc::new(shelf.set(now)));
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf
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
    fn what_is_in_force_hangs_on_the_lists_whichever_way_the_clock_goes() {
        let lists = Arc::new(CurrentLists::new(empty()));
        let register = MandateRegistry::new(Arc::clone(&lists));
        let at = |second| Timestamp::from_second(second).unwrap();
        let is_ordered = |name: &str| {
            lists
                .load()
                .classify(Name::parse(name).unwrap().borrow())
                .mandatory
        };
        register.fill(
            [
                mandate("a", "a.example", Some(10), Some(20)),
                mandate("b", "b.example", None, None),
            ],
            at(0),
        );
        let counts = |now| register.count(at(now)).map(|(_, count)| count);
        for (now, a, next) in [
            (5, false, Some(10)),
            (10, true, Some(20)),
            (19, true, Some(20)),
            (20, false, None),
            (15, true, Some(20)),
        ] {
            assert_eq!(register.keep(at(now)), next.map(at), "{now}");
            assert_eq!(
                (is_ordered("www.a.example"), is_ordered("b.example")),
                (a, true),
                "{now}"
            );
        }
        assert_eq!(
            (counts(0), counts(15), counts(99)),
            ([1, 1, 0], [2, 0, 0], [1, 0, 1])
        );
        // A generation that comes later has them, too, and so has what follows from it.
        let stamp = lists.load().stamp();
        let swaps = lists.swaps().0;
        lists.install(empty());
        assert!(is_ordered("a.example") && lists.load().stamp() == stamp);
        assert_eq!(lists.swaps().0, swaps + 1, "an order is no new generation");
        register.remove(&"a".parse().unwrap(), at(15));
        assert!(!is_ordered("a.example") && lists.load().stamp() != stamp);
        register.put(mandate("b", "c.example", None, None), at(15));
        assert!(!is_ordered("b.example") && is_ordered("c.example"));
        assert!(
            lists.feeds_of(lists.load().stamp()).is_some(),
            "hits of its feeds find their names"
        );
    }

    #[test]
    fn a_name_that_is_lifted_is_never_blocked_until_then_but_for_orders() {
        let lists = Arc::new(CurrentLists::new(empty()));
        let register = MandateRegistry::new(Arc::clone(&lists));
        let at = |second| Timestamp::from_second(second).unwrap();
        let class = |name: &str| lists.load().classify(Name::parse(name).unwrap().borrow());
        register.fill([mandate("a", "ordered.example", None, None)], at(0));
        let stamp = lists.load().stamp();
        let lifted = ["mild.example", "ordered.example"]
            .map(|name| (Name::parse(name).unwrap(), (at(0), at(20))));
        register.lift(lifted, at(0));
        assert_ne!(
            lists.load().stamp(),
            stamp,
            "what was classified is looked at again"
        );
        assert!(
            class("mild.example").never_block
                && class("www.mild.example").never_block
                && !class("example").never_block
        );
        assert!(class("ordered.example").mandatory, "an order stands above");
        lists.install(empty());
        assert!(
            class("mild.example").never_block,
            "a later generation has it, too"
        );
        assert_eq!(
            (register.keep(at(19)), register.count_lifted(at(19))),
            (Some(at(20)), 2)
        );
        assert_eq!(
            (register.keep(at(20)), register.count_lifted(at(20))),
            (None, 0)
        );
        assert!(!class("mild.example").never_block);
        assert_eq!(lists.load().stamp(), stamp);
        let mild = Name::parse("mild.example").unwrap();
        assert!(
            register
                .at(&lists.current(), Vec::new(), at(19))
                .classify(mild.borrow())
                .never_block,
            "what was so is known"
        );
    }
}
