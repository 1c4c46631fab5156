//! Permissions in the real program: keys from the command line and from parents, tokens of a
//! provider, and a crash in between.

use std::process::Output;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Api, Page, Provider, Switch::*, World, ox_protect};

fn key(world: &World, arguments: &[&str]) -> (String, Api) {
    let config = world.daemon.config();
    let config = ["--config", config.to_str().unwrap()];
    let Output {
        status,
        stdout,
        stderr,
    } = ox_protect(&[&["keys", "create"], arguments, &config].concat());
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout).unwrap();
    let (id, secret) = text.trim().split_once(": ").unwrap();
    (id.to_owned(), world.api.with_key(secret))
}

async fn two_households() -> World {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .household("home", "127.0.7.0/24")
        .household("other", "127.0.8.0/24")
        // A walk over all routes exceeds the rate limit of a family.
        .config("[api]\nrate_per_s = 0\n")
        .start()
        .await;
    world
        .device("home", "phone", ("mac", "02:00:00:00:00:07"))
        .await;
    world
}

/// All routes of a household, with examples in place of parameters.
async fn routes_of_households(api: &Api) -> Vec<(Method, String)> {
    let document = api.get("/openapi.json").await.ok().json;
    let mut routes = Vec::new();
    for (path, item) in document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| path.starts_with("/v1/households/{id}"))
    {
        let path = path
            .replace("{id}", "home")
            .replace("{device}", "phone")
            .replace("{cidr}", "127.0.7.0%2F24");
        let path = path
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "gambling"
                } else {
                    segment
                }
            })
            .collect::<Vec<_>>()
            .join("/");
        routes.extend(
            item.as_object()
                .unwrap()
                .keys()
                .map(|method| (method.to_uppercase().parse().unwrap(), path.clone())),
        );
    }
    routes
}

#[tokio::test]
async fn a_parent_switches_its_own_home_and_learns_nothing_of_another() {
    let world = two_households().await;
    let (id, parent) = key(&world, &["--role", "parent", "--household", "home"]);
    let (_, stranger) = key(&world, &["--role", "parent", "--household", "other"]);
    let (_, child) = key(
        &world,
        &[
            "--role",
            "child",
            "--household",
            "home",
            "--device",
            "phone",
        ],
    );
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("bets.example. A").await, "192.0.2.7");
    parent.toggle("home", "gambling", Block).await.ok();
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
    let before = world.api.get("/v1/households/home").await.ok();
    assert_eq!(
        before.json["categories"]["gambling"]["set_by"],
        format!("key:{id}")
    );
    // An event stream is endless.
    for (method, path) in routes_of_households(&world.api)
        .await
        .into_iter()
        .filter(|(_, path)| !path.ends_with("/events"))
    {
        let there = stranger
            .request(
                method.clone(),
                &path,
                Some(r#"{"state":"allow"}"#.to_owned()),
            )
            .await;
        let nowhere = stranger
            .request(
                method.clone(),
                &path.replacen("home", "none", 1),
                Some(r#"{"state":"allow"}"#.to_owned()),
            )
            .await;
        assert_eq!(
            (there.status, there.problem()),
            (404, "unknown_household"),
            "{method} {path}"
        );
        assert_eq!(
            there.text.replace("home", "none"),
            nowhere.text,
            "{method} {path}"
        );
        let theirs = child
            .request(
                method.clone(),
                &path,
                Some(r#"{"state":"allow"}"#.to_owned()),
            )
            .await;
        assert!(
            theirs.status != 401 && (method == Method::GET || !(200..300).contains(&theirs.status)),
            "{method} {path}: {}",
            theirs.text
        );
    }
    assert_eq!(
        world.api.get("/v1/households/home").await.ok().text,
        before.text
    );
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
}

#[tokio::test]
async fn a_write_that_comes_again_after_a_crash_has_one_effect() {
    let world = two_households().await;
    let api = world.api.with_header("Idempotency-Key", "first");
    let made = api
        .post("/v1/households/home/keys", json!({ "role": "parent" }))
        .await
        .ok();
    let switched = world
        .api
        .with_header("Idempotency-Key", "second")
        .toggle("home", "gambling", Block)
        .await
        .ok();
    world.daemon.restart().await;
    let again = api
        .post("/v1/households/home/keys", json!({ "role": "parent" }))
        .await;
    assert_eq!(
        (again.status, again.problem()),
        (409, "idempotency_secret"),
        "{}",
        again.text
    );
    assert!(again.text.contains(made.json["id"].as_str().unwrap()));
    assert_eq!(
        world.api.get("/v1/households/home/keys").await.ok().json["keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let again = world
        .api
        .with_header("Idempotency-Key", "second")
        .toggle("home", "gambling", Block)
        .await
        .ok();
    assert_eq!(
        (again.header("idempotency-replayed"), &again.text),
        (Some("true"), &switched.text)
    );
    assert_eq!(
        world.api.get("/v1/households/home").await.ok().version(),
        switched.version()
    );
}

#[tokio::test]
async fn a_family_that_asks_too_often_waits_and_an_operator_does_not() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .config("[api]\nrate_per_s = 1\nrate_burst = 10\nfailed_per_s = 1\nfailed_burst = 5\n")
        .start()
        .await;
    let (_, parent) = key(&world, &["--role", "parent", "--household", "home"]);
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(parent.get("/v1/categories").await.status);
    }
    assert_eq!(statuses[..10], [200; 10]);
    let refused = parent.get("/v1/categories").await;
    assert!(
        statuses.contains(&429)
            && (refused.status != 429 || refused.header("retry-after") == Some("1")),
        "{statuses:?}"
    );
    let forged = world
        .api
        .with_key("ox_wrong")
        .with_header("X-Forwarded-For", "192.0.2.9");
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(forged.get("/v1/categories").await.status);
    }
    assert!(
        statuses[..5] == [401; 5] && statuses.contains(&429),
        "{statuses:?}"
    );
    for _ in 0..100 {
        world.api.get("/v1/categories").await.ok();
    }
}

/// A token of a parent of `home`.
pub fn token(signer: &EncodingKey, kid: &str, subject: &str) -> String {
    let claims = json!({
        "iss": "https://login.isp.example/", "aud": "ox-protect", "sub": subject, "exp": jiff::Timestamp::now().as_second() + 600,
        "ox_role": "parent", "ox_household": "home",
    });
    encode(
        &Header {
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::ES256)
        },
        &claims,
        signer,
    )
    .unwrap()
}

pub fn signer() -> EncodingKey {
    EncodingKey::from_ec_der(
        &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .unwrap()
            .serialize_der(),
    )
}

pub fn key_set(keys: &[(&str, &EncodingKey)]) -> String {
    let jwk = |(kid, key): &(&str, &EncodingKey)| {
        let mut jwk = json!(Jwk::from_encoding_key(key, Algorithm::ES256).unwrap());
        jwk["kid"] = Value::from(*kid);
        jwk
    };
    json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() }).to_string()
}

#[tokio::test]
async fn a_token_opens_while_its_key_is_in_the_providers_file() {
    let first = signer();
    let second = signer();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, key_set(&[("one", &first)])).unwrap();
    let oidc = format!(
        "[api.oidc]\nissuer = \"https://login.isp.example/\"\naudience = \"ox-protect\"\njwks = {:?}\n",
        file.display().to_string()
    );
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .config(&oidc)
        .start()
        .await;
    let alice = world.api.with_key(&token(&first, "one", "alice"));
    alice.toggle("home", "gambling", Block).await.ok();
    assert_eq!(
        world.api.get("/v1/households/home").await.ok().json["categories"]["gambling"]["set_by"],
        "jwt:alice"
    );
    let audit = world
        .api
        .get("/v1/audit?order=newest&limit=1")
        .await
        .ok()
        .json;
    assert_eq!(
        (&audit["records"][0]["actor"], &audit["records"][0]["role"]),
        (&json!("jwt:alice"), &json!("parent"))
    );
    let bob = world.api.with_key(&token(&second, "two", "bob"));
    assert_eq!(
        bob.get("/v1/households/home").await.problem(),
        "token_wrong"
    );
    let both = [("one", &first), ("two", &second)];
    std::fs::write(folder.path().join("new"), key_set(&both[1..])).unwrap();
    std::fs::rename(folder.path().join("new"), &file).unwrap();
    // Another key set may have the same length and the same modification time, so it is made
    // longer.
    std::fs::write(&file, key_set(&both[1..]) + "\n").unwrap();
    bob.get("/v1/households/home").await.ok();
    assert_eq!(
        alice.get("/v1/households/home").await.problem(),
        "token_wrong"
    );
}

#[tokio::test]
async fn a_token_opens_by_the_providers_last_keys_also_while_it_is_down() {
    let signer = signer();
    let provider = Provider::open();
    provider.publish("/jwks.json", key_set(&[("one", &signer)]));
    let oidc = format!(
        "[api.oidc]\nissuer = \"https://login.isp.example/\"\naudience = \"ox-protect\"\njwks = \"{}\"\nallow_private = true\n",
        provider.url("/jwks.json")
    );
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .config(&oidc)
        .start()
        .await;
    let alice = world.api.with_key(&token(&signer, "one", "alice"));
    alice.get("/v1/households/home").await.ok();
    provider.answer("/jwks.json", Page::status(500));
    for number in 0..10 {
        let unknown = world
            .api
            .with_key(&token(&signer, &format!("made-up-{number}"), "alice"));
        assert_eq!(
            unknown.get("/v1/households/home").await.problem(),
            "token_wrong"
        );
    }
    alice.get("/v1/households/home").await.ok();
    assert!(
        provider.requests().len() <= 2,
        "not once for each name that is made up"
    );
}
