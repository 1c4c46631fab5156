//! The handlers, one file for each kind of resource.
//!
//! - `home`: a whole home in one read.
//! - `households`, `networks`, `people`, `devices`: who there is; `keys`: who may change it.
//! - `new_devices`: devices without a name; `things`, `prompts`: what cameras and the like may reach.
//! - `session`, `sessions`, `links`, `me`, `push`: log-in to the app, who is logged in, links that
//!   open it, who asks, notices to browsers.
//! - `changes`: the history of a household's changes, and undo.
//! - `level`: a household, a person or a device, whose settings `switches` and `schedules` change.
//! - `effective`: the settings in force; `explain`: why a name is blocked or not.
//! - `requests`: a child's requests; `household_events`: events of a household.
//! - `history`, `activity`: what is kept of a household's queries, and what is counted.
//! - `feeds`, `lists`: feeds, generations and rollbacks; `events`: events of the lists.
//! - `mandates`: legal orders; `choices`: what households chose, as a report.
//! - `negative_anchors`: names that are not validated for a while.
//! - `reports`, `check`, `home_test`: what the public reports and asks.
//! - `audit`, `limits`, `service`, `openapi`: the audit, who is limited, health and metrics, the
//!   OpenAPI document.

pub mod activity;
pub(crate) mod audit;
pub(crate) mod changes;
pub(crate) mod check;
pub(crate) mod choices;
pub(crate) mod devices;
pub(crate) mod effective;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod feeds;
pub(crate) mod history;
pub(crate) mod home;
pub(crate) mod home_test;
pub(crate) mod household_events;
pub(crate) mod households;
pub(crate) mod keys;
pub(crate) mod level;
pub(crate) mod limits;
pub(crate) mod links;
pub(crate) mod lists;
pub(crate) mod mandates;
pub(crate) mod me;
pub(crate) mod negative_anchors;
pub(crate) mod networks;
pub(crate) mod new_devices;
pub(crate) mod openapi;
pub(crate) mod people;
pub(crate) mod prompts;
pub(crate) mod push;
pub mod reports;
pub(crate) mod requests;
pub(crate) mod schedules;
pub(crate) mod service;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod switches;
pub(crate) mod things;

use std::sync::Arc;

use axum::routing::MethodFilter;
use utoipa::openapi::Paths;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    Context,
    auth::roles::{GuardedRoute, guarded},
};

/// The routes of a listener, with their descriptions.
pub(crate) struct Routes {
    pub router: OpenApiRouter<Arc<Context>>,
    /// Operations that this listener does not serve.
    pub hidden: Vec<(String, MethodFilter)>,
}

/// All routes, or all but the operator's.
pub(crate) fn all(with_operators: bool) -> Routes {
    let base = OpenApiRouter::with_openapi(crate::openapi::base());
    let is_served = |guarded: &GuardedRoute<_>| with_operators || !guarded.is_operators;
    let (served, hidden): (Vec<_>, Vec<_>) = each().into_iter().partition(is_served);
    let router = served
        .into_iter()
        .fold(base, |router, guarded| router.routes(guarded.route));
    let hidden = hidden
        .iter()
        .flat_map(|guarded| operations(&guarded.route.1))
        .collect();
    let router = on_levels()
        .into_iter()
        .filter(is_served)
        .fold(router, |router, guarded| {
            level::on_each_level(router, guarded.route)
        });
    Routes { router, hidden }
}

fn operations(paths: &Paths) -> Vec<(String, MethodFilter)> {
    let of_item = |(path, item): (&String, &utoipa::openapi::PathItem)| {
        let methods = [
            (item.get.is_some(), MethodFilter::GET),
            (item.put.is_some(), MethodFilter::PUT),
            (item.post.is_some(), MethodFilter::POST),
            (item.delete.is_some(), MethodFilter::DELETE),
        ];
        methods
            .into_iter()
            .filter(|(is_there, _)| *is_there)
            .map(|(_, method)| (path.clone(), method))
            .collect::<Vec<_>>()
    };
    paths.paths.iter().flat_map(of_item).collect()
}

/// The routes that stand once.
fn each() -> impl IntoIterator<Item = GuardedRoute<Arc<Context>>> {
    guarded![
        service::categories,
        service::presets,
        households::list,
        households::put,
        households::get,
        households::delete,
        home::get,
        changes::list,
        changes::undo,
        networks::put_network,
        networks::delete_network,
        people::put,
        people::get,
        people::delete,
        devices::put,
        devices::get,
        devices::delete,
        new_devices::list,
        new_devices::put,
        new_devices::put_hints,
        new_devices::dismiss,
        things::get,
        things::put,
        things::put_mud,
        prompts::list,
        prompts::put,
        history::put,
        history::get,
        history::delete,
        activity::get,
        activity::delete,
        effective::of_household,
        effective::of_device,
        requests::list,
        requests::post,
        requests::put,
        household_events::events,
        choices::report,
        reports::list,
        reports::post,
        reports::get,
        reports::put,
        reports::export,
        check::check,
        home_test::get,
        session::post,
        session::get,
        session::delete,
        me::get,
        push::key,
        push::get,
        push::put,
        push::delete,
        sessions::list,
        sessions::delete,
        sessions::delete_all,
        links::list,
        links::post,
        links::delete,
        keys::list,
        keys::post,
        keys::delete,
        feeds::list,
        feeds::post,
        feeds::put,
        feeds::get,
        feeds::delete,
        feeds::refresh,
        feeds::approve,
        feeds::rollback,
        feeds::what_if,
        mandates::list,
        mandates::put,
        mandates::get,
        mandates::delete,
        negative_anchors::list,
        negative_anchors::put,
        negative_anchors::get,
        negative_anchors::delete,
        lists::lists,
        lists::generations,
        lists::diff,
        lists::rollback,
        audit::list,
        audit::verify,
        events::events,
        explain::explain,
        limits::list,
        service::healthz,
        service::readyz,
        service::readyz_dns,
        service::metrics,
    ]
}

/// The routes of settings, which a household, a person and a device have.
fn on_levels() -> impl IntoIterator<Item = GuardedRoute<Arc<Context>>> {
    guarded![
        switches::put_category,
        switches::delete_category,
        switches::put_name,
        switches::delete_name,
        switches::put_safe_search,
        switches::put_search_unlock,
        switches::delete_search_unlock,
        switches::put_bypass,
        switches::delete_bypass,
        schedules::put_schedule,
        schedules::delete_schedule,
        schedules::post_grant,
        schedules::delete_grants,
        schedules::delete_grant,
        schedules::put_pause,
        schedules::delete_pause,
    ]
}
