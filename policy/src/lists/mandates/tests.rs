//! Reading mandates, and finding them by name and address.

use super::*;
use crate::lists::index_key::name_of_address;

fn mandate(id: &str, document: &str) -> Result<Mandate, MandateError> {
    Mandate::read(id.parse().unwrap(), serde_json::from_str(document).unwrap())
}

fn set(documents: &[(&str, &str)]) -> ActiveMandates {
    ActiveMandates::of(
        documents
            .iter()
            .map(|(id, document)| Arc::new(mandate(id, document).unwrap()))
            .collect(),
    )
}

fn found(set: &ActiveMandates, name: &Name) -> String {
    set.find(name.borrow())
        .and_then(|reference| set.get(reference))
        .map_or_else(|| "none".to_owned(), |mandate| mandate.id.to_string())
}

#[test]
fn the_most_specific_mandate_applies_within_its_scope() {
    let set = set(&[
        ("tree", r#"{"name":"bets.example","basis":"police"}"#),
        (
            "below",
            r#"{"name":"deep.bets.example","scope":"descendants","basis":"iwf"}"#,
        ),
        (
            "only",
            r#"{"name":"only.example","scope":"exact","basis":"court-order"}"#,
        ),
        (
            "second",
            r#"{"name":"only.example","scope":"subtree","basis":"sanctions"}"#,
        ),
        ("top", r#"{"name":"zone","basis":"sanctions","force":true}"#),
    ]);
    for (name, expected) in [
        ("bets.example", "tree"),
        ("a.bets.example", "tree"),
        ("deep.bets.example", "tree"),
        ("a.deep.bets.example", "below"),
        ("only.example", "only"),
        ("a.only.example", "second"),
        ("example", "none"),
        ("notbets.example", "none"),
        ("a.b.zone", "top"),
        (".", "none"),
    ] {
        assert_eq!(found(&set, &Name::parse(name).unwrap()), expected, "{name}");
    }
    assert!(!set.has_addresses() && set.len() == 5);
    assert_eq!(
        set.find(Name::parse("bets.example").unwrap().borrow())
            .unwrap()
            .basis_index(),
        4
    );
}

#[test]
fn addresses_are_covered_by_their_longest_prefix_and_are_no_names() {
    let set = set(&[
        ("wide", r#"{"address":"192.0.2.0/23","basis":"police"}"#),
        ("one", r#"{"address":"192.0.2.7","basis":"iwf"}"#),
        ("six", r#"{"address":"2001:db8::/45","basis":"iwf"}"#),
        (
            "mapped",
            r#"{"address":"::ffff:198.51.100.7","basis":"iwf"}"#,
        ),
        (
            "mapped-wide",
            r#"{"address":"::ffff:203.0.113.0/120","basis":"iwf"}"#,
        ),
    ]);
    for (address, expected) in [
        ("192.0.2.7", "one"),
        ("192.0.3.9", "wide"),
        ("192.0.4.1", "none"),
        ("2001:db8:7::1", "six"),
        ("2001:db8:8::1", "none"),
        ("198.51.100.7", "mapped"),
        ("::ffff:198.51.100.7", "mapped"),
        ("::ffff:192.0.2.7", "one"),
        ("203.0.113.200", "mapped-wide"),
    ] {
        assert_eq!(
            found(&set, &name_of_address(address.parse().unwrap())),
            expected,
            "{address}"
        );
    }
    assert!(set.has_addresses());
    assert_eq!(found(&set, &Name::parse("7.2.0.192").unwrap()), "none");
}

#[test]
fn a_document_is_read_strictly_and_written_in_one_form() {
    let whole = r#"{"name":"BETS.Example.","basis":"court-order","reference":"CO/1","not_before":"2030-01-01T14:45:00+01:00",
        "not_after":"2030-01-01T17:15:00Z","landing":{"v4":"192.0.2.80"},"confidential":true}"#;
    let read = mandate("a", whole).unwrap();
    let document = read.document();
    assert_eq!(
        (document.name.as_deref(), document.scope),
        (Some("bets.example"), Some(Scope::Subtree))
    );
    assert_eq!(Mandate::read(read.id.clone(), document), Ok(read.clone()));
    assert_eq!(
        mandate("a", r#"{"address":"2001:DB8::1","basis":"iwf"}"#)
            .unwrap()
            .document()
            .address
            .as_deref(),
        Some("2001:db8::1")
    );
    let at = |text: &str| read.phase(text.parse().unwrap());
    assert_eq!(at("2030-01-01T13:44:59.999Z"), MandatePhase::Pending);
    assert_eq!(at("2030-01-01T13:45:00Z"), MandatePhase::Active);
    assert_eq!(at("2030-01-01T17:15:00Z"), MandatePhase::Expired);
    let long = format!(
        r#"{{"name":"a.example","basis":"iwf","reference":"{}"}}"#,
        "x".repeat(257)
    );
    for (document, field) in [
        (r#"{"basis":"iwf"}"#, "name"),
        (
            r#"{"name":"a.example","address":"192.0.2.1","basis":"iwf"}"#,
            "address",
        ),
        (
            r#"{"address":"192.0.2.1","scope":"exact","basis":"iwf"}"#,
            "scope",
        ),
        (r#"{"address":"192.0.2.1/24","basis":"iwf"}"#, "address"),
        (r#"{"address":"a.example","basis":"iwf"}"#, "address"),
        (r#"{"name":".","basis":"iwf"}"#, "name"),
        (r#"{"name":"a.example","basis":"whim"}"#, "basis"),
        (r#"{"name":"a.example"}"#, "basis"),
        (
            r#"{"name":"a.example","basis":"iwf","landing":{}}"#,
            "landing",
        ),
        (
            r#"{"name":"a.example","basis":"iwf","not_before":"2030-01-01T00:00:00Z","not_after":"2030-01-01T00:00:00Z"}"#,
            "not_after",
        ),
        (&long, "reference"),
    ] {
        assert_eq!(
            mandate("a", document).map_err(|error| error.field),
            Err(field),
            "{document}"
        );
    }
}

#[test]
fn the_stamp_is_of_what_stands_in_the_set() {
    let one = [("a", r#"{"name":"a.example","basis":"iwf"}"#)];
    assert_eq!(set(&one).stamp(), set(&one).stamp());
    assert_eq!(set(&[]).stamp(), 0);
    for other in [
        ("b", r#"{"name":"a.example","basis":"iwf"}"#),
        ("a", r#"{"name":"b.example","basis":"iwf"}"#),
        (
            "a",
            r#"{"name":"a.example","basis":"iwf","confidential":true}"#,
        ),
        (
            "a",
            r#"{"name":"a.example","basis":"iwf","landing":{"v4":"192.0.2.1"}}"#,
        ),
    ] {
        assert_ne!(set(&one).stamp(), set(&[other]).stamp(), "{other:?}");
    }
    assert!(!format!("{:?}", set(&one)).contains("example"));
}
