//! REST: what people and programs switch, and the questions they ask.
//!
//! - `principal`: who asks, and what they may; [`tokens`]: those of an OIDC provider; [`limits`]:
//!   how often; `known`: whose rate it is.
//! - `retries`: writes that may come twice.
//! - [`message`]: what is refused whatever it asks for; `request`: what a request carries, read
//!   strictly.
//! - [`panics`]: what of ours went wrong.
//! - [`apply`]: a write from the first to the last step.
//! - `households`, `people`, `devices`: who there is; `keys`: who may write.
//! - `place`: a household, a person or a device; `switches`: what is set there; `hours`: what for a
//!   time.
//! - `effective`: what of all that holds now; [`explain`]: why; `setters`: by whom; `grounds`: in
//!   words.
//! - `feeds`, `lists`: what the node filters by, and the way back; `acts`: how what is done to them
//!   is written down.
//! - `mandates`: what is ordered, and that no household allows it.
//! - `requests`: what children ask for; `happenings`: what a family hears as it happens;
//!   [`notices`]: what the account's holder is told.
//! - [`history`]: what a household wants kept of what it asks for; `activity`: what is.
//! - `choices`: what households chose; [`reports`], `check`: what the public says and asks.
//! - [`control`]: what the API asks of whoever keeps the lists; `veil`: secrets stay here.
//! - `audit`, `events`: what was done, and what happens; `streams`: how many listen, and until
//!   when.
//! - `service`: taxonomy, health, metrics.
//! - [`problem`]: what a refused request is answered with.
//! - `document`: what the OpenAPI document says of all routes; `shapes`: of answers that have no
//!   type here; `reference`: how it is served.
//!
//! The OpenAPI document is generated from the same handlers that the router calls. This crate opens
//! no socket and knows no DNS message; what it needs of the running node comes in a [`Context`].

pub mod activity;
mod acts;
mod asking_shapes;
mod audit;
mod check;
mod choices;
mod devices;
mod document;
mod effective;
mod events;
mod explain;
mod feeds;
mod history;
mod hours;
mod household_events;
mod households;
mod keys;
mod known;
pub mod limits;
mod lists;
mod mandates;
pub mod message;
pub mod panics;
mod people;
mod place;
mod principal;
pub mod problem;
mod reference;
pub mod reports;
mod request;
mod requests;
mod retries;
pub mod server;
mod service;
mod shapes;
pub mod streams;
mod switches;
pub mod tokens;
mod veil;
mod versioned;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware};
use control::Control;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{limits::Limits, problem::Problem, streams::Streams, tokens::Tokens};

/// What handlers need of the running node.
pub struct Context {
    /// Households, lists and everything else that has nothing to do with HTTP.
    pub control: Arc<Control>,
    /// Bounds how many answers about activity are added up at a time.
    pub activity_seats: tokio::sync::Semaphore,
    /// The open event streams.
    pub streams: Streams,
    /// Renders the metrics.
    pub render_metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether queries are answered.
    pub is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Takes reports of the public.
    pub desk: reports::Desk,
    pub limits: Limits,
    /// Verifies tokens of the OIDC provider, if one is configured.
    pub tokens: Option<Tokens>,
}

/// All routes, and the OpenAPI document of them.
fn documented() -> (Router<Arc<Context>>, utoipa::openapi::OpenApi) {
    let routes = OpenApiRouter::with_openapi(document::base())
        .routes(routes!(service::categories))
        .routes(routes!(service::presets))
        .routes(routes!(households::list))
        .routes(routes!(
            households::put,
            households::get,
            households::delete
        ))
        .routes(routes!(households::put_network, households::delete_network))
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
    let in_places = [
        routes!(switches::put_category, switches::delete_category),
        routes!(switches::put_name, switches::delete_name),
        routes!(switches::put_safe_search),
        routes!(switches::put_search_unlock, switches::delete_search_unlock),
        routes!(switches::put_bypass, switches::delete_bypass),
        routes!(hours::put_schedule, hours::delete_schedule),
        routes!(hours::post_grant, hours::delete_grants),
        routes!(hours::delete_grant),
        routes!(hours::put_pause, hours::delete_pause),
    ];
    let routes = in_places.into_iter().fold(routes, place::in_each_place);
    routes.split_for_parts()
}

/// All routes. Opens no socket.
pub fn router(context: Arc<Context>) -> Router {
    let weak = Arc::downgrade(&context);
    context.control.events.on_removal(move || {
        if let Some(context) = weak.upgrade() {
            context.streams.end_lost(&context);
        }
    });
    let (router, document) = documented();
    router
        // Only what is routed can be done twice.
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&context),
            retries::once,
        ))
        .route(
            reference::PATH,
            reference::serve(document::complete(document)),
        )
        .fallback(|| async {
            Problem::not_found("unknown_route", "there is nothing here; see /openapi.json")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "this route has no such method; see /openapi.json",
            )
        })
        .layer(DefaultBodyLimit::max(request::BODY_OCTETS_MAX))
        .layer(middleware::from_fn(message::read_strictly))
        .layer(middleware::from_fn(panics::caught))
        .with_state(context)
}

#[cfg(test)]
mod dump {
    #[test]
    fn dump_openapi() {
        let (_, document) = super::documented();
        std::fs::write(
            std::env::var("OPENAPI_OUT").unwrap_or("/tmp/openapi_out.json".into()),
            document::complete(document).to_pretty_json().unwrap(),
        )
        .unwrap();
    }
    use super::document;
}
