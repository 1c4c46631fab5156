//! Counts of the households' choices, from columns beside the documents.

use policy::rules::household::Household;
use sqlx::FromRow;

use crate::{
    Store,
    error::{StoreError, step},
};

/// Households with the same choice, preset and channel.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ChoiceCount {
    /// `not_asked`, `on` or `off`.
    pub filtering: String,
    /// Their preset; `None` for the operator's.
    pub preset: Option<String>,
    /// The channel in which they chose, if it is known.
    pub chosen_by: Option<String>,
    pub households: i64,
}

/// The choices of one day.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ChoiceDay {
    /// The day, in UTC.
    pub day: String,
    /// Households whose last choice was filtering.
    pub chose_on: i64,
    /// Households whose last choice was no filtering.
    pub chose_off: i64,
}

/// The values of the columns beside a document: choice, preset, channel and day.
pub(crate) type Columns = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

pub(crate) fn columns(household: &Household) -> Columns {
    let filtering = serde_json::to_value(household.filtering).expect("a word");
    let choice = household.choice.as_ref();
    (
        filtering.as_str().map(str::to_owned),
        household.preset.clone(),
        choice.map(|choice| choice.value.channel.clone()),
        choice.map(|choice| {
            choice
                .set_at
                .to_string()
                .split('T')
                .next()
                .unwrap_or_default()
                .to_owned()
        }),
    )
}

impl Store {
    /// Counts households by choice, preset and channel.
    pub async fn choices(&self) -> Result<Vec<ChoiceCount>, StoreError> {
        let select = "SELECT filtering, preset, chosen_by, count(*) AS households FROM household WHERE filtering IS NOT NULL
            GROUP BY filtering, preset, chosen_by ORDER BY filtering, preset, chosen_by";
        sqlx::query_as(select)
            .fetch_all(&self.pool)
            .await
            .map_err(step("counting choices"))
    }

    /// Counts households by the day of their last choice.
    pub async fn choices_by_day(&self) -> Result<Vec<ChoiceDay>, StoreError> {
        let select = "SELECT chosen_on AS day, count(*) FILTER (WHERE filtering = 'on') AS chose_on, count(*) FILTER (WHERE filtering = 'off') AS chose_off
            FROM household WHERE filtering IS NOT NULL AND chosen_on IS NOT NULL AND filtering <> 'not_asked' GROUP BY chosen_on ORDER BY chosen_on";
        sqlx::query_as(select)
            .fetch_all(&self.pool)
            .await
            .map_err(step("counting choices"))
    }
}
