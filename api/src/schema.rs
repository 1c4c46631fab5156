//! The shapes of answers whose types belong to other crates or are put together on the way out, for
//! the OpenAPI document alone.
//!
//! Nothing here is ever made. `api/tests/routes/document.rs` holds each against what the routes
//! really answer.

#![expect(dead_code, reason = "shapes for the document")]

pub mod activity;
pub(crate) mod asking;
mod orders;
pub mod writes;

use std::collections::BTreeMap;

use utoipa::ToSchema;

pub use self::{
    orders::{Explanation, Landing, Mandate, MandatePage},
    writes::Written,
};

/// The taxonomy.
#[derive(ToSchema)]
pub struct Categories {
    /// In the order of the taxonomy.
    categories: Vec<Category>,
}

/// A category.
#[derive(ToSchema)]
struct Category {
    /// The name programs use.
    slug: String,
    /// The name people read.
    title: String,
    /// The heading under which a page shows it.
    group: String,
    /// The presets that block it.
    presets: Vec<String>,
    /// Whether it is one service, such as TikTok, and not a kind of content.
    service: bool,
    /// Its bundle: names that are listed for it without any feed, each with all below it.
    names: Vec<String>,
}

/// The presets.
#[derive(ToSchema)]
pub struct Presets {
    /// In the order of the taxonomy.
    presets: Vec<Preset>,
}

/// A starting point.
#[derive(ToSchema)]
struct Preset {
    /// The name programs use.
    slug: String,
    /// The name people read.
    title: String,
    /// The categories that it blocks, by slug.
    blocks: Vec<String>,
}

/// A household.
#[derive(ToSchema)]
pub struct Household {
    /// Its identifier, the operator's choice.
    id: String,
    /// Rises with every change; also the `ETag`.
    version: u64,
    /// IANA name of the zone its clocks show.
    time_zone: String,
    /// Its starting point; absent means the operator's default.
    preset: Option<String>,
    /// Its choice: `not_asked`, `on` or `off`.
    filtering: String,
    /// Who made the choice, when, and how; absent while nobody was asked.
    choice: Option<Choice>,
    /// Where notices go; absent where that is not known.
    contact: Option<Contact>,
    /// What is kept of what its devices ask for; absent where nobody said so.
    history: Option<activity::History>,
    /// The operator's own key for it.
    external_ref: Option<String>,
    /// The language of its pages, BCP 47.
    locale: Option<String>,
    /// The networks its queries come from, as CIDR.
    networks: Vec<String>,
    /// Its switches, by slug; a category that is not here is inherited.
    categories: BTreeMap<String, Switch>,
    /// Its own list, by name.
    names: BTreeMap<String, CustomName>,
    /// What holds at certain hours, by name; absent where nothing does.
    schedules: Option<BTreeMap<String, Schedule>>,
    /// What is open for a while, by identifier.
    grants: Option<BTreeMap<String, Grant>>,
    /// The Internet is off.
    pause: Option<Pause>,
    /// Safe search, by engine.
    safe_search: Option<BTreeMap<String, SafeSearch>>,
    /// Whether an allow or a grant of a search engine also lifts its safe search.
    search_unlock: Option<Switch>,
    /// What becomes of names by which software goes around the filter.
    bypass: Option<Switch>,
    /// Its people, by identifier.
    people: Option<BTreeMap<String, PersonOfHousehold>>,
    /// Its devices, by identifier.
    devices: BTreeMap<String, DeviceOfHousehold>,
}

/// A schedule that is set.
#[derive(ToSchema)]
struct Schedule {
    /// The days on which it begins: `mon` to `sun`.
    days: Vec<String>,
    /// When it begins, by the household's clocks.
    from: String,
    /// When it ends.
    to: String,
    /// Categories that are blocked meanwhile.
    block: Vec<String>,
    /// Categories that are allowed meanwhile.
    allow: Vec<String>,
    /// Whether the Internet is off meanwhile.
    pause: bool,
    /// Dates on which it does not begin.
    except: Option<Vec<String>>,
    /// Who set it.
    set_by: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: String,
}

/// Something that is open for a while.
#[derive(ToSchema)]
struct Grant {
    /// The category that is open.
    category: Option<String>,
    /// The name that is open, with all below it.
    domain: Option<String>,
    /// Everything is open.
    everything: Option<bool>,
    /// When it closes, RFC 3339.
    #[schema(format = DateTime)]
    until: String,
    /// Who set it.
    set_by: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: String,
}

/// The Internet is off.
#[derive(ToSchema)]
struct Pause {
    /// Until then, RFC 3339.
    #[schema(format = DateTime)]
    until: String,
    /// Who set it.
    set_by: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: String,
}

/// The safe search of an engine.
#[derive(ToSchema)]
struct SafeSearch {
    /// `off`, `moderate` or `strict`.
    level: String,
    /// Who set it.
    set_by: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: String,
}

/// A person, as they stand in their household.
#[derive(ToSchema)]
struct PersonOfHousehold {
    /// What the family calls them.
    name: String,
    /// Their switches, by slug; a category that is not here is inherited.
    categories: BTreeMap<String, Switch>,
    /// Their own list, by name.
    names: BTreeMap<String, CustomName>,
    /// What holds at certain hours, by name; absent where nothing does.
    schedules: Option<BTreeMap<String, Schedule>>,
    /// What is open for a while, by identifier.
    grants: Option<BTreeMap<String, Grant>>,
    /// The Internet is off.
    pause: Option<Pause>,
    /// Safe search, by engine.
    safe_search: Option<BTreeMap<String, SafeSearch>>,
    /// Whether an allow or a grant of a search engine also lifts its safe search.
    search_unlock: Option<Switch>,
    /// What becomes of names by which software goes around the filter.
    bypass: Option<Switch>,
}

/// A person by themselves.
#[derive(ToSchema)]
pub struct Person {
    /// The identifier.
    id: String,
    /// What the family calls them.
    name: String,
    /// Their devices, by identifier.
    devices: Vec<String>,
    /// Their switches, by slug; a category that is not here is inherited.
    categories: BTreeMap<String, Switch>,
    /// Their own list, by name.
    names: BTreeMap<String, CustomName>,
    /// What holds at certain hours, by name; absent where nothing does.
    schedules: Option<BTreeMap<String, Schedule>>,
    /// What is open for a while, by identifier.
    grants: Option<BTreeMap<String, Grant>>,
    /// The Internet is off.
    pause: Option<Pause>,
    /// Safe search, by engine.
    safe_search: Option<BTreeMap<String, SafeSearch>>,
    /// Whether an allow or a grant of a search engine also lifts its safe search.
    search_unlock: Option<Switch>,
    /// What becomes of names by which software goes around the filter.
    bypass: Option<Switch>,
    /// The household's version; also the `ETag`.
    version: u64,
}

/// How a household made its choice.
#[derive(ToSchema)]
struct Choice {
    /// `portal`, `app`, `call-centre`, `shop` or `operator`.
    channel: String,
    /// The key that set it.
    set_by: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: String,
}

/// Where the holder of the account is reached.
#[derive(ToSchema)]
pub struct Contact {
    /// An address of e-mail.
    email: String,
}

/// A page of households, by identifier.
#[derive(ToSchema)]
pub struct HouseholdPage {
    /// The households.
    households: Vec<Household>,
    /// The cursor of the next page; none where there is none.
    next: Option<String>,
}

/// A switch that is set.
#[derive(ToSchema)]
struct Switch {
    /// `block` or `allow`.
    state: String,
    /// The key that set it.
    set_by: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: String,
}

/// An entry of an own list.
#[derive(ToSchema)]
struct CustomName {
    /// `block` or `allow`.
    state: String,
    /// `exact`, or `subtree` for the name and all below it.
    scope: String,
    /// The key that set it.
    set_by: String,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: String,
}

/// A device, as it stands in its household.
#[derive(ToSchema)]
struct DeviceOfHousehold {
    /// What the family calls it.
    name: String,
    /// What it is: phone, tablet, camera, …
    kind: Option<String>,
    /// Whose it is.
    person: Option<String>,
    /// By what it is told from the others: objects with one key of `mac`, `address`.
    identifiers: Vec<BTreeMap<String, String>>,
    /// Whether its queries may appear in the household's activity.
    log: bool,
    /// Its own switches, by slug; a category that is not here is inherited.
    categories: BTreeMap<String, Switch>,
    /// Its own list, by name.
    names: BTreeMap<String, CustomName>,
    /// What holds at certain hours, by name; absent where nothing does.
    schedules: Option<BTreeMap<String, Schedule>>,
    /// What is open for a while, by identifier.
    grants: Option<BTreeMap<String, Grant>>,
    /// The Internet is off.
    pause: Option<Pause>,
    /// Safe search, by engine.
    safe_search: Option<BTreeMap<String, SafeSearch>>,
    /// Whether an allow or a grant of a search engine also lifts its safe search.
    search_unlock: Option<Switch>,
    /// What becomes of names by which software goes around the filter.
    bypass: Option<Switch>,
}

/// A device by itself.
#[derive(ToSchema)]
pub struct Device {
    #[schema(inline)]
    #[serde(flatten)]
    device: DeviceOfHousehold,
    /// Its identifier.
    id: String,
    /// The version of its household; also the `ETag`.
    version: u64,
}

/// What holds at this moment.
#[derive(ToSchema)]
pub struct Effective {
    /// For which household.
    household: String,
    /// For which device; none for one that nobody named.
    device: Option<String>,
    /// The version of the rules; also the `ETag`.
    version: u64,
    /// The household's choice: `not_asked`, `on` or `off`.
    filtering: String,
    /// Its starting point; none means the operator's default.
    preset: Option<String>,
    /// IANA name of the zone its clocks show.
    time_zone: String,
    /// The moment, RFC 3339.
    #[schema(format = DateTime)]
    at: String,
    /// What is kept of what the household's devices ask for.
    history: activity::History,
    /// Whether what this device asks for is counted there.
    recorded: bool,
    /// Every category, by slug.
    categories: BTreeMap<String, EffectiveState>,
    /// Whether the Internet is off.
    paused: EffectivePause,
    /// Safe search, by engine.
    safe_search: BTreeMap<String, EffectiveLevel>,
    /// Whether an allow or a grant of a search engine also lifts its safe search.
    search_unlock: EffectiveUnlock,
    /// Whether names by which software goes around the filter are answered negatively.
    bypass: EffectiveBypass,
    /// The grants that run, the nearest place first: each as it is set, with `id` and `layer`.
    grants: Vec<BTreeMap<String, serde_json::Value>>,
    /// All schedules: each as it is set, with `id`, `layer`, `running` and `next_change`.
    schedules: Vec<BTreeMap<String, serde_json::Value>>,
    /// All entries of own lists: each as it is set, with `name` and `layer`.
    names: Vec<BTreeMap<String, serde_json::Value>>,
}

/// What holds of a category.
#[derive(ToSchema)]
struct EffectiveState {
    /// `block` or `allow`.
    state: String,
    /// When that changes by itself, within eight days, RFC 3339.
    #[schema(format = DateTime)]
    next_change: Option<String>,
    /// Where it is set: `device`, `person`, `household`, `preset` or `operator`.
    layer: String,
    /// By whom: a key, or a preset.
    set_by: String,
    /// When, RFC 3339; none where nobody noted it.
    #[schema(format = DateTime)]
    set_at: Option<String>,
    /// The schedule by which it holds.
    schedule: Option<String>,
    /// When that ends, RFC 3339.
    #[schema(format = DateTime)]
    until: Option<String>,
}

/// Whether the Internet is off.
#[derive(ToSchema)]
struct EffectivePause {
    /// Whether it is.
    state: bool,
    /// When that changes by itself, within eight days, RFC 3339.
    #[schema(format = DateTime)]
    next_change: Option<String>,
    /// Where it is set; absent where it is not off.
    layer: Option<String>,
    /// By whom.
    set_by: Option<String>,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: Option<String>,
    /// The schedule by which it is off.
    schedule: Option<String>,
    /// When it is on again, RFC 3339.
    #[schema(format = DateTime)]
    until: Option<String>,
}

/// The safe search of an engine.
#[derive(ToSchema)]
struct EffectiveLevel {
    /// `off`, `moderate` or `strict`.
    level: String,
    /// Where it is set; absent where nobody set it.
    layer: Option<String>,
    /// By whom.
    set_by: Option<String>,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: Option<String>,
}

/// Whether an allow or a grant of a search engine also lifts its safe search.
#[derive(ToSchema)]
struct EffectiveUnlock {
    /// Whether it does.
    unlocked: bool,
    /// Where it is set; absent where nobody set it.
    layer: Option<String>,
    /// By whom.
    set_by: Option<String>,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    set_at: Option<String>,
}

/// What becomes of names by which software goes around the filter.
#[derive(ToSchema)]
struct EffectiveBypass {
    /// Whether they are answered negatively.
    refused: bool,
    /// Where it is set.
    layer: String,
    /// By whom.
    set_by: String,
    /// When, RFC 3339; none where nobody noted it.
    #[schema(format = DateTime)]
    set_at: Option<String>,
}

/// The keys of a household.
#[derive(ToSchema)]
pub struct Keys {
    /// The oldest first.
    keys: Vec<Key>,
}

/// A key, never its secret.
#[derive(ToSchema)]
pub struct Key {
    /// Its identifier: what `set_by` and the audit name.
    id: String,
    /// `parent`, `second-parent` or `child`.
    role: String,
    /// The household in which it holds.
    household: Option<String>,
    /// The device of a child's key.
    device: Option<String>,
    /// What its maker calls it.
    label: String,
    /// When it was made, RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was revoked, RFC 3339; none while it is in force.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// A key that was made.
#[derive(ToSchema)]
pub struct NewKey {
    #[schema(inline)]
    #[serde(flatten)]
    key: Key,
    /// What its holder sends as `Authorization: Bearer SECRET`; answered once and never again.
    secret: String,
}

/// A feed that was taken away.
#[derive(ToSchema)]
pub struct FeedGone {
    /// The version that its definition's end made; also the `ETag`.
    revision: u64,
}
