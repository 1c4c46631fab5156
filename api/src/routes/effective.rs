//! The settings in force for a household or one of its devices, who set them, and when they change
//! by themselves.
//!
//! The settings are read from the rules of the data path, and their authors from the document of
//! the same version. The next change is found by compiling the document for later instants.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use control::{
    activity::retention::days_kept,
    households::{
        provenance::{Provenance, Setter},
        subscriber::Subscriber,
        write::read_with_rules,
    },
};
use jiff::{SignedDuration, Timestamp};
use policy::{
    category::CategorySet,
    decide::EffectivePolicy,
    rules::{
        builtin_names::{BuiltinName, BuiltinNames},
        compiled::HouseholdRules,
        household::Id,
        timeline::zone,
    },
    unix_seconds::UnixSeconds,
};
use serde_json::{Map, Value, json};

use crate::{
    Context,
    auth::guards::Member,
    extract::{Segments, segment},
    problem::Problem,
    routes::{devices::unknown_device, history},
    schema,
    versioned::with_version,
};

/// How far ahead changes are looked for: every schedule has begun by then.
const AHEAD: SignedDuration = SignedDuration::from_hours(8 * 24);
/// The most instants that are compiled.
const LOOKS_MAX: usize = 400;

/// The settings in force for the household: for a device without a name.
#[utoipa::path(get, path = "/v1/households/{id}/effective", operation_id = "get_household_effective", tag = "effective", params(("id" = String, Path)),
    responses((status = 200, description = "what holds", body = schema::Effective), (status = 404, description = "no such household")))]
pub async fn of_household(
    State(context): State<Arc<Context>>,
    Member(principal): Member,
    Segments(id): Segments<String>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    principal.must_see(Some(&id), None)?;
    effective(&context, &id, None).await
}

/// The settings in force for a device.
#[utoipa::path(get, path = "/v1/households/{id}/effective/{device}", operation_id = "get_device_effective", tag = "effective", params(("id" = String, Path), ("device" = String, Path)),
    responses((status = 200, description = "what holds", body = schema::Effective), (status = 404, description = "no such household or device")))]
pub async fn of_device(
    State(context): State<Arc<Context>>,
    _member: Member,
    Segments((id, device)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let id: Id = segment("id", &id)?;
    let device: Id = segment("device", &device)?;
    effective(&context, &id, Some(&device)).await
}

async fn effective(context: &Context, id: &Id, device: Option<&Id>) -> Result<Response, Problem> {
    let (household, rules) = read_with_rules(&context.control, id).await?;
    let place = device
        .map(|device| {
            rules
                .device_by_id(device)
                .ok_or_else(|| unknown_device(device))
        })
        .transpose()?;
    let line = Subscriber {
        household,
        rules,
        device: place,
        at: Timestamp::now(),
    };
    let view = View {
        context,
        setters: Provenance {
            subscriber: &line,
            taxonomy: &context.control.taxonomy,
        },
        now: line.asker(),
        changes: Changes::of(context, &line),
    };
    let mut shown = view.show();
    shown["household"] = json!(id);
    shown["device"] = json!(device);
    shown["version"] = json!(line.household.version);
    shown["filtering"] = json!(line.household.filtering);
    shown["preset"] = json!(line.household.preset);
    shown["time_zone"] = json!(line.household.time_zone);
    shown["at"] = json!(line.at);
    shown["history"] = history::shown(&context.control, Some(&line.household));
    shown["recorded"] =
        json!(line.rules.is_recorded(place) && days_kept(&context.control, &line.rules) > 0);
    Ok(with_version(
        line.household.version,
        Json(shown).into_response(),
    ))
}

/// When the settings in force end.
struct Changes {
    categories: Vec<(Timestamp, CategorySet)>,
    paused: Option<Timestamp>,
}

impl Changes {
    fn of(context: &Context, line: &Subscriber) -> Self {
        let compile = |at| {
            Arc::new(HouseholdRules::compile(
                &line.household,
                &context.control.taxonomy,
                context.control.defaults,
                at,
            ))
        };
        let asker = |rules: &Arc<HouseholdRules>, at| {
            EffectivePolicy::of(rules, line.device, UnixSeconds::of(at))
        };
        let mut rules = compile(line.at);
        let now = asker(&rules, line.at);
        let mut found = Self {
            categories: Vec::new(),
            paused: None,
        };
        let mut seen = CategorySet::EMPTY;
        for _ in 0..LOOKS_MAX {
            let Some(at) = rules.until().timestamp().filter(|at| *at < line.at + AHEAD) else {
                break;
            };
            rules = compile(at);
            let then = asker(&rules, at);
            let is_other = now
                .blocked()
                .without(then.blocked())
                .union(then.blocked().without(now.blocked()))
                .without(seen);
            if !is_other.is_empty() {
                seen = seen.union(is_other);
                found.categories.push((at, is_other));
            }
            if found.paused.is_none() && then.flags().is_paused() != now.flags().is_paused() {
                found.paused = Some(at);
            }
        }
        found
    }
}

struct View<'v> {
    context: &'v Context,
    setters: Provenance<'v>,
    now: EffectivePolicy,
    changes: Changes,
}

impl View<'_> {
    fn line(&self) -> &Subscriber {
        self.setters.subscriber
    }

    fn show(&self) -> Value {
        json!({
            "categories": self.categories(),
            "paused": self.with_setter(
                json!({ "state": self.now.flags().is_paused(), "next_change": self.changes.paused }),
                self.setters.paused().filter(|_| self.now.flags().is_paused()),
            ),
            "safe_search": self.safe_search(),
            "search_unlock": self.with_setter(json!({ "unlocked": self.now.flags().unlocks_search() }), self.setters.search_unlock()),
            "bypass": self.with_setter(json!({ "refused": self.now.flags().prevents(BuiltinName::Canary) || self.now.flags().prevents(BuiltinName::Relay) }), Some(self.setters.bypass())),
            "grants": self.grants(),
            "schedules": self.schedules(),
            "names": self.names(),
        })
    }

    /// A value and its author.
    fn with_setter(&self, mut value: Value, setter: Option<Setter>) -> Value {
        if let (Value::Object(value), Some(Value::Object(setter))) =
            (&mut value, setter.map(|setter| json!(setter)))
        {
            value.extend(
                setter
                    .into_iter()
                    .map(|(key, said)| (renamed(&key).to_owned(), said)),
            );
        }
        value
    }

    fn categories(&self) -> Value {
        let mut shown = Map::new();
        for category in self.context.control.taxonomy.categories() {
            let id = self
                .context
                .control
                .taxonomy
                .find(&category.slug)
                .expect("it is in the taxonomy");
            let set: CategorySet = std::iter::once(id).collect();
            let is_blocked = self.now.blocked().contains(id);
            let setter = if is_blocked {
                self.setters.blocks(set)
            } else {
                self.setters
                    .allows(set)
                    .unwrap_or_else(|| self.setters.preset())
            };
            let next = self
                .changes
                .categories
                .iter()
                .find(|(_, changed)| changed.contains(id))
                .map(|(at, _)| *at);
            let state = if is_blocked { "block" } else { "allow" };
            shown.insert(
                category.slug.clone(),
                self.with_setter(json!({ "state": state, "next_change": next }), Some(setter)),
            );
        }
        shown.into()
    }

    fn safe_search(&self) -> Value {
        let engines = BuiltinNames::shipped().engines().iter().zip(0..);
        let shown: BTreeMap<&str, Value> = engines
            .map(|(engine, place)| {
                let level = json!({ "level": self.now.flags().level(place) });
                (
                    engine.slug.as_str(),
                    self.with_setter(level, self.setters.safe_search(&engine.slug)),
                )
            })
            .collect();
        json!(shown)
    }

    fn grants(&self) -> Value {
        let mut shown = Vec::new();
        for (layer, settings) in self.line().levels() {
            let running = settings
                .grants
                .iter()
                .filter(|(_, grant)| grant.value.until > self.line().at);
            shown.extend(running.map(|(id, grant)| {
                let mut grant = json!(grant);
                (grant["id"], grant["layer"]) = (json!(id), json!(layer));
                grant
            }));
        }
        json!(shown)
    }

    fn schedules(&self) -> Value {
        let zone = zone(&self.line().household);
        let mut shown = Vec::new();
        for (layer, settings) in self.line().levels() {
            shown.extend(settings.schedules.iter().map(|(id, set)| {
                let running = set.value.running(&zone, self.line().at);
                let next = running
                    .map(|(_, until)| until)
                    .or_else(|| set.value.next_begin(&zone, self.line().at));
                let mut schedule = json!(set);
                (schedule["id"], schedule["layer"]) = (json!(id), json!(layer));
                (schedule["running"], schedule["next_change"]) =
                    (json!(running.is_some()), json!(next));
                schedule
            }));
        }
        json!(shown)
    }

    fn names(&self) -> Value {
        let mut shown = Vec::new();
        for (layer, settings) in self.line().levels() {
            shown.extend(settings.names.iter().map(|(name, own)| {
                let mut own = json!(own);
                (own["name"], own["layer"]) = (json!(name), json!(layer));
                own
            }));
        }
        json!(shown)
    }
}

/// The word that documents use.
fn renamed(key: &str) -> &str {
    match key {
        "by" => "set_by",
        "at" => "set_at",
        other => other,
    }
}
