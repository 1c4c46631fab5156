//! What validation asks for, and when.

use std::{sync::Arc, time::Duration};

use hickory_proto::rr::RecordType;
use resolver::recursor::TrustAnchors;
use tokio::time::sleep;

use super::script::*;

/// Asks for a name of a zone with a DS record, or without, whose server is slow. Returns what that
/// server is asked for before it answers.
async fn asked_at_once(ds: &str) -> Vec<String> {
    let script = usual(1);
    let referral = format!(
        "NOERROR\nns example.com. 3600 NS ns1.example.com.\n{ds}ar ns1.example.com. 3600 A {FIRST}"
    );
    script.serve(TLD, says(&[("*.example.com.", &referral)]));
    let honest = authority(&[("example.com.", EXAMPLE)]);
    script.serve(FIRST, move |query, tcp| {
        Play::Late(Duration::from_millis(300), Box::new(honest(query, tcp)))
    });
    let (recursor, script) = recursor_with(script, |settings| {
        settings.anchors = TrustAnchors::of_root();
    });
    let recursor = Arc::new(recursor);
    let resolution = tokio::spawn({
        let recursor = Arc::clone(&recursor);
        async move { ask(&recursor, "www.example.com", RecordType::A).await }
    });
    sleep(Duration::from_millis(100)).await;
    let asked = at(&script.queries(), FIRST);
    resolution.abort();
    asked
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_a_signed_zone_are_asked_for_beside_the_name() {
    let digest = "AB".repeat(32);
    let ds = format!("ns example.com. 3600 DS 1 13 2 {digest}\n");
    assert_eq!(
        asked_at_once(&ds).await,
        ["www.example.com. A", "example.com. DNSKEY"]
    );
    assert_eq!(asked_at_once("").await, ["www.example.com. A"]);
}

/// What a name of a zone with a trust anchor, below a parent without, is resolved to, when the zone's
/// servers say this.
async fn below_an_anchor(name: &str, question: &str, said: &str) -> String {
    let script = usual(2);
    script.serve(FIRST, says(&[(question, said)]));
    script.serve(SECOND, says(&[(question, said)]));
    let digest = "AB".repeat(32);
    let anchor = format!("anchored.example.com. DS 1 13 2 {digest}");
    let (recursor, _) = recursor_with(script, |settings| {
        settings.anchors = TrustAnchors::parse(&anchor, 0).unwrap();
    });
    ask(&recursor, name, RecordType::A).await
}

/// Who forges data could otherwise choose a signer above the anchor, where nothing is signed (RFC
/// 4035 section 5.3.1, RFC 7646 section 2).
#[tokio::test(start_paused = true)]
async fn a_signer_above_the_trust_anchor_does_not_lift_validation() {
    for signer in ["example.com", "com", ".", "anchored.example.com"] {
        let said = format!(
            "NOERROR aa\nan anchored.example.com. 60 A 6.6.6.6\nan anchored.example.com. 60 RRSIG {signer} 1"
        );
        let name = "anchored.example.com";
        let answer = below_an_anchor(name, "*.example.com.", &said).await;
        assert!(!answer.contains("6.6.6.6"), "{signer}: {answer}");
    }
    let plain = "NOERROR aa\nan www.example.com. 60 A 192.0.2.7";
    let answer = below_an_anchor("www.example.com", "*.example.com.", plain).await;
    assert_eq!(answer, "NoError 192.0.2.7", "nothing is validated there");
}

#[tokio::test(start_paused = true)]
async fn a_dname_above_the_trust_anchor_redirects_nothing_below_it() {
    let said = "NOERROR aa\nan example.com. 60 DNAME evil.net.\nan anchored.example.com. 60 CNAME anchored.evil.net.";
    let name = "anchored.example.com";
    let answer = below_an_anchor(name, "*.example.com.", said).await;
    assert!(answer.contains("Bogus"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_does_not_answer_for_its_keys_is_remembered() {
    let script = usual(3);
    let digest = "AB".repeat(32);
    let referral = format!(
        "NOERROR\nns example.com. 3600 NS ns1.example.com.\nns example.com. 3600 DS 1 13 2 {digest}\n\
         ns example.com. 3600 RRSIG com. 1\nar ns1.example.com. 3600 A {FIRST}"
    );
    script.serve(TLD, says(&[("*.example.com.", &referral)]));
    let honest = authority(&[("example.com.", EXAMPLE)]);
    script.serve(FIRST, move |query, tcp| match query.queries[0].query_type {
        RecordType::DNSKEY => Play::Silence,
        _ => honest(query, tcp),
    });
    let (recursor, script) = recursor_with(script, |settings| {
        let anchor = format!("example.com. DS 1 13 2 {}", "AB".repeat(32));
        settings.anchors = TrustAnchors::parse(&anchor, 0).unwrap();
    });
    let mut queries = Vec::new();
    for name in ["www.example.com", "ns1.example.com", "other.example.com"] {
        let answer = ask(&recursor, name, RecordType::A).await;
        assert!(!answer.starts_with("NoError"), "{answer}");
        queries.push(at(&script.queries(), FIRST).len());
    }
    assert!(queries[1..].iter().all(|count| *count <= 3), "{queries:?}");
}
