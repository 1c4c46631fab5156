//! The verdict about a cached entry for one client: the queried name, the names of the chain, and
//! the listed addresses of the answer. The entry remembers their classification, the lists are
//! searched once for each generation.

use policy::{
    decide::{Action, EffectivePolicy, Verdict, judge},
    lists::blocklist::{Blocklist, Classification},
    name::{Name, NameRef},
};

use crate::cache::{AnswerCache, AnswerEntry, classified::Classified};

/// What a verdict is about.
#[derive(Clone, Copy)]
pub(crate) struct Judging<'j> {
    pub(crate) policy: &'j EffectivePolicy,
    /// The queried name.
    pub(crate) name: NameRef<'j>,
    /// Whether the answer will be used. If not, only the queried name is judged.
    pub(crate) with_answer: bool,
    /// Whether the client came over TCP, and so has done what an entry with the action "TCP only"
    /// wants.
    pub(crate) over_tcp: bool,
    /// The cache that the entry may be in: it weighs what is remembered.
    pub(crate) cache: &'j AnswerCache,
}

impl Judging<'_> {
    /// The verdict, and the hop that decided: 0 is the queried name, then those of [`AnswerEntry::hops`].
    #[inline]
    pub(crate) fn verdict(self, entry: &AnswerEntry, lists: &Blocklist) -> (Verdict, usize) {
        if entry.classification.is_unlisted(lists.stamp()) {
            // No list contains any of the names. Custom names of the household may.
            let chain = if self.with_answer { entry.chain() } else { &[] };
            let chain = chain
                .iter()
                .map(|name| (name.borrow(), &Classification::NOTHING));
            return judge(self.policy, self.name, &Classification::NOTHING, chain);
        }
        let listed = entry.classification.listed();
        match listed.by(lists.stamp()) {
            Some(classified) => self.verdict_by(entry, classified),
            None => self.classify(entry, lists, listed.exists()),
        }
    }

    /// Searches the lists, and remembers the classification.
    #[cold]
    #[inline(never)]
    fn classify(self, entry: &AnswerEntry, lists: &Blocklist, has_older: bool) -> (Verdict, usize) {
        let classified = Classified::look_up(self.name, entry.chain(), entry.message(), lists);
        let verdict = self.verdict_by(entry, &classified);
        self.cache.remember(entry, classified, has_older);
        verdict
    }

    fn verdict_by(self, entry: &AnswerEntry, classified: &Classified) -> (Verdict, usize) {
        let judged = self.review(entry, classified);
        let wants_tcp = judged.0.action == Action::TcpOnly && judged.0.is_block();
        if wants_tcp && self.over_tcp {
            self.verdict_over_tcp(entry, classified)
        } else {
            judged
        }
    }

    /// The verdict of the entries that do not want TCP.
    #[cold]
    #[inline(never)]
    fn verdict_over_tcp(self, entry: &AnswerEntry, classified: &Classified) -> (Verdict, usize) {
        self.review(entry, &classified.over_tcp())
    }

    fn review(self, entry: &AnswerEntry, classified: &Classified) -> (Verdict, usize) {
        let (chain, addresses) = if self.with_answer {
            (entry.chain(), &*classified.addresses)
        } else {
            (&[] as &[_], &[] as &[_])
        };
        let chain = chain.iter().map(Name::borrow).zip(&classified.chain);
        let addresses = addresses.iter().map(|(name, class)| (name.borrow(), class));
        judge(
            self.policy,
            self.name,
            &classified.asked,
            chain.chain(addresses),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use policy::{
        category::Taxonomy,
        identity::directory::Directory,
        lists::mandates::{ActiveMandates, Mandate, MandateDocument},
        rules::operator::OperatorDefaults,
    };

    use super::*;

    /// The answer `a.test. 60 IN A 192.0.2.1`.
    fn entry() -> AnswerEntry {
        let mut message = vec![0, 0, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        message.extend(b"\x01a\x04test\0\0\x01\0\x01");
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        AnswerEntry::new(message, 60, Duration::ZERO).unwrap()
    }

    #[test]
    fn an_entry_remembers_whether_the_lists_contain_it() {
        let lists = Arc::new(Blocklist::empty(&Taxonomy::shipped()));
        let policy = Directory::new(OperatorDefaults::default()).unknown_line();
        let name = Name::parse("a.test").unwrap();
        let cache = AnswerCache::new(1 << 20);
        let verdict = |entry: &AnswerEntry, lists: &Blocklist| {
            let judging = Judging {
                policy: &policy,
                name: name.borrow(),
                with_answer: true,
                over_tcp: false,
                cache: &cache,
            };
            let (verdict, hop) = judging.verdict(entry, lists);
            (verdict.is_block(), hop)
        };
        let entry = entry();
        let memo = &entry.classification;
        assert!(memo.is_unlisted(u64::MAX), "not classified yet");
        for _ in 0..2 {
            assert_eq!(verdict(&entry, &lists), (false, 0));
            assert!(memo.is_unlisted(lists.stamp()) && !memo.listed().exists());
        }
        let document = MandateDocument {
            name: Some("a.test".to_owned()),
            basis: "court-order".to_owned(),
            ..Default::default()
        };
        let mandate = Arc::new(Mandate::read("a".parse().unwrap(), document).unwrap());
        let ordered = lists.with_mandates(&Arc::new(ActiveMandates::of(vec![mandate])));
        assert_eq!(verdict(&entry, &ordered), (true, 0));
        assert!(memo.listed().by(ordered.stamp()).is_some());
        assert_eq!(verdict(&entry, &lists), (false, 0));
        assert_eq!(
            verdict(&entry, &ordered),
            (true, 0),
            "each under its own lists"
        );
    }
}
