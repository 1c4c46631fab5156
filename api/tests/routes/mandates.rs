//! Mandates: no household lifts them, and a family learns no more of them than their basis.

use axum::http::Method;
use control::explain::{Sight, compose};
use policy::name::Name;
use serde_json::{Value, json};

use crate::world::World;

async fn seen(world: &World, name: &str, sight: Sight) -> Value {
    let context = &world.context;
    let explained = context
        .control
        .explainer
        .explain(
            context.control.directory.unknown_line(),
            None,
            Name::parse(name).unwrap(),
            1,
            None,
        )
        .await;
    json!(compose(
        &explained,
        1,
        None,
        &context.control.taxonomy,
        sight
    ))
}

#[tokio::test]
async fn a_mandate_is_live_when_its_write_is_answered() {
    let world = World::with_home().await;
    assert!(!world.blocks("192.0.2.7", "www.a.example"));
    assert_eq!(
        world
            .put("/v1/mandates/m", r#"{"name":"a.example","basis":"iwf"}"#)
            .await
            .ok()
            .version(),
        1
    );
    assert!(world.blocks("192.0.2.7", "www.a.example"));
    assert_eq!(
        world
            .put(
                "/v1/mandates/m",
                r#"{"name":"a.example","scope":"exact","basis":"iwf"}"#
            )
            .await
            .ok()
            .version(),
        2
    );
    assert!(!world.blocks("192.0.2.7", "www.a.example") && world.blocks("192.0.2.7", "a.example"));
    for body in [
        r#"{"name":"a.example","basis":"iwf","not_after":"2001-01-01T00:00:00Z"}"#,
        r#"{"name":"a.example","basis":"iwf","not_before":"2999-01-01T00:00:00Z"}"#,
    ] {
        world.put("/v1/mandates/m", body).await.ok();
        assert!(!world.blocks("192.0.2.7", "a.example"), "{body}");
    }
    world
        .put("/v1/mandates/m", r#"{"name":"a.example","basis":"iwf"}"#)
        .await
        .ok();
    assert_eq!(world.delete("/v1/mandates/m").await.ok().version(), 6);
    assert!(!world.blocks("192.0.2.7", "a.example"));
}

#[tokio::test]
async fn of_a_households_words_only_an_allow_of_what_is_ordered_is_refused() {
    let world = World::with_home().await;
    world
        .put(
            "/v1/mandates/m",
            r#"{"name":"a.example","basis":"iwf","confidential":true}"#,
        )
        .await
        .ok();
    let allow = r#"{"state":"allow"}"#;
    for name in ["a.example", "www.a.example", "ordered.example"] {
        for place in ["", "/devices/phone"] {
            let path = format!("/v1/households/home{place}/names/{name}");
            world.put(&path, allow).await.is_problem(409, "mandatory");
            world.put(&path, r#"{"state":"block"}"#).await.ok();
        }
    }
    world
        .put("/v1/households/home/names/example", allow)
        .await
        .ok();
    assert!(
        world.blocks("192.0.2.7", "www.a.example"),
        "an allow above it does not lift it"
    );
    world.assert_live_is_stored().await;
}

#[tokio::test]
async fn a_body_is_refused_with_its_field() {
    let world = World::new().await;
    let long = format!(
        r#"{{"name":"a.example","basis":"iwf","reference":"{}"}}"#,
        "x".repeat(257)
    );
    for (body, code, field) in [
        (r#"{"name":"a.example"}"#, "mandate", "basis"),
        (r#"{"name":"a.example","basis":"whim"}"#, "mandate", "basis"),
        (r#"{"basis":"iwf"}"#, "mandate", "name"),
        (
            r#"{"name":"a.example","basis":"iwf","scope":"all"}"#,
            "body",
            "scope",
        ),
        (
            r#"{"name":"a.example","basis":"iwf","not_before":"noon"}"#,
            "body",
            "not_before",
        ),
        (
            r#"{"name":"a.example","basis":"iwf","landing":{"v4":"2001:db8::1"}}"#,
            "body",
            "landing.v4",
        ),
        (
            r#"{"name":"a.example","basis":"iwf","secret":true}"#,
            "body",
            "secret",
        ),
        (&long, "mandate", "reference"),
    ] {
        let refused = world.put("/v1/mandates/m", body).await;
        refused.is_problem(422, code);
        assert_eq!(refused.json["field"], field, "{body}: {}", refused.text);
    }
    world
        .put(
            "/v1/mandates/a%20b",
            r#"{"name":"a.example","basis":"iwf"}"#,
        )
        .await
        .is_problem(422, "identifier");
    world
        .get("/v1/mandates?limit=0")
        .await
        .is_problem(422, "limit");
    world
        .get("/v1/mandates/m")
        .await
        .is_problem(404, "unknown_mandate");
}

#[tokio::test]
async fn a_family_sees_the_basis_of_an_order_and_never_which_is_confidential() {
    let world = World::new().await;
    let order = |name: &str, confidential: bool| json!({ "name": name, "basis": "police", "reference": "P/7", "confidential": confidential });
    world
        .put(
            "/v1/mandates/open",
            &order("open.example", false).to_string(),
        )
        .await
        .ok();
    world
        .put(
            "/v1/mandates/secret",
            &order("secret.example", true).to_string(),
        )
        .await
        .ok();
    let whole = seen(&world, "www.secret.example", Sight::Whole).await;
    let mandate =
        json!({ "id": "secret", "basis": "police", "reference": "P/7", "confidential": true });
    assert_eq!(
        (&whole["mandate"], &whole["entry"], &whole["action"]),
        (&mandate, &json!("secret.example"), &json!("ordered"))
    );
    assert_eq!(
        whole["setter"],
        json!({ "layer": "mandate", "by": "secret", "at": null })
    );
    assert!(whole["reason"].as_str().unwrap().contains("police"));
    let family = seen(&world, "open.example", Sight::Family).await;
    assert_eq!(
        family["mandate"],
        json!({ "id": null, "basis": "police", "reference": null, "confidential": false })
    );
    // An alias of it shows no more.
    world
        .put(
            "/v1/mandates/secret",
            &order("bets.example", true).to_string(),
        )
        .await
        .ok();
    assert_eq!(
        seen(&world, "leads.example", Sight::Whole).await["hop"],
        json!({ "index": 1, "name": "bets.example" })
    );
    let led = seen(&world, "leads.example", Sight::Family).await;
    assert_eq!(
        (&led["hop"]["index"], &led["reason"]),
        (
            &json!(0),
            &json!(
                "leads.example is blocked by order (an order of the police); nobody can lift this."
            )
        )
    );
    world
        .put(
            "/v1/mandates/secret",
            &order("secret.example", true).to_string(),
        )
        .await
        .ok();
    // Both explanations are equal, but for the queried name.
    let read = async |name: &str, sight| {
        seen(&world, name, sight)
            .await
            .to_string()
            .replace(name, "NAME")
    };
    let secret = read("secret.example", Sight::Family).await;
    assert_eq!(secret, read("open.example", Sight::Family).await);
    assert!(read("secret.example", Sight::Whole).await != read("open.example", Sight::Whole).await);
    for name in ["secret.example", "open.example"] {
        let checked = world
            .send(Method::GET, &format!("/v1/check?name={name}"), &[], "")
            .await
            .ok();
        assert_eq!(
            checked.json["order"],
            json!({ "basis": "police", "reference": null }),
            "{name}"
        );
    }
    let told: Value = serde_json::from_str(&secret).unwrap();
    assert_eq!(
        (&told["verdict"], &told["layer"], &told["action"]),
        (&json!("block"), &json!("mandatory"), &json!("policy"))
    );
    for key in ["entry", "feed", "scope", "setter"] {
        assert_eq!(told[key], Value::Null, "{key}");
    }
    assert!(!secret.contains("P/7"), "{secret}");
}
