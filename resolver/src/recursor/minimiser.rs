//! QNAME minimisation: each zone sees no more labels of a name than it needs, RFC 9156.

use policy::name::NameRef;

use crate::message::types::Rtype;

/// Queries with a minimised name, and how many of them add one label only. Counts, RFC 9156 section
/// 2.3.
const MINIMISED_MAX: usize = 10;
const MINIMISED_ONE_LABEL: usize = 4;

/// The minimisation of one name.
pub(super) struct Minimiser<'n> {
    name: NameRef<'n>,
    labels: usize,
    /// Labels in the next query.
    shown: usize,
    queries: usize,
    is_on: bool,
}

impl<'n> Minimiser<'n> {
    pub fn new(name: NameRef<'n>, zone: NameRef<'_>, is_on: bool) -> Self {
        Self {
            name,
            labels: name.label_count(),
            shown: zone.label_count() + 1,
            queries: 0,
            is_on,
        }
    }

    /// The name and type to query: the minimised name with type A, or the full name with
    /// `rtype`.
    pub fn question(&self, rtype: Rtype) -> (NameRef<'n>, Rtype) {
        if !self.is_on || self.shown >= self.labels || self.queries >= MINIMISED_MAX {
            return (self.name, rtype);
        }
        (self.name.last_labels(self.shown), Rtype::A)
    }

    /// Shows more labels: the minimised name exists and is no zone apex.
    pub fn advance(&mut self) {
        self.queries += 1;
        let hidden = self.labels - self.shown.min(self.labels);
        let steps_left = MINIMISED_MAX.saturating_sub(self.queries).max(1);
        self.shown += if self.queries < MINIMISED_ONE_LABEL {
            1
        } else {
            hidden.div_ceil(steps_left).max(1)
        };
    }

    /// Goes on in a zone further down.
    pub fn enter(&mut self, zone: NameRef<'_>) {
        self.queries += 1;
        self.shown = zone.label_count() + 1;
    }

    /// Queries the full name from now on.
    pub fn give_up(&mut self) {
        self.is_on = false;
    }
}

#[cfg(test)]
mod tests {
    use policy::name::Name;

    use super::*;

    const A: Rtype = Rtype::A;

    #[test]
    fn a_name_is_shown_label_by_label_and_a_long_one_in_ten_queries() {
        let long = Name::parse(&"a.".repeat(34)).unwrap();
        let mut minimiser = Minimiser::new(long.borrow(), Name::root().borrow(), true);
        let mut shown = Vec::new();
        loop {
            let (name, rtype) = minimiser.question(Rtype::PTR);
            shown.push(name.label_count());
            if rtype == Rtype::PTR {
                break;
            }
            minimiser.advance();
        }
        assert_eq!(shown, [1, 2, 3, 4, 9, 14, 19, 24, 29, 34]);
    }

    #[test]
    fn each_zone_is_shown_one_label_more_and_the_last_one_the_full_name() {
        let name = Name::parse("www.example.com").unwrap();
        let mut minimiser = Minimiser::new(name.borrow(), Name::root().borrow(), true);
        assert_eq!(
            minimiser.question(Rtype::AAAA),
            (Name::parse("com").unwrap().borrow(), A)
        );
        minimiser.enter(Name::parse("com").unwrap().borrow());
        assert_eq!(
            minimiser.question(Rtype::AAAA),
            (Name::parse("example.com").unwrap().borrow(), A)
        );
        minimiser.give_up();
        assert_eq!(
            minimiser.question(Rtype::AAAA),
            (name.borrow(), Rtype::AAAA)
        );
    }

    #[test]
    fn a_name_one_label_below_a_zone_is_queried_in_full() {
        let name = Name::parse("www.example.com").unwrap();
        let mut minimiser =
            Minimiser::new(name.borrow(), Name::parse("com").unwrap().borrow(), true);
        assert_eq!(
            minimiser.question(Rtype::AAAA),
            (Name::parse("example.com").unwrap().borrow(), A)
        );
        minimiser.advance();
        assert_eq!(
            minimiser.question(Rtype::AAAA),
            (name.borrow(), Rtype::AAAA)
        );
        minimiser.enter(Name::parse("example.com").unwrap().borrow());
        assert_eq!(
            minimiser.question(Rtype::AAAA),
            (name.borrow(), Rtype::AAAA)
        );
        let off = Minimiser::new(name.borrow(), Name::root().borrow(), false);
        assert_eq!(off.question(Rtype::AAAA), (name.borrow(), Rtype::AAAA));
    }

    #[test]
    fn zones_that_are_entered_count_as_queries_with_a_minimised_name() {
        let long = Name::parse(&"a.".repeat(34)).unwrap();
        let mut minimiser = Minimiser::new(long.borrow(), Name::root().borrow(), true);
        for entered in 1..=10 {
            assert_eq!(minimiser.question(Rtype::PTR).1, A, "{entered}");
            minimiser.enter(long.borrow().last_labels(entered));
        }
        assert_eq!(
            minimiser.question(Rtype::PTR),
            (long.borrow(), Rtype::PTR),
            "ten are enough"
        );
    }
}
