//! What one question may cost, each bound by itself.

use policy::name::Name;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn context() -> QueryContext {
    QueryContext::new(10 * SECOND, false, true)
}

/// How often something can be paid for.
fn affordable(mut pay: impl FnMut() -> Result<(), ResolutionFailure>) -> usize {
    let count = (0..1_000_000).take_while(|_| pay().is_ok()).count();
    assert_eq!(
        pay(),
        Err(ResolutionFailure::TooMuchWork),
        "an empty budget stays empty"
    );
    count
}

#[test]
fn a_question_may_cost_fifty_queries() {
    let context = context();
    assert_eq!(affordable(|| context.charge_query(false)), 50);
    assert_eq!(
        context.charge_query(true),
        Err(ResolutionFailure::TooMuchWork),
        "for whatever they are"
    );
}

#[test]
fn sixteen_of_its_queries_may_be_for_addresses_of_servers() {
    let context = context();
    assert_eq!(affordable(|| context.charge_query(true)), 16);
    assert_eq!(
        affordable(|| context.charge_query(false)),
        50 - 16,
        "what was refused cost nothing"
    );
}

#[test]
fn ten_names_of_servers_are_looked_up() {
    let context = context();
    assert_eq!(affordable(|| context.charge_server_name()), 10);
    assert_eq!(context.charge_query(true), Ok(()), "a budget of its own");
}

#[test]
fn a_hundred_thousand_octets_are_taken() {
    let context = context();
    assert_eq!(affordable(|| context.charge_octets(1)), 100_000);
    let once = QueryContext::new(SECOND, false, false);
    assert_eq!(once.charge_octets(100_000), Ok(()));
    assert_eq!(once.charge_octets(1), Err(ResolutionFailure::TooMuchWork));
    assert_eq!(
        QueryContext::new(SECOND, false, false).charge_octets(100_001),
        Err(ResolutionFailure::TooMuchWork)
    );
}

#[test]
fn a_question_has_nine_seconds() {
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
fn steps_are_noted_for_those_who_want_them() {
    let traced = context();
    traced.trace(11 * SECOND, || "first".to_owned());
    traced.trace(13 * SECOND, || "second".to_owned());
    let steps: Vec<(Duration, String)> = traced
        .into_steps()
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
    let silent = QueryContext::new(SECOND, true, false);
    silent.trace(SECOND, || unreachable!("no trace is wanted"));
    assert!(silent.renews && silent.into_steps().is_empty());
    assert!(!context().renews);
}

#[test]
fn a_path_does_not_lead_back_and_ends_after_six_steps() {
    let names: Vec<Name> = (0..8)
        .map(|number| Name::parse(&format!("n{number}.example")).unwrap())
        .collect();
    let first = LookupChain::new(names[0].borrow(), 28);
    assert!(first.is_client_query() && first.name() == names[0].borrow());
    let next = first.nested(names[1].borrow(), 1).unwrap();
    assert!(!next.is_client_query() && next.name() == names[1].borrow());
    assert_eq!(
        next.nested(names[1].borrow(), 1).err(),
        Some(ResolutionFailure::Circular)
    );
    assert_eq!(
        next.nested(names[0].borrow(), 28).err(),
        Some(ResolutionFailure::Circular),
        "however far back"
    );
    assert!(
        next.nested(names[0].borrow(), 1).is_ok(),
        "another type is another question"
    );
    assert!(next.nested(names[2].borrow(), 1).is_ok());
    fn depth(chain: &LookupChain<'_>, names: &[Name]) -> usize {
        match names
            .split_first()
            .map(|(name, rest)| (chain.nested(name.borrow(), 1), rest))
        {
            Some((Ok(next), rest)) => 1 + depth(&next, rest),
            Some((Err(failure), _)) => {
                assert_eq!(failure, ResolutionFailure::TooMuchWork);
                0
            }
            None => panic!("no end"),
        }
    }
    assert_eq!(depth(&first, &names[1..]), 6);
}

#[test]
fn a_trace_names_server_zone_and_question() {
    let zone = Name::parse("example.com").unwrap();
    let name = Name::parse("www.example.com").unwrap();
    let line = describe(
        "192.0.2.1:53".parse().unwrap(),
        zone.borrow(),
        name.borrow(),
        28,
    );
    assert_eq!(line, "192.0.2.1:53 (example.com): www.example.com AAAA");
}
