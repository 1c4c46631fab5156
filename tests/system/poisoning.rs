//! Cache poisoning and ghost domains: what servers add about other zones, and delegations that
//! the parent has revoked.

use std::time::Duration;

use super::attacks::{ATTACKER, FORGED};
use crate::world::{Behaviour, Client, Internet, Lie, World};

/// Records about another zone that a server adds to its answers.
fn poisons(victim: &str) -> Vec<(&'static str, Lie)> {
    let takeover = format!("{victim} 3600 NS ns1.evil.example.");
    let address = format!("www.{victim} 3600 A {FORGED}");
    let glue = format!("ns1.{victim} 3600 A {FORGED}");
    let own = format!("{ATTACKER} 3600 NS ns1.{victim}");
    vec![
        (
            "a sibling's servers in the authority section",
            Lie::ExtraAuthority(takeover.clone()),
        ),
        (
            "a sibling's servers in the answer section",
            Lie::ExtraAnswer(takeover.clone()),
        ),
        (
            "a sibling's servers in the additional section",
            Lie::ExtraAdditional(takeover),
        ),
        (
            "a sibling's address in the answer section",
            Lie::ExtraAnswer(address.clone()),
        ),
        (
            "a sibling's address in the authority section",
            Lie::ExtraAuthority(address.clone()),
        ),
        (
            "a sibling's address in the additional section",
            Lie::ExtraAdditional(address),
        ),
        (
            "the address of a sibling's server",
            Lie::ExtraAdditional(glue.clone()),
        ),
        (
            "a server of its own with a sibling's name",
            Lie::AllOf(vec![Lie::ExtraAuthority(own), Lie::ExtraAdditional(glue)]),
        ),
        (
            "an alias of a sibling's",
            Lie::ExtraAnswer(format!("www.{victim} 3600 CNAME www.evil.example.")),
        ),
        (
            "servers of the parent",
            Lie::ExtraAuthority("example. 3600 NS ns1.evil.example.".to_owned()),
        ),
        (
            "servers of the root",
            Lie::ExtraAuthority(". 3600 NS ns1.evil.example.".to_owned()),
        ),
    ]
}

/// Every kind of poison, for a resolver that does not know the victim and for one that does; in a
/// plain answer, and in an alias that points to the victim.
#[tokio::test]
async fn records_of_foreign_zones_in_a_response_are_not_used() {
    const RIGHT: &str = "192.0.2.99";
    let label = |number: usize, is_known: bool| {
        format!("v{number}-{}", if is_known { "known" } else { "new" })
    };
    let kinds = poisons("any.").len();
    let cases: Vec<(usize, bool)> = (0..kinds)
        .flat_map(|number| [(number, true), (number, false)])
        .collect();
    let labels = || {
        cases
            .iter()
            .map(|(number, is_known)| label(*number, *is_known))
    };
    let victims: Vec<String> = labels().map(|label| format!("{label}.example.")).collect();
    let aliases: String = labels()
        .map(|label| format!("to-{label} 60 CNAME www.{label}.example.\n"))
        .collect();
    let records = format!("@ 60 A {RIGHT}\nwww 60 A {RIGHT}\nother 60 A {RIGHT}");
    let internet = Internet::new()
        .zones(
            victims
                .iter()
                .map(|victim| (victim.as_str(), records.as_str())),
        )
        .zone("evil.example.", "")
        .zone(ATTACKER, &format!("* 60 A 192.0.2.66\n{aliases}"));
    internet.set_behaviour("evil.example.", &Behaviour::AnswersEverything(FORGED));
    let world = World::builder(internet).start().await;
    let client = world.client("127.0.7.9");
    for (number, is_known) in cases {
        let label = label(number, is_known);
        let (what, poison) = poisons(&format!("{label}.example.")).swap_remove(number);
        if is_known {
            assert_eq!(
                client.ask(&format!("{label}.example. A")).await,
                RIGHT,
                "{what}"
            );
        }
        world
            .internet
            .set_behaviour(ATTACKER, &Behaviour::Lies(poison));
        for (question, right) in [
            (format!("n-{label}.{ATTACKER} A"), "192.0.2.66"),
            (format!("to-{label}.{ATTACKER} A"), RIGHT),
            (format!("www.{label}.example. A"), RIGHT),
            (format!("other.{label}.example. A"), RIGHT),
        ] {
            assert_eq!(
                client.ask(&question).await,
                right,
                "{question} after {what}"
            );
        }
    }
}

/// The zone of a server that its parent removes or replaces, with own records that have a TTL of an
/// hour.
const GHOST: &str = "ghost.example.";

/// The delegation, with a TTL of two seconds.
fn delegation_of_ghost(address: std::net::IpAddr) -> String {
    format!("ghost 2 NS ns1.{GHOST}\nns1.ghost 2 A {address}")
}

/// Clients query everything that could keep the zone alive, ten times a second.
async fn keep_ghost_alive(client: &Client, tag: &str, rounds: usize) {
    for round in 0..rounds {
        for question in [
            format!("{tag}{round}.{GHOST} A"),
            format!("{GHOST} NS"),
            format!("ns1.{GHOST} A"),
        ] {
            client.ask(&question).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_revoked_delegation_is_gone_when_the_parents_ttl_is_over() {
    let internet = Internet::new().zone(GHOST, "* 1 A 192.0.2.66\nstay 3600 A 192.0.2.66");
    let address = internet.server("ns1.ghost.example.").address().ip();
    internet.replace("example.", &delegation_of_ghost(address));
    let world = World::builder(internet).start().await;
    let client = world.client("127.0.7.9");
    assert_eq!(client.ask(&format!("stay.{GHOST} A")).await, "192.0.2.66");
    keep_ghost_alive(&client, "before", 10).await;
    world.internet.replace("example.", "");
    world.internet.revoke(GHOST);
    // Two seconds of TTL, plus one for a clock that counts whole seconds.
    keep_ghost_alive(&client, "after", 30).await;
    for number in 0..5 {
        assert_eq!(
            client.ask(&format!("new{number}.{GHOST} A")).await,
            "NXDOMAIN"
        );
    }
}

#[tokio::test]
async fn a_server_whose_address_the_parent_changed_is_asked_no_more() {
    let internet = Internet::new()
        .zone(GHOST, "* 1 A 192.0.2.66")
        .zone("new.example.", "");
    let [old, new] = ["ns1.ghost.example.", "ns1.new.example."]
        .map(|server| internet.server(server).address().ip());
    internet.set_behaviour(
        "new.example.",
        &Behaviour::AnswersEverything([192, 0, 2, 77].into()),
    );
    internet.revoke(GHOST);
    internet.replace("example.", &delegation_of_ghost(old));
    let world = World::builder(internet).start().await;
    let client = world.client("127.0.7.9");
    assert_eq!(client.ask(&format!("www.{GHOST} A")).await, "192.0.2.66");
    keep_ghost_alive(&client, "before", 10).await;
    world
        .internet
        .replace("example.", &delegation_of_ghost(new));
    keep_ghost_alive(&client, "after", 30).await;
    let old = world.internet.server("ns1.ghost.example.");
    old.reset_counts();
    for number in 0..5 {
        assert_eq!(
            client.ask(&format!("new{number}.{GHOST} A")).await,
            "192.0.2.77"
        );
    }
    assert_eq!(old.counts().queries(), 0);
}
