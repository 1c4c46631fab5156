//! Log-in to the app at an OIDC provider: the real program, and a provider that checks what it gets.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Form, State},
    http::HeaderMap,
    routing::{get, post},
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, Response, Url, redirect::Policy};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    roles::{key_set, signer},
    world::World,
};

const LOGIN: &str = "/app/login/oidc";
const CALLBACK: &str = "/app/login/oidc/callback";

/// What the provider answers to a code, and what it was sent for it.
struct Shared {
    issuer: String,
    signer: EncodingKey,
    claims: Mutex<Value>,
    sent: Mutex<Vec<(BTreeMap<String, String>, HeaderMap)>>,
}

/// A provider on loopback; it ends with the test's runtime.
struct OidcProvider(Arc<Shared>);

impl OidcProvider {
    async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            signer: signer(),
            claims: Mutex::default(),
            sent: Mutex::default(),
        });
        let discovery = |State(shared): State<Arc<Shared>>| async move {
            let issuer = &shared.issuer;
            Json(json!({
                "issuer": issuer, "authorization_endpoint": format!("{issuer}/log-in?tenant=1"),
                "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/jwks"),
            }))
        };
        let keys =
            |State(shared): State<Arc<Shared>>| async move { key_set(&[("one", &shared.signer)]) };
        let token = |State(shared): State<Arc<Shared>>,
                     headers: HeaderMap,
                     Form(form): Form<BTreeMap<String, String>>| async move {
            shared.sent.lock().unwrap().push((form, headers));
            let header = Header {
                kid: Some("one".to_owned()),
                ..Header::new(Algorithm::ES256)
            };
            let claims = shared.claims.lock().unwrap().clone();
            Json(json!({ "id_token": encode(&header, &claims, &shared.signer).unwrap() }))
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(keys))
            .route("/token", post(token))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self(shared)
    }

    /// Sets the claims of the next ID token: those of a parent, with changes.
    fn claims(&self, nonce: &str, change: impl FnOnce(&mut Value)) {
        let mut claims = json!({
            "iss": self.0.issuer, "aud": "the-app", "sub": "alice", "nonce": nonce,
            "exp": jiff::Timestamp::now().as_second() + 600,
            "ox_role": "parent", "ox_household": "home",
        });
        change(&mut claims);
        *self.0.claims.lock().unwrap() = claims;
    }
}

/// A browser: it keeps its cookies, and shows each redirect to the test.
struct Browser {
    client: Client,
    origin: String,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new(world: &World) -> Self {
        let client = Client::builder().no_proxy().redirect(Policy::none());
        Self {
            client: client.build().unwrap(),
            origin: world.daemon.addresses().api_url(),
            cookies: BTreeMap::new(),
        }
    }

    async fn get(&mut self, path: &str) -> Response {
        let cookies = self.cookies.iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = self.client.get(format!("{}{path}", self.origin));
        let answer = request
            .header("cookie", cookies.join("; "))
            .send()
            .await
            .unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// Begins a log-in; returns the parameters that the provider gets.
    async fn begins(&mut self) -> BTreeMap<String, String> {
        let answer = self.get(LOGIN).await;
        assert_eq!(answer.status(), 303);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        for part in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"] {
            assert!(cookie.contains(part), "{part}: {cookie}");
        }
        let place = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        assert_eq!(place.path(), "/log-in");
        place.query_pairs().into_owned().collect()
    }

    /// Comes back from the provider; returns where it is sent.
    async fn returns(&mut self, state: &str) -> String {
        let answer = self
            .get(&format!("{CALLBACK}?code=the-code&state={state}"))
            .await;
        assert_eq!(answer.status(), 303);
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn me(&mut self) -> Value {
        self.get("/v1/session").await.json().await.unwrap()
    }
}

async fn world(provider: &OidcProvider, secret: &str) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    let issuer = &provider.0.issuer;
    let settings = format!(
        "[api]\nfailed_burst = 1000\n\
         [api.oidc]\nissuer = \"{issuer}\"\naudience = \"api\"\njwks = \"{issuer}/jwks\"\nallow_private = true\n\
         [app.oidc]\nissuer = \"{issuer}\"\nclient_id = \"the-app\"\nallow_private = true\nscopes = \"openid family\"\nclient_secret_file = {:?}\n",
        file.display().to_string()
    );
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .config(&settings)
        .start()
        .await;
    (world, folder)
}

#[tokio::test]
async fn a_family_logs_in_by_its_provider_with_code_and_pkce() {
    let provider = OidcProvider::open().await;
    let (world, _folder) = world(&provider, "hush\n").await;
    let mut browser = Browser::new(&world);
    let asked = browser.begins().await;
    let redirect = format!("{}{CALLBACK}", browser.origin);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "the-app"),
        ("redirect_uri", &redirect),
        ("scope", "openid family"),
        ("code_challenge_method", "S256"),
        ("tenant", "1"),
    ] {
        assert_eq!(asked[name], value);
    }
    provider.claims(&asked["nonce"], |_| {});
    assert_eq!(browser.returns(&asked["state"]).await, "/app/");
    let (form, headers) = provider.0.sent.lock().unwrap().pop().unwrap();
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&form["code_verifier"]));
    assert_eq!(challenge, asked["code_challenge"]);
    assert_eq!(
        (&*form["code"], &*form["grant_type"], &form["redirect_uri"]),
        ("the-code", "authorization_code", &redirect)
    );
    assert!(
        headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
    let me = browser.me().await;
    assert_eq!(
        (&me["role"], &me["household"]),
        (&json!("parent"), &json!("home"))
    );
    let log = world.daemon.stderr();
    assert!(!log.contains("hush") && !log.contains("the-code"), "{log}");
}

#[tokio::test]
async fn an_answer_to_another_log_in_opens_nothing() {
    let provider = OidcProvider::open().await;
    let (world, _folder) = world(&provider, "hush").await;
    let failed = "/app/#/login/failed";
    // The state of another browser's log-in: a forged callback.
    let mut attacker = Browser::new(&world);
    let theirs = attacker.begins().await;
    let mut browser = Browser::new(&world);
    provider.claims(&theirs["nonce"], |_| {});
    assert_eq!(browser.returns(&theirs["state"]).await, failed);
    let own = browser.begins().await;
    assert_eq!(browser.returns(&theirs["state"]).await, failed);
    assert_eq!(browser.returns("").await, failed);
    assert!(
        provider.0.sent.lock().unwrap().is_empty(),
        "no code was sent"
    );
    // A token that was made for another log-in, for another program, or for no household here.
    let changes: [fn(&mut Value); 6] = [
        |claims| claims["nonce"] = json!("another"),
        |claims| drop(claims.as_object_mut().unwrap().remove("nonce")),
        |claims| claims["aud"] = json!("api"),
        |claims| claims["iss"] = json!("https://other.example"),
        |claims| claims["exp"] = json!(1),
        |claims| claims["ox_household"] = json!("none"),
    ];
    for change in changes {
        provider.claims(&own["nonce"], change);
        assert_eq!(browser.returns(&own["state"]).await, failed);
        assert_eq!(browser.me().await["code"], "session_missing");
    }
    provider.claims(&own["nonce"], |_| {});
    assert_eq!(browser.returns(&own["state"]).await, "/app/");
    assert_eq!(browser.me().await["role"], "parent");
}
