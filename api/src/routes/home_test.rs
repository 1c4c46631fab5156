//! The home test: which names a browser asks for, and what the rules of its line say about each.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use policy::{
    category::Category,
    decide::{EffectivePolicy, Layer, decide},
    name::Name,
    unix_seconds::UnixSeconds,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Context,
    auth::roles::Admits,
    client_address,
    home_test::{HomeTest, OPEN_LABEL},
    problem::Problem,
    routes::reports::Public,
};

/// The names of the home test, and what is expected of each.
#[derive(Serialize, ToSchema)]
#[schema(as = HomeTest)]
pub struct ExpectedOutcomes {
    /// Whether the client's address belongs to a household, whose rules then apply.
    is_household: bool,
    /// Whether the address is one device's, whose rules then apply.
    is_device: bool,
    /// A name that is in no category: a device that cannot reach it, although no rule blocks it,
    /// uses another resolver.
    open: OpenTest,
    /// One name for each category.
    categories: Vec<CategoryTest>,
}

/// A name that a browser asks for.
#[derive(Serialize, ToSchema)]
struct TestName {
    /// The name.
    name: String,
    /// Its address for pages without TLS. Null if no listener has it.
    http: Option<String>,
    /// Its address for pages with TLS. Null if no listener has it.
    https: Option<String>,
}

/// The name that is in no category.
#[derive(Serialize, ToSchema)]
struct OpenTest {
    /// Whether the rules block it nevertheless. The test then tells nothing.
    is_blocked: bool,
    /// The layer that blocks it, such as `paused`, `thing` or `household-deny`. Null if none does.
    #[schema(value_type = Option<Layer>)]
    layer: Option<&'static str>,
    #[serde(flatten)]
    asked: TestName,
}

/// The name of a category.
#[derive(Serialize, ToSchema)]
struct CategoryTest {
    /// The category.
    slug: String,
    /// Whether the rules block it now.
    is_blocked: bool,
    #[serde(flatten)]
    asked: TestName,
}

impl TestName {
    fn of(test: &HomeTest, label: &str) -> Self {
        Self {
            name: test.name(label),
            http: test.url(label, "http"),
            https: test.url(label, "https"),
        }
    }
}

/// The rules at the client's address.
pub struct OfAddress {
    policy: EffectivePolicy,
    is_household: bool,
    is_device: bool,
}

impl Admits for OfAddress {}

impl FromRequestParts<Arc<Context>> for OfAddress {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &Arc<Context>,
    ) -> Result<Self, Problem> {
        let client = client_address::of_request(parts);
        let directory = &context.control.directory;
        let Some(rules) = directory.household_of(client) else {
            return Ok(Self {
                policy: directory.unknown_line(),
                is_household: false,
                is_device: false,
            });
        };
        let device = rules.device_by_address(client);
        let now = UnixSeconds::of(jiff::Timestamp::now());
        Ok(Self {
            policy: EffectivePolicy::of(&rules, device, now),
            is_household: true,
            is_device: device.is_some(),
        })
    }
}

/// The names of the home test, and which of them the rules at the client's address block. Needs no
/// key: a client learns nothing that its own queries do not show.
#[utoipa::path(get, path = "/v1/home-test", operation_id = "get_home_test", tag = "reports", security(()),
    responses((status = 200, description = "the names", body = ExpectedOutcomes),
        (status = 404, description = "no names are configured: `unknown_home_test`"),
        (status = 429, description = "too many from this address")))]
pub async fn get(
    State(context): State<Arc<Context>>,
    _public: Public,
    client: OfAddress,
) -> Result<Json<ExpectedOutcomes>, Problem> {
    let test = context.home_test.as_ref().ok_or_else(|| {
        Problem::not_found(
            "unknown_home_test",
            "the operator has configured no home test",
        )
    })?;
    let lists = context.control.lists.load();
    let decided = |asked: &TestName| {
        let name = Name::parse(&asked.name).ok()?;
        let listed = lists.classify(name.borrow());
        Some(decide(&client.policy, name.borrow(), &listed))
    };
    let category = |category: &Category| {
        let asked = TestName::of(test, &category.slug);
        Some(CategoryTest {
            slug: category.slug.clone(),
            is_blocked: decided(&asked)?.is_block(),
            asked,
        })
    };
    let asked = TestName::of(test, OPEN_LABEL);
    let blocking = decided(&asked).filter(|verdict| verdict.is_block());
    let open = OpenTest {
        is_blocked: blocking.is_some(),
        layer: blocking.map(|verdict| verdict.layer.as_str()),
        asked,
    };
    Ok(Json(ExpectedOutcomes {
        is_household: client.is_household,
        is_device: client.is_device,
        open,
        categories: context
            .control
            .taxonomy
            .categories()
            .iter()
            .filter_map(category)
            .collect(),
    }))
}
