//! Statistics of what households chose, as a regulator asks an operator for.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Context, auth::guards::Reader, extract::QueryParameters, problem::Problem, schema::asking,
};

/// The layout of the figures.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// `day` adds the choices of each day.
    by: Option<String>,
}

/// How many households were asked, what they chose, how many are undecided, and which preset these
/// have.
#[utoipa::path(get, path = "/v1/reports/choice", operation_id = "get_choice_report", tag = "reports", params(Layout),
    responses((status = 200, description = "the figures", body = asking::ChoiceReport), (status = 422, description = "a value cannot be used")))]
pub async fn report(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    QueryParameters(layout): QueryParameters<Layout>,
) -> Result<Json<Value>, Problem> {
    if layout.by.as_deref().is_some_and(|by| by != "day") {
        return Err(Problem::value("by", "by", "day, or nothing"));
    }
    let mut on = 0;
    let mut off = 0;
    let mut undecided = 0;
    let mut channels: BTreeMap<String, [i64; 2]> = BTreeMap::new();
    let mut receive: BTreeMap<Option<String>, i64> = BTreeMap::new();
    for count in context.control.store.choices().await? {
        let place = match count.filtering.as_str() {
            "on" => 0,
            "off" => 1,
            _ => {
                undecided += count.households;
                // A preset that the taxonomy no longer has, has no effect.
                let preset = count
                    .preset
                    .filter(|slug| context.control.taxonomy.preset(slug).is_some());
                *receive.entry(preset).or_default() += count.households;
                continue;
            }
        };
        *(if place == 0 { &mut on } else { &mut off }) += count.households;
        channels
            .entry(count.chosen_by.unwrap_or_else(|| "unknown".to_owned()))
            .or_default()[place] += count.households;
    }
    let blocks = |slug: &str| {
        context
            .control
            .taxonomy
            .preset(slug)
            .map(|set| context.control.taxonomy.slugs(set))
            .unwrap_or_default()
    };
    let shown = |(preset, households): (&Option<String>, &i64)| {
        let (slug, by) = preset
            .as_deref()
            .map_or((&*context.control.default_preset, "operator"), |slug| {
                (slug, "household")
            });
        json!({ "preset": slug, "set_by": by, "blocks": blocks(slug), "households": households })
    };
    let mut report = json!({
        "at": Timestamp::now(),
        "households": on + off + undecided,
        "asked": on + off,
        "chosen": { "on": on, "off": off },
        "undecided": undecided,
        "default": { "preset": context.control.default_preset, "blocks": blocks(&context.control.default_preset) },
        "undecided_receive": receive.iter().map(shown).collect::<Vec<_>>(),
        "by_channel": channels.iter().map(|(channel, [on, off])| json!({ "channel": channel, "on": on, "off": off })).collect::<Vec<_>>(),
    });
    if layout.by.is_some() {
        let day = |day: policy_store::ChoiceDay| json!({ "day": day.day, "on": day.chose_on, "off": day.chose_off });
        report["by_day"] = context
            .control
            .store
            .choices_by_day()
            .await?
            .into_iter()
            .map(day)
            .collect();
    }
    Ok(Json(report))
}
