//! What the public may know of a name: its categories, the presets that block it, and whether a
//! mandate does.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Context,
    extract::QueryParameters,
    problem::Problem,
    routes::{reports::Public, switches::own_name},
    schema::asking,
};

/// The name to check.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Which {
    name: String,
}

/// Categories and presets that block a name. Needs no key. Of a mandate, confidential or not, only
/// the basis is shown: a difference would reveal which ones are confidential.
#[utoipa::path(get, path = "/v1/check", operation_id = "check_name", tag = "reports", params(Which), security(()),
    responses((status = 200, description = "what blocks it", body = asking::Check), (status = 422, description = "no name"),
        (status = 429, description = "too many from this address")))]
pub async fn check(
    State(context): State<Arc<Context>>,
    _public: Public,
    QueryParameters(which): QueryParameters<Which>,
) -> Result<Json<Value>, Problem> {
    let name = own_name(&which.name).map_err(|problem| problem.with_field("name".to_owned()))?;
    let lists = context.control.lists.current();
    let listed = lists.classify(name.borrow());
    let category = |tier: &'static str| {
        let context = &context;
        move |id| {
            let category = context.control.taxonomy.category(id);
            json!({ "slug": category.slug, "title": category.title, "tier": tier })
        }
    };
    // A name on the operator's never-block list is blocked only by mandates.
    let (choice, security) = if listed.never_block {
        Default::default()
    } else {
        (listed.choice, listed.security)
    };
    let categories: Vec<Value> = security
        .iter()
        .map(category("security"))
        .chain(choice.iter().map(category("choice")))
        .collect();
    let blocks = |set: policy::category::CategorySet| !set.intersection(choice).is_empty();
    let presets: Vec<&str> = context
        .control
        .taxonomy
        .presets()
        .filter(|(_, set)| blocks(*set))
        .map(|(preset, _)| preset.slug.as_str())
        .collect();
    let order = listed.mandatory.then(|| {
        let mandate = listed
            .mandate
            .and_then(|ordered| lists.mandates().get(ordered));
        json!({ "basis": mandate.map(|mandate| mandate.basis.as_str()), "reference": null })
    });
    Ok(Json(
        json!({ "name": name, "order": order, "categories": categories, "presets": presets, "always": !security.is_empty() }),
    ))
}
