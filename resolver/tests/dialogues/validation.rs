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
