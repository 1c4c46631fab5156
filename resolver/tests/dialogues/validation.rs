//! What validation asks for, and when.

use std::{sync::Arc, time::Duration};

use hickory_proto::rr::{RData, RecordType};
use policy::name::Name;
use resolver::{
    message::types::{DnssecBits, Rtype},
    recursor::{Recursor, TrustAnchors},
    upstream::Question,
};
use tokio::time::sleep;

use super::{script::*, signed::*};

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

/// A chain of signed zones below the root, each with a server of its own, that ends in a name with an
/// address. Returns the recursor, the script and the name.
fn chain_of_zones(count: u8) -> (Recursor<Arc<Script>>, Arc<Script>, String) {
    let script = Script::new(4);
    let mut below = "www.ZONE 60 A 192.0.2.1\n".to_owned();
    for depth in (0..=count).rev() {
        let apex: String = (0..depth).rev().map(|level| format!("z{level}.")).collect();
        let apex = if apex.is_empty() {
            ".".to_owned()
        } else {
            apex
        };
        let address = format!("10.0.1.{depth}");
        let root = if depth == 0 { ROOT } else { &address };
        let server = if depth == 0 {
            "ns.".to_owned()
        } else {
            format!("ns.{apex}")
        };
        let own = format!("{apex} 3600 NS {server}\n{server} 3600 A {root}\n");
        let zone = SignedZone::new(&apex, &(own.clone() + &below.replace("ZONE", &apex)));
        if depth == 0 {
            let trusting = trusting(&zone);
            script.serve(ROOT, signed_authority(vec![Arc::new(zone)]));
            let (recursor, script) = recursor_with(script, trusting);
            let name: String = (0..count).rev().map(|level| format!("z{level}.")).collect();
            return (recursor, script, format!("www.{name}"));
        }
        below = own + &zone.ds(3_600);
        script.serve(&address, signed_authority(vec![Arc::new(zone)]));
    }
    unreachable!("the root is the last")
}

/// As many queries for DS and DNSKEY RRsets as for the name itself, each with its bound.
#[tokio::test(start_paused = true)]
async fn a_name_below_twenty_signed_zones_is_secure_at_the_first_query() {
    let (recursor, script, name) = chain_of_zones(20);
    assert_eq!(
        validated(&recursor, &name).await,
        "NoError 192.0.2.1 secure"
    );
    let asked = script.queries().len();
    assert!(asked <= 2 * 21 + 2, "{asked} queries");
}

/// The count of an attacker's zones is not bounded, the work for one query is.
#[tokio::test(start_paused = true)]
async fn a_chain_of_zones_without_end_costs_no_more_than_the_budgets() {
    let (recursor, script, name) = chain_of_zones(60);
    let answer = validated(&recursor, &name).await;
    assert!(!answer.contains("secure"), "{answer}");
    let asked = script.queries().len();
    assert!(asked <= 50 + 48, "{asked} queries");
}

/// The answer to a query, and whether it is secure.
async fn validated(recursor: &Recursor<Arc<Script>>, name: &str) -> String {
    asked(recursor, name, DnssecBits::default()).await
}

async fn asked(recursor: &Recursor<Arc<Script>>, name: &str, bits: DnssecBits) -> String {
    let question = Question::new(Name::parse(name).unwrap(), Rtype::A).with_bits(bits);
    match recursor.trace(&question).await.result {
        Err(failure) => format!("{failure:?}"),
        Ok(answer) => {
            let data = answer.answers.iter().map(|record| record.data.to_string());
            let security = if answer.is_secure {
                "secure"
            } else {
                "insecure"
            };
            format!("{:?} {} {security}", answer.rcode, data.collect::<String>())
        }
    }
}

/// The Internet with a signed root, `com` and `example.com`, whose DS record, or the proof that there
/// is none, has a TTL in seconds. The delegation has a longer one.
fn signed_internet(
    ttl_s: u32,
    has_ds: bool,
) -> (Recursor<Arc<Script>>, Arc<Script>, [Arc<SignedZone>; 2]) {
    let script = Script::new(5);
    let example = Arc::new(SignedZone::new("example.com.", EXAMPLE));
    let com = SignedZone::new("com.", &records_of_com(&example, ttl_s, has_ds));
    let com = Arc::new(com);
    let root = SignedZone::new(".", &(ROOT_ZONE.to_owned() + &com.ds(3_600)));
    let trusting = trusting(&root);
    script.serve(ROOT, signed_authority(vec![Arc::new(root)]));
    script.serve(TLD, signed_authority(vec![Arc::clone(&com)]));
    for server in [FIRST, SECOND] {
        script.serve(server, signed_authority(vec![Arc::clone(&example)]));
    }
    let (recursor, script) = recursor_with(script, trusting);
    (recursor, script, [com, example])
}

fn records_of_com(example: &SignedZone, ttl_s: u32, has_ds: bool) -> String {
    let delegation = "com. 3600 NS a.gtld.com.\na.gtld.com. 3600 A 10.0.0.2\n\
        example.com. 3600 NS ns1.example.com.\nns1.example.com. 3600 A 10.0.0.3\n";
    let ds = if has_ds {
        example.ds(ttl_s)
    } else {
        String::new()
    };
    delegation.to_owned() + &ds
}

/// What a client with CD causes: a delegation is learned, and nothing is validated.
async fn learn_delegation(recursor: &Recursor<Arc<Script>>, script: &Script) {
    let unchecked = DnssecBits {
        checking_disabled: true,
        ..DnssecBits::default()
    };
    let answer = asked(recursor, "www.example.com", unchecked).await;
    assert_eq!(answer, "NoError 192.0.2.1 insecure");
    script.queries();
}

/// What the parent said of a DS RRset with the referral is used for a minute at most, and no longer
/// than its TTL: the delegation lives longer, by an NS RRset without a signature.
#[tokio::test(start_paused = true)]
async fn what_a_referral_says_of_ds_is_used_no_longer_than_it_may_be() {
    for (has_ds, answer) in [(true, "secure"), (false, "insecure")] {
        // The proof that there is no DS record has a TTL of 60 s.
        let limits: &[(u32, u64)] = if has_ds {
            &[(3_600, 60), (5, 5)]
        } else {
            &[(60, 60)]
        };
        for &(ttl_s, limit_s) in limits {
            for (after_s, is_asked) in [(limit_s - 1, false), (limit_s, true)] {
                let (recursor, script, _) = signed_internet(ttl_s, has_ds);
                learn_delegation(&recursor, &script).await;
                sleep(Duration::from_secs(after_s)).await;
                let name = "ns2.example.com";
                let said = validated(&recursor, name).await;
                assert_eq!(said, format!("NoError 10.0.0.4 {answer}"));
                let at_parent = at(&script.queries(), TLD);
                let what = format!("DS {has_ds}, TTL {ttl_s} s, after {after_s} s: {at_parent:?}");
                let asks = at_parent.contains(&"example.com. DS".to_owned());
                assert_eq!(asks, is_asked, "{what}");
            }
        }
    }
}

/// A zone that is signed anew, with another key, is bogus no longer than its old DS record lives.
#[tokio::test(start_paused = true)]
async fn another_ds_record_counts_when_the_ttl_of_the_old_one_is_over() {
    let (recursor, script, [com, _]) = signed_internet(5, true);
    let answer = validated(&recursor, "www.example.com").await;
    assert_eq!(answer, "NoError 192.0.2.1 secure");
    let renewed = Arc::new(SignedZone::new("example.com.", EXAMPLE));
    let com = Arc::new(com.with(&records_of_com(&renewed, 5, true)));
    script.serve(TLD, signed_authority(vec![com]));
    for server in [FIRST, SECOND] {
        script.serve(server, signed_authority(vec![Arc::clone(&renewed)]));
    }
    sleep(Duration::from_secs(6)).await;
    let answer = validated(&recursor, "ns2.example.com").await;
    assert_eq!(answer, "NoError 10.0.0.4 secure");
}

/// What the servers of a broken zone may say is not secure, so they are asked nothing for a minute.
#[tokio::test(start_paused = true)]
async fn a_zone_that_is_known_to_be_broken_is_not_asked() {
    let (recursor, script, [com, _]) = signed_internet(5, true);
    let renewed = Arc::new(SignedZone::new("example.com.", EXAMPLE));
    for server in [FIRST, SECOND] {
        script.serve(server, signed_authority(vec![Arc::clone(&renewed)]));
    }
    let answer = validated(&recursor, "ns2.example.com").await;
    assert!(answer.starts_with("Bogus"), "{answer}");
    let asked_zone = |script: &Script| {
        let queries = script.queries();
        [FIRST, SECOND].map(|server| at(&queries, server)).concat()
    };
    assert!(!asked_zone(&script).is_empty());
    for name in ["www.example.com", "none.example.com", "ns1.example.com"] {
        let again = validated(&recursor, name).await;
        assert_eq!(again, answer, "{name}");
        assert_eq!(asked_zone(&script), [""; 0], "{name}");
    }
    // A client that does not want validation has what the zone says.
    let unchecked = DnssecBits {
        checking_disabled: true,
        ..DnssecBits::default()
    };
    let said = asked(&recursor, "www.example.com", unchecked).await;
    assert_eq!(said, "NoError 192.0.2.1 insecure");
    // The parent publishes the key of today.
    let com = Arc::new(com.with(&records_of_com(&renewed, 5, true)));
    script.serve(TLD, signed_authority(vec![com]));
    sleep(Duration::from_secs(61)).await;
    let mended = validated(&recursor, "www.example.com").await;
    assert_eq!(mended, "NoError 192.0.2.1 secure");
}

/// An outage is no evidence against a chain of trust: the zone is not bogus when it is over.
#[tokio::test(start_paused = true)]
async fn a_zone_whose_servers_were_silent_is_secure_again_within_seconds() {
    for only_keys in [false, true] {
        let (recursor, script, [_, example]) = signed_internet(3_600, true);
        learn_delegation(&recursor, &script).await;
        for server in [FIRST, SECOND] {
            let honest = signed_authority(vec![Arc::clone(&example)]);
            script.serve(server, move |query, tcp| {
                let is_silent = !only_keys || query.queries[0].query_type == RecordType::DNSKEY;
                if is_silent {
                    Play::Silence
                } else {
                    honest(query, tcp)
                }
            });
        }
        for name in ["ns1.example.com", "ns2.example.com", "none.example.com"] {
            let answer = validated(&recursor, name).await;
            assert!(
                !answer.contains("Bogus") && !answer.contains("NoError"),
                "{answer}"
            );
        }
        assert!(recursor.bogus_zones().is_empty());
        for server in [FIRST, SECOND] {
            script.serve(server, signed_authority(vec![Arc::clone(&example)]));
        }
        // Longer than any of the failures is cached.
        sleep(Duration::from_secs(7)).await;
        let answer = validated(&recursor, "short.example.com").await;
        assert_eq!(answer, "NoError 192.0.2.9 secure", "{only_keys}");
    }
}

/// The address of a name server needs no validation, whatever a client has asked for before.
#[tokio::test(start_paused = true)]
async fn a_bogus_name_of_a_server_keeps_no_other_zone_from_its_address() {
    let (recursor, script, [com, example]) = signed_internet(3_600, true);
    let records = records_of_com(&example, 3_600, true) + "other.com. 3600 NS ns2.example.com.\n";
    script.serve(TLD, signed_authority(vec![Arc::new(com.with(&records))]));
    let renewed = Arc::new(SignedZone::new("example.com.", EXAMPLE));
    for server in [FIRST, SECOND] {
        let own = signed_authority(vec![Arc::clone(&renewed)]);
        let others = authority(&[("other.com.", OTHER)]);
        script.serve(server, move |query, tcp| {
            let name = query.queries[0].name.to_lowercase().to_ascii();
            if name.ends_with("other.com.") {
                others(query, tcp)
            } else {
                own(query, tcp)
            }
        });
    }
    for _ in 0..2 {
        let answer = validated(&recursor, "ns2.example.com").await;
        assert!(answer.starts_with("Bogus"), "{answer}");
    }
    let answer = validated(&recursor, "www.other.com").await;
    assert_eq!(answer, "NoError 192.0.2.2 insecure");
}

/// Each answer has eight wrong signatures, and a query may cause sixteen.
#[tokio::test(start_paused = true)]
async fn a_fault_that_was_found_is_told_when_a_retry_is_too_much_work() {
    let (recursor, script, [_, example]) = signed_internet(3_600, true);
    for server in [FIRST, SECOND] {
        let honest = signed_authority(vec![Arc::clone(&example)]);
        script.serve(server, move |query, tcp| match honest(query, tcp) {
            Play::Reply(mut reply)
                if query.queries[0].query_type == RecordType::A && reply.answers.len() == 2 =>
            {
                let signature = reply.answers.pop().unwrap();
                reply.answers.extend((1..=8).map(|change| {
                    let mut wrong = signature.clone();
                    if let RData::Unknown { rdata, .. } = &mut wrong.data {
                        *rdata.anything.last_mut().unwrap() ^= change;
                    }
                    wrong
                }));
                Play::Reply(reply)
            }
            play => play,
        });
    }
    let answer = validated(&recursor, "www.example.com").await;
    assert_eq!(answer, "Bogus(SignatureWrong)");
    assert!(
        recursor.bogus_zones().is_empty(),
        "nothing lasting is known"
    );
}

/// A signed zone with an alias into an unsigned zone that has one back, and an unsigned zone below it.
/// All have the same servers.
fn internet_with_unsigned_zones() -> (Recursor<Arc<Script>>, Arc<Script>) {
    let (recursor, script, [com, _]) = signed_internet(3_600, true);
    let example = Arc::new(SignedZone::new(
        "example.com.",
        &format!(
            "{EXAMPLE}out.example.com. 60 CNAME www.other.com.\n\
             sub.example.com. 60 NS ns1.example.com.\n"
        ),
    ));
    let com = com
        .with(&(records_of_com(&example, 3_600, true) + "other.com. 3600 NS ns1.example.com.\n"));
    script.serve(TLD, signed_authority(vec![Arc::new(com)]));
    for server in [FIRST, SECOND] {
        let own = signed_authority(vec![Arc::clone(&example)]);
        let others = authority(&[
            (
                "other.com.",
                &format!("{OTHER}back.other.com. 60 CNAME www.example.com.\n"),
            ),
            ("sub.example.com.", "www.sub.example.com. 60 A 192.0.2.6\n"),
        ]);
        script.serve(server, move |query, tcp| {
            let name = query.queries[0].name.to_lowercase().to_ascii();
            let is_of_parent =
                name == "sub.example.com." && query.queries[0].query_type == RecordType::DS;
            if name.ends_with("other.com.") || name.ends_with("sub.example.com.") && !is_of_parent {
                others(query, tcp)
            } else {
                own(query, tcp)
            }
        });
    }
    (recursor, script)
}

/// Each hop is judged for itself: PowerDNS #6135 and #9621, Unbound #986.
#[tokio::test(start_paused = true)]
async fn an_alias_into_an_unsigned_zone_is_insecure_and_not_bogus() {
    let (recursor, _) = internet_with_unsigned_zones();
    for (name, answer) in [
        ("www.example.com", "NoError 192.0.2.1 secure"),
        (
            "out.example.com",
            "NoError www.other.com.192.0.2.2 insecure",
        ),
        (
            "back.other.com",
            "NoError www.example.com.192.0.2.1 insecure",
        ),
        ("www.sub.example.com", "NoError 192.0.2.6 insecure"),
    ] {
        assert_eq!(validated(&recursor, name).await, answer, "{name}");
    }
    // The same in the other order: nothing that is insecure makes the rest so.
    let (recursor, _) = internet_with_unsigned_zones();
    for name in ["back.other.com", "www.sub.example.com", "out.example.com"] {
        let answer = validated(&recursor, name).await;
        assert!(answer.ends_with(" insecure"), "{name}: {answer}");
    }
    let answer = validated(&recursor, "www.example.com").await;
    assert_eq!(answer, "NoError 192.0.2.1 secure");
}

/// An RRSIG that names an unsigned zone as its signer turned secure data into insecure ones.
#[tokio::test(start_paused = true)]
async fn a_signer_that_is_an_unsigned_zone_lifts_no_validation() {
    for signer in [
        "other.com.",
        "sub.example.com.",
        "www.example.com.",
        "com.",
        ".",
    ] {
        let (recursor, script) = internet_with_unsigned_zones();
        for name in ["www.other.com", "www.sub.example.com"] {
            let answer = validated(&recursor, name).await;
            assert!(answer.ends_with(" insecure"), "{name}: {answer}");
        }
        for server in [FIRST, SECOND] {
            let honest = script
                .servers
                .lock()
                .unwrap()
                .remove(&server.parse().unwrap())
                .unwrap();
            script.serve(server, move |query, tcp| match honest(query, tcp) {
                Play::Reply(mut reply) if query.queries[0].query_type == RecordType::A => {
                    let forged = [
                        "www.example.com. 60 A 6.6.6.6".to_owned(),
                        format!("www.example.com. 60 RRSIG {signer} 1"),
                    ];
                    reply.answers = forged.iter().map(|line| record(line)).collect();
                    Play::Reply(reply)
                }
                play => play,
            });
        }
        let answer = validated(&recursor, "www.example.com").await;
        assert!(answer.starts_with("Bogus"), "{signer}: {answer}");
    }
}
