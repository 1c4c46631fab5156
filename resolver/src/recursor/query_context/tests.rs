//! The bounds of one client query, each by itself, and its trace.

use policy::name::Name;

use super::{QueryPurpose::*, *};

const SECOND: Duration = Duration::from_secs(1);

fn question(prefetch: bool) -> Question {
    Question {
        prefetch,
        ..Question::new(Name::root(), Rtype::A)
    }
}

fn context() -> QueryContext {
    QueryContext::new(10 * SECOND, &question(false), true)
}

/// How often something can be charged.
fn charges(mut charge: impl FnMut() -> Result<(), ResolutionFailure>) -> usize {
    let count = (0..1_000_000).take_while(|_| charge().is_ok()).count();
    assert_eq!(
        charge(),
        Err(ResolutionFailure::TooMuchWork),
        "a budget that is used up stays so"
    );
    count
}

#[test]
fn a_client_query_may_cause_fifty_queries() {
    let context = context();
    assert_eq!(charges(|| context.charge_query(Answer)), 50);
    assert_eq!(
        context.charge_query(ServerAddress),
        Err(ResolutionFailure::TooMuchWork),
        "of either purpose"
    );
}

#[test]
fn sixteen_of_the_queries_may_be_for_addresses_of_servers() {
    let context = context();
    assert_eq!(charges(|| context.charge_query(ServerAddress)), 16);
    assert_eq!(
        charges(|| context.charge_query(Answer)),
        50 - 16,
        "refused queries are not charged"
    );
}

#[test]
fn queries_that_validate_the_answer_have_a_bound_of_their_own() {
    let context = context();
    assert_eq!(charges(|| context.charge_query(Validation)), 48);
    assert!(context.validation_queries_left() <= 0);
    assert_eq!(charges(|| context.charge_query(Answer)), 50);
}

#[test]
fn ten_names_of_servers_are_looked_up() {
    let context = context();
    assert_eq!(charges(|| context.charge_server_lookup()), 10);
    assert_eq!(
        context.charge_query(ServerAddress),
        Ok(()),
        "another budget"
    );
}

#[test]
fn a_hundred_thousand_octets_are_taken() {
    let context = context();
    assert_eq!(charges(|| context.charge_octets(1)), 100_000);
    let once = QueryContext::new(SECOND, &question(false), false);
    assert_eq!(once.charge_octets(100_000), Ok(()));
    assert_eq!(once.charge_octets(1), Err(ResolutionFailure::TooMuchWork));
    assert_eq!(
        QueryContext::new(SECOND, &question(false), false).charge_octets(100_001),
        Err(ResolutionFailure::TooMuchWork)
    );
}

#[test]
fn a_client_query_has_nine_seconds() {
    let context = context();
    assert_eq!(context.time_left(10 * SECOND), Ok(9 * SECOND));
    assert_eq!(context.time_left(12 * SECOND), Ok(7 * SECOND));
    assert_eq!(
        context.time_left(19 * SECOND - Duration::from_nanos(1)),
        Ok(Duration::from_nanos(1))
    );
    assert_eq!(
        context.time_left(19 * SECOND),
        Err(ResolutionFailure::TooLong)
    );
    assert_eq!(
        context.time_left(30 * SECOND),
        Err(ResolutionFailure::TooLong)
    );
}

#[test]
fn steps_are_traced_where_that_is_wanted() {
    let traced = context();
    traced.trace(11 * SECOND, || "first".to_owned());
    traced.trace(13 * SECOND, || "second".to_owned());
    let steps: Vec<(Duration, String)> = traced
        .into_trace()
        .into_iter()
        .map(|step| (step.at, step.text))
        .collect();
    assert_eq!(
        steps,
        [
            (SECOND, "first".to_owned()),
            (3 * SECOND, "second".to_owned())
        ]
    );
    let untraced = QueryContext::new(SECOND, &question(true), false);
    untraced.trace(SECOND, || unreachable!("no trace is wanted"));
    assert!(untraced.is_prefetch && untraced.into_trace().is_empty());
    assert!(!context().is_prefetch);
}

#[test]
fn a_trace_names_server_zone_and_query() {
    let zone = Name::parse("example.com").unwrap();
    let name = Name::parse("www.example.com").unwrap();
    let line = describe(
        "192.0.2.1:53".parse().unwrap(),
        zone.borrow(),
        name.borrow(),
        Rtype::AAAA,
    );
    assert_eq!(line, "192.0.2.1:53 (example.com): www.example.com AAAA");
}
