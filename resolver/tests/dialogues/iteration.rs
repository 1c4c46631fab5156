//! From zone to zone: where a delegation is queried, what is tried when a zone fails, and what is not
//! queried again.

use std::{sync::Arc, time::Duration};

use hickory_proto::rr::RecordType;
use policy::name::Name;
use resolver::{
    message::types::Rtype,
    recursor::{ConfiguredZone, Recursor, ResolutionFailure, ServerRole, TtlBounds},
    upstream::Question,
};
use tokio::time::sleep;

use super::script::*;

/// Queries without repetitions: a server that refuses gets downgraded queries.
fn distinct(mut asked: Vec<String>) -> Vec<String> {
    asked.dedup();
    asked
}

/// The queries to one address.
fn at(asked: &[String], address: &str) -> Vec<String> {
    let mine = asked
        .iter()
        .filter_map(|line| line.strip_prefix(address)?.strip_prefix(' '));
    mine.map(str::to_owned).collect()
}

fn unreachable() -> String {
    format!("{:?}", ResolutionFailure::Unreachable)
}

fn configured(zone: &str, to: &str, role: ServerRole, then_recurse: bool) -> ConfiguredZone {
    let zone = if zone == "." {
        Name::root()
    } else {
        Name::parse(zone).unwrap()
    };
    ConfiguredZone {
        zone,
        to: vec![format!("{to}:53").parse().unwrap()],
        role,
        tls: None,
        then_recurse,
    }
}

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
    let (recursor, script) = in_small_letters(usual(1));
    for name in ["www.example.com", "a.net", "a.org"] {
        ask(&recursor, name, RecordType::A).await;
    }
    assert_eq!(
        at(&script.asked(), ROOT),
        [". NS", "com. A", "net. A", "a.net. A", "org. A", "a.org. A"]
    );
    sleep(Duration::from_secs(3_601)).await;
    ask(&recursor, "a.info", RecordType::A).await;
    assert_eq!(at(&script.asked(), ROOT), [". NS", "info. A", "a.info. A"]);
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
        at(&script.asked(), ROOT),
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
    script.asked();
    ask(&recursor, "example.com", RecordType::DS).await;
    assert_eq!(script.asked(), [format!("{TLD} example.com. DS")]);
    ask(&recursor, "www.example.com", RecordType::DS).await;
    assert!(
        !script.asked().iter().any(|line| line.starts_with(TLD)),
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
    script.asked();
    assert_eq!(
        ask(&recursor, "far.example.com", RecordType::AAAA).await,
        "NoError www.other.com."
    );
    let asked = script.asked();
    assert!(
        asked.len() == 1 && asked[0].ends_with("www.other.com. AAAA"),
        "{asked:?}"
    );
    assert_eq!(
        ask(&recursor, "far.example.com", RecordType::CNAME).await,
        "NoError www.other.com."
    );
    assert_eq!(script.asked(), [""; 0]);
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
    script.asked();
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
    assert_eq!(script.asked(), [""; 0], "entries serve until they expire");
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
    script.asked();
    let prefetch = Question {
        prefetch: true,
        ..Question::new(Name::parse("far.example.com").unwrap(), Rtype::A)
    };
    recursor.trace(&prefetch).await.result.unwrap();
    let asked: Vec<String> = script
        .asked()
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
    let asked = script.asked();
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
    script.asked();
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
        script.asked(),
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
    script.asked();
    assert_eq!(
        ask(&recursor, "short.example.com", RecordType::A).await,
        "NoError 192.0.2.9"
    );
    let asked = script.asked();
    assert_eq!(at(&asked, TLD).len(), 1, "{asked:?}");
    // Where that does not help, the parent is not queried for each name, but again after a while.
    script.serve(MOVED, says(&[]));
    for (name, times) in [("a", 1), ("b", 0), ("c", 0)] {
        assert_eq!(
            ask(&recursor, &format!("{name}.example.com"), RecordType::A).await,
            format!("{:?}", ResolutionFailure::Useless)
        );
        assert_eq!(at(&script.asked(), TLD).len(), times, "{name}");
    }
    sleep(Duration::from_secs(5)).await;
    ask(&recursor, "d.example.com", RecordType::A).await;
    assert_eq!(at(&script.asked(), TLD).len(), 1);
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
    script.asked();
    assert_eq!(
        ask(&recursor, "b.example.com", RecordType::A).await,
        "NXDomain"
    );
    let asked = script.asked();
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
    let asked = script.asked();
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
    script.asked();
    assert_eq!(
        ask(&recursor, "a.net", RecordType::A).await,
        format!("{:?}", ResolutionFailure::Useless)
    );
    let asked = script.asked();
    assert_eq!(
        at(&asked, ROOT),
        ["net. A", "a.net. A"],
        "it is primed: {asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stub_zone_that_fails_is_queried_nowhere_else() {
    let (recursor, script) = recursor_with(usual(13), |settings| {
        settings.configured_zones = vec![configured(
            "example.com",
            "10.0.0.99",
            ServerRole::Authority,
            false,
        )];
    });
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        unreachable()
    );
    let asked = script.asked();
    assert!(
        asked.iter().all(|line| line.starts_with("10.0.0.99 ")),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_forwarder_gets_the_full_name_and_a_stub_zone_a_minimised_one() {
    let zone = format!("{EXAMPLE}a.b.c.example.com. 60 A 192.0.2.7\n");
    for (role, first) in [
        (ServerRole::Forwarder, "a.b.c.example.com. A"),
        (ServerRole::Authority, "c.example.com. A"),
    ] {
        let script = usual(14);
        script.serve(FIRST, authority(&[("example.com.", &zone)]));
        let (recursor, script) = recursor_with(script, |settings| {
            settings.configured_zones = vec![configured("example.com", FIRST, role, false)]
        });
        assert_eq!(
            ask(&recursor, "a.b.c.example.com", RecordType::A).await,
            "NoError 192.0.2.7"
        );
        assert_eq!(script.asked()[0], format!("{FIRST} {first}"));
    }
    let (recursor, script) =
        recursor_with(usual(14), |settings| settings.qname_minimisation = false);
    ask(&recursor, "www.example.com", RecordType::A).await;
    assert!(
        script.asked()[1..]
            .iter()
            .all(|line| line.ends_with(" www.example.com. A")),
        "without minimisation where that is off"
    );
}

#[tokio::test(start_paused = true)]
async fn where_a_forward_first_zone_fails_recursion_takes_over() {
    const DEAD: &str = "10.0.0.99";
    let dead = || configured("example.com", DEAD, ServerRole::Forwarder, true);
    let (first, script) = recursor_with(usual(15), |settings| {
        settings.configured_zones = vec![dead()]
    });
    script.serve(DEAD, says(&[]));
    assert_eq!(
        ask(&first, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    let asked = script.asked();
    assert_eq!(distinct(at(&asked, DEAD)), ["www.example.com. A"]);
    assert_eq!(
        at(&asked, TLD),
        ["example.com. A"],
        "recursion minimises the name"
    );
    // All servers fail: each is tried once.
    for server in [FIRST, SECOND] {
        script.serve(server, says(&[]));
    }
    assert_eq!(
        ask(&first, "short.example.com", RecordType::A).await,
        format!("{:?}", ResolutionFailure::Useless)
    );
    let asked = script.asked();
    assert_eq!(
        distinct(at(&asked, DEAD)),
        ["short.example.com. A"],
        "{asked:?}"
    );
    // A second forwarder behind it gets the full name as well.
    let (second, script) = recursor_with(usual(15), |settings| {
        settings.configured_zones =
            vec![dead(), configured(".", FIRST, ServerRole::Forwarder, false)]
    });
    script.serve(DEAD, says(&[]));
    assert_eq!(
        ask(&second, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    assert_eq!(
        distinct(script.asked()),
        [DEAD, FIRST].map(|server| format!("{server} www.example.com. A"))
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

/// Names that lead into a private network.
const REBINDING: &str = "home.example.com. 60 A 192.168.0.1\nhome.example.com. 60 AAAA fd00::1\nhome.example.com. 60 MX 10 home.example.com.\n\
    both.example.com. 60 A 192.168.0.1\nboth.example.com. 60 A 192.0.2.5\nfar.example.com. 60 CNAME home.example.com.\n\
    home.own.example.com. 60 A 192.168.0.1\n";

#[tokio::test(start_paused = true)]
async fn a_name_of_the_internet_does_not_lead_into_a_private_network() {
    let script = usual(17);
    for server in [FIRST, SECOND] {
        script.serve(server, authority(&[("example.com.", REBINDING)]));
    }
    let (recursor, _) = recursor_with(script, |settings| {
        settings.private_addresses = vec![
            "192.168.0.0/16".parse().unwrap(),
            "fc00::/7".parse().unwrap(),
        ];
        settings.private_domains = vec![Name::parse("own.example.com").unwrap()];
    });
    for round in 0..2 {
        for (name, kind, expected) in [
            ("home.example.com", RecordType::A, "NoError"),
            ("home.example.com", RecordType::AAAA, "NoError"),
            (
                "home.example.com",
                RecordType::MX,
                "NoError 10 home.example.com.",
            ),
            ("both.example.com", RecordType::A, "NoError 192.0.2.5"),
            (
                "far.example.com",
                RecordType::A,
                "NoError home.example.com.",
            ),
            ("home.own.example.com", RecordType::A, "NoError 192.168.0.1"),
        ] {
            assert_eq!(
                ask(&recursor, name, kind).await,
                expected,
                "{name} {kind}, round {round}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_forwarders_alias_into_a_private_network_has_no_address() {
    let script = Script::new(17);
    let answer = "NOERROR ra\nan far.test. 60 CNAME home.test.\nan home.test. 60 A 192.168.0.1";
    script.serve(FIRST, says(&[("far.test. A", answer)]));
    let (recursor, _) = recursor_with(script, |settings| {
        settings.configured_zones = vec![configured(".", FIRST, ServerRole::Forwarder, false)];
        settings.private_addresses = vec!["192.168.0.0/16".parse().unwrap()];
    });
    assert_eq!(
        ask(&recursor, "far.test", RecordType::A).await,
        "NoError home.test."
    );
}

#[tokio::test(start_paused = true)]
async fn glue_out_of_bailiwick_is_not_used_with_harden_glue() {
    const FOREIGN: &str = "10.6.6.6";
    for (harden_glue, is_asked) in [(true, false), (false, true)] {
        let script = usual(18);
        let referral =
            format!("NOERROR\nns evil.com. 60 NS ns.bank.net.\nar ns.bank.net. 60 A {FOREIGN}");
        script.serve(TLD, says(&[("*.evil.com.", &referral)]));
        script.serve(
            FOREIGN,
            says(&[(
                "*.evil.com.",
                "NOERROR aa\nan www.evil.com. 60 A 192.0.2.66",
            )]),
        );
        let (recursor, script) =
            recursor_with(script, |settings| settings.harden_glue = harden_glue);
        let said = ask(&recursor, "www.evil.com", RecordType::A).await;
        assert_eq!(said == "NoError 192.0.2.66", is_asked, "{said}");
        assert_eq!(
            script.asked().iter().any(|line| line.starts_with(FOREIGN)),
            is_asked
        );
    }
}

/// A zone whose server has its name in another zone, so that its address must be looked up. `lines`
/// are the responses for that name.
fn served_from_elsewhere(seed: u64, lines: &[(&str, &str)]) -> Script {
    let script = usual(seed);
    let mut all = vec![(
        "*.guest.com.",
        "NOERROR\nns guest.com. 60 NS ns.example.com.",
    )];
    all.push((
        "*.example.com.",
        "NOERROR\nns example.com. 60 NS ns1.example.com.\nar ns1.example.com. 60 A 10.0.0.3",
    ));
    script.serve(TLD, says(&all));
    script.serve(FIRST, says(lines));
    script.serve(
        SECOND,
        says(&[(
            "www.guest.com. A",
            "NOERROR aa\nan www.guest.com. 60 A 192.0.2.1",
        )]),
    );
    script
}

#[tokio::test(start_paused = true)]
async fn a_glueless_server_is_looked_up_in_each_family_that_is_used() {
    let v4 = (
        "ns.example.com. A",
        "NOERROR aa\nan ns.example.com. 60 A 10.0.0.4",
    );
    let v6 = (
        "ns.example.com. AAAA",
        "NOERROR aa\nan ns.example.com. 60 AAAA 2001:db8::4",
    );
    let alias = (
        "ns.example.com. A",
        "NOERROR aa\nan ns.example.com. 60 CNAME host.example.com.",
    );
    let host = (
        "host.example.com. A",
        "NOERROR aa\nan host.example.com. 60 A 10.0.0.4",
    );
    let no_v4 = (
        "ns.example.com. A",
        "NOERROR aa\nns example.com. 60 SOA n. h. 1 2 3 4 60",
    );
    let none = (
        "*.ns.example.com.",
        "NXDOMAIN aa\nns example.com. 60 SOA n. h. 1 2 3 4 60",
    );
    let found = "NoError 192.0.2.1".to_owned();
    let no_servers = format!("{:?}", ResolutionFailure::NoServers);
    type Case<'c> = (
        &'c str,
        &'c [(&'c str, &'c str)],
        bool,
        &'c str,
        &'c [&'c str],
    );
    let cases: [Case<'_>; 5] = [
        (
            "IPv4 first, and no IPv6 where that is enough",
            &[v4, v6],
            true,
            &found,
            &["ns.example.com. A"],
        ),
        (
            "IPv6 where there is no IPv4",
            &[no_v4, v6],
            true,
            &found,
            &["ns.example.com. A", "ns.example.com. AAAA"],
        ),
        (
            "no IPv6 where that is off",
            &[no_v4, v6],
            false,
            &no_servers,
            &["ns.example.com. A"],
        ),
        (
            "no second family for a name that does not exist",
            &[none],
            true,
            &no_servers,
            &["ns.example.com. A"],
        ),
        (
            "an alias is followed",
            &[alias, host],
            true,
            &found,
            &["ns.example.com. A", "host.example.com. A"],
        ),
    ];
    for (what, lines, ipv6, expected, looked_up) in cases {
        let script = served_from_elsewhere(19, lines);
        script.serve(
            "2001:db8::4",
            says(&[(
                "www.guest.com. A",
                "NOERROR aa\nan www.guest.com. 60 A 192.0.2.1",
            )]),
        );
        let (recursor, script) = recursor_with(script, |settings| {
            (settings.ipv6, settings.case_randomisation) = (ipv6, false)
        });
        assert_eq!(
            ask(&recursor, "www.guest.com", RecordType::A).await,
            expected,
            "{what}"
        );
        assert_eq!(at(&script.asked(), FIRST), looked_up, "{what}");
    }
}
