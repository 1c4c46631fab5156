//! The commands, one file each.

mod arguments;
mod audit;
mod check;
mod explain;
mod keys;
mod lists;
mod resolve;
mod serve;

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use policy_store::Author;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use self::arguments::{Arguments, Command, ConfigArgument};
use crate::config::{self, Checked};

/// Reads the command line and runs its command to the end.
pub fn run() -> anyhow::Result<ExitCode> {
    let command = Arguments::parse().command;
    // Only the owner may read what a node keeps: rules, names that were asked for, licensed lists.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match command {
        Command::Serve { config, new_store } => serve::run(config, new_store),
        Command::Check { config } => check::run(&config),
        Command::Explain(query) => query.run(),
        Command::Resolve(query) => query.run(),
        Command::Lists { command } => lists::run(command),
        Command::Keys { command } => keys::run(command),
        Command::Audit { command } => audit::run(command),
    }
}

fn load(argument: &ConfigArgument) -> anyhow::Result<Checked> {
    Ok(config::load(argument.config.as_deref(), std::env::vars())?)
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

fn log_filter(checked: &Checked) -> anyhow::Result<EnvFilter> {
    let level = &checked.config.log.level;
    EnvFilter::try_new(level).with_context(|| format!("log.level = {level:?}"))
}

/// The author of what a command changes.
fn author() -> Author {
    Author {
        actor: "command line".to_owned(),
        role: "operator".to_owned(),
    }
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<ExitCode> {
    print(&serde_json::to_string_pretty(value)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}
