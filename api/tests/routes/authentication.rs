//! Authentication: keys, roles, and the routes of the document.

use std::collections::BTreeSet;

use axum::http::Method;
use policy_store::Role;

use crate::{
    roles::{example, templates},
    world::{World, author},
};

/// All operations of the OpenAPI document, with examples in place of parameters.
async fn operations(world: &World) -> Vec<(Method, String)> {
    templates(world)
        .await
        .into_iter()
        .map(|(method, path)| (method, example(&path, "home")))
        .collect()
}

#[tokio::test]
async fn no_route_under_v1_opens_without_a_key_in_force() {
    let world = World::with_home().await;
    let (revoked, key) = world.key_in(Role::Operator, "").await;
    world
        .other_process()
        .await
        .revoke_key(&author(), None, &key)
        .await
        .unwrap();
    let before = world.get("/v1/households/home").await.text;
    let bearer = |secret: &str| format!("Bearer {secret}");
    let basic = format!("Basic {}", world.key);
    let keys = [
        "",
        "Bearer",
        "Bearer ",
        &bearer("ox_wrong"),
        &revoked,
        &basic,
        &world.key,
    ];
    let is_public = |method: &Method, path: &str| {
        [
            "/v1/check",
            "/v1/home-test",
            "/v1/session",
            "/v1/push",
            "/v1/push/key",
        ]
        .contains(&path)
            || path == "/v1/reports" && *method == Method::POST
    };
    let guarded =
        |(method, path): &(Method, String)| path.starts_with("/v1/") && !is_public(method, path);
    for (method, path) in operations(&world).await.into_iter().filter(guarded) {
        for key in keys {
            let header = [("authorization", key), ("content-type", "application/json")];
            let header = if key.is_empty() {
                &header[1..]
            } else {
                &header[..]
            };
            let answer = world
                .send(method.clone(), &path, header, r#"{"state":"block"}"#)
                .await;
            answer.is_problem(
                401,
                if key == bearer("ox_wrong") || key == revoked || key == "Bearer " {
                    "key_wrong"
                } else {
                    "key_missing"
                },
            );
            assert_eq!(
                answer.header("www-authenticate"),
                "Bearer",
                "{method} {path}"
            );
        }
    }
    assert_eq!(world.get("/v1/households/home").await.text, before);
}

#[tokio::test]
async fn what_the_document_lists_is_there_and_nothing_else() {
    let world = World::with_home().await;
    let listed: BTreeSet<(String, String)> = operations(&world)
        .await
        .into_iter()
        .map(|(method, path)| (path, method.to_string()))
        .collect();
    // What is listed is there, and of what is there nothing is left out.
    let paths: BTreeSet<&String> = listed.iter().map(|(path, _)| path).collect();
    for path in paths {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let answer = world.ask(method.parse().unwrap(), path, &[], "").await;
            match listed.contains(&(path.clone(), method.to_owned())) {
                true => assert!(
                    answer.status != 405 && answer.json["code"] != "unknown_route",
                    "{method} {path}: {}",
                    answer.text
                ),
                false => {
                    answer.is_problem(405, "method");
                    assert!(
                        !answer.header("allow").is_empty(),
                        "a 405 says what goes (RFC 9110, section 15.5.6)"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn the_document_says_of_every_route_what_a_refusal_looks_like() {
    let world = World::new().await;
    let document = world
        .send(Method::GET, "/openapi.json", &[], "")
        .await
        .ok()
        .json;
    assert_eq!(
        document["components"]["securitySchemes"]["key"]["scheme"],
        "bearer"
    );
    assert!(document["components"]["schemas"]["Problem"]["properties"]["code"].is_object());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let shape = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]
                ["$ref"];
            assert_eq!(shape, "#/components/schemas/Problem", "{method} {path}");
            assert_eq!(
                operation["security"].is_array(),
                path.starts_with("/v1/"),
                "{method} {path}"
            );
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let takes_version = parameters
                .iter()
                .any(|parameter| parameter["name"] == "If-Match");
            for parameter in &parameters {
                let stands_in_path =
                    path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
                assert_eq!(
                    parameter["in"] == "path",
                    stands_in_path,
                    "{method} {path}: {parameter}"
                );
            }
            let has_version = ![
                "/{key}",
                "/{report}",
                "/activity",
                "/session",
                "/sessions",
                "/{session}",
                "/push",
                "/{link}",
            ]
            .iter()
            .any(|end| path.ends_with(end));
            assert_eq!(
                takes_version,
                ["put", "delete"].contains(&method.as_str()) && has_version,
                "{method} {path}"
            );
            let names_itself = parameters
                .iter()
                .any(|parameter| parameter["name"] == "Idempotency-Key");
            assert_eq!(
                names_itself,
                path.starts_with("/v1/") && method != "get",
                "{method} {path}"
            );
            let refusals: &[&str] = match (path.starts_with("/v1/"), method.as_str()) {
                (false, _) => &[],
                (true, "get") => &["401", "403", "429"],
                (true, _) => &["401", "403", "409", "422", "429"],
            };
            for status in refusals
                .iter()
                .chain(if path.starts_with("/v1/households/{id}") {
                    &["404"][..]
                } else {
                    &[]
                })
            {
                let shape = &operation["responses"][*status]["content"]["application/problem+json"]
                    ["schema"]["$ref"];
                assert_eq!(
                    shape, "#/components/schemas/Problem",
                    "{method} {path} {status}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_document_describes_every_field_of_what_feeds_lists_and_audit_say() {
    let world = World::new().await;
    let document = world
        .send(Method::GET, "/openapi.json", &[], "")
        .await
        .ok()
        .json;
    for name in [
        "FeedState",
        "FeedView",
        "FeedPage",
        "FeedDefinition",
        "Alarm",
        "RefusedVersion",
        "WhatIf",
        "Touched",
        "TouchedName",
        "ListedName",
        "Lists",
        "Generations",
        "GenerationState",
        "Difference",
        "Change",
        "RollbackBody",
        "ApproveBody",
        "RolledBack",
        "AuditPage",
        "AuditRecord",
        "Verified",
        "Misfit",
        "ListEvent",
    ] {
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name}");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_described = |schema: &serde_json::Value| {
                schema["description"].is_string() || schema["$ref"].is_string()
            };
            assert!(
                is_described(property) || is_described(&property["oneOf"][0]),
                "{name}.{field}: {property}"
            );
        }
    }
    for (path, method) in [
        ("/v1/feeds", "get"),
        ("/v1/feeds/{name}", "put"),
        ("/v1/lists", "get"),
        ("/v1/audit", "get"),
    ] {
        let responses = document["paths"][path][method]["responses"]
            .as_object()
            .unwrap();
        let body = responses
            .iter()
            .find(|(status, _)| status.starts_with('2'))
            .unwrap()
            .1;
        assert!(
            body["content"]["application/json"]["schema"]["$ref"].is_string(),
            "{method} {path}: {body}"
        );
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_written_takes_readiness_but_not_that_of_dns() {
    let world = World::with_home().await;
    world
        .put(
            "/v1/households/home/categories/gambling",
            r#"{"state":"allow"}"#,
        )
        .await
        .ok();
    std::fs::remove_file(world.store_file()).unwrap();
    for _ in 0..8 {
        world
            .put(
                "/v1/households/home/categories/gambling",
                r#"{"state":"block"}"#,
            )
            .await
            .is_problem(503, "store_vanished");
    }
    world
        .send(Method::GET, "/readyz", &[], "")
        .await
        .is_problem(503, "store_not_writable");
    world.send(Method::GET, "/readyz/dns", &[], "").await.ok();
    assert!(
        !world.blocks("192.0.2.7", "bets.example"),
        "what was not stored is not live"
    );
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_key() {
    let world = World::new().await;
    for (path, content_type) in [
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/readyz/dns", "text/plain; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        let answer = world.send(Method::GET, path, &[], "").await.ok();
        assert_eq!(answer.header("content-type"), content_type);
        let head = world.send(Method::HEAD, path, &[], "").await.ok();
        assert_eq!(
            (head.header("content-type"), head.text.as_str()),
            (content_type, "")
        );
    }
}
