//! What the public may know of a name: its categories, the presets that block it, and whether a
//! mandate does.

use std::sync::Arc;

use axum::{Json, extract::State};
use policy::name::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Context,
    extract::QueryParameters,
    problem::Problem,
    routes::{reports::Public, switches::own_name},
};

/// The name to check.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Which {
    name: String,
}

/// What blocks a name.
#[derive(Serialize, ToSchema)]
#[schema(as = Check)]
pub struct CheckedName {
    /// Whether it is blocked for every household as a danger, whatever the household chose.
    always: bool,
    /// The categories for which it is listed.
    categories: Vec<CheckedCategory>,
    /// The name.
    #[schema(value_type = String)]
    name: Name,
    /// The order under which it is. Null if it is under none.
    order: Option<CheckedOrder>,
    /// The presets that block it, by slug.
    presets: Vec<String>,
}

/// An order.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderOfCheck)]
struct CheckedOrder {
    /// On what it rests, where that is known.
    basis: Option<&'static str>,
    /// Always null: only the operator and auditors see where an order is written.
    #[schema(value_type = Option<String>)]
    reference: (),
}

/// A category for which a name is listed.
#[derive(Serialize, ToSchema)]
#[schema(as = CategoryOfCheck)]
struct CheckedCategory {
    /// The name programs use.
    slug: String,
    tier: CheckedTier,
    /// The name people read.
    title: String,
}

/// The tier of a category.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum CheckedTier {
    /// A danger, blocked for every household.
    Security,
    /// Blocked by what a household chose.
    Choice,
}

/// Categories and presets that block a name. Needs no key. Of a mandate, confidential or not, only
/// the basis is shown: a difference would reveal which ones are confidential.
#[utoipa::path(get, path = "/v1/check", operation_id = "check_name", tag = "reports", params(Which), security(()),
    responses((status = 200, description = "what blocks it", body = CheckedName), (status = 422, description = "no name"),
        (status = 429, description = "too many from this address")))]
pub async fn check(
    State(context): State<Arc<Context>>,
    _public: Public,
    QueryParameters(which): QueryParameters<Which>,
) -> Result<Json<CheckedName>, Problem> {
    let name = own_name(&which.name).map_err(|problem| problem.with_field("name".to_owned()))?;
    let lists = context.control.lists.current();
    let listed = lists.classify(name.borrow());
    let category = |tier: CheckedTier| {
        let context = &context;
        move |id| {
            let category = context.control.taxonomy.category(id);
            CheckedCategory {
                slug: category.slug.clone(),
                tier,
                title: category.title.clone(),
            }
        }
    };
    // A name on the operator's never-block list is blocked only by mandates.
    let (choice, security) = if listed.never_block {
        Default::default()
    } else {
        (listed.choice, listed.security)
    };
    let categories: Vec<CheckedCategory> = security
        .iter()
        .map(category(CheckedTier::Security))
        .chain(choice.iter().map(category(CheckedTier::Choice)))
        .collect();
    let blocks = |set: policy::category::CategorySet| !set.intersection(choice).is_empty();
    let presets: Vec<String> = context
        .control
        .taxonomy
        .presets()
        .filter(|(_, set)| blocks(*set))
        .map(|(preset, _)| preset.slug.clone())
        .collect();
    let order = listed.mandatory.then(|| {
        let mandate = listed
            .mandate
            .and_then(|ordered| lists.mandates().get(ordered));
        CheckedOrder {
            basis: mandate.map(|mandate| mandate.basis.as_str()),
            reference: (),
        }
    });
    Ok(Json(CheckedName {
        always: !security.is_empty(),
        categories,
        name,
        order,
        presets,
    }))
}
