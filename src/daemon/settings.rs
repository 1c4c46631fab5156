//! Sections of the configuration as the parts of the API want them.

use std::{num::NonZeroU32, time::Duration};

use api::{
    auth::{
        limits::{Limits, Rate},
        oidc::Tokens,
    },
    report_intake::ReportIntake,
};
use control::{activity::limits::HistoryLimits, shutdown::BackgroundTasks};
use jiff::SignedDuration;

use crate::{
    config::{self, Checked, Reports},
    oidc,
};

/// How the public reports.
pub fn report_intake(reports: &Reports) -> ReportIntake {
    let answer_within = Duration::from_secs(3_600 * u64::from(reports.answer_within_hours));
    ReportIntake::new(
        answer_within,
        NonZeroU32::new(reports.per_minute).unwrap_or(NonZeroU32::MIN),
    )
}

/// The verifier of OIDC tokens, if a provider is configured. The provider's keys are read in the
/// background, so that requests with API keys need not wait for them.
pub fn oidc_tokens(checked: &Checked, tasks: &BackgroundTasks) -> anyhow::Result<Option<Tokens>> {
    let tokens = checked
        .config
        .api
        .oidc
        .as_ref()
        .map(oidc::tokens)
        .transpose()?;
    if let Some(tokens) = tokens.clone() {
        tasks.spawn_endless(async move { tokens.refresh().await });
    }
    Ok(tokens)
}

pub fn history_limits(history: &config::HistoryConfig) -> HistoryLimits {
    let silent_after = SignedDuration::from_mins(history.silent_after_min.into());
    HistoryLimits {
        days_max: history.days_max,
        silent_after,
    }
}

pub fn limits(api: &config::Api) -> Limits {
    let rate = |per_s, burst| Rate { per_s, burst };
    Limits::new(
        rate(api.rate_per_s, api.rate_burst),
        rate(api.operator_rate_per_s, api.operator_rate_burst),
        rate(api.failed_per_s, api.failed_burst),
    )
    .with_writes_per_day(api.writes_per_day)
    .with_open(rate(api.open_per_s, api.open_burst))
}
