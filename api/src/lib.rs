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
pub mod apply;
mod asking_shapes;
mod audit;
mod check;
mod choices;
pub mod control;
mod devices;
mod document;
mod effective;
mod events;
pub mod explain;
mod feeds;
mod grounds;
pub mod happenings;
pub mod history;
mod hours;
mod households;
mod keys;
mod known;
pub mod limits;
mod lists;
mod mandates;
pub mod message;
pub mod notices;
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
mod service;
mod setters;
mod shapes;
pub mod silence;
mod streams;
mod switches;
pub mod tokens;
mod veil;

use std::sync::Arc;

use async_trait::async_trait;
use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware};
use policy::{
    category::Taxonomy,
    decide::EffectivePolicy,
    explain::QueryExplanation,
    identity::directory::Directory,
    lists::{blocklist::Blocklist, current::CurrentLists, mandate_registry::MandateRegistry},
    name::Name,
    rules::operator::OperatorDefaults,
};
use policy_store::{Activity, Store};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::ListControl, happenings::Happenings, limits::Limits, problem::Problem, tokens::Tokens,
};

/// Somebody who can say what a query would be answered: the data path itself.
#[async_trait]
pub trait Explainer: Send + Sync {
    /// Judges and answers one question as the data path does, by the live lists or by others.
    async fn explain(
        &self,
        asker: EffectivePolicy,
        name: Name,
        record_type: u16,
        lists: Option<Arc<Blocklist>>,
    ) -> QueryExplanation;
}

/// What the API needs of the running node.
pub struct Context {
    /// Households and keys.
    pub store: Store,
    /// What households want counted of what they ask for; none where its file could not be opened:
    /// counts are worth no answer.
    pub activity: Option<Arc<Activity>>,
    /// Those who have it added up for them take turns here.
    pub activity_seats: tokio::sync::Semaphore,
    /// How much of that the operator lets them keep.
    pub history: history::Limits,
    /// The live rules.
    pub directory: Arc<Directory>,
    /// Categories and presets.
    pub taxonomy: Arc<Taxonomy>,
    /// What holds for those who chose nothing.
    pub defaults: OperatorDefaults,
    /// The live lists.
    pub lists: Arc<CurrentLists>,
    /// All mandates, and which are in force.
    pub mandates: Arc<MandateRegistry>,
    /// Names that nothing blocks here unless somebody means it: the operator's, and those that
    /// certificates are checked at.
    pub own_names: Vec<Name>,
    /// Whoever keeps the lists.
    pub lists_control: Arc<dyn ListControl>,
    /// The data path.
    pub explainer: Arc<dyn Explainer>,
    /// Writes the counters down.
    pub render_metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether queries are answered.
    pub is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Who listens to what happens in households.
    pub happenings: Happenings,
    /// Over which channels notices go.
    pub notices: notices::Channels,
    /// The preset of those who chose none, by slug.
    pub default_preset: String,
    /// Where the public asks.
    pub desk: reports::Desk,
    /// How often somebody may ask.
    pub limits: Limits,
    /// Reads the tokens of the OIDC provider, where there is one.
    pub tokens: Option<Tokens>,
    /// Writers of households take turns here.
    pub writes: tokio::sync::Mutex<()>,
    /// Whoever does something to feeds and lists takes turns here, which may take seconds.
    pub list_writes: tokio::sync::Mutex<()>,
    /// Writers of mandates take turns here.
    pub mandate_writes: tokio::sync::Mutex<()>,
}

/// All routes. Opens no socket.
pub fn router(context: Arc<Context>) -> Router {
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
        .routes(routes!(happenings::events))
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
    let (router, document) = routes.split_for_parts();
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
