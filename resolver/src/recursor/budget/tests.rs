//! What one question may cost, each bound by itself.

use policy::name::Name;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn quest() -> Quest {
    Quest::new(10 * SECOND, false, true)
}

/// How often something can be paid for.
fn affordable(mut pay: impl FnMut() -> Result<(), Failure>) -> usize {
    let count = (0..1_000_000).take_while(|_| pay().is_ok()).count();
    assert_eq!(
        pay(),
        Err(Failure::TooMuchWork),
        "an empty purse stays empty"
    );
    count
}

#[test]
fn a_question_may_cost_fifty_queries() {
    let quest = quest();
    assert_eq!(affordable(|| quest.pay_query(false)), 50);
    assert_eq!(
        quest.pay_query(true),
        Err(Failure::TooMuchWork),
        "for whatever they are"
    );
}

#[test]
fn sixteen_of_its_queries_may_be_for_addresses_of_servers() {
    let quest = quest();
    assert_eq!(affordable(|| quest.pay_query(true)), 16);
    assert_eq!(
        affordable(|| quest.pay_query(false)),
        50 - 16,
        "what was refused cost nothing"
    );
}

#[test]
fn ten_names_of_servers_are_looked_up() {
    let quest = quest();
    assert_eq!(affordable(|| quest.pay_server_name()), 10);
    assert_eq!(quest.pay_query(true), Ok(()), "a purse of its own");
}

#[test]
fn a_hundred_thousand_octets_are_taken() {
    let quest = quest();
    assert_eq!(affordable(|| quest.pay_octets(1)), 100_000);
    let once = Quest::new(SECOND, false, false);
    assert_eq!(once.pay_octets(100_000), Ok(()));
    assert_eq!(once.pay_octets(1), Err(Failure::TooMuchWork));
    assert_eq!(
        Quest::new(SECOND, false, false).pay_octets(100_001),
        Err(Failure::TooMuchWork)
    );
}

#[test]
fn a_question_has_nine_seconds() {
    let quest = quest();
    assert_eq!(quest.time_left(10 * SECOND), Ok(9 * SECOND));
    assert_eq!(quest.time_left(12 * SECOND), Ok(7 * SECOND));
    assert_eq!(
        quest.time_left(19 * SECOND - Duration::from_nanos(1)),
        Ok(Duration::from_nanos(1))
    );
    assert_eq!(quest.time_left(19 * SECOND), Err(Failure::TooLong));
    assert_eq!(quest.time_left(30 * SECOND), Err(Failure::TooLong));
}

#[test]
fn steps_are_noted_for_those_who_want_them() {
    let traced = quest();
    traced.note(11 * SECOND, || "first".to_owned());
    traced.note(13 * SECOND, || "second".to_owned());
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
    let silent = Quest::new(SECOND, true, false);
    silent.note(SECOND, || unreachable!("no trace is wanted"));
    assert!(silent.renews && silent.into_steps().is_empty());
    assert!(!quest().renews);
}

#[test]
fn a_path_does_not_lead_back_and_ends_after_six_steps() {
    let names: Vec<Name> = (0..8)
        .map(|number| Name::parse(&format!("n{number}.example")).unwrap())
        .collect();
    let first = Path::begin(names[0].borrow(), 28);
    assert!(first.is_first() && first.name() == names[0].borrow());
    let next = first.step(names[1].borrow(), 1).unwrap();
    assert!(!next.is_first() && next.name() == names[1].borrow());
    assert_eq!(
        next.step(names[1].borrow(), 1).err(),
        Some(Failure::Circular)
    );
    assert_eq!(
        next.step(names[0].borrow(), 28).err(),
        Some(Failure::Circular),
        "however far back"
    );
    assert!(
        next.step(names[0].borrow(), 1).is_ok(),
        "another type is another question"
    );
    assert!(next.step(names[2].borrow(), 1).is_ok());
    fn depth(path: &Path<'_>, names: &[Name]) -> usize {
        match names
            .split_first()
            .map(|(name, rest)| (path.step(name.borrow(), 1), rest))
        {
            Some((Ok(next), rest)) => 1 + depth(&next, rest),
            Some((Err(failure), _)) => {
                assert_eq!(failure, Failure::TooMuchWork);
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
