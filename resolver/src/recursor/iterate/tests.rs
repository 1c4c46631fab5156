//! How a name is shown to zones, label by label, and what is remembered of what was found.

use std::sync::Mutex;

use async_trait::async_trait;
use hickory_proto::rr::{RData, rdata};

use crate::recursor::{Settings, environment::TransportOutcome, wire::ExpectedReply};

use super::*;

#[test]
fn a_name_is_shown_label_by_label_and_a_long_one_in_ten_queries() {
    let long = Name::parse(&"a.".repeat(34)).unwrap();
    let mut minimiser = Minimiser::new(long.borrow(), Name::root().borrow(), true);
    let mut shown = Vec::new();
    loop {
        let (name, record_type) = minimiser.question(12);
        shown.push(name.label_count());
        if record_type == 12 {
            break;
        }
        minimiser.advance();
    }
    assert_eq!(shown, [1, 2, 3, 4, 9, 14, 19, 24, 29, 34]);
}

#[test]
fn each_zone_is_shown_one_label_more_and_the_last_one_everything() {
    let name = Name::parse("www.example.com").unwrap();
    let mut minimiser = Minimiser::new(name.borrow(), Name::root().borrow(), true);
    assert_eq!(
        minimiser.question(28),
        (Name::parse("com").unwrap().borrow(), TYPE_A)
    );
    minimiser.enter(Name::parse("com").unwrap().borrow());
    assert_eq!(
        minimiser.question(28),
        (Name::parse("example.com").unwrap().borrow(), TYPE_A)
    );
    minimiser.give_up();
    assert_eq!(minimiser.question(28), (name.borrow(), 28));
}

#[test]
fn what_lies_right_below_a_zone_is_asked_for_whole() {
    let name = Name::parse("www.example.com").unwrap();
    let mut minimiser = Minimiser::new(name.borrow(), Name::parse("com").unwrap().borrow(), true);
    assert_eq!(
        minimiser.question(28),
        (Name::parse("example.com").unwrap().borrow(), TYPE_A)
    );
    minimiser.advance();
    assert_eq!(minimiser.question(28), (name.borrow(), 28));
    minimiser.enter(Name::parse("example.com").unwrap().borrow());
    assert_eq!(minimiser.question(28), (name.borrow(), 28));
    let off = Minimiser::new(name.borrow(), Name::root().borrow(), false);
    assert_eq!(off.question(28), (name.borrow(), 28));
}

#[test]
fn zones_that_are_entered_count_as_queries_with_a_minimised_name() {
    let long = Name::parse(&"a.".repeat(34)).unwrap();
    let mut minimiser = Minimiser::new(long.borrow(), Name::root().borrow(), true);
    for entered in 1..=10 {
        assert_eq!(minimiser.question(12).1, TYPE_A, "{entered}");
        minimiser.enter(long.borrow().last_labels(entered));
    }
    assert_eq!(
        minimiser.question(12),
        (long.borrow(), 12),
        "ten are enough"
    );
}

/// A network without servers, and a clock that is set by hand.
#[derive(Default)]
struct Still(Mutex<Duration>);

#[async_trait]
impl Environment for Still {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
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
fn a_failure_is_remembered_under_the_name_it_says_something_of() {
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
        // The next second it may be over.
        (ResolutionFailure::Busy, false, false),
    ] {
        for is_first in [true, false] {
            let recursor = recursor();
            let first = LookupChain::new(asked.borrow(), 1);
            let chain = if is_first {
                first
            } else {
                first.nested(met.borrow(), 1).unwrap()
            };
            recursor.remember_failure(&chain, met.borrow(), 1, failure);
            let kept = |name: &Name, record_type| {
                recursor
                    .rrsets
                    .failure(name.borrow(), record_type, Duration::ZERO)
            };
            assert_eq!(
                kept(&met, 1),
                of_name.then_some(failure),
                "{failure:?} {is_first}"
            );
            assert_eq!(
                kept(&asked, 1),
                (of_question && is_first).then_some(failure),
                "{failure:?} {is_first}"
            );
            assert_eq!((kept(&met, 28), kept(&asked, 28)), (None, None));
        }
    }
}

#[test]
fn a_remembered_failure_answers_all_but_renewals() {
    let recursor = recursor();
    let name = Name::parse("www.example").unwrap();
    recursor
        .rrsets
        .insert_failure(name.borrow(), 1, ResolutionFailure::Useless, Duration::ZERO);
    assert_eq!(
        recursor.known(name.borrow(), 1, false).err(),
        Some(ResolutionFailure::Useless)
    );
    assert!(matches!(recursor.known(name.borrow(), 1, true), Ok(None)));
    assert!(matches!(recursor.known(name.borrow(), 28, false), Ok(None)));
}

#[test]
fn in_its_last_tenth_what_is_known_is_not_enough_for_a_renewal() {
    let recursor = recursor();
    let name = Name::parse("www.example").unwrap();
    let proto = crate::upstream::proto_name(name.borrow());
    let record = Record::from_rdata(proto.clone(), 100, RData::CNAME(rdata::CNAME(proto)));
    let set = RrSet {
        owner: name.clone(),
        record_type: TYPE_CNAME,
        records: vec![record],
    };
    recursor
        .rrsets
        .insert(set, Trust::Authoritative, Duration::MAX, Duration::ZERO);
    for (second, renews, is_known) in [
        (89, true, true),
        (90, true, false),
        (90, false, true),
        (99, false, true),
        (100, false, false),
    ] {
        set_clock(&recursor, second);
        let is_alias = matches!(
            recursor.known(name.borrow(), 1, renews),
            Ok(Some(Known::Aliases(..)))
        );
        let is_set = matches!(
            recursor.known(name.borrow(), TYPE_CNAME, renews),
            Ok(Some(Known::Records(..)))
        );
        assert_eq!(
            (is_alias, is_set),
            (is_known, is_known),
            "after {second} s, renewing: {renews}"
        );
    }
}
