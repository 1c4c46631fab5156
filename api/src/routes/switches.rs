//! Switches: categories, custom names, safe search and whether an allow lifts it, and names for
//! bypassing the filter. On each level, see [`crate::routes::level`].

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::StatusCode};
use control::households::write::set_by;
use policy::{
    lists::entry::Scope,
    name::Name,
    rules::{
        builtin_names::BuiltinNames,
        custom_names::is_custom_scope,
        household::{
            CUSTOM_NAMES_MAX, CustomName, SafeSearchSetting, SearchLevel, Switch, SwitchState,
        },
    },
};
use serde::Deserialize;

use crate::{
    Context,
    auth::guards::Family,
    extract::{Body, IfMatch},
    problem::Problem,
    routes::{level::Level, mandates::refuse_ordered},
    versioned::{Versioned, made_or_changed},
    written::{
        BypassWritten, CategoryWritten, NameWritten, SafeSearchWritten, SearchUnlockWritten,
        WrittenScope, WrittenState,
    },
};

/// A switch.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchBody {
    state: SwitchState,
}

/// An entry of a custom list.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnNameBody {
    state: SwitchState,
    /// `exact`, or `subtree` for the name and all below it (the default).
    #[serde(default)]
    #[schema(value_type = Option<WrittenScope>)]
    scope: Option<Scope>,
}

/// 404 for a category that the taxonomy does not have.
pub fn check_slug(context: &Context, slug: &str) -> Result<(), Problem> {
    match context.control.taxonomy.find(slug) {
        Some(_) => Ok(()),
        None => Err(Problem::not_found(
            "unknown_category",
            format!("{slug:?} is not in the taxonomy, see /v1/categories"),
        )
        .with_field("slug".to_owned())),
    }
}

/// Parses a name for a custom list or a grant.
pub fn own_name(domain: &str) -> Result<Name, Problem> {
    let name = Name::parse(domain)
        .map_err(|error| Problem::value("domain", "name", format!("{domain:?}: {error}")))?;
    // The root on a list would block the Internet, or lift every protection.
    if name.borrow().is_root() {
        Err(Problem::value(
            "domain",
            "name",
            "the root is not a name to list",
        ))
    } else {
        Ok(name)
    }
}

/// Blocks or allows a category.
#[utoipa::path(put, path = "/v1/households/{id}/categories/{slug}", operation_id = "put_household_category", tag = "switches", request_body = SwitchBody,
    params(("id" = String, Path), ("slug" = String, Path)),
    responses((status = 200, description = "switched, and true from the next query on", body = CategoryWritten), (status = 404, description = "no such place or category")))]
pub async fn put_category(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
    Body(SwitchBody { state }): Body<SwitchBody>,
) -> Result<Versioned<CategoryWritten>, Problem> {
    let slug: String = level.item("slug")?;
    check_slug(&context, &slug)?;
    let actor = author.actor.clone();
    let change = level.change(&context.control, &author, expected, move |settings| {
        settings
            .categories
            .insert(slug.clone(), set_by(Switch { state }, &actor));
        // A category always has a switch, so setting it creates nothing.
        let said = move |version| CategoryWritten {
            category: slug,
            state: state.into(),
            version,
        };
        Ok((StatusCode::OK, said))
    });
    change.await
}

/// Inherits a category: from the person, the household, or its preset.
#[utoipa::path(delete, path = "/v1/households/{id}/categories/{slug}", operation_id = "delete_household_category", tag = "switches", params(("id" = String, Path), ("slug" = String, Path)),
    responses((status = 200, description = "inherited", body = CategoryWritten), (status = 404, description = "no such place or category")))]
pub async fn delete_category(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<CategoryWritten>, Problem> {
    let slug: String = level.item("slug")?;
    check_slug(&context, &slug)?;
    let change = level.change(&context.control, &author, expected, move |settings| {
        // Inheriting means having no switch, so removing one twice is no error.
        settings.categories.remove(&slug);
        let said = move |version| CategoryWritten {
            category: slug,
            state: WrittenState::Inherit,
            version,
        };
        Ok((StatusCode::OK, said))
    });
    change.await
}

/// Adds a name to the custom list.
#[utoipa::path(put, path = "/v1/households/{id}/names/{domain}", operation_id = "put_household_name", tag = "switches", request_body = OwnNameBody,
    params(("id" = String, Path), ("domain" = String, Path)),
    responses((status = 201, description = "listed, and true from the next query on", body = NameWritten), (status = 200, description = "changed", body = NameWritten), (status = 404, description = "no such place"), (status = 409, description = "blocked by order: `mandatory`")))]
pub async fn put_name(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
    Body(OwnNameBody { state, scope }): Body<OwnNameBody>,
) -> Result<Versioned<NameWritten>, Problem> {
    let name = own_name(&level.item::<String>("domain")?)?;
    let scope = scope.unwrap_or(Scope::Subtree);
    if !is_custom_scope(scope) {
        return Err(Problem::value("scope", "scope", "exact or subtree"));
    }
    if state == SwitchState::Allow {
        refuse_ordered(&context, name.borrow())?;
    }
    let actor = author.actor.clone();
    let change = level.change(&context.control, &author, expected, move |settings| {
        let is_new = settings
            .names
            .insert(name.clone(), set_by(CustomName { state, scope }, &actor))
            .is_none();
        if is_new && settings.names.len() > CUSTOM_NAMES_MAX {
            return Err(Problem::value(
                "domain",
                "limit",
                format!("an own list has at most {CUSTOM_NAMES_MAX} names"),
            ));
        }
        let said = move |version| NameWritten {
            name,
            scope: Some(scope.into()),
            state: state.into(),
            version,
        };
        Ok((made_or_changed(is_new), said))
    });
    change.await
}

/// Removes a name from the custom list.
#[utoipa::path(delete, path = "/v1/households/{id}/names/{domain}", operation_id = "delete_household_name", tag = "switches", params(("id" = String, Path), ("domain" = String, Path)),
    responses((status = 200, description = "off the list", body = NameWritten), (status = 404, description = "no such place, or the name is not listed")))]
pub async fn delete_name(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<NameWritten>, Problem> {
    let name = own_name(&level.item::<String>("domain")?)?;
    let change = level.change(
        &context.control,
        &author,
        expected,
        move |settings| match settings.names.remove(&name) {
            Some(_) => Ok((StatusCode::OK, move |version| NameWritten {
                name,
                scope: None,
                state: WrittenState::Inherit,
                version,
            })),
            None => Err(Problem::not_found(
                "unknown_name",
                format!("{name} is not in the list"),
            )),
        },
    );
    change.await
}

/// Levels of safe search by engine. `null` inherits.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct SafeSearchBody(BTreeMap<String, Option<SearchLevel>>);

impl utoipa::PartialSchema for SafeSearchBody {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Ref, Schema, Type};
        let level = <SearchLevel as utoipa::ToSchema>::name();
        let level = OneOfBuilder::new()
            .item(Ref::from_schema_name(level))
            .item(ObjectBuilder::new().schema_type(Type::Null));
        ObjectBuilder::new()
            .description(Some("Levels of safe search by engine. `null` inherits."))
            .additional_properties(Some(Schema::OneOf(level.build())))
            .into()
    }
}

impl utoipa::ToSchema for SafeSearchBody {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
        let name = <SearchLevel as utoipa::ToSchema>::name().into();
        schemas.push((name, <SearchLevel as utoipa::PartialSchema>::schema()));
    }
}

/// Sets the safe search of engines: `off`, `moderate` or `strict` by the engine's name (google,
/// youtube, bing, duckduckgo, ecosia, pixabay, yandex, brave, qwant). `null` inherits; other
/// engines keep their level.
#[utoipa::path(put, path = "/v1/households/{id}/safe-search", operation_id = "put_household_safe_search", tag = "switches", request_body = SafeSearchBody,
    params(("id" = String, Path)),
    responses((status = 200, description = "set, and true from the next query on", body = SafeSearchWritten), (status = 404, description = "no such place"), (status = 422, description = "no such engine or level")))]
pub async fn put_safe_search(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
    Body(SafeSearchBody(levels)): Body<SafeSearchBody>,
) -> Result<Versioned<SafeSearchWritten>, Problem> {
    if let Some(unknown) = levels
        .keys()
        .find(|engine| BuiltinNames::shipped().engine(engine).is_none())
    {
        let known: Vec<&str> = BuiltinNames::shipped()
            .engines()
            .iter()
            .map(|engine| engine.slug.as_str())
            .collect();
        return Err(Problem::value(
            unknown,
            "unknown_engine",
            format!("{unknown:?} is no engine; one of {}", known.join(", ")),
        ));
    }
    let actor = author.actor.clone();
    let change = level.change(&context.control, &author, expected, move |settings| {
        for (engine, level) in levels {
            match level {
                Some(level) => drop(
                    settings
                        .safe_search
                        .insert(engine, set_by(SafeSearchSetting { level }, &actor)),
                ),
                None => drop(settings.safe_search.remove(&engine)),
            }
        }
        let safe_search: BTreeMap<String, SearchLevel> = settings
            .safe_search
            .iter()
            .map(|(engine, set)| (engine.clone(), set.value.level))
            .collect();
        let said = move |version| SafeSearchWritten {
            safe_search,
            version,
        };
        Ok((StatusCode::OK, said))
    });
    change.await
}

/// Sets whether an allow or a grant of a search engine also lifts its safe search: `allow` lifts
/// it. Otherwise the engine is opened, but led to its address for safe search. The account holder
/// is notified of an `allow`.
#[utoipa::path(put, path = "/v1/households/{id}/search-unlock", operation_id = "put_household_search_unlock", tag = "switches", request_body = SwitchBody, params(("id" = String, Path)),
    responses((status = 200, description = "set, and true from the next query on", body = SearchUnlockWritten), (status = 404, description = "no such place")))]
pub async fn put_search_unlock(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
    Body(SwitchBody { state }): Body<SwitchBody>,
) -> Result<Versioned<SearchUnlockWritten>, Problem> {
    let actor = author.actor.clone();
    let change = level.change(&context.control, &author, expected, move |settings| {
        settings.search_unlock = Some(set_by(Switch { state }, &actor));
        let said = move |version| SearchUnlockWritten {
            search_unlock: state.into(),
            version,
        };
        Ok((StatusCode::OK, said))
    });
    change.await
}

/// Inherits whether an allow also lifts safe search.
#[utoipa::path(delete, path = "/v1/households/{id}/search-unlock", operation_id = "delete_household_search_unlock", tag = "switches", params(("id" = String, Path)),
    responses((status = 200, description = "inherited", body = SearchUnlockWritten), (status = 404, description = "no such place")))]
pub async fn delete_search_unlock(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<SearchUnlockWritten>, Problem> {
    let change = level.change(&context.control, &author, expected, move |settings| {
        settings.search_unlock = None;
        let said = |version| SearchUnlockWritten {
            search_unlock: WrittenState::Inherit,
            version,
        };
        Ok((StatusCode::OK, said))
    });
    change.await
}

/// Sets what happens to names by which software bypasses the filter by itself (canary names,
/// private relays): `block` answers them negatively, so that it does not.
#[utoipa::path(put, path = "/v1/households/{id}/bypass", operation_id = "put_household_bypass", tag = "switches", request_body = SwitchBody, params(("id" = String, Path)),
    responses((status = 200, description = "set, and true from the next query on", body = BypassWritten), (status = 404, description = "no such place")))]
pub async fn put_bypass(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
    Body(SwitchBody { state }): Body<SwitchBody>,
) -> Result<Versioned<BypassWritten>, Problem> {
    let actor = author.actor.clone();
    let change = level.change(&context.control, &author, expected, move |settings| {
        settings.bypass = Some(set_by(Switch { state }, &actor));
        let said = move |version| BypassWritten {
            bypass: state.into(),
            version,
        };
        Ok((StatusCode::OK, said))
    });
    change.await
}

/// Inherits what happens to names for bypassing the filter.
#[utoipa::path(delete, path = "/v1/households/{id}/bypass", operation_id = "delete_household_bypass", tag = "switches", params(("id" = String, Path)),
    responses((status = 200, description = "inherited", body = BypassWritten), (status = 404, description = "no such place")))]
pub async fn delete_bypass(
    State(context): State<Arc<Context>>,
    Family(author): Family,
    level: Level,
    IfMatch(expected): IfMatch,
) -> Result<Versioned<BypassWritten>, Problem> {
    let change = level.change(&context.control, &author, expected, move |settings| {
        settings.bypass = None;
        let said = |version| BypassWritten {
            bypass: WrittenState::Inherit,
            version,
        };
        Ok((StatusCode::OK, said))
    });
    change.await
}
