//! What several commands share: the configuration, the runtime, the output.

use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use control::{causes, negative_anchors, trust_anchors};
use policy::category::Taxonomy;
use policy_store::{Author, Store};
use resolver::recursor::{Recursor, SystemEnvironment};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use super::arguments::ConfigArgument;
use crate::{
    config::{self, Checked},
    daemon::data_path,
};

/// Reads the configuration that the command line names.
pub fn load(argument: &ConfigArgument) -> anyhow::Result<Checked> {
    Ok(config::load(argument.config.as_deref(), std::env::vars())?)
}

pub fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

pub fn log_filter(checked: &Checked) -> anyhow::Result<EnvFilter> {
    let level = &checked.config.log.level;
    EnvFilter::try_new(level).with_context(|| format!("log.level = {level:?}"))
}

/// The author of changes by commands.
pub fn author() -> Author {
    Author {
        actor: "command line".to_owned(),
        role: "operator".to_owned(),
    }
}

pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<ExitCode> {
    print(&serde_json::to_string_pretty(value)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}

/// Reads a taxonomy, or returns the shipped one.
pub fn read_taxonomy(path: Option<PathBuf>) -> anyhow::Result<Taxonomy> {
    Ok(match path {
        Some(path) => Taxonomy::parse(
            &std::fs::read_to_string(&path)
                .with_context(|| format!("reading {}", path.display()))?,
        )?,
        None => Taxonomy::shipped(),
    })
}

/// Lets a command validate as the node does: with what the node has kept of the keys of trust anchors,
/// and with the negative trust anchors of its store. What cannot be read is left out, with a warning.
pub async fn validate_as_node(
    checked: &Checked,
    store: Option<&Store>,
    recursor: &Arc<Recursor<SystemEnvironment>>,
) {
    if let Some(file) = data_path::anchor_state(checked)
        && let Err(error) = trust_anchors::read(recursor, file)
    {
        eprintln!("warning: {}", causes(&error));
    }
    if let Some(store) = store {
        let recursor = Arc::clone(recursor);
        let put_in_force = move |anchors| {
            recursor.set_negative_anchors(anchors);
        };
        let settings = data_path::anchor_settings(checked);
        negative_anchors::start(store, settings, Box::new(put_in_force)).await;
    }
}
