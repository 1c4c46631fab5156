//! The form of a block, and the queries that it does not affect.

use serde_json::json;

use crate::world::{Feed, Switch::*, World};

async fn world() -> World {
    let zone = "bets.example. 300 A 192.0.2.7\nwww 300 CNAME bets.example.\nbets.example. 300 AAAA 2001:db8::7\nbets.example. 300 MX 10 mail.bets.example.";
    World::with_zone(zone)
        .zone("news.example. 300 A 192.0.2.8\nsneaky 300 CNAME www.bets.example.\nalias 300 HTTPS 0 bets.example.\nbets.example.com.news.example. 300 A 192.0.2.9")
        .listing("gambling", "bets.example")
        .start()
        .await
}

#[tokio::test]
async fn a_listed_name_and_its_subtree_are_blocked_only_where_it_is_switched_on() {
    let world = world().await;
    world.household("neighbours", "127.0.8.0/24").await;
    let home = world.client("127.0.7.9");
    let neighbours = world.client("127.0.8.9");
    assert_eq!(home.ask("bets.example. A").await, "192.0.2.7");
    world.toggle("home", "gambling", Block).await;
    for question in [
        "bets.example. A",
        "BETS.example. AAAA",
        "www.bets.example. A",
        "a.b.c.bets.example. TXT",
        "bets.example. MX",
    ] {
        assert_eq!(home.ask(question).await, "blocked: gambling", "{question}");
        assert_eq!(
            home.over_tcp().ask(question).await,
            "blocked: gambling",
            "{question} over TCP"
        );
    }
    assert_eq!(
        neighbours.ask("bets.example. A").await,
        "192.0.2.7",
        "the cache holds what the Internet said"
    );
    assert_eq!(
        world.client("127.0.9.9").ask("bets.example. A").await,
        "192.0.2.7",
        "a client outside all households"
    );
    assert_eq!(
        home.ask("bets.example.com.news.example. A").await,
        "192.0.2.9",
        "a name is not its look-alike"
    );
    assert_eq!(home.ask("news.example. A").await, "192.0.2.8");
}

#[tokio::test]
async fn a_block_is_short_lived_has_its_soa_and_explains_itself_in_edns_only() {
    let world = world().await;
    world.toggle("home", "gambling", Block).await;
    let home = world.client("127.0.7.9");
    let reply = home.reply("bets.example. A").await.unwrap();
    assert_eq!(reply.to_string(), "blocked: gambling");
    assert_eq!(u16::from(reply.code()), 3, "NXDOMAIN");
    let [error] = &reply.extended_errors()[..] else {
        panic!("one reason: {:?}", reply.extended_errors())
    };
    assert_eq!((error.code, error.text.as_str()), (17, "gambling"));
    let soa = &reply.message.authorities[0];
    assert!(soa.ttl <= 30, "a parent's yes must not wait: {} s", soa.ttl);
    assert_eq!(home.without_edns().ask("bets.example. A").await, "NXDOMAIN");
}

#[tokio::test]
async fn a_name_that_leads_to_a_blocked_one_is_blocked_unless_it_is_allowed() {
    let world = world().await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("sneaky.news.example. A").await, "192.0.2.7");
    world.toggle("home", "gambling", Block).await;
    assert_eq!(
        home.ask("sneaky.news.example. A").await,
        "blocked: gambling"
    );
    assert_eq!(
        home.ask("alias.news.example. HTTPS").await,
        "blocked: gambling"
    );
    world.own_name("home", "sneaky.news.example", Allow).await;
    assert_eq!(home.ask("sneaky.news.example. A").await, "192.0.2.7");
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
}

#[tokio::test]
async fn own_names_beat_categories_and_filtering_off_lifts_both() {
    let world = world().await;
    let home = world.client("127.0.7.9");
    world.toggle("home", "gambling", Block).await;
    world.own_name("home", "news.example", Block).await;
    world.own_name("home", "www.bets.example", Allow).await;
    assert_eq!(home.ask("news.example. A").await, "blocked: own list");
    assert_eq!(home.ask("www.bets.example. A").await, "192.0.2.7");
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
    world
        .api
        .household("home", json!({ "filtering": "off" }))
        .await
        .ok();
    assert_eq!(home.ask("bets.example. A").await, "192.0.2.7");
    assert_eq!(home.ask("news.example. A").await, "192.0.2.8");
    world
        .api
        .household("home", json!({ "filtering": "on" }))
        .await
        .ok();
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
    world.own_name("home", "news.example", Inherit).await;
    assert_eq!(home.ask("news.example. A").await, "192.0.2.8");
}

#[tokio::test]
async fn a_preset_blocks_its_categories_until_a_switch_says_otherwise() {
    let world = world().await;
    let home = world.client("127.0.7.9");
    world
        .api
        .household("home", json!({ "preset": "moderate" }))
        .await
        .ok();
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
    world.toggle("home", "gambling", Allow).await;
    assert_eq!(home.ask("bets.example. A").await, "192.0.2.7");
    world.toggle("home", "gambling", Inherit).await;
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
}

#[tokio::test]
async fn each_tier_is_lifted_by_whom_it_may_be_and_says_its_basis() {
    let tier =
        |category: &str, tier: &str, names: &str| Feed::new(category).tier(tier).names(names);
    let world = World::with_zone("ordered.example. 60 A 192.0.2.1")
        .zone("evil.example. 60 A 192.0.2.2")
        .zone("help.example. 60 A 192.0.2.3")
        .feed(tier("piracy", "mandatory", "ordered.example"))
        .feed(tier("malware", "security", "evil.example"))
        .feed(tier("health", "never-block", "help.example"))
        .start()
        .await;
    let home = world.client("127.0.7.9");
    for filtering in ["off", "on"] {
        world
            .api
            .household("home", json!({ "filtering": filtering }))
            .await
            .ok();
        let mandatory = home.reply("ordered.example. A").await.unwrap();
        assert_eq!(mandatory.extended_errors()[0].code, 16);
        let evil = home.reply("evil.example. A").await.unwrap();
        assert_eq!(
            (evil.extended_errors()[0].code, evil.to_string().as_str()),
            (15, "blocked: malware")
        );
    }
    world.own_name("home", "evil.example", Allow).await;
    assert_eq!(
        world
            .api
            .own_name("home", "ordered.example", "subtree", Allow)
            .await
            .problem(),
        "mandatory"
    );
    world.own_name("home", "example", Allow).await;
    assert_eq!(
        home.reply("ordered.example. A")
            .await
            .unwrap()
            .extended_errors()[0]
            .code,
        16,
        "a mandate cannot be lifted"
    );
    assert_eq!(
        home.ask("evil.example. A").await,
        "192.0.2.2",
        "a household may lift the operator's security for itself"
    );
    world.own_name("home", "help.example", Block).await;
    assert_eq!(
        home.ask("help.example. A").await,
        "192.0.2.3",
        "help is never blocked"
    );
}

#[tokio::test]
async fn the_operator_chooses_what_a_block_looks_like() {
    let zone = "bets.example. 60 A 192.0.2.7";
    let landing =
        "[dns]\nblocked_answer = \"landing\"\nlanding = [\"192.0.2.99\", \"2001:db8::99\"]\n";
    let world = World::with_zone(zone)
        .listing("gambling", "bets.example")
        .config(landing)
        .start()
        .await;
    world.toggle("home", "gambling", Block).await;
    let reply = |question: &'static str| {
        let home = world.client("127.0.7.9");
        async move { home.reply(question).await.unwrap() }
    };
    let a = reply("bets.example. A").await;
    assert!(a.answer_lines()[0].contains("192.0.2.99") && a.extended_errors()[0].code == 17);
    assert!(reply("bets.example. AAAA").await.answer_lines()[0].contains("2001:db8::99"));
    let https = reply("bets.example. HTTPS").await;
    assert!(
        https.answer_lines().is_empty()
            && u16::from(https.code()) == 0
            && https.authority_lines().len() == 1,
        "nothing for other types"
    );
}
