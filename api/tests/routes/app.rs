//! The files of the parents' app, and what its page may do.

use api::{app::settings::AppSettings, home_test::HomeTest};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request},
};
use memory_serve::{Asset, MemoryServe};
use policy::name::Name;
use serde_json::json;
use tower::ServiceExt;

use crate::world::World;

const SCRIPT: &[u8] = &[b'/'; 4_096];

const fn asset(route: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Asset {
    Asset {
        route,
        path: "",
        etag: route,
        content_type,
        bytes: Some(bytes),
        is_compressed: false,
        should_compress: true,
    }
}

const MANIFEST: Asset = asset(
    "/manifest.webmanifest",
    "application/manifest+json",
    br#"{"name":"OX Protect","short_name":"Protect"}"#,
);

const FILES: &[Asset] = &[
    asset("/index.html", "text/html", b"<!doctype html>the page"),
    asset("/sw.js", "text/javascript", b"// the worker"),
    asset("/assets/main.0123abcd.js", "text/javascript", SCRIPT),
];

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

async fn served(settings: &AppSettings) -> Router {
    let world = World::new().await;
    let files = MemoryServe::new(FILES)
        .enable_brotli(true)
        .enable_gzip(true);
    api::app::routes(settings, files).with_state(world.context)
}

async fn get(router: &Router, path: &str, headers: &[(&str, &str)]) -> Got {
    let mut request = Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    Got {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: to_bytes(body, 1 << 20).await.unwrap().to_vec(),
    }
}

#[tokio::test]
async fn every_path_of_the_app_gives_the_page_and_every_file_itself() {
    let app = served(&AppSettings::default()).await;
    for path in [
        "/app/",
        "/app/people",
        "/app/devices/phone",
        "/app/index.html",
        "/app/login/",
    ] {
        let page = get(&app, path, &[]).await;
        assert_eq!(
            (page.status, &page.body[..]),
            (200, FILES[0].bytes.unwrap()),
            "{path}"
        );
        assert_eq!(page.header("cache-control"), "no-cache", "{path}");
    }
    let worker = get(&app, "/app/sw.js", &[]).await;
    assert_eq!(
        (worker.status, &worker.body[..]),
        (200, FILES[1].bytes.unwrap())
    );
    assert_eq!(worker.header("cache-control"), "no-cache");
    let script = get(&app, "/app/assets/main.0123abcd.js", &[]).await;
    assert_eq!(
        script.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    for path in [
        "/app/none.js",
        "/app/assets/../sw.js",
        "/app/%2e%2e/sw.js",
        "/app/a/.env",
    ] {
        let none = get(&app, path, &[]).await;
        assert_eq!(none.status, 404, "{path}");
        assert_eq!(
            none.header("content-type"),
            "application/problem+json",
            "{path}"
        );
    }
    let bare = get(&app, "/app", &[]).await;
    assert_eq!((bare.status, bare.header("location")), (308, "/app/"));
}

#[tokio::test]
async fn a_file_comes_packed_and_not_again_to_a_browser_that_has_it() {
    let app = served(&AppSettings::default()).await;
    let path = "/app/assets/main.0123abcd.js";
    for coding in ["br", "gzip"] {
        let packed = get(&app, path, &[("accept-encoding", coding)]).await;
        assert_eq!(packed.header("content-encoding"), coding);
        assert!(packed.body.len() < SCRIPT.len() / 4, "{coding}");
    }
    let plain = get(&app, path, &[]).await;
    assert_eq!(
        (plain.header("content-encoding"), &plain.body[..]),
        ("", SCRIPT)
    );
    let tag = plain.header("etag").to_owned();
    let again = get(&app, path, &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[tokio::test]
async fn the_page_may_load_and_connect_to_nothing_but_its_own_origin() {
    let app = served(&AppSettings::default()).await;
    for path in ["/app/", "/app/none.js", "/app/settings.json", "/app/sw.js"] {
        let got = get(&app, path, &[]).await;
        let policy = got.header("content-security-policy");
        let rules: Vec<&str> = policy.split("; ").collect();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(rules.contains(&rule), "{path} {rule}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        assert_eq!(got.header("referrer-policy"), "no-referrer");
        assert_eq!(got.header("cross-origin-opener-policy"), "same-origin");
        assert!(got.header("permissions-policy").contains("camera=()"));
    }
}

#[tokio::test]
async fn the_app_may_reach_the_test_names_that_the_operator_has_set() {
    let settings = AppSettings {
        home_test: Some(HomeTest {
            zone: Name::parse("test.isp.example").unwrap(),
            http_port: Some(80),
            https_port: Some(8443),
        }),
        has_oidc: true,
        ..AppSettings::default()
    };
    let app = served(&settings).await;
    let got = get(&app, "/app/settings.json", &[]).await;
    let told: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(
        told,
        json!({ "oidc": true, "test_name": "test.isp.example" })
    );
    let policy = got.header("content-security-policy");
    assert!(
        policy.contains(
            "connect-src 'self' http://*.test.isp.example https://*.test.isp.example:8443;"
        ),
        "{policy}"
    );
}

#[tokio::test]
async fn the_operators_name_stands_in_title_manifest_and_worker() {
    const TITLED: &[Asset] = &[
        asset("/index.html", "text/html", b"<title>OX Protect</title>"),
        asset("/sw.js", "text/javascript", b"const NAME = 'OX Protect';"),
        MANIFEST,
    ];
    let world = World::new().await;
    let settings = AppSettings {
        name: "Tom's <Family> & \"Co\"".parse().unwrap(),
        ..AppSettings::default()
    };
    let files = MemoryServe::new(TITLED)
        .enable_brotli(true)
        .enable_gzip(true);
    let app = api::app::routes(&settings, files).with_state(world.context);
    let text = async |path| {
        // However the browser takes it, and whatever it has: the name is in it.
        let headers = [
            ("accept-encoding", "br, gzip"),
            ("if-none-match", "/index.html"),
        ];
        let got = get(&app, path, &headers).await;
        assert_eq!(
            (got.status, got.header("content-encoding")),
            (200, ""),
            "{path}"
        );
        assert_eq!(got.header("cache-control"), "no-cache", "{path}");
        assert!(got.header("content-security-policy").contains("'self'"));
        let tag = got.header("etag").to_owned();
        let again = get(&app, path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        String::from_utf8(got.body).unwrap()
    };
    let title = "<title>Tom's &lt;Family&gt; &amp; &quot;Co&quot;</title>";
    assert_eq!(text("/app/people").await, title);
    let worker = r#"const NAME = 'Tom\u0027s <Family> & \"Co\"';"#;
    assert_eq!(text("/app/sw.js").await, worker);
    let manifest = text("/app/manifest.webmanifest").await;
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let name = settings.name.as_str();
    assert_eq!(manifest, json!({ "name": name, "short_name": name }));
}

#[tokio::test]
async fn the_router_has_the_app_but_for_the_operators_listener() {
    let world = World::new().await;
    let page = world.send(Method::GET, "/app/", &[], "").await.ok();
    assert!(page.text.starts_with("<!doctype html>"), "{}", page.text);
    world
        .send(Method::POST, "/app/", &[], "")
        .await
        .is_problem(405, "method");
    let mut world = world;
    world.router = api::operator_router(world.context.clone());
    world
        .send(Method::GET, "/app/", &[], "")
        .await
        .is_problem(404, "unknown_route");
}
