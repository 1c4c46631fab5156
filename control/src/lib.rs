//! The control plane: everything that a node does beside answering queries.
//!
//! ```text
//! api, command line -> households::write -> store -> compile -> directory      (one household)
//!                   -> lists::manager    -> fetch, build, swap                 (all lists)
//! clock             -> schedules, mandates, negative_anchors
//! data path         -> activity::aggregate -> counts, household events
//!                   -> detection -> new devices, prompts of things
//! outbox            -> notifications::delivery -> webhook, e-mail
//! ```
//!
//! - [`households`]: stored households become live rules; writes, events, and who set what.
//! - [`schedules`]: compiles a household anew when one of its schedules begins or ends.
//! - [`mandates`]: brings legal orders into force and ends them.
//! - [`negative_anchors`]: names that are not validated for a while.
//! - [`lists`]: fetches feeds, builds generations of the lists, and swaps them in.
//! - [`notifications`]: messages to account holders: their text and their delivery.
//! - [`activity`]: counts of a household's queries, their retention, and devices that went silent.
//! - [`detection`]: new devices, and what things newly want to reach.
//! - [`explain`]: why a name is blocked or not, for the API and for the command line.
//! - [`audit_heads`]: signed heads of the audit leave the machine. [`audit_pruning`]: its old rows do.
//! - [`limits`]: who is limited on this node.
//! - [`bogus_zones`]: an alarm for zones whose data do not verify (DNSSEC).
//! - [`certificate`]: a certificate for TLS listeners, read again when its files change.
//! - [`store_health`]: whether the stores can be written. [`disk`]: how full their file systems are.
//! - [`trust_anchors`]: looks at the keys of zones with trust anchors (RFC 5011).
//! - [`product_name`]: what families know the product as.
//! - [`shutdown`]: the background tasks, and their end.
//!
//! This crate knows no HTTP status, route or header. `api` maps its errors to problems, and the
//! program's `daemon` starts its tasks.

pub mod activity;
pub mod audit_heads;
pub mod audit_pruning;
pub mod bogus_zones;
pub mod certificate;
pub mod demonstration;
pub mod detection;
pub mod disk;
mod error;
pub mod explain;
pub mod households;
pub mod limit_watch;
pub mod limits;
pub mod lists;
pub mod mandates;
pub mod negative_anchors;
pub mod notifications;
pub mod product_name;
pub mod schedules;
pub mod shutdown;
pub mod store_health;
pub mod trust_anchors;

use std::sync::Arc;

use policy::{
    category::Taxonomy,
    identity::directory::Directory,
    lists::{current::CurrentLists, mandate_registry::MandateRegistry},
    name::Name,
    rules::operator::OperatorDefaults,
};
use policy_store::{ActivityStore, Store};
use tokio::sync::Mutex;

use self::{
    activity::limits::HistoryLimits,
    detection::mac_register::MacRegister,
    explain::Explainer,
    households::{event_channels::HouseholdEvents, turns::HouseholdTurns},
    lists::model::ListControl,
    negative_anchors::NegativeAnchorRegistry,
    notifications::settings::Channels,
};

pub use self::error::causes;

/// Shares of connections by client: the API has the same as DNS over TCP.
pub use resolver::listener::connections::{Connection, Connections};

/// The state of the control plane that API handlers and background tasks share.
pub struct Control {
    pub store: Store,
    /// Counts of households' queries. `None` if their file could not be opened: everything else
    /// works without it.
    pub activity: Option<Arc<ActivityStore>>,
    /// The operator's limits on what a household may keep in `activity`.
    pub history: HistoryLimits,
    /// The compiled rules of all households.
    pub directory: Arc<Directory>,
    pub taxonomy: Arc<Taxonomy>,
    /// The rules of a client without a household, and of settings that a household leaves open.
    pub defaults: OperatorDefaults,
    pub lists: Arc<CurrentLists>,
    pub mandates: Arc<MandateRegistry>,
    pub negative_anchors: Arc<NegativeAnchorRegistry>,
    /// Names that a mandate blocks only with `force`: the operator's, and those of certificate
    /// checks.
    pub own_names: Vec<Name>,
    pub lists_control: Arc<dyn ListControl>,
    pub explainer: Arc<dyn Explainer>,
    pub events: Arc<HouseholdEvents>,
    /// Who made the network interface with a MAC address.
    pub mac_register: Arc<MacRegister>,
    /// The channels over which notices go.
    pub notices: Channels,
    /// The slug of the preset of households that chose none.
    pub default_preset: String,
    /// The order of writes at each household: what is stored last is live last.
    pub turns: HouseholdTurns,
    /// Serialises changes of feeds and lists, each of which may take seconds.
    pub list_writes: Mutex<()>,
    /// Serialises writes of mandates.
    pub mandate_writes: Mutex<()>,
}
