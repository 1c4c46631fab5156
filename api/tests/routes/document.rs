//! The OpenAPI document, held against what the routes really answer: no field too many, none
//! missing, each of its type.

use std::collections::BTreeSet;

use axum::http::Method;
use policy::{name::Name, rules::household::Id};
use policy_store::activity::{BlockedQuery, BypassSign, CountedQuery};
use serde_json::{Map, Value, json};

use crate::world::{Answer, World};

/// The document, and what does not fit it.
struct Reference {
    document: Value,
    complaints: Vec<String>,
}

impl Reference {
    /// A schema with references followed and flattened parts put together: what properties there
    /// are, and which must be.
    fn resolve(&self, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str() {
            return self.resolve(
                self.document
                    .pointer(name.trim_start_matches('#'))
                    .unwrap_or_else(|| panic!("{name} is not there")),
            );
        }
        if let Some(one) = schema["oneOf"]
            .as_array()
            .filter(|schemas| schemas.iter().any(|schema| schema["type"] == "null"))
        {
            return self.resolve(one.iter().find(|schema| schema["type"] != "null").unwrap());
        }
        let Some(parts) = schema["allOf"].as_array() else {
            return schema.clone();
        };
        let mut properties = Map::new();
        let mut required = Vec::new();
        for part in parts.iter().map(|part| self.resolve(part)) {
            properties.extend(part["properties"].as_object().unwrap().clone());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        json!({ "type": "object", "properties": properties, "required": required })
    }

    /// Whether a schema admits null: it says so, or it admits anything.
    fn admits_null(schema: &Value) -> bool {
        let is_null = |kind: &Value| kind == "null";
        match (&schema["type"], schema["oneOf"].as_array()) {
            (Value::Array(types), _) => types.iter().any(is_null),
            (_, Some(schemas)) => schemas.iter().any(|schema| is_null(&schema["type"])),
            (kind, None) => kind.is_null() && schema["$ref"].is_null(),
        }
    }

    fn check(&mut self, place: &str, schema: &Value, value: &Value) {
        let admits_null = Self::admits_null(schema);
        let schema = self.resolve(schema);
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            several => several
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
        };
        let fits = |kind: &str| types.is_empty() || types.contains(&kind);
        let is_fit = match value {
            Value::Null => admits_null,
            Value::Bool(_) => fits("boolean"),
            Value::Number(number) => fits("number") || number.is_u64() && fits("integer"),
            Value::String(_) => fits("string"),
            Value::Array(_) => fits("array"),
            Value::Object(_) => fits("object"),
        };
        if !is_fit {
            self.complaints
                .push(format!("{place}: {value} is none of {types:?}"));
        }
        if let Some(words) = schema["enum"].as_array().filter(|_| value.is_string())
            && !words.contains(value)
        {
            self.complaints
                .push(format!("{place}: {value} is none of {words:?}"));
        }
        for item in value.as_array().into_iter().flatten() {
            self.check(&format!("{place}[]"), &schema["items"], item);
        }
        // An object without properties is one that the document leaves open.
        let (Some(fields), properties) = (value.as_object(), &schema["properties"]) else {
            return;
        };
        for (key, value) in fields {
            match (properties.get(key), &schema["additionalProperties"]) {
                (Some(property), _) => self.check(&format!("{place}.{key}"), property, value),
                (None, additional) if additional.is_object() => {
                    self.check(&format!("{place}.*"), additional, value)
                }
                (None, _) if properties.is_object() => self
                    .complaints
                    .push(format!("{place}.{key} is not in the document")),
                _ => {}
            }
        }
        for key in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !fields.contains_key(key) {
                self.complaints
                    .push(format!("{place}.{key} is not in the answer"));
            }
        }
    }

    fn check_answer(&mut self, method: &Method, template: &str, answer: &Answer) {
        let operation = &self.document["paths"][template][method.as_str().to_lowercase()];
        let response = &operation["responses"][answer.status.to_string()];
        let schema = response["content"]["application/json"]["schema"].clone();
        let (is_sent, is_said) = (
            answer.headers.contains_key("etag"),
            response["headers"]["ETag"].is_object(),
        );
        // A feed of the configuration has no version.
        if is_sent != is_said && !template.starts_with("/v1/feeds/") {
            self.complaints.push(format!(
                "{method} {template} {}: ETag: sent {is_sent}, in the document {is_said}",
                answer.status
            ));
        }
        if !schema["$ref"].is_string() {
            self.complaints.push(format!(
                "{method} {template} {}: no type: {}",
                answer.status, answer.text
            ));
        }
        self.check(
            &format!("{method} {template} {}", answer.status),
            &schema,
            &answer.json,
        );
    }
}

#[tokio::test]
async fn every_answer_has_the_shape_that_the_document_gives_it() {
    let world = World::with_home().await;
    let document = world
        .send(Method::GET, "/openapi.json", &[], "")
        .await
        .ok()
        .json;
    let mut reference = Reference {
        document,
        complaints: Vec::new(),
    };
    let switch = r#"{"state":"block"}"#;
    let feed = r#"{"name":"new","source":"a.txt"}"#;
    let asked = [
        ("GET", "/v1/categories", ""),
        ("GET", "/v1/presets", ""),
        (
            "PUT",
            "/v1/households/{id}",
            r#"{"preset":"light","external_ref":"crm-1","locale":"en-GB"}"#,
        ),
        ("PUT", "/v1/households/{id}/categories/{slug}", switch),
        ("PUT", "/v1/households/{id}/names/{domain}", switch),
        ("PUT", "/v1/households/{id}/names/{domain}", switch),
        ("PUT", "/v1/households/{id}/networks/{cidr}", ""),
        (
            "PUT",
            "/v1/households/{id}/devices/{device}",
            r#"{"kind":"phone","person":"ella"}"#,
        ),
        (
            "PUT",
            "/v1/households/{id}/devices/{device}/categories/{slug}",
            switch,
        ),
        (
            "PUT",
            "/v1/households/{id}/devices/{device}/names/{domain}",
            switch,
        ),
        (
            "POST",
            "/v1/households/{id}/keys",
            r#"{"role":"child","device":"phone"}"#,
        ),
        ("GET", "/v1/households/{id}/keys", ""),
        ("DELETE", "/v1/households/{id}/keys/{key}", ""),
        (
            "PUT",
            "/v1/households/{id}/devices/{device}/thing",
            r#"{"mode":"asking","allowed":[{"domain":"a.test"}],"denied":[{"domain":"b.test"}]}"#,
        ),
        ("GET", "/v1/households/{id}/devices/{device}/thing", ""),
        ("GET", "/v1/households/{id}/devices/{device}", ""),
        ("GET", "/v1/households/{id}/new-devices", ""),
        (
            "PUT",
            "/v1/households/{id}/new-devices",
            r#"{"notify":false}"#,
        ),
        ("GET", "/v1/households/{id}/prompts", ""),
        ("PUT", "/v1/households/{id}/history", r#"{"days":7}"#),
        ("GET", "/v1/households/{id}/history", ""),
        ("GET", "/v1/households/{id}/activity", ""),
        ("DELETE", "/v1/households/{id}/activity?device=phone", ""),
        ("PUT", "/v1/households/{id}/search-unlock", switch),
        ("GET", "/v1/households/{id}/effective", ""),
        ("GET", "/v1/households/{id}", ""),
        ("DELETE", "/v1/households/{id}/search-unlock", ""),
        ("DELETE", "/v1/households/{id}/history", ""),
        ("GET", "/v1/households", ""),
        (
            "GET",
            "/v1/explain?name=bets.example&household=home&device=phone",
            "",
        ),
        ("GET", "/v1/explain?name=leads.example", ""),
        (
            "PUT",
            "/v1/mandates/{id}",
            r#"{"name":"mandated.example","basis":"iwf","landing":{"v4":"192.0.2.1"}}"#,
        ),
        ("GET", "/v1/mandates/{id}", ""),
        ("GET", "/v1/mandates", ""),
        ("GET", "/v1/explain?name=mandated.example", ""),
        ("DELETE", "/v1/mandates/{id}", ""),
        (
            "PUT",
            "/v1/negative-trust-anchors/{name}",
            r#"{"until":"TOMORROW","reason":"ticket 7"}"#,
        ),
        ("GET", "/v1/negative-trust-anchors/{name}", ""),
        ("GET", "/v1/negative-trust-anchors", ""),
        ("DELETE", "/v1/negative-trust-anchors/{name}", ""),
        (
            "PUT",
            "/v1/households/{id}",
            r#"{"filtering":"on","channel":"shop","contact":{"email":"holder@example.org"}}"#,
        ),
        ("PUT", "/v1/households/{id}/categories/{slug}", switch),
        (
            "POST",
            "/v1/households/{id}/requests",
            r#"{"name":"bets.example","device":"phone","reason":"please"}"#,
        ),
        (
            "POST",
            "/v1/households/{id}/requests",
            r#"{"name":"bets.example","device":"phone"}"#,
        ),
        ("GET", "/v1/households/{id}/requests", ""),
        ("GET", "/v1/reports/choice?by=day", ""),
        (
            "POST",
            "/v1/reports",
            r#"{"name":"bets.example","reason":"it is a pet shop"}"#,
        ),
        ("GET", "/v1/reports", ""),
        ("GET", "/v1/reports/export?month=2026-11", ""),
        ("GET", "/v1/check?name=bets.example", ""),
        ("GET", "/v1/home-test", ""),
        (
            "DELETE",
            "/v1/households/{id}/devices/{device}/names/{domain}",
            "",
        ),
        (
            "DELETE",
            "/v1/households/{id}/devices/{device}/categories/{slug}",
            "",
        ),
        ("DELETE", "/v1/households/{id}/devices/{device}", ""),
        ("DELETE", "/v1/households/{id}/networks/{cidr}", ""),
        ("DELETE", "/v1/households/{id}/names/{domain}", ""),
        ("DELETE", "/v1/households/{id}/categories/{slug}", ""),
        ("GET", "/v1/lists", ""),
        ("GET", "/v1/lists/generations", ""),
        ("GET", "/v1/lists/diff?from=5", ""),
        ("GET", "/v1/feeds", ""),
        ("GET", "/v1/feeds/{name}", ""),
        ("GET", "/v1/feeds/{name}/what-if", ""),
        ("POST", "/v1/feeds/{name}/refresh", ""),
        ("POST", "/v1/feeds/{name}/approve", ""),
        ("POST", "/v1/feeds/{name}/rollback", ""),
        ("POST", "/v1/lists/rollback", ""),
        ("POST", "/v1/feeds", feed),
        ("PUT", "/v1/feeds/{name=new}", feed),
        ("DELETE", "/v1/feeds/{name=new}", ""),
        ("DELETE", "/v1/households/{id}", ""),
        ("GET", "/v1/audit", ""),
        ("GET", "/v1/audit/verify", ""),
    ];
    let mut key = String::new();
    world.sees("02:00:5e:00:53:09").await;
    world.wants("phone", &["ring.com", "c.test"]).await;
    world
        .put("/v1/households/home/people/ella", "{}")
        .await
        .ok();
    for (method, template, body) in asked {
        let path = template
            .replace("{id}", "home")
            .replace("{device}", "phone")
            .replace("{slug}", "gambling");
        let path = path
            .replace("{cidr}", "192.0.2.0%2F24")
            .replace("{domain}", "a.example");
        let path = path
            .replace("{name}", "bets")
            .replace("{name=new}", "new")
            .replace("{key}", &key);
        let method: Method = method.parse().unwrap();
        if method == Method::GET && template.ends_with("/activity") {
            let now = jiff::Timestamp::now();
            let blocked = || BlockedQuery {
                layer: "category",
                categories: vec!["gambling".into()],
                name: Some(Name::parse("bets.example").unwrap()),
            };
            let household: Id = "home".parse().unwrap();
            let device: Id = "phone".parse().unwrap();
            let told = |at, sign| CountedQuery {
                household: household.clone(),
                device: Some(device.clone()),
                at,
                days: 7,
                categories: vec!["gambling".into()],
                blocked: Some(blocked()),
                sign,
            };
            let earlier = now - jiff::SignedDuration::from_mins(30);
            world.context.control.activity.as_ref().unwrap().note(
                [told(earlier, None), told(earlier, Some(BypassSign::Vpn))],
                |_| true,
                now,
            );
        }
        let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
        let body = body.replace("TOMORROW", &tomorrow.to_string());
        let answer = world.ask(method.clone(), &path, &[], &body).await.ok();
        let template = template.replace("{name=new}", "{name}");
        if template.ends_with("/keys") && method == Method::POST {
            key = answer.json["id"].as_str().unwrap().to_owned();
        }
        reference.check_answer(&method, template.split('?').next().unwrap(), &answer);
    }
    assert!(
        reference.complaints.is_empty(),
        "{}",
        reference.complaints.join("\n")
    );
}

#[tokio::test]
async fn each_operation_has_an_identifier_of_its_own() {
    let world = World::with_home().await;
    let document = world
        .send(Method::GET, "/openapi.json", &[], "")
        .await
        .ok()
        .json;
    let mut seen = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"]
                .as_str()
                .unwrap_or_else(|| panic!("{method} {path} has none"));
            let is_word = |octet: u8| octet.is_ascii_lowercase() || octet == b'_';
            assert!(
                id.contains('_') && id.bytes().all(is_word),
                "{method} {path}: {id}"
            );
            assert!(
                seen.insert(id.to_owned()),
                "{method} {path}: {id} is double"
            );
        }
    }
    assert!(seen.contains("put_household_category") && seen.contains("put_device_category"));
}
