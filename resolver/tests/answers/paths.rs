//! Hosts with listed paths, and the proxy that filters them.

use policy::{
    decide::Action,
    lists::entry::{EntryAction::*, Tier::*},
};
use resolver::message::types::Transport;

use crate::world::{INTERNET, Lists, Setup, World};

#[tokio::test]
async fn a_host_with_listed_paths_is_answered_with_the_proxy() {
    let lists = || Lists::default().path("paths", Choice, "bets.example", "/slots");
    let world = World::with(
        INTERNET,
        lists(),
        Setup {
            proxy: &["203.0.113.80", "203.0.113.81", "2001:db8:80::1"],
            ..Setup::default()
        },
    );
    for _ in 0..2 {
        assert_eq!(
            world.ask("bets.example. A").await,
            "203.0.113.80 203.0.113.81"
        );
        assert_eq!(world.ask("bets.example. AAAA").await, "2001:db8:80::1");
        assert_eq!(world.ask("bets.example. HTTPS").await, "nothing");
        assert_eq!(world.ask("bets.example. SVCB").await, "nothing");
        assert_eq!(
            world.ask("bets.example. TXT").await,
            "dice",
            "other types pass"
        );
        assert_eq!(
            world.ask("www.bets.example. A").await,
            "NXDOMAIN",
            "it is about the host, not about what is below it"
        );
        assert_eq!(
            world.ask("sneaky.example. A").await,
            "-> bets.example. 192.0.2.7",
            "nor about who shares its server"
        );
    }
    let reply = world
        .reply("127.0.7.9", Transport::Udp, "bets.example. A")
        .await
        .unwrap();
    assert_eq!(reply.answers[0].ttl, 30);
    let stranger = world
        .reply("127.0.8.9", Transport::Udp, "bets.example. A")
        .await
        .unwrap();
    assert_eq!(
        stranger.answers[0].data.to_string(),
        "192.0.2.7",
        "a client without the category's block gets the host itself"
    );
    assert_eq!(world.hits("paths"), Some(9), "what passed is not counted");
    let explained = world.explain("bets.example A").await;
    assert!(
        !explained.verdict.is_block()
            && matches!(explained.verdict.action, Action::RedirectToProxy { .. })
    );
    let explained = world.explain("bets.example TXT").await;
    assert!(!matches!(
        explained.verdict.action,
        Action::RedirectToProxy { .. }
    ));

    let v4_only = World::with(
        INTERNET,
        lists(),
        Setup {
            proxy: &["203.0.113.80"],
            ..Setup::default()
        },
    );
    assert_eq!(v4_only.ask("bets.example. AAAA").await, "nothing");
    let no_proxy = World::new(INTERNET, lists());
    assert_eq!(no_proxy.ask("bets.example. A").await, "192.0.2.7");
    assert_eq!(no_proxy.ask("bets.example. AAAA").await, "2001:db8::7");
    assert_eq!(no_proxy.hits("paths"), Some(0));
    let allowed = World::with(
        INTERNET,
        lists(),
        Setup {
            proxy: &["203.0.113.80"],
            allowed: &["bets.example"],
            ..Setup::default()
        },
    );
    assert_eq!(
        allowed.ask("bets.example. A").await,
        "192.0.2.7",
        "who allows the host allows its paths"
    );
    let order = Lists::default().path("court", Mandatory, "bets.example", "/slots");
    let ordered = World::with(
        INTERNET,
        order,
        Setup {
            proxy: &["203.0.113.80"],
            allowed: &["bets.example"],
            ..Setup::default()
        },
    );
    assert_eq!(
        ordered.ask("bets.example. A").await,
        "203.0.113.80",
        "but not what an order is about"
    );
    assert_eq!(ordered.hits("court"), Some(1));
    let both = Lists::default()
        .path("paths", Choice, "bets.example", "/slots")
        .name("bets", Choice, "bets.example", OperatorPolicy);
    let blocked = World::with(
        INTERNET,
        both,
        Setup {
            proxy: &["203.0.113.80"],
            ..Setup::default()
        },
    );
    assert_eq!(
        blocked.ask("bets.example. A").await,
        "NXDOMAIN (17)",
        "a host that is listed itself is blocked"
    );
    assert_eq!(
        (blocked.hits("bets"), blocked.hits("paths")),
        (Some(1), Some(0))
    );
}
