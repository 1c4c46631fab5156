//! From zone to zone: where a delegation is queried, what is tried when a zone fails, and what is not
//! queried again.

use std::{sync::Arc, time::Duration};

use hickory_proto::rr::RecordType;
use policy::name::Name;
use resolver::{
    message::types::Rtype,
    recursor::{Recursor, ResolutionFailure, TtlBounds},
    upstream::Question,
};
use tokio::time::sleep;

use super::script::*;

/// The TTLs of the answer and of the SOA, in seconds.
async fn ttls(recursor: &Recursor<Arc<Script>>, name: &str, kind: RecordType) -> Vec<u32> {
    let answer = recursor
        .trace(&Question::new(Name::parse(name).unwrap(), kind.into()))
        .await
        .result
        .unwrap();
    answer
        .answers
        .iter()
        .chain(&answer.authorities)
        .map(|record| record.ttl)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_root_is_primed_once_a_ttl() {
    let (recursor, script) = in_lower_case(usual(1));
    for name in ["www.example.com", "a.net", "a.org"] {
        ask(&recursor, name, RecordType::A).await;
    }
    assert_eq!(
        at(&script.queries(), ROOT),
        [". NS", "com. A", "net. A", "a.net. A", "org. A", "a.org. A"]
    );
    sleep(Duration::from_secs(3_601)).await;
    ask(&recursor, "a.info", RecordType::A).await;
    assert_eq!(
        at(&script.queries(), ROOT),
        [". NS", "info. A", "a.info. A"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_hints_serve_where_the_root_cannot_be_primed() {
    for said in ["NOERROR aa\nan . 3600 NS a.root.", "SERVFAIL"] {
        let script = usual(2);
        let honest = authority(&[(".", ROOT_ZONE)]);
        let poor = says(&[(". NS", said)]);
        script.serve(ROOT, move |query, tcp| {
            if query.queries[0].name.is_root() {
                poor(query, tcp)
            } else {
                honest(query, tcp)
            }
        });
        let (recursor, _) = recursor(script);
        assert_eq!(
            ask(&recursor, "www.example.com", RecordType::A).await,
            "NoError 192.0.2.1",
            "{said}"
        );
    }
    let (recursor, script) = recursor_with(usual(2), |settings| settings.prime = false);
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    assert_eq!(
        at(&script.queries(), ROOT),
        ["com. A"],
        "without priming where that is off"
    );
}

#[tokio::test(start_paused = true)]
async fn a_ds_rrset_is_queried_at_the_parent() {
    let (recursor, script) = recursor(usual(3));
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    script.queries();
    ask(&recursor, "example.com", RecordType::DS).await;
    assert_eq!(script.queries(), [format!("{TLD} example.com. DS")]);
    ask(&recursor, "www.example.com", RecordType::DS).await;
    assert!(
        !script.queries().iter().any(|line| line.starts_with(TLD)),
        "the DS of a name in a zone is queried in that zone"
    );
}

#[tokio::test(start_paused = true)]
async fn cached_aliases_serve_every_type() {
    let (recursor, script) = recursor(usual(4));
    assert_eq!(
        ask(&recursor, "far.example.com", RecordType::A).await,
        "NoError www.other.com. 192.0.2.2"
    );
    script.queries();
    assert_eq!(
        ask(&recursor, "far.example.com", RecordType::AAAA).await,
        "NoError www.other.com."
    );
    let asked = script.queries();
    assert!(
        asked.len() == 1 && asked[0].ends_with("www.other.com. AAAA"),
        "{asked:?}"
    );
    assert_eq!(
        ask(&recursor, "far.example.com", RecordType::CNAME).await,
        "NoError www.other.com."
    );
    assert_eq!(script.queries(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn cached_data_have_their_remaining_ttl() {
    let (recursor, script) = recursor(usual(5));
    assert_eq!(
        ttls(&recursor, "www.example.com", RecordType::A).await,
        [60]
    );
    assert_eq!(
        ttls(&recursor, "www.example.com", RecordType::TXT).await,
        [60]
    );
    assert_eq!(
        ttls(&recursor, "none.example.com", RecordType::A).await,
        [60]
    );
    assert_eq!(
        ttls(&recursor, "far.example.com", RecordType::A).await,
        [60, 60]
    );
    script.queries();
    sleep(Duration::from_secs(56)).await;
    for (name, kind) in [
        ("www.example.com", RecordType::A),
        ("www.example.com", RecordType::TXT),
        ("none.example.com", RecordType::A),
    ] {
        assert_eq!(ttls(&recursor, name, kind).await, [4], "{name} {kind}");
    }
    assert_eq!(
        ttls(&recursor, "far.example.com", RecordType::A).await,
        [4, 4]
    );
    assert_eq!(script.queries(), [""; 0], "entries serve until they expire");
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_ttls_within_the_bounds() {
    let bounded = |settings: &mut resolver::recursor::Settings| {
        settings.ttl = TtlBounds {
            min_s: 20,
            max_s: 30,
            negative_max_s: 25,
        }
    };
    let (recursor, _) = recursor_with(usual(6), bounded);
    assert_eq!(
        ttls(&recursor, "www.example.com", RecordType::A).await,
        [30]
    );
    assert_eq!(
        ttls(&recursor, "short.example.com", RecordType::A).await,
        [20]
    );
    assert_eq!(
        ttls(&recursor, "far.example.com", RecordType::A).await,
        [30, 30]
    );
    assert_eq!(
        ttls(&recursor, "www.example.com", RecordType::TXT).await,
        [25]
    );
    assert_eq!(
        ttls(&recursor, "none.example.com", RecordType::A).await,
        [25]
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_clients_own_query_is_prefetched() {
    let (recursor, script) = recursor(usual(7));
    ask(&recursor, "far.example.com", RecordType::A).await;
    sleep(Duration::from_secs(56)).await;
    script.queries();
    let prefetch = Question {
        prefetch: true,
        ..Question::new(Name::parse("far.example.com").unwrap(), Rtype::A)
    };
    recursor.trace(&prefetch).await.result.unwrap();
    let asked: Vec<String> = script
        .queries()
        .iter()
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect();
    assert_eq!(
        asked,
        ["far.example.com. A", "www.other.com. A"],
        "the aliases and their targets, and no delegation"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_on_a_minimised_name_gets_the_full_name() {
    let script = usual(8);
    for server in [FIRST, SECOND] {
        script.serve(
            server,
            says(&[
                (
                    "on.the.way.example.com. A",
                    "NOERROR aa\nan on.the.way.example.com. 60 A 192.0.2.1",
                ),
                ("*.way.example.com.", "SERVFAIL"),
            ]),
        );
    }
    let (recursor, script) = recursor(script);
    assert_eq!(
        ask(&recursor, "on.the.way.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    let asked = script.queries();
    assert!(
        asked
            .last()
            .unwrap()
            .ends_with(" on.the.way.example.com. A"),
        "{asked:?}"
    );
    assert!(
        !asked
            .iter()
            .any(|line| line.contains(" the.way.example.com. ")),
        "nothing between: {asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_queried_again_at_once() {
    let script = usual(9);
    script.serve(
        TLD,
        authority(&[(
            "com.",
            "example.com. 3600 NS ns1.example.com.\nns1.example.com. 3600 A 10.0.0.3\n",
        )]),
    );
    let (recursor, script) = recursor_with(script, |settings| settings.queries_per_server_max = 1);
    assert_eq!(
        ask(&recursor, "ns1.example.com", RecordType::A).await,
        "NoError 10.0.0.3"
    );
    script.queries();
    let (first, second) = tokio::join!(
        ask(&recursor, "www.example.com", RecordType::A),
        ask(&recursor, "short.example.com", RecordType::A)
    );
    assert_eq!(
        (first.as_str(), second),
        (
            "NoError 192.0.2.1",
            format!("{:?}", ResolutionFailure::Busy)
        )
    );
    assert_eq!(
        ask(&recursor, "short.example.com", RecordType::A).await,
        "NoError 192.0.2.9"
    );
    assert_eq!(
        script.queries(),
        ["www", "short"].map(|host| format!("{FIRST} {host}.example.com. A")),
        "and no zone above"
    );
}

/// `example.com` moves to another address while its delegation is cached.
#[tokio::test(start_paused = true)]
async fn a_delegation_that_has_moved_is_queried_at_the_parent_once() {
    const MOVED: &str = "10.0.0.13";
    let moved = "example.com. 60 NS ns3.example.com.\nns3.example.com. 60 A 10.0.0.13\n";
    let script = usual(10);
    script.serve(MOVED, authority(&[("example.com.", EXAMPLE)]));
    let (recursor, script) = recursor(script);
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    for server in [FIRST, SECOND] {
        script.serve(server, says(&[]));
    }
    script.serve(
        TLD,
        authority(&[("com.", &format!("a.gtld.com. 3600 A {TLD}\n{moved}"))]),
    );
    script.queries();
    assert_eq!(
        ask(&recursor, "short.example.com", RecordType::A).await,
        "NoError 192.0.2.9"
    );
    let asked = script.queries();
    assert_eq!(at(&asked, TLD).len(), 1, "{asked:?}");
    // Where that does not help, the parent is not queried for each name, but again after a while.
    script.serve(MOVED, says(&[]));
    for (name, times) in [("a", 1), ("b", 0), ("c", 0)] {
        assert_eq!(
            ask(&recursor, &format!("{name}.example.com"), RecordType::A).await,
            format!("{:?}", ResolutionFailure::Useless)
        );
        assert_eq!(at(&script.queries(), TLD).len(), times, "{name}");
    }
    sleep(Duration::from_secs(5)).await;
    ask(&recursor, "d.example.com", RecordType::A).await;
    assert_eq!(at(&script.queries(), TLD).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_fails_and_is_not_delegated_any_more_is_removed() {
    let (recursor, script) = recursor(usual(10));
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    for server in [FIRST, SECOND] {
        script.serve(server, says(&[]));
    }
    script.serve(
        TLD,
        authority(&[("com.", &format!("a.gtld.com. 3600 A {TLD}\n"))]),
    );
    assert_eq!(
        ask(&recursor, "a.example.com", RecordType::A).await,
        "NXDomain"
    );
    script.queries();
    assert_eq!(
        ask(&recursor, "b.example.com", RecordType::A).await,
        "NXDomain"
    );
    let asked = script.queries();
    assert!(asked.iter().all(|line| line.starts_with(TLD)), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_delegation_that_was_just_learned_is_not_queried_again() {
    let script = usual(11);
    for server in [FIRST, SECOND] {
        script.serve(server, says(&[]));
    }
    let (recursor, script) = recursor(script);
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        format!("{:?}", ResolutionFailure::Useless)
    );
    let asked = script.queries();
    assert_eq!(
        (at(&asked, ROOT).len(), at(&asked, TLD).len()),
        (2, 1),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_root_that_refuses_is_final() {
    let (recursor, script) = recursor(usual(12));
    ask(&recursor, "www.example.com", RecordType::A).await;
    script.serve(ROOT, says(&[]));
    script.queries();
    assert_eq!(
        ask(&recursor, "a.net", RecordType::A).await,
        format!("{:?}", ResolutionFailure::Useless)
    );
    let asked = script.queries();
    assert_eq!(
        at(&asked, ROOT),
        ["net. A", "a.net. A"],
        "it is primed: {asked:?}"
    );
}

/// Nested zones, each with a server of its own.
fn nested(seed: u64, depth: usize) -> (Script, String) {
    let script = Script::new(seed);
    let zone_at = |depth: usize| format!("{}.", vec!["z"; depth].join("."));
    for here in 0..=depth {
        let below = format!(
            "{0} 3600 NS ns.{0}\nns.{0} 3600 A 10.7.0.{1}\n",
            zone_at(here + 1),
            here + 1
        );
        let records = match here {
            _ if here == depth => "www 60 A 192.0.2.1\n".to_owned(),
            0 => format!(". 3600 NS a.root.\na.root. 3600 A {ROOT}\n{below}"),
            _ => below,
        };
        let address = if here == 0 {
            ROOT.to_owned()
        } else {
            format!("10.7.0.{here}")
        };
        script.serve(&address, authority(&[(&zone_at(here), &records)]));
    }
    (script, format!("www.{}", zone_at(depth)))
}

#[tokio::test(start_paused = true)]
async fn twenty_four_referrals_are_followed_and_no_more() {
    for (depth, expected) in [
        (24, "NoError 192.0.2.1".to_owned()),
        (25, format!("{:?}", ResolutionFailure::TooMuchWork)),
    ] {
        let (script, name) = nested(16, depth);
        let (recursor, _) = recursor(script);
        assert_eq!(
            ask(&recursor, name.trim_end_matches('.'), RecordType::A).await,
            expected,
            "{depth} zones"
        );
    }
}
