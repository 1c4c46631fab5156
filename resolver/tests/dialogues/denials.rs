//! Negative responses: they cover the queried name only, and a response that contradicts itself is no
//! denial.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use resolver::recursor::ResolutionFailure;
use tokio::time::sleep;

use super::script::*;

const SOA: &str = "300 SOA ns.test. host.test. 1 2 3 4 300";

/// An Internet with one top-level domain, whose server responds with these lines.
fn with_tld(tld: &str, seed: u64, lines: &[(&str, &str)]) -> Script {
    let script = Script::new(seed);
    script.serve(
        ROOT,
        authority(&[(".", &format!(". 3600 NS a.root.\na.root. 3600 A {ROOT}\n{tld} 3600 NS a.nic.{tld}\na.nic.{tld} 3600 A {TLD}\n"))]),
    );
    script.serve(TLD, says(lines));
    script
}

/// A server that denies empty non-terminals, as some do.
fn denies_empty_non_terminals(seed: u64) -> Script {
    let denial = format!("NXDOMAIN aa\nns e05. {SOA}");
    with_tld(
        "e05.",
        seed,
        &[
            (
                "jsd.a7e4.e05. A",
                "NOERROR aa\nan jsd.a7e4.e05. 300 A 192.0.2.5",
            ),
            (
                "deep.er.a7e4.e05. A",
                "NOERROR aa\nan deep.er.a7e4.e05. 300 A 192.0.2.6",
            ),
            ("a7e4.e05. TXT", "NOERROR aa\nan a7e4.e05. 300 TXT here"),
            ("*.e05.", &denial),
        ],
    )
}

#[tokio::test(start_paused = true)]
async fn a_denial_does_not_cover_names_below() {
    for (seed, first) in [
        "tpyo.a7e4.e05",
        "a7e4.e05",
        "x.tpyo.a7e4.e05",
        "er.a7e4.e05",
    ]
    .into_iter()
    .enumerate()
    {
        let (recursor, _) = recursor(denies_empty_non_terminals(seed as u64));
        assert_eq!(ask(&recursor, first, RecordType::A).await, "NXDomain");
        assert_eq!(
            ask(&recursor, "jsd.a7e4.e05", RecordType::A).await,
            "NoError 192.0.2.5",
            "after {first}"
        );
        assert_eq!(
            ask(&recursor, "deep.er.a7e4.e05", RecordType::A).await,
            "NoError 192.0.2.6",
            "after {first}"
        );
        assert_eq!(ask(&recursor, first, RecordType::A).await, "NXDomain");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dns_blocklist_that_denies_its_branches_works() {
    let denial = format!("NXDOMAIN aa\nns bl.d17. {SOA}");
    let listed = "NOERROR aa\nan 2.0.0.127.bl.d17. 300 TXT listed";
    let (recursor, _) = recursor(with_tld(
        "d17.",
        1,
        &[("2.0.0.127.bl.d17. TXT", listed), ("*.d17.", &denial)],
    ));
    assert_eq!(
        ask(&recursor, "0.0.127.bl.d17", RecordType::A).await,
        "NXDomain"
    );
    assert_eq!(
        ask(&recursor, "3.0.0.127.bl.d17", RecordType::A).await,
        "NXDomain"
    );
    assert_eq!(
        lines(&recursor, "2.0.0.127.bl.d17", RecordType::TXT).await,
        ["NoError", "2.0.0.127.bl.d17. TXT"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_denial_of_a_minimised_name_does_not_cover_that_name() {
    let (recursor, _) = recursor(denies_empty_non_terminals(2));
    assert_eq!(
        ask(&recursor, "tpyo.a7e4.e05", RecordType::A).await,
        "NXDomain"
    );
    assert_eq!(
        lines(&recursor, "a7e4.e05", RecordType::TXT).await,
        ["NoError", "a7e4.e05. TXT"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_denied_name_is_not_queried_again_in_any_type() {
    let (recursor, script) = recursor(denies_empty_non_terminals(3));
    assert_eq!(
        ask(&recursor, "tpyo.a7e4.e05", RecordType::A).await,
        "NXDomain"
    );
    script.queries();
    for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT] {
        assert_eq!(ask(&recursor, "tpyo.a7e4.e05", kind).await, "NXDomain");
    }
    assert_eq!(script.queries(), [""; 0]);
    sleep(Duration::from_secs(301)).await;
    assert_eq!(
        ask(&recursor, "tpyo.a7e4.e05", RecordType::A).await,
        "NXDomain"
    );
    assert!(!script.queries().is_empty(), "negative entries expire");
}

#[tokio::test(start_paused = true)]
async fn random_names_below_a_denied_one_cost_one_query_each() {
    for (seed, first) in ["x.nope.e05", "nope.e05"].into_iter().enumerate() {
        let (recursor, script) = in_lower_case(denies_empty_non_terminals(seed as u64));
        assert_eq!(ask(&recursor, first, RecordType::A).await, "NXDomain");
        script.queries();
        for number in 0..20 {
            assert_eq!(
                ask(&recursor, &format!("r{number}.nope.e05"), RecordType::A).await,
                "NXDomain"
            );
            assert_eq!(
                script.queries(),
                [format!("{TLD} r{number}.nope.e05. A")],
                "after {first}"
            );
        }
    }
}

/// A server that sends NODATA without AA and without a record.
fn sends_empty_nodata(seed: u64) -> Script {
    with_tld(
        "c01.",
        seed,
        &[
            ("www.c01. A", "NOERROR aa\nan www.c01. 300 A 192.0.2.1"),
            ("www.c01. AAAA", "NOERROR"),
            ("www.c01. HTTPS", "NOERROR"),
            (
                "on.the.way.c01. A",
                "NOERROR aa\nan on.the.way.c01. 300 A 192.0.2.2",
            ),
            ("the.way.c01. A", "NOERROR"),
            ("way.c01. A", "NOERROR"),
        ],
    )
}

#[tokio::test(start_paused = true)]
async fn an_empty_reply_without_authority_is_nodata_for_seconds() {
    let (recursor, script) = in_lower_case(sends_empty_nodata(4));
    for kind in [RecordType::AAAA, RecordType::HTTPS] {
        assert_eq!(ask(&recursor, "www.c01", kind).await, "NoError");
        script.queries();
        sleep(Duration::from_secs(4)).await;
        assert_eq!(ask(&recursor, "www.c01", kind).await, "NoError");
        assert_eq!(script.queries(), [""; 0], "it is cached");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(ask(&recursor, "www.c01", kind).await, "NoError");
        assert_eq!(script.queries().len(), 1, "not for long");
    }
    assert_eq!(
        ask(&recursor, "www.c01", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    assert_eq!(
        ask(&recursor, "on.the.way.c01", RecordType::A).await,
        "NoError 192.0.2.2"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_with_records_is_preferred_to_an_empty_response() {
    for seed in 0..8 {
        for nothing in ["NOERROR", "NOERROR aa", "NOERROR ra"] {
            let script = usual(seed);
            script.serve(FIRST, says(&[("*.example.com.", nothing)]));
            let (recursor, _) = recursor(script);
            assert_eq!(
                ask(&recursor, "www.example.com", RecordType::A).await,
                "NoError 192.0.2.1",
                "{nothing}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_contradicts_itself_is_no_answer() {
    for code in ["NXDOMAIN", "YXDOMAIN"] {
        for record in ["w.bad. 300 A 192.0.2.1", "w.bad. 300 TXT other"] {
            let reply = format!("{code} aa\nan {record}\nns bad. {SOA}");
            let (first, _) = recursor(with_tld("bad.", 5, &[("w.bad. A", &reply)]));
            assert_eq!(
                ask(&first, "w.bad", RecordType::A).await,
                format!("{:?}", ResolutionFailure::Useless),
                "{reply}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_contradiction_the_next_server_is_queried() {
    for seed in 0..8 {
        for code in ["NXDOMAIN", "YXDOMAIN"] {
            let script = usual(seed);
            let reply =
                format!("{code} aa\nan www.example.com. 300 A 192.0.2.66\nns example.com. {SOA}");
            script.serve(FIRST, says(&[("*.example.com.", &reply)]));
            let (recursor, _) = recursor(script);
            assert_eq!(
                ask(&recursor, "www.example.com", RecordType::A).await,
                "NoError 192.0.2.1",
                "{code}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_code_beside_an_alias_belongs_to_its_target() {
    let script = usual(6);
    let alias = "an way.example.com. 300 CNAME www.other.com.";
    for server in [FIRST, SECOND] {
        let honest = authority(&[("example.com.", EXAMPLE), ("other.com.", OTHER)]);
        let liar = says(&[(
            "way.example.com. A",
            &format!("NXDOMAIN aa\n{alias}\nns other.com. {SOA}"),
        )]);
        script.serve(server, move |query, tcp| {
            let is_asked = query.queries[0].name.to_lowercase().to_ascii() == "way.example.com.";
            if is_asked {
                liar(query, tcp)
            } else {
                honest(query, tcp)
            }
        });
    }
    let (recursor, _) = recursor(script);
    assert_eq!(
        ask(&recursor, "way.example.com", RecordType::A).await,
        "NoError www.other.com. 192.0.2.2"
    );
}
