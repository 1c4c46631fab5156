//! The API's listener at the level of octets: what HTTP/1.1 requires to be refused is refused with
//! a code.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    roles::{key_set, signer, token},
    world::{Events, Internet, Page, Provider, Switch, World, eventually, ox_protect},
};

/// A connection that is silent for this long stays silent.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Sends octets and reads until the listener closes.
async fn say(address: SocketAddr, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(octets).await.unwrap();
    let mut heard = Vec::new();
    tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut heard))
        .await
        .expect("the listener closes")
        .unwrap();
    String::from_utf8_lossy(&heard).into_owned()
}

/// The status and the code of the last response in the received text.
fn refusal(heard: &str) -> (u16, String) {
    let begin = ["HTTP/1.1 4", "HTTP/1.1 5"]
        .iter()
        .filter_map(|begin| heard.rfind(begin))
        .max();
    let begin = begin.unwrap_or_else(|| panic!("no refusal in {heard:?}"));
    let (head, body) = heard[begin..].split_once("\r\n\r\n").unwrap();
    assert!(
        head.to_ascii_lowercase()
            .contains("content-type: application/problem+json"),
        "{head}"
    );
    let problem: Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    let status = head[9..12].parse().unwrap();
    assert_eq!(problem["status"], status);
    (status, problem["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_http_must_refuse_is_refused_with_a_code() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let api = world.daemon.addresses().api();
    let long = format!(
        "GET /v1/check?name={} HTTP/1.1\r\nHost: a\r\n\r\n",
        "x".repeat(9_000)
    );
    // What does not fit into the buffer of a connection is a head that is too large.
    let longer = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000));
    let large = format!(
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    let larger = format!(
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(600_000)
    );
    let many = format!(
        "GET /healthz HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(300)
    );
    for (octets, status, code) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", 400, "host"),
        (
            "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            400,
            "host",
        ),
        (
            "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            400,
            "host",
        ),
        ("GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "host"),
        ("GET http://a/healthz HTTP/1.1\r\n\r\n", 400, "host"),
        ("GET /healthz HTTP/1.1\r\nHost: user@a\r\n\r\n", 400, "host"),
        ("GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n", 400, "http"),
        ("GET /heal thz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http"),
        ("GET /healthz HTTP/3.1\r\nHost: a\r\n\r\n", 400, "http"),
        ("G=T /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http"),
        (
            "PUT /v1/households/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            400,
            "http",
        ),
        (
            "PUT /v1/households/a HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n{}",
            400,
            "http",
        ),
        (
            "PUT /v1/households/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n{}",
            400,
            "http",
        ),
        (
            "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03 a TLS client\r\n\r\n",
            400,
            "http",
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            505,
            "http_version",
        ),
        (&long, 414, "uri_too_long"),
        (&longer, 431, "headers_too_large"),
        (&large, 431, "headers_too_large"),
        (&larger, 431, "headers_too_large"),
        (&many, 431, "headers_too_large"),
    ] {
        let octets = octets.replacen("\r\nHost", "\r\nConnection: close\r\nHost", 1);
        let heard = say(api, octets.as_bytes()).await;
        assert_eq!(
            refusal(&heard),
            (status, code.to_owned()),
            "{:?}",
            octets.chars().take(80).collect::<String>()
        );
    }
    // The earlier request on the same connection was answered.
    let heard = say(
        api,
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n",
    )
    .await;
    assert!(
        heard.starts_with("HTTP/1.1 200 OK") && heard.contains("ok\n"),
        "{heard}"
    );
    assert_eq!(refusal(&heard), (400, "http".to_owned()));
    for good in [
        "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        "GET http://b:80/healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
    ] {
        assert!(
            say(api, good.as_bytes()).await.contains(" 200 OK\r\n"),
            "{good}"
        );
    }
}

#[tokio::test]
async fn behind_a_wrong_key_the_connection_closes() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let api = world.daemon.addresses().api();
    let with = |header: &str| format!("GET /v1/presets HTTP/1.1\r\nHost: a\r\n{header}\r\n");
    let key = world.daemon.key();
    for wrong in ["", "Authorization: Bearer ox_0\r\n"] {
        let known = with(&format!("Authorization: Bearer {key}\r\n"));
        let heard = say(api, [known.clone(), with(wrong), known].concat().as_bytes()).await;
        let begins: Vec<&str> = heard
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|one| &one[..3])
            .collect();
        assert_eq!(begins, ["200", "401"], "{heard}");
        assert!(heard.contains("connection: close"), "{heard}");
    }
}

/// The key stands in the head: a client without one cannot have a body read.
#[tokio::test]
async fn a_wrong_key_is_refused_before_the_body_comes() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let api = world.daemon.addresses().api();
    for target in [
        "PUT /v1/households/home",
        "PUT /v1/households/home/categories/gambling",
        "POST /v1/households/home/requests",
        "POST /v1/feeds",
    ] {
        for header in [
            "",
            "Authorization: Bearer ox_0\r\n",
            "Authorization: Bearer ox_0\r\nIdempotency-Key: a\r\n",
            "Cookie: ox_session=0\r\nIdempotency-Key: a\r\n",
        ] {
            let body = "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
            let request = format!("{target} HTTP/1.1\r\nHost: a\r\n{header}{body}");
            let (status, code) = refusal(&say(api, request.as_bytes()).await);
            assert_eq!(status, 401, "{target} {header}: {code}");
        }
    }
    // What needs no key has a small body.
    let long = format!(
        "POST /v1/reports HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n{:20000}",
        "{"
    );
    assert_eq!(
        refusal(&say(api, long.as_bytes()).await),
        (413, "too_large".to_owned())
    );
}

#[tokio::test]
async fn a_stream_of_a_key_that_the_command_line_revokes_ends() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let config = world.daemon.config();
    let keys = |arguments: &[&str]| {
        let output = ox_protect(
            &[
                &["keys"],
                arguments,
                &["--config", config.to_str().unwrap()],
            ]
            .concat(),
        );
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let made = keys(&["create", "--role", "auditor"]);
    let (id, key) = made.trim().split_once(": ").unwrap();
    let auditor = world.api.with_key(key);
    let lists = Events::listen(&auditor).await;
    let home = Events::of_household(&auditor, "home").await;
    let own = Events::listen(&world.api).await;
    keys(&["revoke", id]);
    for stream in [&lists, &home] {
        eventually("the stream ends", TIMEOUT, async || stream.has_ended()).await;
    }
    assert!(!own.has_ended(), "another key's goes on");
    for _ in 0..8 {
        assert_eq!(auditor.get("/v1/events").await.problem(), "key_wrong");
    }
}

#[tokio::test]
async fn a_token_is_to_be_tried_again_while_its_provider_is_down() {
    let provider = Provider::open();
    provider.answer("/jwks.json", Page::status(500));
    let oidc = format!(
        "[api.oidc]\nissuer = \"https://login.isp.example/\"\naudience = \"ox-protect\"\njwks = \"{}\"\nallow_private = true\n",
        provider.url("/jwks.json")
    );
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .config(&oidc)
        .start()
        .await;
    let signer = signer();
    let alice = world.api.with_key(&token(&signer, "one", "alice"));
    let refused = alice.get("/v1/households/home").await;
    assert_eq!(
        (refused.status, refused.problem()),
        (503, "provider_unavailable"),
        "{}",
        refused.text
    );
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    provider.publish("/jwks.json", "<html>");
    assert_eq!(alice.get("/v1/households/home").await.status, 503);
    provider.publish("/jwks.json", key_set(&[("one", &signer)]));
    eventually("it opens when the provider is back", TIMEOUT, async || {
        alice.get("/v1/households/home").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_pause_beyond_the_calendar_is_refused_and_the_connection_goes_on() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    for minutes in [json!(4_294_967_295_u32), json!(527_041), json!(0)] {
        let refused = world
            .api
            .put("/v1/households/home/pause", json!({ "minutes": minutes }))
            .await;
        assert_eq!(
            (refused.status, refused.problem()),
            (422, "limit"),
            "{}",
            refused.text
        );
    }
    for instant in ["9999-12-31T23:59:59Z", "-009999-01-02T01:59:59Z"] {
        let refused = world
            .api
            .put("/v1/households/home/pause", json!({ "until": instant }))
            .await;
        assert!(
            refused.status == 422 && ["limit", "body"].contains(&refused.problem()),
            "{}",
            refused.text
        );
        world
            .api
            .mandate("m", json!({ "name": "m.example", "basis": "iwf", "not_before": "1970-01-01T00:00:00Z", "not_after": instant }))
            .await;
        world
            .api
            .get(&format!(
                "/v1/explain?name=m.example&household=home&at={instant}"
            ))
            .await;
    }
    assert_eq!(
        world.client("127.0.7.9").ask("a.example. A").await,
        "192.0.2.1"
    );
    assert_eq!(
        world
            .api
            .metric_of("ox_protect_api_panics_total", &[])
            .await,
        0.0
    );
    assert_eq!(
        world.api.metric_of("ox_protect_panics_total", &[]).await,
        0.0
    );
}

#[tokio::test]
async fn the_whole_internet_is_a_household_only_by_force() {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .start()
        .await;
    for cidr in ["0.0.0.0/0", "::/0", "127.0.0.0/8"] {
        let refused = world.api.network("home", cidr).await;
        assert_eq!(
            (refused.status, refused.problem()),
            (422, "too_wide"),
            "{cidr}: {}",
            refused.text
        );
    }
    world.toggle("home", "gambling", Switch::Block).await;
    let stranger = world.client("127.1.2.3");
    assert_eq!(stranger.ask("bets.example. A").await, "192.0.2.7");
    world
        .api
        .put(
            "/v1/households/home/networks/127.0.0.0%2F8",
            json!({ "force": true }),
        )
        .await
        .ok();
    assert_eq!(stranger.ask("bets.example. A").await, "blocked: gambling");
}

#[tokio::test]
async fn names_of_the_internet_lead_into_no_home_and_the_homes_own_do() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("local.zone");
    std::fs::write(&records, "nas.home.arpa. 60 IN A 192.168.1.9\n").unwrap();
    let config = std::fs::read_to_string("configs/home.toml")
        .unwrap()
        .parse::<toml::Table>()
        .unwrap();
    let of_home = config["recursion"]["private_addresses"].as_array().unwrap();
    // The simulated Internet uses loopback, which must count as the Internet here.
    let private: Vec<_> = of_home
        .iter()
        .filter(|network| !network.as_str().unwrap().starts_with("127."))
        .collect();
    assert_eq!(private.len() + 1, of_home.len());
    let private = format!(
        "[recursion]\nprivate_addresses = {}\nprivate_domains = {}\nlocal_records = {:?}\n",
        toml::Value::from(private.into_iter().cloned().collect::<Vec<_>>()),
        config["recursion"]["private_domains"],
        records.display().to_string()
    );
    let elsewhere = Internet::new().zone("corp.test.", "app 60 A 10.1.2.3");
    let to = elsewhere.servers_of("corp.test.").swap_remove(0).address();
    let stub = format!("[recursion]\nstub = [{{ zone = \"corp.test\", to = [\"{to}\"] }}]\n");
    let zone = "rebind 60 A 192.168.1.1\nmixed 60 A 10.0.0.1\nmixed 60 A 192.0.2.7\nsix 60 AAAA fd00::1\ngood 60 A 192.0.2.7";
    let internet = Internet::new()
        .zone("a.example.", zone)
        .zone("house.lan.", "nas 60 A 192.168.1.9");
    let world = World::builder(internet)
        .config(&private)
        .config(&stub)
        .start()
        .await;
    let home = world.client("127.0.7.9");
    for (question, answer) in [
        ("rebind.a.example. A", "NODATA"),
        ("six.a.example. AAAA", "NODATA"),
        ("mixed.a.example. A", "192.0.2.7"),
        ("good.a.example. A", "192.0.2.7"),
        ("nas.home.arpa. A", "192.168.1.9"),
        ("nas.house.lan. A", "192.168.1.9"),
        ("app.corp.test. A", "10.1.2.3"),
    ] {
        assert_eq!(home.ask(question).await, answer, "{question}");
    }
}
