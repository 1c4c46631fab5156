//! Services and public resolvers by their names, without any feed: a category's built-in names are
//! blocked where it is on, opened by a grant, and named in an explanation.

use crate::world::{Client, Switch::*, World, ox_protect};
use serde_json::{Value, json};

const TABLET: &str = "127.0.7.10";
const COMPUTER: &str = "127.0.7.11";

/// A home with a tablet and a computer, on an Internet with the real names of some services and no
/// list of them.
async fn home() -> World {
    let world = World::with_zone("tiktok.com. 60 A 198.51.100.1\nwww 60 A 198.51.100.2")
        .zone("youtube.com. 60 A 198.51.100.3\nwww 60 A 198.51.100.4\nrestrict 60 A 203.0.113.1")
        .zone("cloudflare-dns.com. 60 A 198.51.100.5\nmozilla 60 A 198.51.100.6")
        .zone("notyoutube.com. 60 A 198.51.100.7")
        .zone("links.example. 60 A 198.51.100.8\nvideo 60 CNAME www.tiktok.com.")
        .start()
        .await;
    for (device, address) in [("tablet", TABLET), ("computer", COMPUTER)] {
        world.device("home", device, ("address", address)).await;
    }
    world
}

async fn answers<const N: usize>(client: &Client, questions: [&str; N]) -> [String; N] {
    let mut said = [const { String::new() }; N];
    for (answer, question) in said.iter_mut().zip(questions) {
        *answer = client.ask(&format!("{question}. A")).await;
    }
    said
}

/// The entry that decided, from an explanation.
fn entry(explained: &Value) -> Value {
    let of = |key: &str| explained[key].clone();
    json!([
        of("layer"),
        of("category"),
        of("entry"),
        of("source"),
        of("scope"),
        of("feed"),
        explained["setter"]["layer"]
    ])
}

#[tokio::test]
async fn a_service_is_blocked_by_its_name_on_one_device_without_any_feed() {
    let world = home().await;
    assert_eq!(
        world.api.get("/v1/feeds").await.ok().json["feeds"],
        json!([])
    );
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    let names = [
        "www.tiktok.com",
        "tiktok.com",
        "video.links.example",
        "links.example",
    ];
    let open = [
        "198.51.100.2",
        "198.51.100.1",
        "198.51.100.2",
        "198.51.100.8",
    ];
    assert_eq!(answers(&tablet, names).await, open);
    world.toggle_device("home", "tablet", "tiktok", Block).await;
    let blocked = "blocked: tiktok";
    assert_eq!(
        answers(&tablet, names).await,
        [blocked, blocked, blocked, open[3]]
    );
    assert_eq!(answers(&computer, names).await, open);
    let reply = tablet.reply("www.tiktok.com. A").await.unwrap();
    assert_eq!(
        reply.extended_errors()[0].code,
        17,
        "the household's own choice"
    );

    let explained = world
        .api
        .get("/v1/explain?name=www.tiktok.com&household=home&device=tablet")
        .await
        .ok()
        .json;
    let expected = json!([
        "category",
        "tiktok",
        "tiktok.com",
        "bundle",
        "subtree",
        null,
        "device"
    ]);
    assert_eq!(
        (entry(&explained), &explained["answer"]["ede"]["code"]),
        (expected.clone(), &json!(17)),
        "{explained}"
    );
    let behind = world
        .api
        .get("/v1/explain?name=video.links.example&household=home&device=tablet")
        .await
        .ok()
        .json;
    assert_eq!(
        (entry(&behind), &behind["hop"]),
        (
            expected.clone(),
            &json!({ "index": 1, "name": "www.tiktok.com" })
        ),
        "{behind}"
    );
    let config = world.daemon.config();
    let arguments = [
        "explain",
        "www.tiktok.com",
        "--household",
        "home",
        "--device",
        "tablet",
        "--config",
        config.to_str().unwrap(),
    ];
    let by_command = ox_protect(&arguments);
    let by_command: Value =
        serde_json::from_slice(&by_command.stdout).unwrap_or_else(|_| panic!("{by_command:?}"));
    assert_eq!(entry(&by_command), expected, "{by_command}");

    // An own list takes precedence, also behind an alias.
    world.own_name("home", "www.tiktok.com", Allow).await;
    assert_eq!(
        answers(&tablet, names).await,
        [open[0], blocked, open[2], open[3]]
    );
    let known = world
        .api
        .with_key("")
        .get("/v1/check?name=www.tiktok.com")
        .await
        .ok()
        .json;
    let listed = json!([{ "slug": "tiktok", "title": "TikTok", "tier": "choice" }]);
    assert_eq!(
        (&known["categories"], &known["presets"]),
        (&listed, &json!(["strict"])),
        "{known}"
    );
}

#[tokio::test]
async fn a_service_is_opened_by_a_grant_and_stays_with_its_safe_search() {
    let world = home().await;
    let tablet = world.client(TABLET);
    let computer = world.client(COMPUTER);
    let names = ["youtube.com", "www.youtube.com", "notyoutube.com"];
    world
        .api
        .put(
            "/v1/households/home/safe-search",
            json!({ "youtube": "strict" }),
        )
        .await
        .ok();
    assert_eq!(
        answers(&tablet, names).await,
        ["198.51.100.3", "203.0.113.1", "198.51.100.7"]
    );
    world.toggle("home", "youtube", Block).await;
    let blocked = "blocked: youtube";
    for client in [&tablet, &computer] {
        assert_eq!(
            answers(client, names).await,
            [blocked, blocked, "198.51.100.7"],
            "a name beside it is none of its"
        );
    }
    let grants = "/v1/households/home/devices/computer/grants";
    world
        .api
        .post(grants, json!({ "category": "youtube", "minutes": 45 }))
        .await
        .ok();
    assert_eq!(
        answers(&tablet, names).await,
        [blocked, blocked, "198.51.100.7"]
    );
    assert_eq!(
        answers(&computer, ["youtube.com", "www.youtube.com"]).await,
        ["198.51.100.3", "203.0.113.1"]
    );
    let explained = world
        .api
        .get("/v1/explain?name=www.youtube.com&household=home&device=computer")
        .await
        .ok()
        .json;
    assert_eq!(
        (&explained["layer"], &explained["matches"][0]["source"]),
        (&json!("safe-search"), &json!("bundle")),
        "{explained}"
    );
    let explained = world
        .api
        .get("/v1/explain?name=youtube.com&household=home&device=computer")
        .await
        .ok()
        .json;
    assert_eq!(explained["layer"], "grant", "{explained}");
    world.api.delete(grants).await.ok();
    assert_eq!(
        answers(&computer, names).await,
        [blocked, blocked, "198.51.100.7"]
    );
}

#[tokio::test]
async fn public_resolvers_are_a_category_for_all_devices() {
    let world = home().await;
    let tablet = world.client(TABLET);
    let unknown = world.client("127.0.7.99");
    let names = [
        "mozilla.cloudflare-dns.com",
        "cloudflare-dns.com",
        "tiktok.com",
    ];
    assert_eq!(
        answers(&tablet, names).await,
        ["198.51.100.6", "198.51.100.5", "198.51.100.1"]
    );
    world.toggle("home", "doh", Block).await;
    for client in [&tablet, &unknown] {
        assert_eq!(
            answers(client, names).await,
            ["blocked: doh", "blocked: doh", "198.51.100.1"]
        );
    }
    let explained = world
        .api
        .explain("mozilla.cloudflare-dns.com", "home")
        .await
        .ok()
        .json;
    let expected = json!([
        "category",
        "doh",
        "cloudflare-dns.com",
        "bundle",
        "subtree",
        null,
        "household"
    ]);
    assert_eq!(entry(&explained), expected, "{explained}");
    assert!(
        explained["reason"]
            .as_str()
            .unwrap()
            .contains("Public encrypted DNS"),
        "{explained}"
    );
    // A restart changes nothing: they are part of the program.
    world.daemon.restart().await;
    assert_eq!(
        answers(&tablet, names).await,
        ["blocked: doh", "blocked: doh", "198.51.100.1"]
    );
}

#[tokio::test]
async fn an_operators_own_taxonomy_has_its_own_services() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taxonomy.toml");
    let category = "slug = \"portal\"\ntitle = \"Our portal\"\ngroup = \"Ours\"\nservice = true\n";
    let write = |names: &str| {
        std::fs::write(&path, format!("[[preset]]\nslug = \"off\"\ntitle = \"Off\"\n[[category]]\n{category}names = {names}\n")).unwrap()
    };
    write("[\"tube.example\"]");
    let config = format!("[policy]\ntaxonomy = \"{}\"\n", path.display());
    let world = World::with_zone("tube.example. 60 A 192.0.2.1")
        .zone("tiktok.com. 60 A 198.51.100.1")
        .config(&config)
        .start()
        .await;
    world.toggle("home", "portal", Block).await;
    assert_eq!(
        answers(&world.client("127.0.7.9"), ["tube.example", "tiktok.com"]).await,
        ["blocked: portal", "198.51.100.1"]
    );
    let shown = world.api.get("/v1/categories").await.ok().json;
    let expected = json!({ "slug": "portal", "title": "Our portal", "group": "Ours", "presets": [], "service": true, "names": ["tube.example"] });
    assert_eq!(shown["categories"], json!([expected]));
    write("[\"tube.example\", \"co.uk\"]");
    let refused = ox_protect(&["check", "--config", world.daemon.config().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("\"portal\" brings co.uk, a public suffix"),
        "{said}"
    );
}
