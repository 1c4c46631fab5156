//! The shapes of what is kept and counted of a household.

use utoipa::ToSchema;

/// What is kept of what a household's devices ask for.
#[derive(ToSchema)]
pub struct History {
    /// For how many days; 0 where nothing is kept.
    days: u16,
    /// Whether names of what was blocked are.
    names: bool,
    /// Whether devices that nobody named are counted, as one.
    unknown_devices: bool,
    /// Who said so: a key; none where nobody did.
    set_by: Option<String>,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: Option<String>,
}

/// What is kept from now on.
#[derive(ToSchema)]
pub struct HistoryWritten {
    /// What is kept.
    history: History,
    /// The household's new version.
    version: u64,
}

/// What was forgotten.
#[derive(ToSchema)]
pub struct ActivityForgotten {
    /// What this device asked for; none for all of it.
    device: Option<String>,
    /// The household's version, which this does not change.
    version: u64,
}

/// What a household's devices asked for, as counts. What an order blocks is not among them.
#[derive(ToSchema)]
pub struct Activity {
    /// Of which household.
    household: String,
    /// Of this device alone; none for all.
    device: Option<String>,
    /// What is kept at all.
    history: History,
    /// From the hour of this instant on, RFC 3339; none for as far back as anything is kept.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Until this instant.
    #[schema(format = DateTime)]
    to: String,
    /// Queries.
    asked: u64,
    /// Those of them that were blocked.
    blocked: u64,
    /// The devices of which anything is kept.
    devices: Vec<DeviceActivity>,
    /// Most asked for first; a query counts for each category that its name is listed for.
    categories: Vec<CategoryActivity>,
    /// Hours (UTC) in which something was asked, the oldest first.
    hours: Vec<HourActivity>,
    /// Most often blocked first.
    blocked_names: Vec<BlockedName>,
    /// Blocked queries for names that were too many to keep each, by device and hour.
    blocked_names_more: u64,
}

/// One device's counts.
#[derive(ToSchema)]
struct DeviceActivity {
    /// Which; none for all devices that nobody named together.
    device: Option<String>,
    /// What the family calls it.
    name: Option<String>,
    /// Queries.
    asked: u64,
    /// Those of them that were blocked.
    blocked: u64,
    /// When it last asked for anything but a way round the filter, RFC 3339.
    #[schema(format = DateTime)]
    last_asked: Option<String>,
    /// That it does not use the filter at the moment, as far as that can be told; none where it
    /// does.
    silent: Option<DeviceSilence>,
}

/// A device that does not ask any more.
#[derive(ToSchema)]
struct DeviceSilence {
    /// Since when, RFC 3339.
    #[schema(format = DateTime)]
    since: String,
    /// The way round the filter that it asked for last: `relay`, `doh`, `vpn` or `proxy`. None: it
    /// may be off, or away, or use another resolver without having asked for its name.
    sign: Option<String>,
}

/// One category's counts.
#[derive(ToSchema)]
struct CategoryActivity {
    /// The slug.
    category: String,
    /// Queries for names listed for it.
    asked: u64,
    /// Those that were blocked for it.
    blocked: u64,
}

/// One hour's counts.
#[derive(ToSchema)]
struct HourActivity {
    /// When it begins, RFC 3339.
    #[schema(format = DateTime)]
    hour: String,
    /// Queries.
    asked: u64,
    /// Those of them that were blocked.
    blocked: u64,
}

/// A name that was blocked.
#[derive(ToSchema)]
struct BlockedName {
    /// The name that was asked for.
    name: String,
    /// By which device; none for those that nobody named.
    device: Option<String>,
    /// How often.
    count: u64,
    /// The layer that decided, the last time.
    layer: String,
    /// For which categories, by slug.
    categories: Vec<String>,
    /// The last time, RFC 3339.
    #[schema(format = DateTime)]
    last: String,
}
