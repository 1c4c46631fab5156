//! What the caches learn from a failure, and when their entries are used.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use hickory_proto::rr::{RData, rdata};

use crate::recursor::{
    environment::TransportOutcome, rrset::Credibility, settings::Settings, wire::ExpectedReply,
};

use crate::upstream::Question;

use super::*;

const CNAME: Rtype = Rtype::CNAME;

fn context() -> QueryContext {
    QueryContext::new(
        Duration::ZERO,
        &Question::new(Name::root(), Rtype::A),
        false,
    )
}

/// A network without servers, and a clock that the test sets.
#[derive(Default)]
struct Still(Mutex<Duration>);

impl Environment for Still {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn unix_s(&self) -> u64 {
        1_800_000_000
    }

    fn random(&self) -> u64 {
        4
    }

    async fn sleep(&self, _: Duration) {}

    async fn udp(
        &self,
        _: SocketAddr,
        _: &[u8],
        _: &ExpectedReply,
        _: Duration,
    ) -> TransportOutcome {
        TransportOutcome::Timeout
    }

    async fn tcp(
        &self,
        _: SocketAddr,
        _: &[u8],
        _: &ExpectedReply,
        _: Duration,
    ) -> TransportOutcome {
        TransportOutcome::Timeout
    }

    async fn tls(
        &self,
        _: SocketAddr,
        _: &str,
        _: &[u8],
        _: &ExpectedReply,
        _: Duration,
    ) -> TransportOutcome {
        TransportOutcome::Timeout
    }
}

fn recursor() -> Recursor<Arc<Still>> {
    Recursor::new(
        Settings::with_roots(vec!["192.0.2.1".parse().unwrap()]),
        Arc::default(),
    )
    .unwrap()
}

fn set_clock(recursor: &Recursor<Arc<Still>>, second: u64) {
    *recursor.environment.0.lock().unwrap() = Duration::from_secs(second);
}

#[test]
fn a_failure_is_cached_under_the_name_that_it_is_about() {
    let asked = Name::parse("asked.example").unwrap();
    let met = Name::parse("met.example").unwrap();
    for (failure, of_name, of_question) in [
        (ResolutionFailure::Unreachable, true, false),
        (ResolutionFailure::Network, true, false),
        (ResolutionFailure::NoServers, true, false),
        (ResolutionFailure::Useless, true, false),
        (ResolutionFailure::TooLong, false, true),
        (ResolutionFailure::TooMuchWork, false, true),
        (ResolutionFailure::TooManyAliases, false, true),
        (ResolutionFailure::Circular, false, true),
        // The limit may be free again a moment later.
        (ResolutionFailure::Busy, false, false),
    ] {
        for is_first in [true, false] {
            let recursor = recursor();
            let first = LookupChain::new(asked.borrow(), Rtype::A);
            let chain = if is_first {
                first
            } else {
                first.nested(met.borrow(), Rtype::A).unwrap()
            };
            recursor.cache_failure(&chain, met.borrow(), Rtype::A, failure);
            let kept =
                |name: &Name, rtype| recursor.failures.get(name.borrow(), rtype, Duration::ZERO);
            assert_eq!(
                kept(&met, Rtype::A),
                of_name.then_some(failure),
                "{failure:?} {is_first}"
            );
            assert_eq!(
                kept(&asked, Rtype::A),
                (of_question && is_first).then_some(failure),
                "{failure:?} {is_first}"
            );
            assert_eq!(
                (kept(&met, Rtype::AAAA), kept(&asked, Rtype::AAAA)),
                (None, None)
            );
        }
    }
}

#[test]
fn a_cached_failure_answers_all_but_prefetches() {
    let recursor = recursor();
    let name = Name::parse("www.example").unwrap();
    recursor.failures.insert(
        name.borrow(),
        Rtype::A,
        ResolutionFailure::Useless,
        Duration::ZERO,
    );
    assert_eq!(
        recursor
            .cached(
                &context(),
                &LookupChain::new(name.borrow(), Rtype::A),
                name.borrow(),
                Rtype::A,
                false
            )
            .err(),
        Some(ResolutionFailure::Useless)
    );
    assert!(matches!(
        recursor.cached(
            &context(),
            &LookupChain::new(name.borrow(), Rtype::A),
            name.borrow(),
            Rtype::A,
            true
        ),
        Ok(None)
    ));
    assert!(matches!(
        recursor.cached(
            &context(),
            &LookupChain::new(name.borrow(), Rtype::AAAA),
            name.borrow(),
            Rtype::AAAA,
            false
        ),
        Ok(None)
    ));
}

#[test]
fn a_prefetch_ignores_entries_in_their_last_tenth() {
    let recursor = recursor();
    let name = Name::parse("www.example").unwrap();
    let proto = crate::upstream::proto_name(name.borrow());
    let record = Record::from_rdata(proto.clone(), 100, RData::CNAME(rdata::CNAME(proto)));
    let set = RrSet::unsigned(name.clone(), CNAME, vec![record]);
    recursor.rrsets.insert(
        set,
        Credibility::Authoritative,
        Duration::MAX,
        Duration::ZERO,
    );
    for (second, is_prefetch, is_known) in [
        (89, true, true),
        (90, true, false),
        (90, false, true),
        (99, false, true),
        (100, false, false),
    ] {
        set_clock(&recursor, second);
        let is_alias = matches!(
            recursor.cached(
                &context(),
                &LookupChain::new(name.borrow(), Rtype::A),
                name.borrow(),
                Rtype::A,
                is_prefetch
            ),
            Ok(Some(Found {
                end: ChainEnd::Alias(_),
                ..
            }))
        );
        let is_set = matches!(
            recursor.cached(
                &context(),
                &LookupChain::new(name.borrow(), CNAME),
                name.borrow(),
                CNAME,
                is_prefetch
            ),
            Ok(Some(Found {
                end: ChainEnd::Records,
                ..
            }))
        );
        assert_eq!(
            (is_alias, is_set),
            (is_known, is_known),
            "after {second} s, prefetch: {is_prefetch}"
        );
    }
}
