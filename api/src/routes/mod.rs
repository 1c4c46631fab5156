//! The handlers, one file for each kind of resource.
//!
//! - `households`, `networks`, `people`, `devices`: who there is; `keys`: who may change it.
//! - `level`: a household, a person or a device, whose settings `switches` and `schedules` change.
//! - `effective`: the settings in force; `explain`: why a name is blocked or not.
//! - `requests`: a child's requests; `household_events`: events of a household.
//! - `history`, `activity`: what is kept of a household's queries, and what is counted.
//! - `feeds`, `lists`: feeds, generations and rollbacks; `events`: events of the lists.
//! - `mandates`: legal orders; `choices`: what households chose, as a report.
//! - `reports`, `check`: what the public reports and asks.
//! - `audit`, `service`, `openapi`: the audit, health and metrics, the OpenAPI document.

pub mod activity;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod choices;
pub(crate) mod devices;
pub(crate) mod effective;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod feeds;
pub(crate) mod history;
pub(crate) mod household_events;
pub(crate) mod households;
pub(crate) mod keys;
pub(crate) mod level;
pub(crate) mod lists;
pub(crate) mod mandates;
pub(crate) mod networks;
pub(crate) mod openapi;
pub(crate) mod people;
pub mod reports;
pub(crate) mod requests;
pub(crate) mod schedules;
pub(crate) mod service;
pub(crate) mod switches;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::Context;

/// All routes, with their descriptions.
pub(crate) fn all() -> OpenApiRouter<Arc<Context>> {
    let routes = OpenApiRouter::with_openapi(crate::openapi::base())
        .routes(routes!(service::categories))
        .routes(routes!(service::presets))
        .routes(routes!(households::list))
        .routes(routes!(
            households::put,
            households::get,
            households::delete
        ))
        .routes(routes!(networks::put_network, networks::delete_network))
        .routes(routes!(people::put, people::get, people::delete))
        .routes(routes!(devices::put, devices::get, devices::delete))
        .routes(routes!(history::put, history::get, history::delete))
        .routes(routes!(activity::get, activity::delete))
        .routes(routes!(effective::of_household))
        .routes(routes!(effective::of_device))
        .routes(routes!(requests::list, requests::post))
        .routes(routes!(requests::put))
        .routes(routes!(household_events::events))
        .routes(routes!(choices::report))
        .routes(routes!(reports::list, reports::post))
        .routes(routes!(reports::get, reports::put))
        .routes(routes!(reports::export))
        .routes(routes!(check::check))
        .routes(routes!(keys::list, keys::post))
        .routes(routes!(keys::delete))
        .routes(routes!(feeds::list, feeds::post))
        .routes(routes!(feeds::put, feeds::get, feeds::delete))
        .routes(routes!(feeds::refresh))
        .routes(routes!(feeds::approve))
        .routes(routes!(feeds::rollback))
        .routes(routes!(feeds::what_if))
        .routes(routes!(mandates::list))
        .routes(routes!(mandates::put, mandates::get, mandates::delete))
        .routes(routes!(lists::lists))
        .routes(routes!(lists::generations))
        .routes(routes!(lists::diff))
        .routes(routes!(lists::rollback))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(events::events))
        .routes(routes!(explain::explain))
        .routes(routes!(service::healthz))
        .routes(routes!(service::readyz))
        .routes(routes!(service::readyz_dns))
        .routes(routes!(service::metrics));
    let on_levels = [
        routes!(switches::put_category, switches::delete_category),
        routes!(switches::put_name, switches::delete_name),
        routes!(switches::put_safe_search),
        routes!(switches::put_search_unlock, switches::delete_search_unlock),
        routes!(switches::put_bypass, switches::delete_bypass),
        routes!(schedules::put_schedule, schedules::delete_schedule),
        routes!(schedules::post_grant, schedules::delete_grants),
        routes!(schedules::delete_grant),
        routes!(schedules::put_pause, schedules::delete_pause),
    ];
    on_levels.into_iter().fold(routes, level::on_each_level)
}
