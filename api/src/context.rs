//! What handlers share: the control plane, and the state of the API itself.

use std::sync::Arc;

use control::{
    Control, limits::LimitEntry, notifications::push::Pusher, product_name::ProductName,
};

use crate::{
    app::settings::AppSettings,
    auth::{limits::Limits, oidc::Tokens, provider::Login},
    event_streams::Streams,
    home_test::HomeTest,
    past_reads::PastReads,
    report_intake::ReportIntake,
};

/// What handlers need of the running node.
pub struct Context {
    /// Households, lists and everything else that has nothing to do with HTTP.
    pub control: Arc<Control>,
    /// Bounds how many reads of the past run at a time.
    pub past_reads: PastReads,
    /// The open event streams.
    pub streams: Streams,
    /// Renders the metrics.
    pub render_metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Clients and zones that are limited.
    pub limited: Box<dyn Fn() -> Vec<LimitEntry> + Send + Sync>,
    /// Whether queries are answered.
    pub is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Takes reports of the public.
    pub reports: ReportIntake,
    /// The names of the home test, if they are configured.
    pub home_test: Option<HomeTest>,
    pub limits: Limits,
    /// Verifies tokens of the OIDC provider, if one is configured.
    pub tokens: Option<Tokens>,
    /// What families know the product as.
    pub product_name: ProductName,
    /// The parents' app. `None`: it is not served.
    pub app: Option<AppSettings>,
    /// Sends notices to browsers. `None`: the node does not.
    pub pusher: Option<Arc<Pusher>>,
    /// Log-in to the app by an OIDC provider, if one is configured.
    pub login: Option<Login>,
}
