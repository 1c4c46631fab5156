//! Forward and stub zones: the servers that the operator configures.

use hickory_proto::rr::RecordType;
use policy::name::Name;
use resolver::recursor::{ConfiguredZone, ResolutionFailure, ServerRole};

use super::script::*;

/// Queries without repetitions: a server that refuses gets fallback queries.
fn distinct(mut asked: Vec<String>) -> Vec<String> {
    asked.dedup();
    asked
}

fn unreachable_failure() -> String {
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
        unreachable_failure()
    );
    let asked = script.queries();
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
        assert_eq!(script.queries()[0], format!("{FIRST} {first}"));
    }
    let (recursor, script) =
        recursor_with(usual(14), |settings| settings.qname_minimisation = false);
    ask(&recursor, "www.example.com", RecordType::A).await;
    assert!(
        script.queries()[1..]
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
    let asked = script.queries();
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
    let asked = script.queries();
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
        distinct(script.queries()),
        [DEAD, FIRST].map(|server| format!("{server} www.example.com. A"))
    );
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
