//! What is switched: categories and own names, for a household and for each of its devices.
//!
//! The four pairs of routes do the same to two kinds of thing in two places; [`Place`] says where.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use policy::{
    household::{Household, Id, OWN_NAMES_MAX, OwnName, Set, State as SwitchState, Switch},
    listing::Scope,
    name::Name,
    own::is_own_scope,
};
use policy_store::Author;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Context,
    apply::{change_existing, made_or_changed, set_by, written},
    devices::unknown_device,
    mandates::refuse_ordered,
    principal::Family,
    problem::Problem,
    request::{Body, IfMatch, Segments, segment},
    shapes,
};

/// A category's switch.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchBody {
    /// `block` or `allow`.
    #[schema(value_type = String)]
    state: SwitchState,
}

/// An entry of an own list.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnNameBody {
    /// `block` or `allow`.
    #[schema(value_type = String)]
    state: SwitchState,
    /// `exact`, or `subtree` for the name and all below it, which is also what is meant where nothing is said.
    #[serde(default = "subtree")]
    #[schema(value_type = Option<String>)]
    scope: Scope,
}

fn subtree() -> Scope {
    Scope::Subtree
}

/// Where something is switched.
struct Place {
    household: Id,
    device: Option<Id>,
}

type Categories = BTreeMap<String, Set<Switch>>;
type Names = BTreeMap<Name, Set<OwnName>>;

impl Place {
    fn new(household: &str, device: Option<&str>) -> Result<Self, Problem> {
        Ok(Self { household: segment("id", household)?, device: device.map(|device| segment("device", device)).transpose()? })
    }

    /// The household's or the device's own switches.
    fn of<'h>(device: Option<&Id>, household: &'h mut Household) -> Result<(&'h mut Categories, &'h mut Names), Problem> {
        match device {
            None => Ok((&mut household.settings.categories, &mut household.settings.names)),
            Some(id) => match household.devices.get_mut(id) {
                Some(device) => Ok((&mut device.settings.categories, &mut device.settings.names)),
                None => Err(unknown_device(id)),
            },
        }
    }

    /// `edit` says whether it made something that was not there.
    async fn change(
        self,
        context: &Arc<Context>,
        author: Author,
        expected: Option<u64>,
        said: Value,
        edit: impl FnOnce(&mut Categories, &mut Names) -> Result<bool, Problem> + Send + 'static,
    ) -> Result<Response, Problem> {
        let Self { household, device } = self;
        let (changed, is_new) = change_existing(context, &author, household, expected, move |household| {
            let (categories, names) = Self::of(device.as_ref(), household)?;
            edit(categories, names)
        })
        .await?;
        Ok(written(&changed, made_or_changed(is_new), said))
    }

    async fn set_category(
        self,
        context: &Arc<Context>,
        author: Author,
        slug: String,
        expected: Option<u64>,
        state: SwitchState,
    ) -> Result<Response, Problem> {
        check_slug(context, &slug)?;
        let (said, actor) = (json!({ "category": slug, "state": state }), author.actor.clone());
        let change = move |categories: &mut Categories, _: &mut Names| {
            categories.insert(slug, set_by(Switch { state }, &actor));
            // A switch is there as long as its category is: setting it makes nothing.
            Ok(false)
        };
        self.change(context, author, expected, said, change).await
    }

    /// Inheriting is having no switch, so taking one back that is not there is done already.
    async fn inherit_category(
        self,
        context: &Arc<Context>,
        author: Author,
        slug: String,
        expected: Option<u64>,
    ) -> Result<Response, Problem> {
        check_slug(context, &slug)?;
        let said = json!({ "category": slug, "state": "inherit" });
        let change = move |categories: &mut Categories, _: &mut Names| {
            categories.remove(&slug);
            Ok(false)
        };
        self.change(context, author, expected, said, change).await
    }

    async fn set_name(
        self,
        context: &Arc<Context>,
        author: Author,
        domain: &str,
        expected: Option<u64>,
        body: OwnNameBody,
    ) -> Result<Response, Problem> {
        let name = own_name(domain)?;
        let OwnNameBody { state, scope } = body;
        if !is_own_scope(scope) {
            return Err(Problem::value("scope", "scope", "exact or subtree"));
        }
        if state == SwitchState::Allow {
            refuse_ordered(context, name.borrow())?;
        }
        let (said, actor) = (json!({ "name": name, "state": state, "scope": scope }), author.actor.clone());
        let change = move |_: &mut Categories, names: &mut Names| {
            let is_new = names.insert(name, set_by(OwnName { state, scope }, &actor)).is_none();
            if names.len() > OWN_NAMES_MAX {
                return Err(Problem::value("domain", "limit", format!("an own list has at most {OWN_NAMES_MAX} names")));
            }
            Ok(is_new)
        };
        self.change(context, author, expected, said, change).await
    }

    async fn remove_name(self, context: &Arc<Context>, author: Author, domain: &str, expected: Option<u64>) -> Result<Response, Problem> {
        let name = own_name(domain)?;
        let said = json!({ "name": name, "state": "inherit" });
        let change = move |_: &mut Categories, names: &mut Names| match names.remove(&name) {
            Some(_) => Ok(false),
            None => Err(Problem::not_found("unknown_name", format!("{name} is not in the list"))),
        };
        self.change(context, author, expected, said, change).await
    }
}

fn check_slug(context: &Context, slug: &str) -> Result<(), Problem> {
    match context.taxonomy.find(slug) {
        Some(_) => Ok(()),
        None => Err(Problem::not_found("unknown_category", format!("{slug:?} is not in the taxonomy, see /v1/categories"))
            .with_field("slug".to_owned())),
    }
}

fn own_name(domain: &str) -> Result<Name, Problem> {
    let name = Name::parse(domain).map_err(|error| Problem::value("domain", "name", format!("{domain:?}: {error}")))?;
    // A list that names the root would switch the Internet off, or every protection.
    if name.borrow().is_root() { Err(Problem::value("domain", "name", "the root is not a name to list")) } else { Ok(name) }
}

/// Blocks or allows a category for the household.
#[utoipa::path(put, path = "/v1/households/{id}/categories/{slug}", tag = "switches", request_body = SwitchBody,
    params(("id" = String, Path), ("slug" = String, Path)),
    responses((status = 200, description = "switched, and true from the next query on", body = shapes::CategoryWritten), (status = 404, description = "no such household or category")))]
pub async fn put_category(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, slug)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Body(body): Body<SwitchBody>,
) -> Result<Response, Problem> {
    Place::new(&id, None)?.set_category(&context, author, slug, expected, body.state).await
}

/// Lets the household inherit a category from its preset.
#[utoipa::path(delete, path = "/v1/households/{id}/categories/{slug}", tag = "switches", params(("id" = String, Path), ("slug" = String, Path)),
    responses((status = 200, description = "inherited", body = shapes::CategoryWritten), (status = 404, description = "no such household or category")))]
pub async fn delete_category(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, slug)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    Place::new(&id, None)?.inherit_category(&context, author, slug, expected).await
}

/// Blocks or allows a category for one device.
#[utoipa::path(put, path = "/v1/households/{id}/devices/{device}/categories/{slug}", tag = "switches", request_body = SwitchBody,
    params(("id" = String, Path), ("device" = String, Path), ("slug" = String, Path)),
    responses((status = 200, description = "switched, and true from the next query on", body = shapes::CategoryWritten), (status = 404, description = "no such household, device or category")))]
pub async fn put_device_category(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, device, slug)): Segments<(String, String, String)>,
    IfMatch(expected): IfMatch,
    Body(body): Body<SwitchBody>,
) -> Result<Response, Problem> {
    Place::new(&id, Some(&device))?.set_category(&context, author, slug, expected, body.state).await
}

/// Lets a device inherit a category from its household.
#[utoipa::path(delete, path = "/v1/households/{id}/devices/{device}/categories/{slug}", tag = "switches",
    params(("id" = String, Path), ("device" = String, Path), ("slug" = String, Path)),
    responses((status = 200, description = "inherited", body = shapes::CategoryWritten), (status = 404, description = "no such household, device or category")))]
pub async fn delete_device_category(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, device, slug)): Segments<(String, String, String)>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    Place::new(&id, Some(&device))?.inherit_category(&context, author, slug, expected).await
}

/// Puts a name on the household's own list.
#[utoipa::path(put, path = "/v1/households/{id}/names/{domain}", tag = "switches", request_body = OwnNameBody,
    params(("id" = String, Path), ("domain" = String, Path)),
    responses((status = 201, description = "listed, and true from the next query on", body = shapes::NameWritten), (status = 200, description = "changed", body = shapes::NameWritten), (status = 404, description = "no such household"), (status = 409, description = "blocked by order: `mandatory`")))]
pub async fn put_name(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, domain)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
    Body(body): Body<OwnNameBody>,
) -> Result<Response, Problem> {
    Place::new(&id, None)?.set_name(&context, author, &domain, expected, body).await
}

/// Takes a name off the household's own list.
#[utoipa::path(delete, path = "/v1/households/{id}/names/{domain}", tag = "switches", params(("id" = String, Path), ("domain" = String, Path)),
    responses((status = 200, description = "off the list", body = shapes::NameWritten), (status = 404, description = "no such household, or the name is not listed")))]
pub async fn delete_name(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, domain)): Segments<(String, String)>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    Place::new(&id, None)?.remove_name(&context, author, &domain, expected).await
}

/// Puts a name on a device's own list.
#[utoipa::path(put, path = "/v1/households/{id}/devices/{device}/names/{domain}", tag = "switches", request_body = OwnNameBody,
    params(("id" = String, Path), ("device" = String, Path), ("domain" = String, Path)),
    responses((status = 201, description = "listed, and true from the next query on", body = shapes::NameWritten), (status = 200, description = "changed", body = shapes::NameWritten), (status = 404, description = "no such household or device"), (status = 409, description = "blocked by order: `mandatory`")))]
pub async fn put_device_name(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, device, domain)): Segments<(String, String, String)>,
    IfMatch(expected): IfMatch,
    Body(body): Body<OwnNameBody>,
) -> Result<Response, Problem> {
    Place::new(&id, Some(&device))?.set_name(&context, author, &domain, expected, body).await
}

/// Takes a name off a device's own list.
#[utoipa::path(delete, path = "/v1/households/{id}/devices/{device}/names/{domain}", tag = "switches",
    params(("id" = String, Path), ("device" = String, Path), ("domain" = String, Path)),
    responses((status = 200, description = "off the list", body = shapes::NameWritten), (status = 404, description = "no such household or device, or the name is not listed")))]
pub async fn delete_device_name(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    Segments((id, device, domain)): Segments<(String, String, String)>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    Place::new(&id, Some(&device))?.remove_name(&context, author, &domain, expected).await
}
