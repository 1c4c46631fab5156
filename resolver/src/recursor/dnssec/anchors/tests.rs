//! Tests of trust anchors.

use proptest::prelude::*;

use super::*;
use crate::recursor::dnssec::testing::{Signer, name, with_context};

fn tags(anchors: &TrustAnchors, zone: &str) -> Vec<u16> {
    let zone = name(zone);
    let (found, of_zone) = anchors.closest(zone.borrow()).expect("anchors");
    assert_eq!(found, zone.borrow());
    of_zone
        .iter()
        .map(|anchor| match anchor {
            TrustAnchor::Ds(data) => data.tag,
            TrustAnchor::Key(key) => key.tag,
        })
        .collect()
}

/// KSK-2017 and KSK-2024 as DNSKEY records, from the `dns-root-data` of Debian 12.
const ROOT_KEYS: &str = include_str!("../../../../testdata/root.key");

#[test]
fn both_keys_of_the_root_are_shipped() {
    let anchors = TrustAnchors::of_root();
    assert_eq!(tags(&anchors, "."), [20_326, 38_696]);
    assert_eq!(anchors.iter().count(), 1);
}

#[test]
fn the_shipped_digests_are_those_of_the_keys_of_the_root() {
    let keys = TrustAnchors::parse(ROOT_KEYS, 0).unwrap();
    assert_eq!(tags(&keys, "."), [20_326, 38_696]);
    let root = name(".");
    let (_, keys) = keys.closest(root.borrow()).unwrap();
    let shipped = TrustAnchors::of_root();
    let (_, shipped) = shipped.closest(root.borrow()).unwrap();
    for (key, anchor) in keys.iter().zip(shipped) {
        let TrustAnchor::Key(key) = key else {
            panic!("no key");
        };
        assert!(key.is_usable() && key.is_entry_point());
        let vouches = |anchor: &TrustAnchor| {
            with_context(|context| anchor.vouches_for(root.borrow(), key, context))
        };
        assert_eq!(vouches(anchor), Ok(true));
    }
}

#[test]
fn records_of_any_zone_are_read_in_any_usual_form() {
    let text = "; anchors of a test
        . 172800 IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D ; KSK
        Sub.Example. IN 3600 DS 1 13 2 (
            e06d44b80b8f1d39a95c0b0d7c65d084
            58e880409bbc683457104237c7f8ec8d ) ; in two parts

        sub.example DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4= ;{id = 3613} ;;state=2";
    let anchors = TrustAnchors::parse(text, 0).unwrap();
    assert_eq!(tags(&anchors, "."), [20_326]);
    assert_eq!(tags(&anchors, "sub.example"), [1, 3_613]);
}

fn problem(text: &str) -> LineProblem {
    match TrustAnchors::parse(text, 0) {
        Err(AnchorError::Line { problem, .. }) => problem,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_broken_line_says_what_is_wrong() {
    let digest = "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";
    assert_eq!(
        problem(&format!("a..b DS 1 8 2 {digest}")),
        LineProblem::Owner
    );
    assert_eq!(problem("example. A 192.0.2.1"), LineProblem::Type);
    assert_eq!(problem("example."), LineProblem::Type);
    assert_eq!(
        problem(&format!("example. CH DS 1 8 2 {digest}")),
        LineProblem::Type
    );
    assert_eq!(
        problem(&format!("example. DS 70000 8 2 {digest}")),
        LineProblem::Number
    );
    assert_eq!(problem("example. DS 1 8"), LineProblem::Number);
    assert_eq!(problem("example. DS 1 8 2"), LineProblem::Digest);
    assert_eq!(
        problem(&format!("example. DS 1 8 2 {}", &digest[2..])),
        LineProblem::Digest
    );
    assert_eq!(
        problem(&format!("example. DS 1 8 4 {digest}")),
        LineProblem::Digest
    );
    assert_eq!(problem("example. DS 1 8 2 xyz"), LineProblem::Digest);
    assert_eq!(problem("example. DNSKEY 257 3 15 %%%"), LineProblem::Key);
    assert_eq!(problem("example. DNSKEY 257 3 15"), LineProblem::Key);
    assert_eq!(
        problem("example. DNSKEY 1 3 15 AAAA"),
        LineProblem::NoZoneKey
    );
    assert_eq!(
        problem("example. DNSKEY 385 3 15 AAAA"),
        LineProblem::NoZoneKey
    );
    assert_eq!(problem("example. DS ( 1 8 2"), LineProblem::Parenthesis);
    let text = format!("; one\n\nexample. DS 1 8 2 {digest}\nexample. DS 1 8 2 xyz");
    assert!(matches!(
        TrustAnchors::parse(&text, 0),
        Err(AnchorError::Line { line: 4, .. })
    ));
}

/// A file that is empty or cut off must not leave the root without an anchor.
#[test]
fn a_text_without_anchors_is_an_error() {
    for text in [
        "",
        "\n \n",
        "; nothing",
        "<TrustAnchor><Zone>.</Zone></TrustAnchor>",
    ] {
        assert!(
            matches!(TrustAnchors::parse(text, 0), Err(AnchorError::Empty)),
            "{text}"
        );
    }
}

#[test]
fn the_closest_anchor_covers_a_name() {
    let mut anchors = TrustAnchors::of_root();
    anchors.insert(name("sub.example"), Signer::new("sub.example", 15).anchor());
    let zone = |text: &str| {
        let queried = name(text);
        let (zone, _) = anchors
            .closest(queried.borrow())
            .expect("the root covers all");
        zone.to_owned()
    };
    assert_eq!(zone("a.b.sub.example"), name("sub.example"));
    assert_eq!(zone("sub.example"), name("sub.example"));
    assert_eq!(zone("example"), name("."));
    assert_eq!(zone("xsub.example"), name("."));
    assert!(
        TrustAnchors::default()
            .closest(name("a").borrow())
            .is_none()
    );
}

#[test]
fn anchors_of_several_files_are_joined() {
    let mut anchors = TrustAnchors::of_root();
    anchors.extend(TrustAnchors::parse("example. DNSKEY 257 3 15 AAAA", 0).unwrap());
    anchors.extend(TrustAnchors::parse("example. DNSKEY 257 3 15 AAAB", 0).unwrap());
    assert_eq!(tags(&anchors, "example").len(), 2);
    assert_eq!(tags(&anchors, ".").len(), 2);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[.a-zA-Z0-9(); \n]{0,80}") {
        let _ = TrustAnchors::parse(&text, 0);
        let _ = TrustAnchors::parse(&format!(". DS {text}"), 0);
        let _ = TrustAnchors::parse(&format!(". DNSKEY {text}"), 0);
    }
}
