//! The parts of the OpenAPI document that are the same for all routes: the key, the version of a
//! write, and the schema of problems.
//!
//! The handlers describe what is specific to them. This is added to all of them, so that no route
//! can miss it.

use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, OpenApi as Document, Ref, RefOr, Required, Response, ResponseBuilder,
        header::HeaderBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::{idempotency::KEY_OCTETS_MAX, names, problem::ProblemBody};

/// The name of the security scheme.
const KEY: &str = "key";

/// The pattern of `policy::rules::household::Id`: anything but dots alone.
const ID: &str = r"^\.*[A-Za-z0-9_~-][A-Za-z0-9._~-]*$";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OX Protect",
        description = "Households, devices, rules and lists of a filtering DNS resolver."
    ),
    components(schemas(ProblemBody<'static>))
)]
struct ApiDocument;

/// Operations whose answer a client need not read again.
const CONDITIONAL: [&str; 5] = [
    "get_household",
    "get_household_home",
    "get_household_history",
    "get_person",
    "get_device",
];

/// Operations that answer with a version, beside those that take `If-Match`.
const VERSIONED: [&str; 16] = [
    "get_household",
    "get_household_history",
    "delete_household_activity",
    "get_person",
    "get_device",
    "get_household_effective",
    "get_device_effective",
    "get_device_thing",
    "list_new_devices",
    "list_prompts",
    "get_mandate",
    "get_negative_trust_anchor",
    "get_feed",
    "post_feed",
    "refresh_feed",
    "approve_feed",
];

/// The ends of paths to what has no version.
const WITHOUT_VERSION: [&str; 8] = [
    "/keys/{key}",
    "/activity",
    "/{report}",
    "/session",
    "/sessions",
    "/{session}",
    "/push",
    "/{link}",
];

/// The document without routes.
pub fn base() -> Document {
    let mut document = ApiDocument::openapi();
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key of `ox-protect keys create` or of a household's keys, or a token of the configured OIDC provider."))
        .build();
    document
        .components
        .get_or_insert_default()
        .add_security_scheme(KEY, SecurityScheme::Http(key));
    document
}

/// Adds the common parts to all routes.
pub fn complete(mut document: Document) -> Document {
    names::describe(&mut document);
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (&mut item.put, true, false),
            (&mut item.delete, true, false),
            (&mut item.post, false, true),
            (&mut item.get, false, false),
        ];
        for (operation, takes_version, is_post) in operations {
            let Some(operation) = operation else { continue };
            refuse(operation, "default", "refused; `code` says why");
            if path.starts_with("/v1/") {
                describe_access(path, operation);
                if takes_version || is_post {
                    describe_write(operation);
                }
                if takes_version && !WITHOUT_VERSION.iter().any(|end| path.ends_with(end)) {
                    add_parameter(operation, if_match());
                    describe_version(operation);
                }
                let id = operation.operation_id.as_deref().unwrap_or_default();
                let is_conditional = CONDITIONAL.contains(&id);
                let has_version =
                    VERSIONED.contains(&id) || id.starts_with("post_") && id.ends_with("_grant");
                if is_conditional {
                    describe_condition(operation);
                }
                if has_version {
                    describe_version(operation);
                }
            }
            // After all refusals are there.
            let wait = "After how many seconds to ask again.";
            add_header(operation, "429", "Retry-After", wait);
            add_header(operation, "503", "Retry-After", wait);
            add_header(operation, "401", "WWW-Authenticate", "Always `Bearer`.");
        }
    }
    document
}

/// Describes identifiers, the key, and the refusals of all routes.
fn describe_access(path: &str, operation: &mut Operation) {
    // Routes without authentication say so themselves.
    operation
        .security
        .get_or_insert_with(|| vec![SecurityRequirement::new(KEY, [] as [String; 0])]);
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && ["id", "device", "person", "grant"].contains(&parameter.name.as_str())
        {
            let id = ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some(ID))
                .max_length(Some(64));
            parameter.schema = Some(id.build().into());
        }
    }
    refuse(operation, "401", "no key, or none in force");
    refuse(operation, "403", "the key's role may not do this");
    refuse(
        operation,
        "429",
        "asked too often: `Retry-After` says when to come back",
    );
    if path.starts_with("/v1/households/{id}") {
        refuse(
            operation,
            "404",
            "no such household, or not one of this key",
        );
    }
}

/// Describes the refusals of writes, and their idempotency key.
fn describe_write(operation: &mut Operation) {
    refuse(
        operation,
        "409",
        "what is there does not allow it, or the write of this Idempotency-Key is under way",
    );
    refuse(
        operation,
        "422",
        "a value cannot be used, or another write had this Idempotency-Key",
    );
    add_parameter(operation, idempotency_key());
    let replayed =
        "`true` on a repetition of the answer to an earlier write with this Idempotency-Key.";
    add_header(operation, "2", "Idempotency-Replayed", replayed);
}

/// Describes the entity tag that a client sends back, and the answer to it.
fn describe_condition(operation: &mut Operation) {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let known = ParameterBuilder::new()
        .name("If-None-Match")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The `ETag` of the answer that the client has."))
        .schema(Some(text));
    add_parameter(operation, known.build());
    let unchanged = ResponseBuilder::new().description("nothing has changed; without a body");
    operation
        .responses
        .responses
        .insert("304".to_owned(), RefOr::T(unchanged.build()));
}

/// Describes the version of an answer.
fn describe_version(operation: &mut Operation) {
    let version =
        "The version in quotes, for `If-Match`. Absent for what the configuration defines.";
    add_header(operation, "2", "ETag", version);
}

/// Describes a header of the answers whose status begins with `status`.
fn add_header(operation: &mut Operation, status: &str, name: &str, description: &str) {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let header = HeaderBuilder::new()
        .schema(Some(text))
        .description(Some(description))
        .build();
    for (_, response) in operation
        .responses
        .responses
        .iter_mut()
        .filter(|(of, _)| of.starts_with(status))
    {
        if let RefOr::T(response) = response {
            response
                .headers
                .insert(name.to_owned(), RefOr::T(header.clone()));
        }
    }
}

fn add_parameter(operation: &mut Operation, parameter: Parameter) {
    operation
        .parameters
        .get_or_insert_default()
        .push(RefOr::T(parameter));
}

/// The header with the expected version.
fn if_match() -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r#"^(\*|(W/)?"[!#-~]*")$"#))
        .build();
    ParameterBuilder::new()
        .name("If-Match")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .example(Some(serde_json::json!("\"1\"")))
        .description(Some(
            "The version in quotes, of the household, the feed, the mandate or the negative trust anchor: refused with 412 where it has another.",
        ))
        .schema(Some(text))
        .build()
}

/// The header with the key of a write.
fn idempotency_key() -> Parameter {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[!-~]+$"))
        .min_length(Some(1))
        .max_length(Some(KEY_OCTETS_MAX));
    let header = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False);
    let said = "A name of the client's own for this write: sent again within a day it is answered as before, with `Idempotency-Replayed: true`.";
    header
        .description(Some(said))
        .schema(Some(text.build()))
        .build()
}

/// Describes a problem, and adds the schema to those that the handler described.
fn refuse(operation: &mut Operation, status: &str, description: &str) {
    let content = || {
        ContentBuilder::new()
            .schema(Some(RefOr::Ref(Ref::from_schema_name("Problem"))))
            .build()
    };
    let refusal = |description: &str| {
        ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", content())
            .build()
    };
    let responses = &mut operation.responses.responses;
    for (_, response) in responses
        .iter_mut()
        .filter(|(status, _)| status.starts_with(['4', '5']))
    {
        if let RefOr::T(Response { description, .. }) = response {
            *response = RefOr::T(refusal(&description.clone()));
        }
    }
    responses
        .entry(status.to_owned())
        .or_insert_with(|| RefOr::T(refusal(description)));
}
