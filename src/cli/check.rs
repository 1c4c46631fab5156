//! `ox-protect check`: whether the daemon could start with a configuration.

use std::{path::Path, process::ExitCode, sync::Arc};

use super::{
    arguments::ConfigArgument,
    common::{load, log_filter},
};
use crate::{
    daemon::{api_listeners, data_path},
    memory::Budgets,
    oidc,
};

pub fn run(argument: &ConfigArgument) -> anyhow::Result<ExitCode> {
    let checked = load(argument)?;
    log_filter(&checked)?;
    // What the daemon reads at its start: records, certificates, the provider's keys.
    let budgets = Budgets::of_command(&checked.config);
    let recursor = data_path::recursor(&checked, budgets.recursor)?;
    data_path::recursion(&checked, Arc::new(recursor))?;
    checked
        .config
        .api
        .oidc
        .as_ref()
        .map(oidc::tokens)
        .transpose()?;
    api_listeners::certificate(&checked.config.api)?;
    let missing: Vec<_> = checked
        .config
        .feeds
        .iter()
        .filter(|feed| !feed.is_fetched() && !Path::new(&feed.source).exists())
        .collect();
    for feed in &missing {
        eprintln!(
            "feeds {:?}: source {} does not exist",
            feed.name, feed.source
        );
    }
    for warning in &checked.warnings {
        eprintln!("warning: {warning}");
    }
    if !missing.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    println!(
        "ok: {} feeds, {} categories",
        checked.config.feeds.len(),
        checked.taxonomy.categories().len()
    );
    Ok(ExitCode::SUCCESS)
}
