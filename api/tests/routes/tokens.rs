//! Tokens of an OIDC provider: valid ones, and all the ways in which one is refused.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use api::auth::{
    limits::{Limits, Rate},
    oidc::{KeySet, OidcSettings, Tokens},
};
use async_trait::async_trait;
use axum::http::Method;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use crate::{
    streams::Listener,
    world::{Answer, World},
};

/// A provider with one key of each kind.
struct Provider {
    keys: Vec<(Algorithm, EncodingKey)>,
    published: Arc<Published>,
}

/// The key set that it publishes.
#[derive(Default)]
struct Published {
    set: Mutex<Option<Value>>,
    has_changed: AtomicBool,
    reads: AtomicUsize,
}

struct Source(Arc<Published>);

#[async_trait]
impl KeySet for Source {
    async fn read(&self) -> Result<String, String> {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        self.0.has_changed.store(false, Ordering::Relaxed);
        self.0
            .set
            .lock()
            .unwrap()
            .as_ref()
            .map(Value::to_string)
            .ok_or_else(|| "the provider is down".to_owned())
    }

    fn has_changed(&self) -> bool {
        self.0.has_changed.load(Ordering::Relaxed)
    }
}

fn signer(algorithm: Algorithm) -> EncodingKey {
    match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_der(
            &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
                .unwrap()
                .serialize_der(),
        ),
        Algorithm::EdDSA => {
            // The first version of PKCS #8, which the library reads; the second one has the public
            // key behind it.
            let made = KeyPair::generate_for(&PKCS_ED25519)
                .unwrap()
                .serialize_der();
            let head = [
                0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
            ];
            EncodingKey::from_ed_der(&[&head, &made[16..48]].concat())
        }
        // PKCS #8 holds the PKCS #1 key behind 26 octets, for a modulus of 2048 bits.
        _ => EncodingKey::from_rsa_der(
            &KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
                .unwrap()
                .serialize_der()[26..],
        ),
    }
}

fn jwk(key: &EncodingKey, algorithm: Algorithm, id: &str) -> Value {
    let mut jwk = json!(Jwk::from_encoding_key(key, algorithm).unwrap());
    jwk["kid"] = id.into();
    jwk["use"] = "sig".into();
    jwk.as_object_mut().unwrap().remove("alg");
    jwk
}

impl Provider {
    fn new() -> Self {
        let rsa = signer(Algorithm::RS256);
        let keys = vec![
            (Algorithm::RS256, rsa.clone()),
            (Algorithm::PS256, rsa),
            (Algorithm::ES256, signer(Algorithm::ES256)),
            (Algorithm::EdDSA, signer(Algorithm::EdDSA)),
        ];
        let set = keys
            .iter()
            .map(|(algorithm, key)| jwk(key, *algorithm, &format!("{algorithm:?}")))
            .collect::<Vec<_>>();
        let published = Arc::new(Published {
            set: Mutex::new(Some(json!({ "keys": set }))),
            ..Published::default()
        });
        Self { keys, published }
    }

    fn settings(&self) -> OidcSettings {
        let settings = json!({ "issuer": "https://login.isp.example/", "audience": "ox-protect", "jwks": "unused" });
        serde_json::from_value(settings).unwrap()
    }

    async fn world(&self) -> World {
        let tokens = Tokens::new(
            self.settings(),
            Box::new(Source(Arc::clone(&self.published))),
        );
        World::admitting(Limits::default(), Some(tokens))
            .await
            .and_home()
            .await
    }

    fn key(&self, algorithm: Algorithm) -> &EncodingKey {
        &self.keys.iter().find(|(is, _)| *is == algorithm).unwrap().1
    }

    fn token(&self, algorithm: Algorithm, claims: &Value) -> String {
        let header = Header {
            kid: Some(format!("{algorithm:?}")),
            ..Header::new(algorithm)
        };
        encode(&header, claims, self.key(algorithm)).unwrap()
    }
}

/// The claims of a parent of `home`, with some of them otherwise; null takes one away.
fn claims(other: Value) -> Value {
    let now = Timestamp::now().as_second();
    let mut claims = json!({
        "iss": "https://login.isp.example/", "aud": "ox-protect", "sub": "alice", "exp": now + 600, "nbf": now - 5,
        "ox_role": "parent", "ox_household": "home",
    });
    for (claim, value) in other.as_object().unwrap() {
        claims[claim] = value.clone();
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    claims
}

async fn ask(world: &World, token: &str) -> Answer {
    world
        .as_key(
            &format!("Bearer {token}"),
            Method::GET,
            "/v1/households/home",
            "",
        )
        .await
}

/// Base64 as tokens have it.
fn part(octets: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sextets = |chunk: &[u8]| {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet))
            << (8 * (3 - chunk.len()));
        (0..=chunk.len())
            .map(|place| char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]))
            .collect::<String>()
    };
    octets.chunks(3).map(sextets).collect()
}

#[tokio::test]
async fn a_token_signed_by_the_provider_opens_its_household_in_its_role() {
    let provider = Provider::new();
    let world = provider.world().await;
    for algorithm in [
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::EdDSA,
    ] {
        ask(&world, &provider.token(algorithm, &claims(json!({}))))
            .await
            .ok();
    }
    let parent = format!(
        "Bearer {}",
        provider.token(Algorithm::ES256, &claims(json!({})))
    );
    world
        .as_key(
            &parent,
            Method::PUT,
            "/v1/households/home/categories/gambling",
            r#"{"state":"block"}"#,
        )
        .await
        .ok();
    assert_eq!(
        world.get("/v1/households/home").await.json["categories"]["gambling"]["set_by"],
        "jwt:alice"
    );
    world
        .as_key(&parent, Method::GET, "/v1/households/other", "")
        .await
        .is_problem(404, "unknown_household");
    world
        .as_key(&parent, Method::GET, "/v1/feeds", "")
        .await
        .is_problem(403, "role");
    let second = provider.token(
        Algorithm::ES256,
        &claims(json!({ "ox_role": "second-parent", "aud": ["portal", "ox-protect"] })),
    );
    ask(&world, &second).await.ok();
    world
        .as_key(
            &format!("Bearer {second}"),
            Method::PUT,
            "/v1/households/home",
            r#"{"filtering":"off"}"#,
        )
        .await
        .is_problem(403, "role");
    let child = provider.token(
        Algorithm::ES256,
        &claims(json!({ "ox_role": "child", "ox_device": "phone" })),
    );
    ask(&world, &child).await.is_problem(403, "role");
    world
        .as_key(
            &format!("Bearer {child}"),
            Method::GET,
            "/v1/categories",
            "",
        )
        .await
        .ok();
    world.get("/v1/households/home").await.ok();
    assert_eq!(
        provider.published.reads.load(Ordering::Relaxed),
        1,
        "keys are read once"
    );
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_claim_opens_nothing() {
    let provider = Provider::new();
    let world = provider.world().await;
    let now = Timestamp::now().as_second();
    let wrong = [
        json!({ "iss": "https://login.isp.example" }),
        json!({ "iss": null }),
        json!({ "iss": ["https://login.isp.example/"] }),
        json!({ "aud": "portal" }),
        json!({ "aud": null }),
        json!({ "aud": [] }),
        json!({ "exp": now - 61 }),
        json!({ "exp": null }),
        json!({ "exp": "never" }),
        json!({ "nbf": now + 120 }),
        json!({ "nbf": "soon" }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": "a\nb" }),
        json!({ "sub": "x".repeat(256) }),
        json!({ "ox_role": null }),
        json!({ "ox_role": "king" }),
        json!({ "ox_role": ["parent"] }),
        json!({ "ox_role": "operator" }),
        json!({ "ox_role": "auditor" }),
        json!({ "ox_household": null }),
        json!({ "ox_household": "a b" }),
        json!({ "ox_household": "none" }),
        json!({ "ox_role": "child" }),
        json!({ "ox_role": "child", "ox_device": "none" }),
        json!({ "pad": "x".repeat(8192) }),
    ];
    for other in wrong {
        ask(
            &world,
            &provider.token(Algorithm::ES256, &claims(other.clone())),
        )
        .await
        .is_problem(401, "token_wrong");
    }
    for other in [
        json!({ "exp": now - 30 }),
        json!({ "nbf": now + 30 }),
        json!({ "nbf": null }),
    ] {
        ask(
            &world,
            &provider.token(Algorithm::ES256, &claims(other.clone())),
        )
        .await
        .ok();
    }
}

#[tokio::test]
async fn no_algorithm_is_believed_but_those_of_the_keys_own_kind() {
    let provider = Provider::new();
    let world = provider.world().await;
    let body = part(claims(json!({})).to_string().as_bytes());
    let header = |value: Value| part(value.to_string().as_bytes());
    // Unsigned, in every spelling.
    for alg in ["none", "None", "NONE", ""] {
        for kid in ["ES256", "RS256"] {
            let unsigned = format!(
                "{}.{body}.",
                header(json!({ "alg": alg, "kid": kid, "typ": "JWT" }))
            );
            ask(&world, &unsigned).await.is_problem(401, "token_wrong");
        }
    }
    // A public key is no secret: whatever of it is taken for one.
    let set = provider.published.set.lock().unwrap().clone().unwrap();
    for published in set["keys"].as_array().unwrap() {
        let kid = published["kid"].as_str().unwrap();
        let texts = ["n", "x", "y", "e"]
            .iter()
            .filter_map(|part| published[part].as_str());
        for secret in texts
            .map(str::to_owned)
            .chain([published.to_string(), String::new()])
        {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let header = Header {
                    kid: Some(kid.to_owned()),
                    ..Header::new(algorithm)
                };
                for key in [
                    Ok(EncodingKey::from_secret(secret.as_bytes())),
                    EncodingKey::from_base64_secret(&secret),
                ] {
                    let Ok(key) = key else { continue };
                    ask(&world, &encode(&header, &claims(json!({})), &key).unwrap())
                        .await
                        .is_problem(401, "token_wrong");
                }
            }
        }
    }
    // The right key under another's name, another algorithm of the same key, a stranger's key, and
    // a changed token.
    let sign = |algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey| {
        encode(
            &Header {
                kid: kid.map(str::to_owned),
                ..Header::new(algorithm)
            },
            &claims(json!({})),
            key,
        )
        .unwrap()
    };
    let es256 = provider.key(Algorithm::ES256);
    for token in [
        sign(Algorithm::ES256, Some("EdDSA"), es256),
        sign(Algorithm::ES256, Some("none"), es256),
        sign(Algorithm::ES256, None, es256),
        sign(
            Algorithm::RS512,
            Some("RS256"),
            provider.key(Algorithm::RS256),
        ),
        sign(Algorithm::ES256, Some("ES256"), &signer(Algorithm::ES256)),
    ] {
        ask(&world, &token).await.is_problem(401, "token_wrong");
    }
    let good = provider.token(Algorithm::ES256, &claims(json!({})));
    let parts: Vec<&str> = good.split('.').collect();
    let other = part(claims(json!({ "sub": "mallory" })).to_string().as_bytes());
    ask(&world, &format!("{}.{other}.{}", parts[0], parts[2]))
        .await
        .is_problem(401, "token_wrong");
    ask(&world, &format!("{}.{}.", parts[0], parts[1]))
        .await
        .is_problem(401, "token_wrong");
    let critical = Header {
        kid: Some("ES256".to_owned()),
        crit: Some(vec!["exp".to_owned()]),
        ..Header::new(Algorithm::ES256)
    };
    ask(
        &world,
        &encode(&critical, &claims(json!({})), es256).unwrap(),
    )
    .await
    .is_problem(401, "token_wrong");
    for nonsense in ["..", "a.b.c", "e30.e30.e30"] {
        ask(&world, nonsense).await.is_problem(401, "token_wrong");
    }
    ask(&world, &good).await.ok();
}

#[tokio::test]
async fn a_key_set_may_hold_secrets_and_strangers_and_none_of_them_is_used() {
    let provider = Provider::new();
    let secret = part(b"this is a shared secret of 32 octets");
    let mut encryption = jwk(
        provider.key(Algorithm::RS256),
        Algorithm::RS256,
        "encryption",
    );
    encryption["use"] = "enc".into();
    let mut only_ps256 = jwk(
        provider.key(Algorithm::PS256),
        Algorithm::PS256,
        "only-ps256",
    );
    only_ps256["alg"] = "PS256".into();
    let strangers = json!([
        { "kty": "oct", "kid": "secret", "k": secret }, { "kty": "EC", "crv": "secp256k1", "kid": "k1", "x": "AA", "y": "AA" },
        { "kty": "new", "kid": "new" }, 7, encryption, only_ps256, jwk(provider.key(Algorithm::ES256), Algorithm::ES256, "ES256"),
    ]);
    *provider.published.set.lock().unwrap() = Some(json!({ "keys": strangers }));
    let world = provider.world().await;
    let sign = |algorithm: Algorithm, kid: &str, key: &EncodingKey| {
        encode(
            &Header {
                kid: Some(kid.to_owned()),
                ..Header::new(algorithm)
            },
            &claims(json!({})),
            key,
        )
        .unwrap()
    };
    let shared = EncodingKey::from_base64_secret(&secret)
        .unwrap_or_else(|_| EncodingKey::from_secret(b"this is a shared secret of 32 octets"));
    ask(&world, &sign(Algorithm::HS256, "secret", &shared))
        .await
        .is_problem(401, "token_wrong");
    ask(
        &world,
        &sign(
            Algorithm::RS256,
            "encryption",
            provider.key(Algorithm::RS256),
        ),
    )
    .await
    .is_problem(401, "token_wrong");
    ask(
        &world,
        &sign(
            Algorithm::RS256,
            "only-ps256",
            provider.key(Algorithm::RS256),
        ),
    )
    .await
    .is_problem(401, "token_wrong");
    ask(
        &world,
        &sign(
            Algorithm::PS256,
            "only-ps256",
            provider.key(Algorithm::PS256),
        ),
    )
    .await
    .ok();
    ask(
        &world,
        &sign(Algorithm::ES256, "ES256", provider.key(Algorithm::ES256)),
    )
    .await
    .ok();
}

#[tokio::test]
async fn an_unknown_key_has_the_providers_keys_read_again_but_not_each_time() {
    let provider = Provider::new();
    let world = provider.world().await;
    let good = provider.token(Algorithm::ES256, &claims(json!({})));
    ask(&world, &good).await.ok();
    let set = provider.published.set.lock().unwrap().take();
    let reads = || provider.published.reads.load(Ordering::Relaxed);
    for number in 0..20 {
        let header = Header {
            kid: Some(format!("made-up-{number}")),
            ..Header::new(Algorithm::ES256)
        };
        let token = encode(&header, &claims(json!({})), provider.key(Algorithm::ES256)).unwrap();
        ask(&world, &token).await.is_problem(401, "token_wrong");
    }
    assert_eq!(reads(), 1, "asked for a moment ago");
    // A file that changed is read at once, and one that cannot be read changes nothing.
    provider
        .published
        .has_changed
        .store(true, Ordering::Relaxed);
    ask(&world, &good).await.ok();
    assert_eq!(reads(), 2);
    for broken in [
        json!([]),
        json!({ "keys": [] }),
        json!({ "keys": [{ "kty": "oct", "kid": "ES256", "k": "AAAA" }] }),
    ] {
        *provider.published.set.lock().unwrap() = Some(broken);
        provider
            .published
            .has_changed
            .store(true, Ordering::Relaxed);
        ask(&world, &good).await.ok();
    }
    // A key that the provider took back opens nothing.
    let without = set.unwrap()["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["kid"] != "ES256")
        .cloned()
        .collect::<Vec<_>>();
    *provider.published.set.lock().unwrap() = Some(json!({ "keys": without }));
    provider
        .published
        .has_changed
        .store(true, Ordering::Relaxed);
    ask(&world, &good).await.is_problem(401, "token_wrong");
    ask(
        &world,
        &provider.token(Algorithm::EdDSA, &claims(json!({}))),
    )
    .await
    .ok();
}

#[tokio::test]
async fn while_the_provider_is_down_a_token_is_to_be_tried_again_and_soon_opens() {
    let provider = Provider::new();
    let set = provider.published.set.lock().unwrap().take();
    let world = provider.world().await;
    let good = provider.token(Algorithm::ES256, &claims(json!({})));
    let reads = || provider.published.reads.load(Ordering::Relaxed);
    // Down, broken, and without a key that is of any use.
    for broken in [
        None,
        Some(json!("<html>")),
        Some(json!({ "keys": [] })),
        Some(json!({ "keys": [{ "kty": "oct", "kid": "ES256", "k": "AAAA" }] })),
    ] {
        *provider.published.set.lock().unwrap() = broken;
        let refused = ask(&world, &good).await;
        refused.is_problem(503, "provider_unavailable");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=5).contains(&wait), "{wait}");
    }
    for number in 0..50 {
        let header = Header {
            kid: Some(format!("made-up-{number}")),
            ..Header::new(Algorithm::ES256)
        };
        let token = encode(&header, &claims(json!({})), provider.key(Algorithm::ES256)).unwrap();
        ask(&world, &token)
            .await
            .is_problem(503, "provider_unavailable");
    }
    let asked = reads();
    assert!(
        asked < 20,
        "the provider was asked {asked} times for fifty-four tokens"
    );
    // What is no token whatever the provider says is refused as such.
    ask(&world, "a.b.c").await.is_problem(401, "token_wrong");
    *provider.published.set.lock().unwrap() = set;
    let mut tries = 0;
    while ask(&world, &good).await.status != 200 {
        tries += 1;
        assert!(
            tries < 400,
            "it opens within seconds after the provider is back"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let header = Header {
        kid: Some("made-up".to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    ask(
        &world,
        &encode(&header, &claims(json!({})), provider.key(Algorithm::ES256)).unwrap(),
    )
    .await
    .is_problem(401, "token_wrong");
    assert!(reads() <= asked + 10);
}

#[tokio::test]
async fn while_the_provider_is_down_known_keys_go_on_and_unknown_ones_wait() {
    let provider = Provider::new();
    let world = provider.world().await;
    let good = provider.token(Algorithm::ES256, &claims(json!({})));
    ask(&world, &good).await.ok();
    *provider.published.set.lock().unwrap() = None;
    provider
        .published
        .has_changed
        .store(true, Ordering::Relaxed);
    let header = Header {
        kid: Some("new".to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    let of_new_key = encode(&header, &claims(json!({})), provider.key(Algorithm::ES256)).unwrap();
    ask(&world, &of_new_key)
        .await
        .is_problem(503, "provider_unavailable");
    ask(&world, &good).await.ok();
    ask(
        &world,
        &provider.token(Algorithm::ES256, &claims(json!({ "aud": "portal" }))),
    )
    .await
    .is_problem(401, "token_wrong");
}

/// A provider that never answers.
struct Silent;

#[async_trait]
impl KeySet for Silent {
    async fn read(&self) -> Result<String, String> {
        std::future::pending().await
    }

    fn has_changed(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_holds_no_request_for_long() {
    let provider = Provider::new();
    let tokens = Tokens::new(provider.settings(), Box::new(Silent));
    let world = World::admitting(Limits::default(), Some(tokens))
        .await
        .and_home()
        .await;
    let good = provider.token(Algorithm::ES256, &claims(json!({})));
    let asked = tokio::time::timeout(std::time::Duration::from_secs(60), ask(&world, &good))
        .await
        .expect("it is answered");
    asked.is_problem(503, "provider_unavailable");
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_with_the_key_that_signed_it() {
    let provider = Provider::new();
    let world = provider.world().await;
    let path = "/v1/households/home/events";
    let now = Timestamp::now().as_second();
    // Of the minute by which clocks may differ some seconds are left.
    let short = provider.token(Algorithm::EdDSA, &claims(json!({ "exp": now - 57 })));
    let brief = Listener::open(&world, &format!("Bearer {short}"), path).await;
    let long = format!(
        "Bearer {}",
        provider.token(Algorithm::ES256, &claims(json!({ "sub": "bob" })))
    );
    let mut lasting = Listener::open(&world, &long, path).await;
    brief.rest().await;
    ask(&world, &short).await.is_problem(401, "token_wrong");
    assert!(lasting.hears(&world).await);
    let set = provider.published.set.lock().unwrap().clone().unwrap();
    let without = set["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["kid"] != "ES256")
        .cloned()
        .collect::<Vec<_>>();
    *provider.published.set.lock().unwrap() = Some(json!({ "keys": without }));
    provider
        .published
        .has_changed
        .store(true, Ordering::Relaxed);
    ask(
        &world,
        &provider.token(Algorithm::EdDSA, &claims(json!({}))),
    )
    .await
    .ok();
    lasting.rest().await;
}

#[tokio::test]
async fn no_time_in_a_token_ends_in_a_failure_of_ours() {
    let provider = Provider::new();
    let world = provider.world().await;
    for claim in ["exp", "nbf", "iat"] {
        for value in [
            json!(u64::MAX),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(1e300),
            json!(-1e300),
            json!(0),
            json!(253402300800_u64),
            json!(0.5),
        ] {
            let token = provider.token(Algorithm::ES256, &claims(json!({ claim: value })));
            let answer = ask(&world, &token).await;
            assert!(
                [200, 401].contains(&answer.status),
                "{claim} {value}: {}",
                answer.text
            );
            if answer.status == 200 {
                drop(
                    Listener::open(
                        &world,
                        &format!("Bearer {token}"),
                        "/v1/households/home/events",
                    )
                    .await,
                );
            }
        }
    }
}

#[tokio::test]
async fn a_token_opens_from_an_address_from_which_others_guess() {
    let provider = Provider::new();
    let tokens = Tokens::new(
        provider.settings(),
        Box::new(Source(Arc::clone(&provider.published))),
    );
    let limits = Limits::new(
        Rate::default(),
        Rate::default(),
        Rate { per_s: 1, burst: 1 },
    );
    let world = World::admitting(limits, Some(tokens))
        .await
        .and_home()
        .await;
    let wrong = provider.token(Algorithm::ES256, &claims(json!({ "aud": "portal" })));
    let mut statuses = Vec::new();
    for number in 0..20 {
        statuses.push(ask(&world, &wrong).await.status);
        let subject = format!("parent-{number}");
        ask(
            &world,
            &provider.token(Algorithm::ES256, &claims(json!({ "sub": subject }))),
        )
        .await
        .ok();
    }
    assert!(
        statuses.contains(&429) && statuses.iter().all(|status| [401, 429].contains(status)),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn without_a_provider_a_token_is_a_key_that_nobody_made() {
    let provider = Provider::new();
    let world = World::with_home().await;
    ask(
        &world,
        &provider.token(Algorithm::ES256, &claims(json!({}))),
    )
    .await
    .is_problem(401, "key_wrong");
}
