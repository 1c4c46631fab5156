//! Statistics of what households chose, as a regulator asks an operator for.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use jiff::Timestamp;
use policy::category::{CategorySet, Taxonomy};
use policy_store::ChoiceCount;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Context, auth::guards::Reader, extract::QueryParameters, problem::Problem};

/// The layout of the figures.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// `day` adds the choices of each day.
    by: Option<String>,
}

/// What households chose.
#[derive(Serialize, ToSchema)]
pub struct ChoiceReport {
    /// The number that was asked and chose.
    asked: i64,
    /// When it was counted, RFC 3339.
    at: Timestamp,
    /// By the channel in which they were asked.
    by_channel: Vec<ChosenByChannel>,
    /// By the day of their last choice, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_day: Option<Vec<ChosenOnDay>>,
    /// What they chose.
    chosen: Chosen,
    /// What the operator decides for the undecided.
    default: DefaultPreset,
    /// The number of households.
    households: i64,
    /// The number that has not chosen.
    undecided: i64,
    /// The presets that the undecided have.
    undecided_receive: Vec<Received>,
}

/// How many chose what.
#[derive(Serialize, ToSchema)]
struct Chosen {
    /// No filtering.
    off: i64,
    /// Filtering.
    on: i64,
}

/// The operator's preset.
#[derive(Serialize, ToSchema)]
struct DefaultPreset {
    /// The categories that it blocks.
    blocks: Vec<String>,
    /// Its slug.
    preset: String,
}

/// What some of the undecided receive.
#[derive(Serialize, ToSchema)]
struct Received {
    /// The categories that the preset blocks.
    blocks: Vec<String>,
    /// How many receive it.
    households: i64,
    /// The preset, by slug.
    preset: String,
    set_by: PresetAuthor,
}

/// Who set a preset.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum PresetAuthor {
    Operator,
    Household,
}

/// How many chose what in one channel.
#[derive(Serialize, ToSchema)]
struct ChosenByChannel {
    /// The channel.
    channel: String,
    /// No filtering.
    off: i64,
    /// Filtering.
    on: i64,
}

/// How many chose what on one day.
#[derive(Serialize, ToSchema)]
struct ChosenOnDay {
    /// The day, in UTC.
    day: String,
    /// No filtering.
    off: i64,
    /// Filtering.
    on: i64,
}

/// The figures of a report.
#[derive(Default)]
struct Tally {
    on: i64,
    off: i64,
    undecided: i64,
    /// Households with and without filtering, by channel.
    channels: BTreeMap<String, [i64; 2]>,
    /// Undecided households by preset; `None` is the operator's.
    receive: BTreeMap<Option<String>, i64>,
}

impl Tally {
    fn of(counts: Vec<ChoiceCount>, taxonomy: &Taxonomy) -> Self {
        let mut tally = Self::default();
        for count in counts {
            let index = match count.filtering.as_str() {
                "on" => 0,
                "off" => 1,
                _ => {
                    tally.undecided += count.households;
                    // A preset that the taxonomy no longer has, has no effect.
                    let preset = count.preset.filter(|slug| taxonomy.preset(slug).is_some());
                    *tally.receive.entry(preset).or_default() += count.households;
                    continue;
                }
            };
            let chosen = if index == 0 {
                &mut tally.on
            } else {
                &mut tally.off
            };
            *chosen += count.households;
            let channel = count.chosen_by.unwrap_or_else(|| "unknown".to_owned());
            tally.channels.entry(channel).or_default()[index] += count.households;
        }
        tally
    }
}

/// How many households were asked, what they chose, how many are undecided, and which preset these
/// have.
#[utoipa::path(get, path = "/v1/reports/choice", operation_id = "get_choice_report", tag = "reports", params(Layout),
    responses((status = 200, description = "the figures", body = ChoiceReport), (status = 422, description = "a value cannot be used")))]
pub async fn report(
    State(context): State<Arc<Context>>,
    _reader: Reader,
    QueryParameters(layout): QueryParameters<Layout>,
) -> Result<Json<ChoiceReport>, Problem> {
    if layout.by.as_deref().is_some_and(|by| by != "day") {
        return Err(Problem::value("by", "by", "day, or nothing"));
    }
    let Tally {
        on,
        off,
        undecided,
        channels,
        receive,
    } = Tally::of(
        context.control.store.choices().await?,
        &context.control.taxonomy,
    );
    let taxonomy = &context.control.taxonomy;
    let blocks = |slug: &str| -> Vec<String> {
        let set = taxonomy.preset(slug).unwrap_or(CategorySet::EMPTY);
        taxonomy.slugs(set).into_iter().map(str::to_owned).collect()
    };
    let default_preset = context.control.default_preset.to_string();
    let received = |(preset, households): (Option<String>, i64)| {
        let (preset, set_by) = match preset {
            Some(slug) => (slug, PresetAuthor::Household),
            None => (default_preset.clone(), PresetAuthor::Operator),
        };
        Received {
            blocks: blocks(&preset),
            households,
            preset,
            set_by,
        }
    };
    let by_channel =
        |(channel, [on, off]): (String, [i64; 2])| ChosenByChannel { channel, off, on };
    let by_day = match layout.by {
        Some(_) => {
            let days = context.control.store.choices_by_day().await?;
            let on_day = |day: policy_store::ChoiceDay| ChosenOnDay {
                day: day.day,
                off: day.chose_off,
                on: day.chose_on,
            };
            Some(days.into_iter().map(on_day).collect())
        }
        None => None,
    };
    Ok(Json(ChoiceReport {
        asked: on + off,
        at: Timestamp::now(),
        by_channel: channels.into_iter().map(by_channel).collect(),
        by_day,
        chosen: Chosen { off, on },
        default: DefaultPreset {
            blocks: blocks(&default_preset),
            preset: default_preset.clone(),
        },
        households: on + off + undecided,
        undecided,
        undecided_receive: receive.into_iter().map(received).collect(),
    }))
}
