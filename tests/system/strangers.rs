//! Clients outside all households and senders of NOTIFY that are no primary: both are refused.

use serde_json::json;

use crate::world::World;

/// NOTIFY for `rpz.example` (RFC 1996).
const NOTIFY: &[u8] = b"\x12\x34\x24\0\0\x01\0\0\0\0\0\0\x03rpz\x07example\0\0\x06\0\x01";
const REFUSED: u8 = 5;

#[tokio::test]
async fn a_client_of_no_household_is_refused_until_it_has_one() {
    let world = World::with_zone("site.example. 60 A 192.0.2.7")
        .config("[dns]\nallow_from = [\"127.0.8.0/24\"]\n")
        .start()
        .await;
    let stranger = world.client("127.0.9.9");
    for client in [
        stranger.clone(),
        stranger.over_tcp(),
        stranger.iterative(),
        stranger.with_mac("02:00:5e:00:53:01"),
    ] {
        let reply = client.reply("site.example. A").await.unwrap();
        let codes: Vec<u16> = reply
            .extended_errors()
            .iter()
            .map(|error| error.code)
            .collect();
        assert_eq!((reply.to_string().as_str(), codes), ("REFUSED", vec![18]));
    }
    assert_eq!(stranger.ask("site.example. ANY").await, "REFUSED");
    assert_eq!(stranger.ask("id.server. CH TXT").await, "REFUSED");
    assert!(world.api.metric("ox_protect_clients_refused_total").await >= 6.0);
    assert_eq!(
        world.client("127.0.8.9").ask("site.example. A").await,
        "192.0.2.7",
        "a listed network"
    );
    assert_eq!(
        world.client("127.0.7.9").ask("site.example. A").await,
        "192.0.2.7",
        "a household's client"
    );
    world.api.network("home", "127.0.9.0/24").await.ok();
    assert_eq!(
        stranger.ask("site.example. A").await,
        "192.0.2.7",
        "from the next query on"
    );
    world
        .api
        .delete("/v1/households/home/networks/127.0.9.0%2F24")
        .await
        .ok();
    assert_eq!(stranger.ask("site.example. A").await, "REFUSED");
}

#[tokio::test]
async fn a_notify_is_taken_from_the_primary_or_a_named_sender_alone() {
    let world = World::with_zone("site.example. 60 A 192.0.2.7")
        .config("[dns]\nnotify_from = [\"127.0.5.0/24\"]\n[lists]\napi_allow_private = true\n")
        .start()
        .await;
    let code = async |from: &str| world.client(from).send(NOTIFY).await.unwrap()[3] & 0x0f;
    assert_eq!(code("127.0.0.1").await, REFUSED, "no such zone is followed");
    // No server answers there, which does not change who may send a NOTIFY for the zone.
    let definition = json!({
        "name": "zone", "source": "rpz://localhost:1/rpz.example", "format": "rpz", "tier": "security", "category": "malware",
        "allow_private": true, "interval_s": 3600,
    });
    world.api.post("/v1/feeds", definition).await.ok();
    crate::world::eventually(
        "the primary's name is looked up",
        std::time::Duration::from_secs(30),
        async || code("127.0.0.1").await == 0,
    )
    .await;
    for (sender, expected) in [
        ("127.0.7.9", REFUSED),
        ("127.0.5.9", 0),
        ("127.0.6.9", REFUSED),
    ] {
        assert_eq!(code(sender).await, expected, "{sender}");
        let over_tcp = world.client(sender).over_tcp().send(NOTIFY).await.unwrap();
        assert_eq!(over_tcp[3] & 0x0f, expected, "{sender} over TCP");
    }
}
